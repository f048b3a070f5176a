"""Arrays whose row i belongs to item i.

In: a folder with `.npy` files. Out: how many rows each has, and a catalog that has every row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding
from penchant.data.read.tables import RawTable


def numbered_items(events: RawTable, folder: Path) -> RawTable:
    """Return items "0" to N - 1 in order, N being the most rows of a `.npy` or the highest id and one.

    Raises:
        DataError: An item id is not a row number.
    """
    ids = events.table["item_id"]
    numbers = ids.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False)
    bad = (numbers.is_null() | (numbers < 0).fill_null(True)).arg_true()
    if len(bad):
        raise DataError(
            f"The item id {ids[int(bad[0])]!r} is not a row number.",
            where=events.place(int(bad[0]), "item_id"),
            fix='number items from 0 in the order of the vectors, or use format = "files"',
        )
    highest = numbers.max()
    count = max([int(highest) + 1 if isinstance(highest, int) else 0, *vector_files(folder).values()])
    return RawTable(pl.DataFrame({"item_id": [str(i) for i in range(count)]}), "items", first_row=0)


def vector_files(folder: Path) -> dict[str, int]:
    """Return the number of rows of each `.npy` that holds a matrix of numbers; pickled objects are passed over unread."""
    found = {}
    for path in sorted(folder.glob("*.npy")):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError):  # pickled, as MMRec's user graphs are, or damaged
            continue
        if array.ndim == 2 and array.dtype.kind == "f":
            found[path.name] = int(array.shape[0])
    return found


def vectors_finding(folder: Path) -> list[Finding]:
    """Name the vectors that lie beside the data, and how to use them."""
    files = vector_files(folder)
    if not files:
        return []
    advice = message('vectors found beside the data: name each in a [content.*] table with encoder = "precomputed"')
    shown = tuple(f"{name}: {rows} rows" for name, rows in files.items())
    return [Finding("items.vectors", len(files), len(files), "kept", shown, advice)]
