"""Settings of streams.

In: the table [streams] of a TOML file. Out: a `StreamsConfig`.
"""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import ConfigError

SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,48}$")]


class RedisConfig(Settings):
    """Redis Streams: each stream is a partition, read in its own order."""

    kind: Literal["redis"]
    """Of the source: redis."""
    address: str = Field("redis://localhost:6379/0", pattern="^(redis|rediss|unix)://")
    """redis://USER@HOST:PORT/DATABASE; rediss:// is encrypted."""
    password_variable: str | None = None
    """Environment variable that holds the password."""
    streams: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(["events"], min_length=1)
    """Keys of the streams; several let several processes read."""


class KafkaConfig(Settings):
    """A topic of a Kafka-compatible broker."""

    kind: Literal["kafka"]
    """Of the source: kafka."""
    address: str = "localhost:9092"
    """Brokers to begin with: HOST:PORT, separated by commas."""
    topic: Annotated[str, Field(min_length=1, max_length=249)] = "events"
    """The topic; each of its partitions is read in its own order."""
    group: str = "penchant"
    """Consumer group under which positions are also told to the broker, for its own tools alone: those in the store count."""
    password_variable: str | None = None
    """Environment variable that holds the password (`sasl.password`)."""
    options: dict[str, str | int | float | bool] = {}
    """Further settings of librdkafka, such as "security.protocol" and "sasl.username"."""


class StreamsConfig(Settings):
    """Streams of events beside the HTTP interface."""

    sources: dict[SourceName, Annotated[RedisConfig | KafkaConfig, Field(discriminator="kind")]] = Field(min_length=1)
    """Name to where it comes from. Positions and dead letters are kept under the name: a new name reads from the beginning."""
    batch: int = Field(500, ge=1, le=10_000)
    """Records that are read and stored at once at most."""
    max_waiting_content: int = Field(1000, ge=1)
    """Events with words, pictures or sound that may wait to be encoded; while there are more, nothing is read."""
    max_unlearned: int = Field(500_000, ge=1)
    """Events that a running learner may not have seen yet; while there are more, nothing is read."""


def password(variable: str | None) -> str | None:
    """Return the password of an environment variable; None where none is named.

    Raises:
        ConfigError: The variable is not set.
    """
    if variable is None:
        return None
    found = os.environ.get(variable)
    if not found:
        raise ConfigError(
            f"The environment variable {variable} is not set.",
            where="streams: password_variable",
            fix=f"export {variable}=...",
        )
    return found
