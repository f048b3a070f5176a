"""The user state cache: bounded, in front of the store.

In: a person's id, and the versions the store gives for it. Out: their history, edits and scores, computed anew whenever a
version changed, by whichever process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from penchant.core.schema import Histories
from penchant.recommender.lists import Edit


@dataclass(frozen=True)
class StateVersion:
    """Version of a cached state; equal only if nothing changed.

    Attributes:
        person: The store's version of the person's events and edits; None where it holds nothing.
        generation: Raised by this process with every new model and every erasure.
    """

    person: int | None
    generation: int


@dataclass(frozen=True)
class UserState:
    """State of one user as of one moment.

    Attributes:
        marks: Which moment.
        history: All their events.
        edits: What they said of themselves.
        scores: Of every item, before edits and options.
    """

    marks: StateVersion
    history: Histories
    edits: tuple[Edit, ...]
    scores: Float32[np.ndarray, " items"]

    @property
    def num_bytes(self) -> int:
        return self.scores.nbytes + 16 * self.history.num_events + 200 * len(self.edits) + 1000


class UserStateCache:
    """The most recently requested users.

    Args:
        max_bytes: Memory they may take; the one not asked for longest goes first.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._people: OrderedDict[str, UserState] = OrderedDict()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._people)

    def get(self, user_id: str, marks: StateVersion) -> UserState | None:
        """Return a person if what is held is as of these marks."""
        with self._lock:
            person = self._people.get(user_id)
            if person is None or person.marks != marks:
                return None
            self._people.move_to_end(user_id)
            return person

    def put(self, user_id: str, person: UserState) -> None:
        """Hold a person, and let others go until there is room."""
        with self._lock:
            self._remove(user_id)
            self._people[user_id] = person
            self.num_bytes += person.num_bytes
            while self.num_bytes > self._max_bytes and self._people:
                self._remove(next(iter(self._people)))

    def clear(self) -> None:
        """Hold nobody."""
        with self._lock:
            self._people.clear()
            self.num_bytes = 0

    def _remove(self, user_id: str) -> None:
        person = self._people.pop(user_id, None)
        if person is not None:
            self.num_bytes -= person.num_bytes
