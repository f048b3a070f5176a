"""The catalog that a service answers from, remembered over restarts.

In: a bundle to serve. Out: it is accepted, or refused as one of another catalog. The ids are a file of the state folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from penchant.core.errors import ArtifactError
from penchant.recommender.recommender import Recommender
from penchant.recommender.versions import MIN_SHARED, shared_items

NAME = "served-items.parquet"


class ServedCatalog:
    """The items of the bundle served last.

    Args:
        folder: The state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def accept(self, found: Recommender) -> None:
        """Remember the items of a bundle, from now on the one that is served.

        Raises:
            ArtifactError: It holds under half of the items of the bundle served last.
        """
        before, now = self._read(), found.lookup.items.ids
        shared = shared_items(before, found)
        if shared < MIN_SHARED:
            raise ArtifactError(
                f"The bundle holds {shared:.0%} of the items that were served: it is of another catalog.",
                where=str(found.folder or "the bundle"),
                fix=f"put the right bundle in its place; for a new catalog name another --folder, or delete {self._path}",
            )
        if list(before) != now:
            part = self._path.with_name(f".{NAME}.{os.getpid()}")
            pl.DataFrame({"item_id": now}, {"item_id": pl.String}).write_parquet(part)
            part.replace(self._path)

    def _read(self) -> Sequence[str]:
        if not self._path.exists():
            return ()
        try:
            return pl.read_parquet(self._path, columns=["item_id"])["item_id"].to_list()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ArtifactError(
                "The list of the items that were served cannot be read.",
                where=str(self._path),
                fix="delete it if the bundle is the right one",
            ) from error
