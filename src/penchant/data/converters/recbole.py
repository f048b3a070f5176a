"""RecBole atomic files, and MMRec's folders which look alike.

In: `.inter`, `.item` and `.user` files with typed headers. Out: a `Dataset`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Dataset, Finding
from penchant.data.sources import DataConfig, assemble
from penchant.data.tables import read_table

EVENT_NAMES = {
    "user_id": "user_id",
    "userID": "user_id",
    "item_id": "item_id",
    "itemID": "item_id",
    "rating": "value",
    "timestamp": "at",
}
X_LABEL = {0: "train", 1: "validation", 2: "test"}


def read_recbole(config: DataConfig) -> Dataset:
    """Read atomic files, tab-separated, with headers such as `user_id:token`.

    Source: https://recbole.io/docs/user_guide/data/atomic_files.html.
    """
    events = _atomic(_only(config.path, ".inter"))
    events = events.rename(
        {theirs: ours for theirs, ours in EVENT_NAMES.items() if theirs in events.columns and theirs != ours}
    )
    items, users = (_optional(config.path, ending) for ending in (".item", ".user"))
    return assemble(config, events, items, users, media_root=config.path)


def read_mmrec(config: DataConfig) -> Dataset:
    """Read `.inter` with `x_label` (0 train, 1 validation, 2 test); row i of the `.npy` files is item i.

    Source: https://github.com/enoche/MMRec (data/README).
    """
    events = _atomic(_only(config.path, ".inter"))
    events = events.rename(
        {theirs: ours for theirs, ours in EVENT_NAMES.items() if theirs in events.columns and theirs != ours}
    )
    if "x_label" in events.columns:
        events = events.with_columns(part=pl.col("x_label").cast(pl.Int64).replace_strict(X_LABEL)).drop("x_label")
    highest = events["item_id"].cast(pl.Int64).max()
    items = pl.DataFrame({"item_id": [str(i) for i in range(int(str(highest)) + 1)]})
    dataset = assemble(config, events, items, None, media_root=config.path)
    vectors = tuple(p.name for p in sorted(config.path.glob("*.npy")))
    advice = 'name each in a [content.*] table with encoder = "precomputed"'
    return Dataset(
        dataset.catalog,
        dataset.interactions,
        None,
        (*dataset.findings, Finding("items.vectors", len(vectors), len(vectors), "kept", vectors, advice)),
    )


def _only(folder: Path, ending: str) -> Path:
    found = sorted(folder.glob(f"*{ending}"))
    if not found:
        raise DataError(f"There is no {ending} file.", where=str(folder), fix="give the folder that holds it")
    return found[0]


def _optional(folder: Path, ending: str) -> pl.DataFrame | None:
    found = sorted(folder.glob(f"*{ending}"))
    return _atomic(found[0]) if found else None


def _atomic(path: Path) -> pl.DataFrame:
    """Read one file and drop the types from its header."""
    table = read_table(path, separator="\t")
    return table.rename({c: c.partition(":")[0] for c in table.columns if ":" in c})
