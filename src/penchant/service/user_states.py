"""The states of users: history, edits and scores, as of the last change of any process.

In: ids of users. Out: their states and the snapshot these belong to; what the cache lacks is read from the store and scored in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from penchant.core.schema import Histories
from penchant.data.histories import Event
from penchant.recommender.lists import Edit
from penchant.service.snapshot import ServingSnapshot, Snapshots
from penchant.service.store import Store
from penchant.service.user_cache import StateVersion, UserState, UserStateCache


class UserStates:
    """Loads the states of users.

    Args:
        store: Their events, edits and content.
        snapshots: What they are scored with.
        cache: The most recently requested ones.
    """

    def __init__(self, store: Store, snapshots: Snapshots, cache: UserStateCache) -> None:
        self._store, self._snapshots, self._cache = store, snapshots, cache

    def one(self, user_id: str) -> tuple[ServingSnapshot, UserState]:
        """Return a user's state as of the last change of any process."""
        snapshot, (state,) = self.of([user_id])
        return snapshot, state

    def of(self, user_ids: Sequence[str]) -> tuple[ServingSnapshot, list[UserState]]:
        """Return the states of users as of one snapshot: their versions from one query, and missing scores from one pass."""
        if not user_ids:
            return self._snapshots.current, []
        store_versions, world = self._store.versions(user_ids)
        self._snapshots.sync(world)
        snapshot = self._snapshots.current
        versions = [StateVersion(version, snapshot.generation) for version in store_versions]
        cached = list(map(self._cache.get, user_ids, versions))
        missing = {user_ids[n]: versions[n] for n, state in enumerate(cached) if state is None}
        held = [*filter(None, cached), *self._load(snapshot, missing)]
        states = self._scored(snapshot, {state.history.user_ids[0]: state for state in held})
        return snapshot, [states[user_id] for user_id in user_ids]

    def after(self, user_id: str, events: Sequence[Event], edits: Sequence[Edit]) -> tuple[ServingSnapshot, UserState]:
        """Return the state a user would have after some events and edits; nothing is stored.

        Args:
            user_id: A user, with or without history.
            events: After those that are stored.
            edits: Each replaces an earlier one of the same name and value; "reset" takes it back.
        """
        snapshot, state = self.one(user_id)
        own = {(e.name, e.value): e for e in state.edits}
        for edit in edits:
            own.pop((edit.name, edit.value), None)
            if edit.action != "reset":
                own[edit.name, edit.value] = edit
        state = replace(state, edits=tuple(own.values()))
        if not events:
            return snapshot, state
        about = self._store.about(user_id)
        history = snapshot.history(user_id, [*self._store.events(user_id), *events], about)
        (scores,) = snapshot.recommender.scored(history).each()
        return snapshot, replace(state, history=history, scores=scores)

    def history(self, user_id: str, snapshot: ServingSnapshot) -> Histories:
        """Return a user's history as a snapshot's recommender reads what the store holds now."""
        about = self._store.about(user_id)
        return snapshot.history(user_id, self._store.events(user_id), about)

    def _load(self, snapshot: ServingSnapshot, versions: Mapping[str, StateVersion]) -> Iterator[UserState]:
        """Return the states of users as the store has them, without scores."""
        for user_id, version in versions.items():
            is_stored = version.user is not None
            events: Sequence[Event] = self._store.events(user_id) if is_stored else ()
            edits = tuple(self._store.edits(user_id)) if is_stored else ()
            about = self._store.about(user_id) if is_stored else None
            yield UserState(version, snapshot.history(user_id, events, about), edits)

    def _scored(self, snapshot: ServingSnapshot, states: dict[str, UserState]) -> dict[str, UserState]:
        """Return the states with scores as of the snapshot's moment; those that lack them are scored in one pass."""
        due = [user_id for user_id, state in states.items() if state.moment != snapshot.moment]
        if not due:
            return states
        if snapshot.recommender.shortlist.found is not None:  # each list scores its own candidates
            for user_id in due:
                states[user_id] = replace(states[user_id], scores=None, moment=snapshot.moment)
                self._cache.put(user_id, states[user_id])
            return states
        found = snapshot.recommender.scored(Histories.joined([states[user_id].history for user_id in due]))
        for user_id, scores in zip(due, found.each(), strict=True):
            states[user_id] = replace(states[user_id], scores=scores.copy(), moment=snapshot.moment)
            self._cache.put(user_id, states[user_id])
        return states
