"""Published splits with features in item order: MMRec, and DiffMM's TikTok and Amazon Baby.

In: events with a part, and `.npy` files whose row i belongs to item i. Out: a `Dataset` whose catalog has every row.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.messages import message
from penchant.core.schema import Dataset, make_findings
from penchant.data.converters.recbole import only, read_events
from penchant.data.read.columns import rename
from penchant.data.read.sources import DataConfig, assemble
from penchant.data.read.tables import RawTable, read_table

X_LABEL = {"0": "train", "1": "validation", "2": "test"}


def read_mmrec(config: DataConfig) -> Dataset:
    """Read `.inter` with `x_label` (0 train, 1 validation, 2 test); row i of the `.npy` files is item i.

    Source: https://github.com/enoche/MMRec (data/README).
    """
    events = read_events(only(config.path, ".inter"))
    if "x_label" in events.table.columns:
        label = events.table["x_label"].cast(pl.String).str.strip_chars()
        parts = label.replace_strict(X_LABEL, default=None, return_dtype=pl.String)
        fix = "use 0 for train, 1 for validation and 2 for test"
        events.refuse(parts.is_null(), label, "x_label", "{value} is not a label of a split.", fix)
        events = events.having(events.table.drop("x_label").with_columns(part=parts))
    return _numbered(config, events)


def read_diffmm(config: DataConfig) -> Dataset:
    """Read interactions.csv.gz with a `split` column; item i is row i of every `.npy`.

    Source: https://github.com/HKUDS/DiffMM (Datasets).
    """
    raw = read_table(config.path / (config.interactions or "interactions.csv.gz"))
    return _numbered(config, rename(raw, {"part": "split"}, ("user_id", "item_id"), "data.columns"))


def _numbered(config: DataConfig, events: RawTable) -> Dataset:
    """Return the data with a catalog of all rows, and a finding about the vectors and their use."""
    files = _vector_files(config.path)
    dataset = assemble(config, events, _items(events, files), None, media_root=None)
    advice = message('vectors found beside the data: name each in a [content.*] table with encoder = "precomputed"')
    shown = (f"{name}: {rows} rows" for name, rows in files.items())
    vectors = make_findings("items.vectors", len(files), len(files), "kept", examples=shown, advice=advice)
    return replace(dataset, findings=(*dataset.findings, *vectors))


def _items(events: RawTable, files: dict[str, int]) -> RawTable:
    """Return items "0" to N - 1 in order, N being the most rows of a `.npy` or the highest id and one.

    Raises:
        DataError: An item id is not a row number.
    """
    ids = events.table["item_id"]
    numbers = ids.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False)
    bad = numbers.is_null() | (numbers < 0).fill_null(True)
    fix = 'number items from 0 in the order of the vectors, or use format = "files"'
    events.refuse(bad, ids, "item_id", "The item id {value} is not a row number.", fix)
    highest = numbers.max()
    count = max([int(highest) + 1 if isinstance(highest, int) else 0, *files.values()])
    return RawTable(pl.DataFrame({"item_id": [str(i) for i in range(count)]}), "items", first_row=0)


def _vector_files(folder: Path) -> dict[str, int]:
    """Return the number of rows of each `.npy` that holds a matrix of numbers; pickled objects are skipped unread."""
    rows = {}
    for path in sorted(folder.glob("*.npy")):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError):  # pickled, as MMRec's user graphs are, or damaged
            continue
        if array.ndim == 2 and array.dtype.kind == "f":
            rows[path.name] = int(array.shape[0])
    return rows
