"""A record as an event, or the reason why it is none.

In: records of a stream. Out: events under the rules of POST /v1/events, and dead letters.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from penchant.core.errors import DataError, PenchantError
from penchant.data.histories import Event
from penchant.service.content_files import MEDIA, ContentFiles, kept_content
from penchant.service.event_intake import event_of
from penchant.service.http_errors import RefusedError
from penchant.service.schemas import EventIn
from penchant.service.store import Store, now
from penchant.service.stored_items import StoredItems
from penchant.service.stream_log import DeadLetter, SortedBatch, StreamLog
from penchant.service.uploads import UploadStore
from penchant.streams.source import Record

MAX_REPLAYED = 100_000
"""Dead letters that are tried again at once."""
logger = logging.getLogger("penchant.streams")
NUMBERS, JSON_FIELDS = ("value",), MEDIA
"""Fields of an entry of Redis, which are all texts, that are a number or JSON in an event."""


class RecordReader:
    """Makes events of records.

    Args:
        store: Says which values it takes.
        uploads: Keeps the files of events.
        max_skew_seconds: An event further in the future is refused.
        max_bytes: A longer record is refused.
    """

    def __init__(self, store: Store, uploads: UploadStore, max_skew_seconds: float, max_bytes: int) -> None:
        self._store, self._uploads = store, uploads
        self._files = ContentFiles(uploads, store, StoredItems(store))
        self._skew = round(max_skew_seconds * 1e6)
        self._max_bytes = max_bytes

    def storing(self, reads: Collection[str]) -> AbstractContextManager[None]:
        """Keep the files of events from being deleted until the events are in the store.

        Args:
            reads: Content of events that some channel of the bundle reads.

        Raises:
            RefusedError: There is no room on the disk.
        """
        return self._uploads.in_use(where="the records") if _has_files(reads) else nullcontext()

    def left_out(self, reads: Collection[str]) -> None:
        """Take note that files may lie there whose events were not stored: sent twice, refused, or of an erased user."""
        self._files.has_unused |= _has_files(reads)

    def remove_unused(self) -> None:
        """Delete such files; a consumer that was killed may have left some before the first call."""
        if self._files.has_unused:
            self._files.remove_unused()

    def sorted_out(self, source: str, records: Sequence[Record], reads: Collection[str]) -> SortedBatch:
        """Return consecutive records of one partition as events and dead letters; within `storing`, until they are in the store.

        Args:
            source: Name of the stream.
            records: At least one.
            reads: Content of events that some channel of the bundle reads.

        Raises:
            RefusedError: There is no room on the disk for a file; nothing is lost by reading the records again.
        """
        events: list[tuple[Event, int]] = []
        letters = []
        for record in records:
            sent = now() if record.sent_at is None else record.sent_at
            body = _text(record.body)
            try:
                events.append((self.event(body, _key(source, record), sent, reads), sent))
            except RefusedError:
                raise
            except Exception as error:  # whatever it is: it must not stop the records behind it
                letters.append(_letter(source, record, body, error))
        last = records[-1]
        return SortedBatch(events, letters, last.position, now() if last.sent_at is None else last.sent_at)

    @staticmethod
    def refused(source: str, record: Record, error: Exception) -> SortedBatch:
        """Return one record as a dead letter."""
        sent = now() if record.sent_at is None else record.sent_at
        return SortedBatch([], [_letter(source, record, _text(record.body), error)], record.position, sent)

    def event(self, body: str, key: str, sent: int, reads: Collection[str]) -> Event:
        """Return a record as an event, its files stored; within `storing`, until it is in the store.

        Args:
            body: JSON.
            key: Its id where the sender gave none, so that it is stored once.
            sent: Its time where it has none.
            reads: Content that some channel reads.

        Raises:
            PenchantError: What is wrong with it.
        """
        if len(body) > self._max_bytes:
            raise DataError(
                f"The record has {len(body):,} characters.", where="the record", fix=f"send at most {self._max_bytes:,}"
            )
        given = _checked(body)
        found = event_of(given, "", now() + self._skew, otherwise=sent)
        found = found if found.key is not None else replace(found, key=key)
        self._store.check(found)
        content = kept_content(given, reads, "", self._uploads)
        if content is None:
            return found
        found = replace(found, content=content)
        self._store.check(found)
        return found


def key_of(letter: DeadLetter) -> str:
    """Return the id of a dead letter's event where the sender gave none."""
    return _key(letter.source, Record(letter.partition, letter.position, letter.sent_at, b""))


def replayed(
    log: StreamLog, reader: RecordReader, reads: Collection[str], source: str | None, numbers: Sequence[int]
) -> dict[str, int]:
    """Store the dead letters that can be stored now; return how many were stored, known already or of erased users, and left."""
    done = {"stored": 0, "known": 0, "left": 0}
    for letter in log.letters(source, numbers, limit=MAX_REPLAYED):
        with reader.storing(reads):
            try:
                event = reader.event(letter.body, key_of(letter), letter.sent_at or letter.received_at, reads)
                outcome = "stored" if log.send_again(letter, event) else "known"
            except RefusedError:
                raise
            except PenchantError:
                outcome = "left"
        done[outcome] += 1
        if outcome != "stored":
            reader.left_out(reads)
    reader.remove_unused()
    return done


def _has_files(reads: Collection[str]) -> bool:
    return not set(MEDIA).isdisjoint(reads)


def _key(source: str, record: Record) -> str:
    # with its time: a topic that was deleted and made again counts from 0
    return f"stream/{source}/{record.partition}/{record.position}/{record.sent_at or ''}"


def _checked(body: str) -> EventIn:
    try:
        return EventIn.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise DataError(
                "The record is not JSON." if body else "The record is empty.",
                where="the record",
                fix='send an event as POST /v1/events takes it, such as {"user_id": "u1", "item_id": "i1"}',
            ) from None
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        raise DataError(  # the value is not repeated: it may be long
            f"{first['msg'].rstrip('.')}.", where=where, fix="change that value; /docs shows what is expected"
        ) from None


def _text(body: bytes | Mapping[str, bytes]) -> str:
    """Return a record as text; what is not UTF-8, and NUL, which no database keeps, in a readable form."""
    if isinstance(body, bytes):
        return body.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
    fields = {name: value.decode("utf-8", "backslashreplace") for name, value in body.items()}
    return json.dumps({name: _value(name, text) for name, text in fields.items()}, ensure_ascii=False)


def _value(name: str, text: str) -> Any:
    try:
        if name in NUMBERS:
            return float(text)
        if name in JSON_FIELDS:
            return json.loads(text)
    except ValueError:
        pass  # refused as a text
    return text


def _letter(source: str, record: Record, body: str, error: Exception) -> DeadLetter:
    if not isinstance(error, PenchantError):
        logger.error("a record cannot be read: %s", type(error).__name__, exc_info=error)
        error = DataError(
            f"Unexpected {type(error).__name__}.", where="the record", fix="see the log of the consumer, and report it"
        )
    reason = {name: text for name, text in error.as_dict().items() if name != "error"}
    return DeadLetter(
        source, record.partition, record.position, record.sent_at or 0, _user_of(body), reason, body.replace("\x00", "")
    )


def _user_of(body: str) -> str:
    """Return whose a record is that cannot be stored; "" where it does not tell."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    user = given.get("user_id") if isinstance(given, dict) else None
    return user if isinstance(user, str) else ""
