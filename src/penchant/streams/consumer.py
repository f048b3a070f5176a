"""The consumer: one source into the store, each record once, for as long as it runs.

In: a source and a store. Out: events, dead letters and positions in the store, and what the consumer says of itself.

Nothing is read ahead of what is stored: a batch is read, stored with its position in one transaction, and then the next is read. After any error the
positions are read from the store again, whatever the consumer believed.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.exc import DataError as DriverDataError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from penchant.core.artifacts import MANIFEST
from penchant.core.errors import DataError, PenchantError
from penchant.recommender.recommender import Recommender
from penchant.service.http_errors import RefusedError
from penchant.service.store import Store, now
from penchant.service.stream_log import LEARNER, MovedError, SortedBatch, StreamLog
from penchant.service.times import iso_time
from penchant.streams.reading import RecordReader
from penchant.streams.settings import StreamsConfig
from penchant.streams.source import GapError, Record, Source

logger = logging.getLogger("penchant.streams")
BEAT_SECONDS = 2.0
"""How often a consumer says how it is, and looks which partitions are its own."""
PARTITIONS_SECONDS = 30.0
"""How often the broker is asked for its partitions."""
READ_SECONDS = 0.5
"""Longest wait for the next record."""
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses after an error, in seconds; the last one holds for all further errors in a row."""
LEARNER_SECONDS = 3600.0
"""A learner that said nothing for so long is taken for stopped, and not waited for."""
STORE_ERRORS = (DBAPIError, PoolTimeout, sqlite3.Error)
State = Literal["reading", "waiting", "away"]
"""reading: what comes is stored; waiting: others must catch up first; away: the broker or the store does not answer."""


class WatchedBundle:
    """What of an event's content the served bundle reads; read again when the bundle is replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self.reads = frozenset[str]()
        self.renew()

    def renew(self) -> None:
        """Look for another bundle."""
        try:
            found = (self._folder / MANIFEST).stat()
        except FileNotFoundError:  # between the removal of the old and the new
            return
        if (found.st_mtime_ns, found.st_ino) != self._stamp:
            self.reads = frozenset(Recommender.load(self._folder).own_content.reads("events"))
            self._stamp = (found.st_mtime_ns, found.st_ino)


class StreamConsumer:
    """Reads one source.

    Args:
        name: Of the source.
        open_source: Makes a connection; called again after the broker was away.
        log: Of the store.
        store: The store.
        reader: Makes events of records.
        bundle: Says what content is read.
        config: Settings.
    """

    def __init__(
        self,
        name: str,
        open_source: Callable[[], Source],
        log: StreamLog,
        store: Store,
        reader: RecordReader,
        bundle: WatchedBundle,
        config: StreamsConfig,
    ) -> None:
        self.name, self.config = name, config
        self._open, self._log, self._store, self._reader, self._bundle = open_source, log, store, reader, bundle
        self.owner = f"{socket.gethostname()[:24]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.state: State = "away"
        self.message = "not connected yet"
        self._since = now()
        self._source: Source | None = None
        self._partitions: list[str] = []
        self._positions: dict[str, str] = {}
        self._next_beat = self._next_look = 0.0
        self._failures = 0
        self._is_behind = False

    def step(self) -> int:
        """Read and store one batch of each partition; return the number of records.

        Raises:
            BrokerError: The broker is away.
            DBAPIError: The store is away.
            RefusedError: There is no room on the disk.
        """
        source = self._connected()
        if time.monotonic() >= self._next_beat:
            self._share(source)
        if self.state == "waiting":
            return 0
        try:
            records = source.read(self.config.batch, READ_SECONDS)
        except GapError as gap:
            logger.error("stream %s: %s where: %s fix: %s", self.name, gap.message, gap.where, gap.fix)
            self._log.move(self.name, {gap.partition: ""})
            self._positions, self._next_beat = {}, 0.0
            return 0
        self._is_behind = len(records) >= self.config.batch
        for partition in dict.fromkeys(r.partition for r in records):
            self._store_batch(source, partition, [r for r in records if r.partition == partition])
        if records:
            source.note(self._positions)
        return len(records)

    def _connected(self) -> Source:
        if self._source is None:
            self._source = self._open()
            self._positions, self._next_beat, self._next_look = {}, 0.0, 0.0
        return self._source

    def _share(self, source: Source) -> None:
        """Say how it is, and read the partitions that are its own from where the store says."""
        self._bundle.renew()
        self._reader.remove_unused()
        if time.monotonic() >= self._next_look:
            self._partitions = source.partitions()
            self._next_look = time.monotonic() + PARTITIONS_SECONDS
        reason = self._reason_to_wait()
        self._say("waiting" if reason else "reading", reason or "")
        positions = self._log.share(self.name, self.owner, self._partitions, self._about())
        if positions != self._positions:
            source.assign(positions)
            self._positions = positions
        self._next_beat = time.monotonic() + BEAT_SECONDS

    def _store_batch(self, source: Source, partition: str, records: list[Record]) -> None:
        if partition not in self._positions:  # read before it was given back
            return
        before, reads = self._positions[partition], self._bundle.reads
        new = 0
        with self._reader.storing(reads):
            batch = self._reader.sorted_out(self.name, records, reads)
            try:
                new = self._log.apply(self.name, partition, before, batch)
            except MovedError:
                self._next_beat = 0.0  # another process has stored them, or somebody moved the position
                self._positions = {}
                return
            except DriverDataError:
                self._store_each(partition, before, batch, records)
            finally:
                if new < len(records):
                    self._reader.left_out(reads)
        self._positions = {**self._positions, partition: batch.last}

    def _store_each(self, partition: str, before: str, batch: SortedBatch, records: list[Record]) -> None:
        """Store records one by one, since the database refuses a value of one of them, which becomes a dead letter."""
        for record in records:
            one = self._reader.sorted_out(self.name, [record], self._bundle.reads)
            try:
                self._log.apply(self.name, partition, before, one)
            except DriverDataError:
                error = DataError(
                    "The database refuses a value.", where="the record", fix="send shorter texts and smaller numbers"
                )
                self._log.apply(self.name, partition, before, self._reader.refused(self.name, record, error))
            before = one.last

    def _reason_to_wait(self) -> str | None:
        """Return why nothing is to be read now: those behind this process must catch up first."""
        waiting = self._log.waiting_content()
        if waiting > self.config.max_waiting_content:
            return f"{waiting:,} events wait to have their content encoded"
        learner = next(iter(self._log.heartbeats(LEARNER)), None)
        if learner is None or learner.at < now() - LEARNER_SECONDS * 1e6:
            return None
        unlearned = self._store.last_event() - int(learner.body.get("last_event", 0))
        if unlearned > self.config.max_unlearned:
            return f"the learner has not seen the last {unlearned:,} events"
        return None

    def move_to(self, at: int) -> None:
        """Let all partitions be read again from a time on, microseconds since 1970; what is stored already stays as it is.

        Raises:
            BrokerError: The broker is away.
        """
        self._log.move(self.name, self._connected().positions_at(at))

    def failed(self, error: Exception) -> float:
        """Take note of an error, and return how long to wait before the next step; the connection is made anew then."""
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        said = type(error).__name__
        if isinstance(error, PenchantError):
            said = f"{error.message} where: {error.where} fix: {error.fix}"
        if isinstance(error, STORE_ERRORS):
            said = f"The store does not answer ({type(error).__name__})."
        self._say("waiting" if isinstance(error, RefusedError) else "away", said)
        if not isinstance(error, PenchantError | DBAPIError | PoolTimeout | sqlite3.Error):
            logger.error("stream %s: unexpected", self.name, exc_info=error)
        self.disconnect()
        with suppress(*STORE_ERRORS):
            self._log.share(self.name, self.owner, [], self._about())
        return pause

    def succeeded(self) -> None:
        """Take note of a step without an error."""
        self._failures = 0

    def is_at_end(self) -> bool:
        """Return whether nothing more is there to be read now."""
        if self.state != "reading" or self._is_behind or self._source is None or not self._positions:
            return False
        return self._source.is_at_end(self._positions)

    def disconnect(self) -> None:
        """Close the connection."""
        source, self._source, self._positions = self._source, None, {}
        if source is not None:
            try:
                source.close()
            except Exception as error:  # it is broken anyway
                logger.debug("stream %s: %s while closing", self.name, type(error).__name__)

    def close(self) -> None:
        """Close the connection, and leave the partitions to others."""
        self.disconnect()
        try:
            self._reader.remove_unused()
            self._log.leave(self.name, self.owner)
        except STORE_ERRORS:
            logger.info("stream %s: its partitions are given back when their time is over", self.name)

    def _say(self, state: State, message: str) -> None:
        if state != self.state or (message != self.message and state == "away"):
            level = logging.INFO if state == "reading" else logging.WARNING
            logger.log(level, "stream %s: %s%s", self.name, state, f": {message}" if message else "")
        if state != self.state:
            self._since = now()
        self.state, self.message = state, message

    def _about(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "message": self.message,
            "since": iso_time(self._since),
            "is_behind": self._is_behind,
            "partitions": sorted(self._positions),
        }


def follow(consumer: StreamConsumer, stop: threading.Event, *, until_end: bool = False) -> None:
    """Read until told to stop, or until there is nothing more; errors are said, and followed by growing pauses."""
    try:
        while not stop.is_set():
            try:
                found = consumer.step()
                if until_end and found == 0 and consumer.is_at_end():
                    return
            except Exception as error:
                stop.wait(consumer.failed(error))
                continue
            consumer.succeeded()
            if consumer.state == "waiting":
                stop.wait(BEAT_SECONDS)
    finally:
        consumer.close()
