"""Events that come in and events that users delete; what was changed is in the store before the answer.

In: events of requests, with content. Out: how many were new; an event is on disk when it is acknowledged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from penchant.core.errors import DataError, NotFoundError
from penchant.data.histories import Event
from penchant.service.batching import GroupCommit
from penchant.service.config import ServiceConfig
from penchant.service.content_files import CONTENT, MEDIA, ContentFiles, kept_content
from penchant.service.schemas import EventIn, EventNameIn, EventsDeleted, EventsStored
from penchant.service.snapshot import Snapshots
from penchant.service.store import EventName, RequestKey, Store, now
from penchant.service.times import EARLIEST, micros_of
from penchant.service.uploads import UploadStore


class EventIntake:
    """Accepts and deletes events.

    Args:
        config: How many events and files of one request, and how far in the future.
        store: Keeps the events.
        snapshots: Know which items and which content the bundle reads.
        uploads: Keeps files.
        files: Deletes those that nothing uses any more.
    """

    def __init__(
        self, config: ServiceConfig, store: Store, snapshots: Snapshots, uploads: UploadStore, files: ContentFiles
    ) -> None:
        self._config, self._store, self._snapshots = config, store, snapshots
        self._uploads, self._files = uploads, files
        self.commits = GroupCommit[tuple[Sequence[Event], RequestKey | None], int](self._append_group, max_size=64)
        """Stores the events of requests that wait, in one commit."""

    def append(self, events: Sequence[EventIn], request_key: str | None = None) -> EventsStored:
        """Store events; they are on disk when this returns, and the next answer about their users reflects them.

        Args:
            events: Of any users.
            request_key: The request's idempotency key: the same events under the same key are stored once.

        Raises:
            DataError: An event lies in the future, there are too many, or the key was used for other events. Nothing is stored then.
        """
        if len(events) > self._config.max_batch:
            raise DataError(
                f"{len(events):,} events in one request.",
                where="events",
                fix=f"send at most {self._config.max_batch:,}",
            )
        moment = now()
        latest = moment + int(self._config.max_skew_seconds * 1e6)
        rows = [event_of(e, f"events.{n}.", latest, otherwise=moment) for n, e in enumerate(events)]
        reader = self._snapshots.current.recommender.own_content
        media = sum(getattr(e, name) is not None for e in events for name in MEDIA)
        if media > self._config.max_batch_media:
            raise DataError(
                f"{media:,} files in one request.", where="events", fix=f"send at most {self._config.max_batch_media:,}"
            )
        reads = reader.reads("events")
        key = _request_key(request_key, events) if request_key else None
        with self._uploads.in_use(where="events") if media else nullcontext():
            where = [f"events.{n}." if len(events) > 1 else "" for n in range(len(events))]
            found = [kept_content(e, reads, place, self._uploads) for e, place in zip(events, where, strict=True)]
            rows = [r if c is None else replace(r, content=c) for r, c in zip(rows, found, strict=True)]
            self._files.has_unused |= media > 0  # of events that are stored already, or refused
            new = self.commits((rows, key))
        unknown = sum(e.item_id not in self._snapshots.current.recommender.lookup.items for e in events)
        given = sum(getattr(e, name) is not None for e in events for name in CONTENT)
        kept = sum(len(c.columns) + len(c.media) for c in found if c is not None)
        return EventsStored(
            stored=new,
            duplicates=len(events) - new,
            unknown_items=unknown,
            with_content=sum(c is not None for c in found),
            unread_content=given - kept,
        )

    def delete_event(self, user_id: str, name: EventNameIn) -> EventsDeleted:
        """Delete events of a user; they are gone from the store when this returns, and the next list does not know them.

        Raises:
            DataError: Nothing names an event.
            NotFoundError: No such event is stored.
        """
        if name.event_id is not None:
            which = EventName(name.event_id)
        elif name.item_id is not None and name.at is not None:
            which = EventName(None, name.item_id, micros_of(name.at), name.kind)
        else:
            raise DataError(
                "Nothing names an event.",
                where="the query",
                fix="give event_id, or item_id and at as the export shows them",
            )
        snapshot = self._snapshots.newest()
        own = snapshot.learned(user_id)
        rows = snapshot.recommender.lookup.rows([which.item_id])
        is_learned = bool((np.isin(own.item_index, rows) & (own.at == which.at)).any())
        deleted, had_content = self._store.delete_events(user_id, which)
        if not deleted:
            raise NotFoundError(
                "No such event is stored."
                if not is_learned
                else "The bundle learned from this event; it is not in the store.",
                where=f"events of {user_id}",
                fix="take event_id, or item_id, at and kind, from GET /v1/export/ID"
                if not is_learned
                else "leave it out of the data of the next run, or erase the user",
            )
        if had_content:
            self._files.remove_unused()
        return EventsDeleted(deleted=deleted, in_bundle=is_learned)

    def _append_group(self, tasks: Sequence[tuple[Sequence[Event], RequestKey | None]]) -> list[int | DataError]:
        return self._store.append([events for events, _ in tasks], [request for _, request in tasks])


def _request_key(key: str, events: Sequence[EventIn]) -> RequestKey:
    """Return a key with a digest of each user's events: as they were sent, with their places in the request."""
    own: dict[str, list[str]] = {}
    for position, event in enumerate(events):
        missing = {
            name for name in CONTENT if getattr(event, name) is None
        }  # digests of stores from before there was content
        own.setdefault(event.user_id, []).append(f"{position} {event.model_dump_json(exclude=missing)}")
    return RequestKey(key, {user: hashlib.sha256("\n".join(one).encode()).hexdigest() for user, one in own.items()})


def event_of(event: EventIn, where: str, latest: int, *, otherwise: int) -> Event:
    """Return an event without its content, however it came: over HTTP or from a stream.

    Args:
        event: As it came.
        where: Its place, for messages: a prefix of the names of its fields.
        latest: No event lies after it, microseconds since 1970.
        otherwise: Its time where it has none of its own.

    Raises:
        DataError: It lies in the future, or before the year 1.
    """
    at = otherwise if event.at is None else micros_of(event.at)
    if at < EARLIEST:
        raise DataError("An event lies before the year 1 in UTC.", where=f"{where}at", fix="give the time it happened")
    if at > latest:
        raise DataError(
            "An event lies in the future.", where=f"{where}at", fix="set the sender's clock, or leave `at` out"
        )
    return Event(event.user_id, event.item_id, event.kind, at, event.value, event.event_id)
