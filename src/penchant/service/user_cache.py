"""The user state cache: bounded, in front of the store.

In: a user id, and the versions the store gives for it. Out: history, edits and scores, computed again whenever any process changed
a version.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from penchant.core.schema import Histories
from penchant.models.ensemble import UserScores
from penchant.recommender.lists import Edit


@dataclass(frozen=True)
class StateVersion:
    """Version of a cached state; equal only if nothing changed.

    Attributes:
        user: The store's version of the user's events and edits; None where it holds nothing.
        generation: Raised by this process with every new model and every erasure.
    """

    user: int | None
    generation: int


@dataclass(frozen=True)
class UserState:
    """State of one user as of one snapshot.

    Attributes:
        version: Of the state.
        history: All events of the user.
        edits: The user's own.
        scores: Of every item, before edits and options; None before it was scored, and where lists are made from candidates.
        moment: Of the snapshot that gave the scores; -1 before.
    """

    version: StateVersion
    history: Histories
    edits: tuple[Edit, ...]
    scores: UserScores | None = None
    moment: int = -1

    @property
    def num_bytes(self) -> int:
        content = sum(
            c.row.nbytes + 4 * int((c.row >= 0).sum()) * c.embeddings.values.shape[1]
            for c in self.history.user_channels.values()
        )
        scores = 0 if self.scores is None else self.scores.num_bytes
        return scores + 16 * self.history.num_events + content + 200 * len(self.edits) + 1000


class UserStateCache:
    """The most recently requested users.

    Args:
        max_bytes: Memory they may take; the least recently requested one is removed first.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._states: OrderedDict[str, UserState] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._states)

    def get(self, user_id: str, version: StateVersion) -> UserState | None:
        """Return a user's state if it is of this version; its scores may be of an earlier moment."""
        with self._lock:
            state = self._states.get(user_id)
            if state is None or state.version != version:
                return None
            self._states.move_to_end(user_id)
            return state

    def put(self, user_id: str, state: UserState) -> None:
        """Store a state, and remove others until there is room."""
        with self._lock:
            self._remove(user_id)
            self._states[user_id] = state
            self.num_bytes += state.num_bytes
            while self.num_bytes > self._max_bytes and self._states:
                self._remove(next(iter(self._states)))

    def clear(self) -> None:
        """Remove all states."""
        with self._lock:
            self._states.clear()
            self.num_bytes = 0

    def _remove(self, user_id: str) -> None:
        state = self._states.pop(user_id, None)
        if state is not None:
            self.num_bytes -= state.num_bytes
