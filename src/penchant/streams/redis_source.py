"""Redis Streams as a source.

In: an address and keys of streams. Out: their entries; each stream is a partition, and the id of an entry its position.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from penchant.streams.settings import RedisConfig, password
from penchant.streams.source import BrokerError, Record

logger = logging.getLogger("penchant.streams")
BODY = b"event"
"""Field of an entry that holds the event as JSON; without it, the entry's fields are those of the event."""
TIMEOUT = 10.0
"""Longest wait for an answer, in seconds."""
FIRST_CLOCK = 10**12
"""Milliseconds: the first part of an id below this one was not made from a clock."""


class RedisSource:
    """Reads streams of Redis 5 and later, without consumer groups: the positions that count are those in the store."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._positions: dict[str, str] = {}
        own = password(config.password_variable)
        self._client: Any = Redis.from_url(
            config.address,
            **({} if own is None else {"password": own}),
            socket_connect_timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # the consumer waits and tries again, and says so
            protocol=2,
        )

    def partitions(self) -> list[str]:
        with self._answered():
            self._client.ping()
        return list(self._config.streams)

    def assign(self, positions: Mapping[str, str]) -> None:
        for key, position in positions.items():
            if position and self._positions.get(key) != position:
                self._warn_of_gap(key, position)
        self._positions = dict(positions)

    def read(self, most: int, seconds: float) -> list[Record]:
        if not self._positions:
            return []
        after = {key: position or "0" for key, position in self._positions.items()}
        with self._answered():
            found = self._client.xread(after, count=most, block=max(1, round(1000 * min(seconds, TIMEOUT / 2))))
        records = []
        for key, entries in found or ():
            partition = key.decode()
            for entry, fields in entries:
                records.append(_record(partition, entry.decode(), fields))
                self._positions[partition] = entry.decode()
        return records

    def positions_at(self, at: int) -> dict[str, str]:
        self.partitions()  # says whether the broker is there
        before = "" if at < 1000 else f"{at // 1000 - 1}-{2**64 - 1}"
        return dict.fromkeys(self._config.streams, before)

    def is_at_end(self, positions: Mapping[str, str]) -> bool:
        with self._answered():
            last = {key: self._client.xrevrange(key, count=1) for key in positions}
        return all(
            not found or _parts(found[0][0].decode()) <= _parts(positions[key] or "0-0") for key, found in last.items()
        )

    def note(self, positions: Mapping[str, str]) -> None:
        pass  # without a consumer group there is nothing to tell

    def close(self) -> None:
        self._client.close()

    def _warn_of_gap(self, key: str, position: str) -> None:
        """Log where entries after the position were deleted from the stream before they were read."""
        try:
            with self._answered():
                about = self._client.xinfo_stream(key)
        except BrokerError as error:
            if isinstance(error.__cause__, ResponseError):  # there is no such stream yet
                return
            raise
        deleted = about.get("max-deleted-entry-id", b"0-0")
        if _parts(deleted.decode()) > _parts(position):
            logger.error("redis stream %r: entries after %s were deleted before they were read", key, position)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise BrokerError(
                f"Redis does not answer as it should: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
                where=self._config.address.rpartition("@")[2].removeprefix("redis://"),
                fix="check that it runs, its address, and its password",
            ) from error


def _record(key: str, entry: str, fields: Mapping[bytes, bytes] | None) -> Record:
    milliseconds = _parts(entry)[0]
    sent = 1000 * milliseconds if milliseconds >= FIRST_CLOCK else None
    fields = fields or {}
    if BODY in fields:
        return Record(key, entry, sent, fields[BODY])
    return Record(key, entry, sent, {name.decode("utf-8", "backslashreplace"): value for name, value in fields.items()})


def _parts(entry: str) -> tuple[int, int]:
    first, _, second = entry.partition("-")
    return int(first), int(second or 0)
