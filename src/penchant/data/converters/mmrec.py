"""Folders in the format of MMRec.

In: one `.inter` with `x_label`, and `.npy` rows in item order. Out: a `Dataset` whose catalog has every row.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Dataset
from penchant.data.converters.recbole import only, read_events
from penchant.data.converters.vectors import numbered_items, vectors_finding
from penchant.data.read.sources import DataConfig, assemble

X_LABEL = {"0": "train", "1": "validation", "2": "test"}


def read_mmrec(config: DataConfig) -> Dataset:
    """Read `.inter` with `x_label` (0 train, 1 validation, 2 test); row i of the `.npy` files is item i.

    Source: https://github.com/enoche/MMRec (data/README).
    """
    events = read_events(only(config.path, ".inter"))
    if "x_label" in events.table.columns:
        label = events.table["x_label"].cast(pl.String).str.strip_chars()
        parts = label.replace_strict(X_LABEL, default=None, return_dtype=pl.String)
        bad = parts.is_null().arg_true()
        if len(bad):
            row = int(bad[0])
            raise DataError(
                f"{label[row]!r} is not a label of a split.",
                where=events.place(row, "x_label"),
                fix="use 0 for train, 1 for validation and 2 for test",
            )
        events = events.having(events.table.drop("x_label").with_columns(part=parts))
    dataset = assemble(config, events, numbered_items(events, config.path), None, media_root=None)
    return replace(dataset, findings=(*dataset.findings, *vectors_finding(config.path)))
