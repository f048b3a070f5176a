"""RecBole atomic files.

In: `.inter`, `.item` and `.user` files with typed headers (`genre:token_seq`). Out: a `Dataset`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Dataset
from penchant.data.read.sources import DataConfig, assemble
from penchant.data.read.tables import RawTable, read_table

EVENT_NAMES = {"userID": "user_id", "itemID": "item_id", "rating": "value", "timestamp": "at"}
PARTS = {"train": "train", "valid": "validation", "test": "test"}
WORDS = ("title", "name", "description", "abstract", "review", "text")
"""A `token_seq` whose name has one of these endings is a sentence; any other is a list."""


def read_recbole(config: DataConfig) -> Dataset:
    """Read atomic files; `x.train.inter`, `x.valid.inter` and `x.test.inter` are a published split.

    Source: https://recbole.io/docs/user_guide/data/atomic_files.html.
    """
    events = _benchmark(config.path) or read_events(only(config.path, ".inter"))
    items, types = _optional(config.path, ".item")
    users, _ = _optional(config.path, ".user")
    sequences = [name for name, kind in types.items() if kind == "token_seq"]
    words = [name for name in sequences if name.endswith(WORDS)]
    config = config.with_defaults(lists={name: " " for name in sequences if name not in words})
    titles = [name for name in words if name.endswith(("title", "name"))]
    if items is not None and titles and "title" not in items.table.columns:
        items = items.having(items.table.rename({titles[0]: "title"}))
    return assemble(config, events, items, users, media_root=config.path / config.media_folder)


def read_events(path: Path) -> RawTable:
    """Return one `.inter` file under standard names."""
    raw, _ = _atomic(path)
    table = raw.table
    return raw.having(table.rename({theirs: ours for theirs, ours in EVENT_NAMES.items() if theirs in table.columns}))


def only(folder: Path, ending: str) -> Path:
    """Return the one file with this ending.

    Raises:
        DataError: There is none, or there are several.
    """
    found = sorted(folder.glob(f"*{ending}")) if folder.is_dir() else [folder]
    if not found:
        raise DataError(f"There is no {ending} file.", where=str(folder), fix="give the folder that holds it")
    if len(found) > 1:
        raise DataError(
            f"There are {len(found)} {ending} files: {', '.join(p.name for p in found[:5])}.",
            where=str(folder),
            fix="keep one data set in a folder",
        )
    return found[0]


def _benchmark(folder: Path) -> RawTable | None:
    """Return the three files of a published split, concatenated."""
    parts = {part: sorted(folder.glob(f"*.{ending}.inter")) for ending, part in PARTS.items()}
    if not all(len(files) == 1 for files in parts.values()):
        return None
    raws = {part: read_events(files[0]) for part, files in parts.items()}
    tables = [raw.table.with_columns(part=pl.lit(part)) for part, raw in raws.items()]
    return RawTable(pl.concat(tables, how="diagonal_relaxed"), ", ".join(raw.name for raw in raws.values()))


def _optional(folder: Path, ending: str) -> tuple[RawTable | None, dict[str, str]]:
    found = folder.is_dir() and any(folder.glob(f"*{ending}"))
    return _atomic(only(folder, ending)) if found else (None, {})


def _atomic(path: Path) -> tuple[RawTable, dict[str, str]]:
    """Read one file; the types leave its header and come back beside it."""
    raw = read_table(path, separator="\t", quote=None)
    split = {column: column.partition(":") for column in raw.table.columns}
    named = raw.having(raw.table.rename({column: name for column, (name, _, _) in split.items()}))
    return named, {name: kind for name, _, kind in split.values()}
