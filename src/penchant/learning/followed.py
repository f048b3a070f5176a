"""What all users did until now, as a bundle learns from it.

In: a bundle, and a store that any process writes to. Out: the histories of all users, those of a run on all of these events.

Users who were erased are left out, those who came back too. A history is made from the bundle's own events and all that the store holds of the user, never from an earlier update: an event that is read
twice counts once, one that was deleted is gone, and a learner that was killed has nothing to put right.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from penchant.core.schema import Histories, OwnContent
from penchant.data.histories import Event
from penchant.recommender.recommender import Recommender
from penchant.service.security import Secret
from penchant.service.store import Store, now
from penchant.service.user_content import stored_history

logger = logging.getLogger("penchant.learning")
GROUP = 5000
"""Users whose events are read at once."""


class FollowedEvents:
    """Follows a store: users whose data changed are read again, the others are kept.

    Args:
        store: Holds the events that came since the run.
        secret: Recognises erased users.
        max_skew_seconds: An event further in the future waits until its time: one clock ahead must not age everything else.

    Attributes:
        unreadable: Users whose events raised an error; the bundle's own events count for them.
        unknown_items: Events in the store of items that the bundle does not have.
    """

    def __init__(self, store: Store, secret: Secret, max_skew_seconds: float = 300) -> None:
        self._store, self._secret = store, secret
        self._skew = round(max_skew_seconds * 1e6)
        self._items: list[str] | None = None
        self._base: Histories | None = None  # the events of the run that the parts were made from
        self._latest = 0
        self.unreadable: set[str] = set()
        self.unknown_items = 0
        self._forget()

    def _forget(self) -> None:
        self._versions: dict[str, int] = {}
        self._parts: dict[str, Histories] = {}
        self._unknown: dict[str, int] = {}
        self._early: set[str] = set()  # users with an event whose time has not come
        self._subjects: set[str] = set()
        self._erased: set[str] = set()

    def newest(self, bundle: Recommender, known_until: int = 0) -> Histories:
        """Return the events of all users as of now: those of the bundle first, in its order, then users whom the store alone knows.

        Cost: reading all events of each user whose data changed, and a copy of the histories.

        Args:
            bundle: The bundle with the store's items; its own histories are those of the run.
            known_until: Time of an event that was learned from: where the clock was set back, events until then still count.
        """
        self._latest = max(now(), known_until) + self._skew
        if self._items != bundle.catalog.item_ids or not self._is_of_same_run(bundle.histories):
            self._forget()
            self._items = list(bundle.catalog.item_ids)
        self._base = bundle.histories
        self._note_erasures(bundle)
        versions = self._store.versions_of()
        changed = {user for user, version in versions.items() if self._versions.get(user) != version}
        changed |= (self._early & versions.keys()) | (self._versions.keys() - versions.keys())
        due = sorted(changed)
        for start in range(0, len(due), GROUP):
            self._read(bundle, due[start : start + GROUP])
        self._versions = versions
        self.unknown_items = sum(self._unknown.values())
        return self._joined(bundle.histories)

    def _is_of_same_run(self, own: Histories) -> bool:
        """Return whether the parts hold these events: a run on newer data of the same catalog may take the bundle's place meanwhile."""
        base = self._base
        return base is not None and base.has_same_events(own) and base.encoders() == own.encoders()

    def _note_erasures(self, bundle: Recommender) -> None:
        subjects = {e.subject for e in self._store.erasures()}
        if subjects != self._subjects:
            own = bundle.histories.user_ids
            self._erased = {user for user in own if self._secret.subject(user) in subjects}
            self._subjects = subjects

    def _read(self, bundle: Recommender, user_ids: Sequence[str]) -> None:
        found = self._store.events_of(user_ids)
        latest = self._latest
        has_content = bool(bundle.histories.user_channels)
        for user_id in user_ids:
            events: Sequence[Event] = found.get(user_id, ())
            about = None
            if has_content and events:
                events = self._store.events(user_id)
            if has_content and (told := self._store.about(user_id)) is not None:
                about = told.content
            self._part(bundle, user_id, events, about, latest)

    def _part(
        self, bundle: Recommender, user_id: str, events: Sequence[Event], about: OwnContent | None, latest: int
    ) -> None:
        """Keep one user's history; what cannot be read is logged once and left out, so that one event never stops the others."""
        come = [e for e in events if e.at <= latest]
        (self._early.add if len(come) < len(events) else self._early.discard)(user_id)
        self._unknown.pop(user_id, None)
        if strange := sum(e.item_id not in bundle.lookup.items for e in come):
            self._unknown[user_id] = strange
        if self._secret.subject(user_id) in self._subjects:
            self._parts.pop(user_id, None)  # who was erased and returned is answered, and not learned from
            return
        try:
            own = stored_history(bundle, user_id, come, about)
            self.unreadable.discard(user_id)
        except Exception as error:
            if user_id not in self.unreadable:
                logger.error("events of a user cannot be read and are left out: %s", type(error).__name__)
            self.unreadable.add(user_id)
            own = bundle.history(user_id, ())
        self._parts[user_id] = own

    def _joined(self, own: Histories) -> Histories:
        """Return the bundle's histories with the users read from the store in their places; erased users are left out."""
        place = {user: row for row, user in enumerate(own.user_ids)}
        parts = {u: h for u, h in self._parts.items() if h.num_events or u in place}
        changed = [user for user in parts if user in place]
        new = sorted(user for user in parts if user not in place)
        gone = {place[user] for user in self._erased}
        kept = np.setdiff1d(np.arange(len(own)), [*gone, *(place[user] for user in changed)])
        if not parts and not gone:
            return own
        whole = [own.take(kept)] if len(kept) else []
        joined = Histories.joined([*whole, *(parts[u] for u in changed), *(parts[u] for u in new)])
        rank = [place[user] for user in changed]
        order = np.argsort(np.concatenate([kept, rank, len(own) + np.arange(len(new))]), kind="stable")
        return joined.take(order)
