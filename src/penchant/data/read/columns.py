"""Required columns in standard names and types.

In: a `RawTable`. Out: its columns under standard names; ids as str, times in UTC, values as float32, parts of a published split.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from penchant.core.errors import DataError, nearest
from penchant.core.messages import message
from penchant.core.schema import Finding
from penchant.data.read.tables import RawTable

TIME: pl.DataType = pl.Datetime("us", "UTC")
UNITS = (
    (1e11, 1e6, message("seconds")),
    (1e14, 1e3, message("milliseconds")),
    (1e17, 1.0, message("microseconds")),
    (float("inf"), 1e-3, message("nanoseconds")),
)
"""Upper bound of the numbers, factor to microseconds, unit of time."""
ORDINARY_SECONDS = 1e8
"""Smaller numbers would be times before March 1973: more likely positions in a sequence."""
TIME_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
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


def read_times(raw: RawTable, column: str) -> tuple[pl.Series, list[Finding]]:
    """Return UTC times from datetimes, ISO text, or numbers since 1970 (their unit follows from their size).

    A datetime without a zone is taken as UTC.

    Raises:
        DataError: A value is not a time; its row is named.
    """
    values = raw.table[column]
    if isinstance(values.dtype, pl.Datetime):
        zoned = values.dt.replace_time_zone("UTC") if values.dtype.time_zone is None else values
        return zoned.dt.convert_time_zone("UTC").cast(TIME), []
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), []
    if values.dtype == pl.String:
        values = values.str.strip_chars()
        number = values.cast(pl.Float64, strict=False)
        if 2 * number.count() < values.count():
            return _from_text(raw, values, column), []
    return _from_numbers(raw, values, column)


def read_numbers(raw: RawTable, column: str) -> pl.Series:
    """Return float32.

    Raises:
        DataError: A value is not a number; its row is named.
    """
    values = raw.table[column]
    stripped = values.str.strip_chars() if values.dtype == pl.String else values
    numbers = stripped.cast(pl.Float32, strict=False)
    _refuse(raw, values, numbers, column, "a number")
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


def _from_numbers(raw: RawTable, values: pl.Series, column: str) -> tuple[pl.Series, list[Finding]]:
    number = values.cast(pl.Float64, strict=False)
    if values.dtype.is_float():
        values = number = number.fill_nan(None)
    median = number.abs().median()
    size = float(median) if isinstance(median, (int, float)) else 0.0
    _, factor, unit = next((u for u in UNITS if size < u[0]), UNITS[-1])
    # 2**53 microseconds is the year 2255: below it a float64 is exact
    micro = (number * factor).round().cast(pl.Int64, strict=False)
    _refuse(raw, values, micro, column, "a time (2024-05-01T12:00:00Z, or a number since 1970)")
    early = unit == "seconds" and size < ORDINARY_SECONDS
    advice = message("numbers of this size are {unit} since 1970", unit=unit)
    if early:
        advice = message(
            "numbers of this size are {unit} since 1970, but these are before 1973: if they are positions in a sequence, add them to a date",
            unit=unit,
        )
    finding = Finding(
        "events.time_unit", number.count(), len(number), "kept", (), advice, "warning" if early else "info"
    )
    return micro.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), [finding]


def _from_text(raw: RawTable, values: pl.Series, column: str) -> pl.Series:
    """Read ISO 8601 with or without a zone, with `T` or a space, with `-` or `/`."""
    plain = values.str.replace(r"(\d)T(\d)", "${1} ${2}").str.replace_all("/", "-", literal=True)
    plain = plain.str.replace(r"\s*(Z|UTC)$", "+00:00").str.replace(r"\s+([+-]\d\d:?\d\d)$", "${1}")
    times = pl.Series(column, [None], TIME).new_from_index(0, len(values))
    for form in TIME_FORMATS:
        if times.null_count() == values.null_count():
            break
        found = plain.str.to_datetime(form, time_unit="us", strict=False)
        if found.dtype != TIME:
            found = found.dt.replace_time_zone("UTC")
        times = times.zip_with(times.is_not_null(), found)
    _refuse(raw, values, times, column, "a time (2024-05-01T12:00:00Z, or a number since 1970)")
    return times


def _refuse(raw: RawTable, before: pl.Series, after: pl.Series, column: str, expected: str) -> None:
    """Refuse the first value that the conversion lost."""
    lost = after.is_null() & before.is_not_null()
    if before.dtype == pl.String:
        lost &= before.str.strip_chars() != ""
    raw.refuse(lost, before, column, f"{{value}} is not {expected}.", "correct it, or leave the cell empty")
