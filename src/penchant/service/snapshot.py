"""The serving snapshot: the model, what may be shown and who was erased, as of one moment; replaced as a whole.

In: versions of the store, newer models. Out: one immutable snapshot, which a request keeps until it is answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool

from penchant.core.schema import Histories
from penchant.data.histories import Event
from penchant.explanation.counterfactual import Counterfactual
from penchant.recommender.recommender import Recommender
from penchant.service.security import ApiKeys, Secret
from penchant.service.store import WITHDRAWN, Store, StoredContent
from penchant.service.stored_items import StoredItems
from penchant.service.user_cache import UserState
from penchant.service.user_content import stored_history

SERVED_SETS = 500
"""Sets of past events that one request for a counterfactual ranks again at most."""


@dataclass(frozen=True)
class ServingSnapshot:
    """The serving snapshot: immutable, replaced as a whole.

    Attributes:
        recommender: The model.
        available: (items,) whether an item may be shown.
        subjects: Keyed hashes of the ids of erased users.
        generation: Differs between two snapshots for whom a user's history may differ, or the model.
        moment: Differs between two snapshots of one generation that know other events of all users.
        world: The store's version of items, erasures and keys it reflects.
        secret: Makes the keyed hash of an id.
    """

    recommender: Recommender
    available: Bool[np.ndarray, " items"]
    subjects: frozenset[str]
    generation: int
    world: int | None
    secret: Secret = field(compare=False)
    moment: int = 0

    def is_erased(self, user_id: str) -> bool:
        """Return whether a user was erased since the bundle was written."""
        return bool(self.subjects) and self.secret.subject(user_id) in self.subjects

    def history(self, user_id: str, events: Sequence[Event], about: StoredContent | None) -> Histories:
        """Return a user's history from the bundle and the store; only vectors that the bundle's own encoders made count.

        Args:
            user_id: The user.
            events: Those of the store, oldest first.
            about: What the user told of themself.
        """
        told = None if about is None else about.content
        return stored_history(self.recommender, user_id, events, told, use_own=not self.is_erased(user_id))

    def learned(self, user_id: str) -> Histories:
        """Return what the bundle itself holds of a user; nothing after an erasure."""
        return self.recommender.history(user_id, (), use_own=not self.is_erased(user_id))

    def counterfactual(self, state: UserState, item_id: str, k: int) -> Counterfactual:
        """Return what would have to be different for an item to leave a user's list of k, or to enter it."""
        return self.recommender.counterfactual(
            state.history, item_id, k, edits=state.edits, max_sets=SERVED_SETS, available=self.available
        )


class Snapshots:
    """Keeps the serving snapshot of one process up to date.

    Args:
        recommender: The model at the start.
        store: What every process reads and writes.
        stored_items: Its items.
        keyring: Its API keys, which are read again with every version of the world.
        secret: Makes the keyed hashes of ids.
        forget: Called when the model, or whose history may be read, has changed: what was computed with the old one is gone.
    """

    def __init__(
        self,
        recommender: Recommender,
        store: Store,
        stored_items: StoredItems,
        keyring: ApiKeys,
        secret: Secret,
        forget: Callable[[], None],
    ) -> None:
        self._store, self._stored_items, self._keyring, self._forget = store, stored_items, keyring, forget
        self._changing = threading.Lock()
        every = np.ones(len(recommender.catalog), bool)
        self.current = ServingSnapshot(recommender, every, frozenset(), 0, None, secret)
        self.sync(store.world_version())

    def sync(self, world: int) -> None:
        """Bring withdrawn items, erasures and keys up to a version of the store; cheap where nothing changed."""
        if world == self.current.world:
            return
        with self._changing:
            self._renew(self.current.recommender, world)

    def newest(self) -> ServingSnapshot:
        """Return the snapshot after `sync` with the store's newest version."""
        self.sync(self._store.world_version())
        return self.current

    def serve(self, recommender: Recommender) -> None:
        """Answer from another model from now on; running requests finish with the model they began with."""
        with self._changing:
            self._renew(recommender, self._store.world_version())

    def observe(self, recommender: Recommender) -> None:
        """Answer from the same model with newer events of all users from now on; histories of users stay in the cache."""
        with self._changing:
            self.current = replace(self.current, recommender=recommender, moment=self.current.moment + 1)

    def _renew(self, recommender: Recommender, world: int) -> None:
        before = self.current
        self._keyring.refresh(world)
        withdrawn = [i.item_id for i in self._stored_items.newest().values() if i.status == WITHDRAWN]
        subjects = frozenset(e.subject for e in self._store.erasures())
        is_new = recommender is not before.recommender
        generation = before.generation + int(is_new or subjects != before.subjects)
        if is_new:
            recommender.finder.adopt(before.recommender.finder)
        lookup = recommender.lookup
        available = ~lookup.mask(lookup.rows(withdrawn))
        self.current = replace(
            before,
            recommender=recommender,
            available=available,
            subjects=subjects,
            generation=generation,
            world=world,
        )
        if generation != before.generation:
            self._forget()
            for reader in recommender.histories.derived.values():
                reader.forget()
