"""The items of the store as one process knows them.

In: a store. Out: every item that came, changed or went since the bundle was made; only what changed since the last call is read.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence

from safetensors.numpy import load as read_arrays

from penchant.core.schema import Catalog
from penchant.recommender.new_items import NewItem, table_row
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

    def media(self, item_id: str) -> Mapping[str, str]:
        """Return the uploads of an item, modality to name, as of the last call of `newest`; empty where it has none."""
        item = self._items.get(item_id)
        return {} if item is None else _media(item)

    def uploads(self) -> set[str]:
        """Return the names of all files that an item of the store uses now."""
        return {name for item in self.newest().values() for name in _media(item).values()}


def new_items(
    store: Store,
    ready: Sequence[StoredItem],
    catalog: Catalog,
    fail: Callable[[StoredItem, Exception], None] | None = None,
) -> list[NewItem]:
    """Return encoded items of a store as a bundle adds them.

    Args:
        store: Holds their vectors.
        ready: The items; one that was changed since is left out.
        catalog: Of the bundle.
        fail: Called with an item that does not fit the catalog, which is left out either way.
    """
    found, vectors = [], store.item_vectors(ready)
    for item in (i for i in ready if i.item_id in vectors):
        try:
            columns = json.loads(item.body)["columns"]
            table_row(catalog, item.item_id, columns)  # a new bundle may have other columns
            found.append(NewItem(item.item_id, columns, read_arrays(vectors[item.item_id])))
        except Exception as error:
            if fail is not None:
                fail(item, error)
    return found


def _media(item: StoredItem) -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads(item.body).get("media", {})
    return found
