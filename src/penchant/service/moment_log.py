"""The log of the moment: what all users did until now, as one process knows it.

In: the bundle's histories, and a store that any process may write to. Out: an `EventLog` of both, equal to that of a run on all of these events.

The log holds no user. To take a user's events out of it, or to count an event once that is in the bundle and in the store, this module keeps
each user's own part of it for the users of whom the store holds something.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from penchant.data.histories import Event
from penchant.models.event_log import EMPTY, EventLog
from penchant.recommender.recommender import Recommender
from penchant.service.security import Secret
from penchant.service.store import Store

GROUP = 5000
"""Users whose parts are exchanged at once: each exchange copies the log."""
COMMIT_SECONDS = 60.0
"""Longest time between an event's number and its commit. PostgreSQL commits events out of the order of their numbers, so those of the last minute are
looked at again; SQLite has one writer at a time."""
MAX_OPEN = 100_000
"""The same at the start, in numbers: events that are being committed then."""


class MomentLog:
    """Follows a store; one thread calls it.

    Args:
        store: Holds the events that came since the bundle.
        secret: Recognises erased users.
    """

    def __init__(self, store: Store, secret: Secret) -> None:
        self._store, self._secret = store, secret
        self._world: int | None = None
        self._erasures: dict[str, str] = {}  # receipt: keyed hash of the user
        self._seen: Recommender | None = None
        self._looks: deque[tuple[float, int]]  # when the store was looked at, and the highest number of an event then

    def newest(self, recommender: Recommender) -> EventLog:
        """Return the events of all users as of now; the same object as before where nothing changed.

        Cost: reading all events of each user with new ones, and a copy of the log.

        Args:
            recommender: The bundle's own, or that with added items.
        """
        try:
            return self._follow(recommender)
        except Exception:
            self._seen = None  # the store went away in between: begin again
            raise

    def _follow(self, recommender: Recommender) -> EventLog:
        known, self._erasures = self._erasures, self._newest_erasures()
        erased = {subject for receipt, subject in self._erasures.items() if receipt not in known}
        is_other = not self._is_of_same_bundle(recommender)
        if is_other:
            self._begin(recommender)
            erased = set(self._erasures.values())
        elif recommender is not self._seen:
            self._renumber(recommender)
        if is_other or erased:  # every user: SQLite gives the numbers of erased events to later ones
            last = self._store.last_event()  # before the versions: what comes in between is read again
            self._looks = deque([(-np.inf, last if self._store.is_sqlite else last - MAX_OPEN)])
            versions = self._store.versions_of()
            self._due |= self._versions.keys() - versions.keys()
        else:
            users, last = self._store.users_with_events(self._looked_until())
            self._looks.append((time.monotonic(), last))
            versions = self._store.versions_of(users)
        self._due |= {user for user, version in versions.items() if self._versions.get(user) != version}
        if erased:
            self._due |= {user for user in recommender.users if self._secret.subject(user) in erased}
        due = sorted(self._due)
        for start in range(0, len(due), GROUP):
            self._read(recommender, due[start : start + GROUP])
        return self._log

    def _begin(self, recommender: Recommender) -> None:
        """Begin with the events of a bundle alone."""
        self._seen = recommender
        self._log = EventLog.of(recommender.histories)
        self._own: dict[str, EventLog] = {}
        self._versions: dict[str, int] = {}
        self._beyond: dict[str, set[str]] = {}  # item that the bundle was made without: users with an event of it
        self._due: set[str] = set()  # users to read

    def _is_of_same_bundle(self, recommender: Recommender) -> bool:
        """Return whether the events of a run are the ones seen: a version of the same bundle has them too, and nothing need be read anew."""
        if self._seen is None:
            return False
        before, now = self._seen.histories, recommender.histories
        if before.item_index is now.item_index:
            return True
        size = len(self._seen.catalog) - len(self._seen.added)
        same_items = self._seen.catalog.item_ids[:size] == recommender.catalog.item_ids[:size]
        return same_items and before.has_same_events(now)

    def _newest_erasures(self) -> dict[str, str]:
        """Return every erasure; they are read where the world changed."""
        world = self._store.world_version()
        if world == self._world:
            return self._erasures
        found = {e.receipt_id: e.subject for e in self._store.erasures()}
        self._world = world
        return found

    def _looked_until(self) -> int:
        """Return the number of an event up to which nothing new can appear."""
        until = np.inf if self._store.is_sqlite else time.monotonic() - COMMIT_SECONDS
        while len(self._looks) > 1 and self._looks[1][0] <= until:
            self._looks.popleft()
        return self._looks[0][1]

    def _renumber(self, recommender: Recommender) -> None:
        """Take over the rows of a recommender with other added items; users with an event of one whose row changed are read again."""
        assert self._seen is not None
        before, now = self._seen.lookup.items, recommender.lookup.items
        changed: set[str] = set()
        for item_id, users in self._beyond.items():
            rows = [items.index(item_id) if item_id in items else None for items in (before, now)]
            changed |= users if rows[0] != rows[1] else set()
        gone = {user: self._own[user] for user in changed if user in self._own}
        self._log = self._log.exchanged(_joined(list(gone.values()), len(before)), EMPTY).grown(len(now))
        self._own |= dict.fromkeys(gone, EMPTY)
        self._due |= changed
        self._seen = recommender

    def _read(self, recommender: Recommender, user_ids: list[str]) -> None:
        """Exchange the parts of these users for what the store and the bundle hold of them now."""
        versions = self._store.versions_of(user_ids)  # before the events: what comes in between is read again
        events = self._store.events_of(user_ids)
        subjects = set(self._erasures.values())
        before, parts = [], []
        for user_id in user_ids:
            own = self._own.get(user_id)
            is_erased = bool(subjects) and self._secret.subject(user_id) in subjects
            before.append(self._part(recommender, user_id, (), False) if own is None else own)
            parts.append(self._part(recommender, user_id, events.get(user_id, ()), is_erased))
            for event in events.get(user_id, ()):
                if event.item_id in recommender.added or event.item_id not in recommender.lookup.items:
                    self._beyond.setdefault(event.item_id, set()).add(user_id)
        num_items = len(recommender.catalog)
        self._log = self._log.exchanged(_joined(before, num_items), _joined(parts, num_items))
        self._own |= dict(zip(user_ids, parts, strict=True))
        for user_id in user_ids:
            if user_id in versions:
                self._versions[user_id] = versions[user_id]
            else:
                self._forget(recommender, user_id)
        self._due -= set(user_ids)

    def _forget(self, recommender: Recommender, user_id: str) -> None:
        """Keep nothing of a user of whom the store holds nothing, but that the bundle's events of an erased one do not count."""
        self._versions.pop(user_id, None)
        for users in self._beyond.values():
            users.discard(user_id)
        if user_id not in recommender.users:
            del self._own[user_id]

    def _part(self, recommender: Recommender, user_id: str, events: Sequence[Event], is_erased: bool) -> EventLog:
        return EventLog.of(recommender.history(user_id, events, use_own=not is_erased))


def _joined(logs: Sequence[EventLog], num_items: int) -> EventLog:
    """Return the events of several logs, in no order."""
    if not logs:
        return EMPTY.grown(num_items)
    return EventLog(
        np.concatenate([log.item_index for log in logs]), np.concatenate([log.at for log in logs]), num_items
    )
