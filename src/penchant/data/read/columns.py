"""Required columns in standard names and types.

In: a `RawTable`. Out: its columns under standard names; ids as str, values as float32, parts of a published split.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from penchant.core.errors import DataError, nearest
from penchant.core.messages import message
from penchant.core.schema import Finding
from penchant.data.read.tables import RawTable
from penchant.data.read.times import refuse_lost

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def rename(raw: RawTable, mapping: Mapping[str, str], required: tuple[str, ...], setting: str) -> RawTable:
    """Rename columns to the standard names; another column of such a name is dropped.

    Args:
        raw: As read.
        mapping: Standard name to the table's own name.
        required: Standard names that must be present.
        setting: Table of the settings that holds `mapping`, for messages.

    Raises:
        DataError: A named or required column is missing; the nearest ones are listed.
    """
    table = raw.table
    for ours, theirs in mapping.items():
        require(raw, theirs, f"[{setting}] {ours}")
    taken = [ours for ours, theirs in mapping.items() if ours in table.columns and ours != theirs]
    table = table.drop(set(taken) - set(mapping.values())).rename({theirs: ours for ours, theirs in mapping.items()})
    for name in required:
        if name not in table.columns:
            raise DataError(
                f"There is no column {name!r}.",
                where=raw.name,
                fix=f'name the column that holds it: [{setting}] {name} = "...". {nearest(name, raw.table.columns)}',
            )
    return raw.having(table)


def require(raw: RawTable, column: str, setting: str) -> None:
    """Check that a column exists.

    Raises:
        DataError: It does not; the nearest ones are listed.
    """
    if column not in raw.table.columns:
        raise DataError(
            f"There is no column {column!r} (named in {setting}).",
            where=raw.name,
            fix=nearest(column, raw.table.columns),
        )


def read_ids(raw: RawTable, column: str) -> tuple[pl.Series, list[Finding]]:
    """Return ids as str: no outer spaces, one Unicode form, `12.0` as `12`; null where there is none."""
    text = _whole_numbers(raw.table[column])
    spelled = text.unique().drop_nulls()
    clean = spelled.str.strip_chars().str.normalize("NFC")
    clean = pl.select(pl.when(clean != "").then(clean)).to_series()
    changed = spelled.filter(clean.ne_missing(spelled))
    if len(changed) == 0:
        return text, []
    num_merged = len(spelled) - clean.n_unique() + (clean.null_count() > 0) - clean.null_count()
    rows = text.is_in(changed.implode())
    examples = tuple(f"{raw.place(row, column)}: {text[row]!r}" for row in rows.arg_true().head(3).to_list())
    finding = Finding(
        "ids.spelling",
        int(rows.sum()),
        len(text),
        "repaired",
        examples,
        message(
            "ids that differ only by spaces or Unicode form are one id; {merged} of them became another's",
            merged=num_merged,
        ),
    )
    return text.replace_strict(spelled, clean, default=None, return_dtype=pl.String), [finding]


def read_numbers(raw: RawTable, column: str) -> pl.Series:
    """Return float32.

    Raises:
        DataError: A value is not a number; its row is named.
    """
    values = raw.table[column]
    stripped = values.str.strip_chars() if values.dtype == pl.String else values
    numbers = stripped.cast(pl.Float32, strict=False)
    refuse_lost(raw, values, numbers, column, "a number")
    return numbers


def read_parts(raw: RawTable, column: str) -> pl.Series:
    """Return train, validation or test.

    Raises:
        DataError: A row names another part, or none.
    """
    values = raw.table[column].cast(pl.String)
    lower = values.str.strip_chars().str.to_lowercase()
    parts = lower.replace_strict(PART_NAMES, default=None, return_dtype=pl.String)
    fix = "use train, validation and test in every row"
    raw.refuse(parts.is_null(), values, column, "{value} is not a part of a split.", fix)
    return parts


def _whole_numbers(values: pl.Series) -> pl.Series:
    """Return text; a column of numbers written as `12.0` (one empty cell makes pandas do that) loses the `.0`."""
    if values.dtype.is_float():
        known = values.fill_nan(None)
        whole = known.cast(pl.Int64, strict=False)
        same = (whole.cast(pl.Float64) == known.cast(pl.Float64)).fill_null(True).all()
        return (whole if same else known).cast(pl.String)
    text = values.cast(pl.String)
    if values.dtype == pl.String and bool(text.head(1000).str.contains(r"^\s*-?\d+(\.0+)?\s*$").all()):
        numbers = text.drop_nulls().str.contains(r"^\s*-?\d+(\.0+)?\s*$").all()
        return text.str.replace(r"\.0+\s*$", "") if numbers else text
    return text
