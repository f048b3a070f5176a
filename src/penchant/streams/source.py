"""What a broker must be able to do for its records to be read.

In: settings of one source. Out: records in the order of each partition, from any position that was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from penchant.core.errors import MissingExtraError, PenchantError
from penchant.streams.settings import KafkaConfig, RedisConfig


class BrokerError(PenchantError):
    """The broker does not answer, or refuses to."""


class GapError(BrokerError):
    """The broker has no record after the position that is read from: those were deleted, or the stream was made anew.

    Args:
        partition: Where.
    """

    def __init__(self, message: str, *, where: str, fix: str, partition: str) -> None:
        super().__init__(message, where=where, fix=fix)
        self.partition = partition


@dataclass(frozen=True)
class Record:
    """One record of a stream.

    Attributes:
        partition: Where it lies; order holds within one.
        position: Its place there; `Source.assign` continues after it.
        sent_at: When it came to the broker, microseconds since 1970; None where the broker does not say.
        body: JSON of an event as POST /v1/events takes it; a mapping where the broker keeps fields instead.
    """

    partition: str
    position: str
    sent_at: int | None
    body: bytes | Mapping[str, bytes]


class Source(Protocol):
    """A stream of records in partitions. Every method raises `BrokerError` where the broker is away."""

    def partitions(self) -> list[str]:
        """Return the names of all partitions."""

    def assign(self, positions: Mapping[str, str]) -> None:
        """Read these partitions from now on, each after a position; "" is before the oldest record that is left."""

    def read(self, most: int, seconds: float) -> list[Record]:
        """Return up to about `most` next records, in order within each partition; waits at most `seconds` for the first one."""

    def positions_at(self, at: int) -> dict[str, str]:
        """Return for each partition the position before its first record from a time on, microseconds since 1970."""

    def is_at_end(self, positions: Mapping[str, str]) -> bool:
        """Return whether no record lies after these positions now."""

    def note(self, positions: Mapping[str, str]) -> None:
        """Tell the broker what is stored, for its own tools; nothing depends on it."""

    def close(self) -> None:
        """Close the connection."""


SOURCES = {"redis": "redis_source:RedisSource", "kafka": "kafka_source:KafkaSource"}
"""Kind to the class in this package."""


def check_client(config: RedisConfig | KafkaConfig) -> Callable[[RedisConfig | KafkaConfig], Source]:
    """Return what opens a source; its client is imported here, and nowhere without such a source.

    Raises:
        MissingExtraError: The client is not installed.
    """
    module, _, name = SOURCES[config.kind].partition(":")
    try:
        found: Callable[..., Source] = getattr(import_module(f"penchant.streams.{module}"), name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or module, "streams") from error
    return found


def open_source(config: RedisConfig | KafkaConfig) -> Source:
    """Return a source; errors as those of `check_client`."""
    return check_client(config)(config)
