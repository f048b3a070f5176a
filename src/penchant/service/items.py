"""The items of the service: found, described, added, changed and withdrawn.

In: an item's id, words, a file, or columns of a new item. Out: items near it, or the item's state; a change is in the store before the answer.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import numpy as np

from penchant.core.errors import DataError
from penchant.data.media import MediaLimits
from penchant.recommender.lookup import TOPIC
from penchant.recommender.new_items import table_row
from penchant.recommender.search import SearchResults
from penchant.service.content_files import MEDIA
from penchant.service.schemas import ItemIn, ItemState, SearchIn
from penchant.service.scratch import ScratchFolder
from penchant.service.snapshot import Snapshots
from penchant.service.store import FAILED, READY, WAITING, WITHDRAWN, Store, StoredItem
from penchant.service.uploads import UploadStore

MAX_SHOWN_VALUES = 50
"""Values of one attribute that the description of the catalog names, the most frequent ones."""


class Items:
    """Answers about items, and changes them.

    Args:
        store: Keeps changes.
        snapshots: Hold the catalog.
        uploads: Keeps files of items.
        scratch: Holds those of searches while they are answered.
        limits: Of these files.
        tasks: Names of the labelled tasks, which the description of the catalog names.
    """

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        uploads: UploadStore,
        scratch: ScratchFolder,
        limits: MediaLimits,
        tasks: list[str],
    ) -> None:
        self._store, self._snapshots, self._uploads, self._scratch = store, snapshots, uploads, scratch
        self._limits, self._tasks = limits, tasks

    def similar(self, item_id: str, k: int, by: str | None) -> SearchResults:
        """Return the items most like one."""
        snapshot = self._snapshots.newest()
        return snapshot.recommender.similar(item_id, k, by=by, available=snapshot.available)

    def described(self) -> dict[str, Any]:
        """Return what can be asked for: sizes, attributes with their most frequent values, ranges of numbers, topics, labelled tasks."""
        snapshot = self._snapshots.newest()
        lookup = snapshot.recommender.lookup
        facets = {
            name: sorted(values, key=lambda value: (-len(values[value]), value))[:MAX_SHOWN_VALUES]
            for name, values in lookup.facets.items()
        }
        known = {name: values[~np.isnan(values)] for name, values in lookup.numbers.items()}
        return {
            "items": int(snapshot.available.sum()),
            "users": len(snapshot.recommender.histories),
            "attributes": {name: values for name, values in facets.items() if name != TOPIC},
            "topics": facets[TOPIC],
            "numbers": {n: {"least": float(v.min()), "most": float(v.max())} for n, v in known.items() if len(v)},
            "tasks": self._tasks,
        }

    def search(self, wanted: SearchIn) -> SearchResults:
        """Return the items nearest to words, an image or audio.

        Raises:
            DataError: Not exactly one of the three was given.
        """
        given = [name for name in ("words", "image", "audio") if getattr(wanted, name) is not None]
        if len(given) != 1:
            raise DataError(
                f"{len(given)} things to search for.", where="the body", fix="give one of words, image, audio"
            )
        snapshot = self._snapshots.newest()
        if wanted.words is not None:
            return snapshot.recommender.search(wanted.words, wanted.k, available=snapshot.available)
        (modality,) = given
        with self._scratch.temporary() as scratch:  # the query is not kept
            uploads = self._uploads.within(scratch)
            name = uploads.keep(getattr(wanted, modality), where=modality)
            with uploads.named(modality):
                return snapshot.recommender.search_media(
                    modality, uploads.folder / name, wanted.k, limits=self._limits, available=snapshot.available
                )

    def put(self, item_id: str, item: ItemIn) -> ItemState:
        """Store a new or changed item; it is encoded in the background and recommended as soon as that is done.

        Raises:
            DataError: A column does not exist or holds another type.
            MediaError: A file cannot be read.
        """
        catalog = self._snapshots.current.recommender.catalog
        table_row(catalog, item_id, item.columns)
        media = {name: m for name in MEDIA if (m := getattr(item, name)) is not None}
        for name in media:
            if name not in catalog.media_columns:
                raise DataError(f"Items of this bundle have no {name}.", where=name, fix="leave it out")
        with self._uploads.in_use(where=", ".join(media)) if media else nullcontext():
            kept = {name: self._uploads.keep(m, where=name) for name, m in media.items()}
            body = json.dumps({"columns": item.columns, "media": kept}, ensure_ascii=False)
            self._store.put_item(StoredItem(item_id, WAITING, body))
        return ItemState(item_id=item_id, status=WAITING)

    def withdraw(self, item_id: str) -> ItemState:
        """Remove an item from every answer at once; PUT brings it back.

        Raises:
            NotFoundError: There is no such item.
        """
        if self._store.item(item_id) is None:
            self._snapshots.current.recommender.lookup.row(item_id)
        self._store.put_item(StoredItem(item_id, WITHDRAWN, "{}"))
        self._snapshots.newest()
        return ItemState(item_id=item_id, status=WITHDRAWN)

    def state(self, item_id: str) -> ItemState:
        """Return the status of an item.

        Raises:
            NotFoundError: There is no such item.
        """
        stored = self._store.item(item_id)
        status = stored and stored.status
        if status is None:
            self._snapshots.current.recommender.lookup.row(item_id)
        elif status == READY and item_id not in self._snapshots.current.recommender.lookup.items:
            status = WAITING  # encoded, and this process adds it within a second
        reason = json.loads(stored.body)["reason"] if stored and status == FAILED else None
        return ItemState.model_validate({"item_id": item_id, "status": status or READY, "reason": reason})
