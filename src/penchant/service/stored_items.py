"""The items of the store as one process knows them.

In: a store. Out: every item that came, changed or went since the bundle was made; only what changed since the last call is read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from penchant.service.store import Store, StoredItem


class StoredItems:
    """A copy of the store's items without their vectors, which may be large.

    Args:
        store: Holds the items.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._items: Mapping[str, StoredItem] = {}
        self._version = -1

    def newest(self) -> Mapping[str, StoredItem]:
        """Return the items as the store has them now, by id, in the order of their last change; do not alter the mapping."""
        with self._lock:
            changed = {item.item_id: item for item in self._store.items_changed(self._version)}
            if changed:
                kept = {item_id: item for item_id, item in self._items.items() if item_id not in changed}
                self._items = {**kept, **changed}  # another object: a caller may still read the old one
                self._version = max(item.version for item in changed.values())
            return self._items
