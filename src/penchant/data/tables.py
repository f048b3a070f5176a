"""One file, or one table from Python, becomes checked columns.

In: CSV, TSV, Parquet, JSON lines (gzipped too), pandas, Polars or Arrow. Out: a Polars table with our names, str ids and UTC times.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from penchant.core.errors import DataError, nearest
from penchant.core.schema import Finding

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".csv.gz", ".tsv.gz", ".jsonl.gz")


def find_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first file in a folder that has one of the names and a known ending; None where there is none."""
    for name in names:
        for suffix in SUFFIXES:
            if (folder / (name + suffix)).is_file():
                return folder / (name + suffix)
    return None


def read_table(path: Path, *, separator: str | None = None, columns: list[str] | None = None) -> pl.DataFrame:
    """Return one file as a table; a folder gives all its files, one below the other.

    Args:
        path: File or folder.
        separator: Between columns; None takes it from the ending.
        columns: Names, for files that have no header.

    Raises:
        DataError: It is missing, empty, not text, or not a table.
    """
    if path.is_dir():
        parts = [read_table(p, separator=separator) for p in sorted(path.iterdir()) if p.name.endswith(SUFFIXES)]
        if not parts:
            raise DataError(
                "The folder holds no table.", where=str(path), fix=f"add a file ending in one of {', '.join(SUFFIXES)}"
            )
        return pl.concat(parts, how="diagonal_relaxed")
    if not path.is_file():
        raise DataError(
            f"There is no file {path.name!r}.", where=str(path.parent), fix="correct [data] path and file names"
        )
    try:
        table = _read(path, separator, columns)
    except pl.exceptions.NoDataError:
        raise DataError("The file is empty.", where=str(path), fix="export it again") from None
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"The file cannot be read as a table: {first}", where=str(path), fix="check its format and ending"
        ) from error
    if table.height == 0:
        raise DataError("The file has no rows.", where=str(path), fix="export it again")
    return table


def as_polars(table: Any) -> pl.DataFrame:
    """Return a pandas, Arrow or Polars table as Polars.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    module = type(table).__module__.partition(".")[0]
    if module == "pandas":
        return pl.from_pandas(table)
    if module == "pyarrow":
        found = pl.from_arrow(table)
        if isinstance(found, pl.DataFrame):
            return found
    raise DataError(
        f"{type(table).__name__} is not a table.", where="from_tables", fix="pass a pandas, Polars or Arrow table"
    )


def rename(table: pl.DataFrame, mapping: Mapping[str, str], required: tuple[str, ...], where: str) -> pl.DataFrame:
    """Give columns our names.

    Args:
        table: As read.
        mapping: Our name to theirs.
        required: Our names that must be there.
        where: File, for messages.

    Raises:
        DataError: A named or required column is missing; the nearest ones are listed.
    """
    for ours, theirs in mapping.items():
        if theirs not in table.columns:
            raise DataError(
                f"There is no column {theirs!r} (for {ours}).", where=where, fix=nearest(theirs, table.columns)
            )
    found = (
        table.rename({theirs: ours for ours, theirs in mapping.items() if theirs != ours}, strict=True)
        if mapping
        else table
    )
    for name in required:
        if name not in found.columns:
            raise DataError(
                f"There is no column {name!r}.",
                where=where,
                fix=f"map it in [data.columns]: {name} = one of {', '.join(table.columns[:20])}",
            )
    return found


def clean_ids(table: pl.DataFrame, column: str, where: str) -> tuple[pl.DataFrame, list[Finding]]:
    """Make ids str: no outer spaces, one Unicode form, `12.0` as `12`; rows without an id are dropped and counted."""
    raw = table[column]
    text = raw.cast(pl.String)
    if raw.dtype.is_float():
        text = text.str.replace(r"\.0$", "")
    clean = text.str.strip_chars().str.normalize("NFC")
    changed = table.filter((clean != text).fill_null(False))[column].cast(pl.String)
    table = table.with_columns(clean.alias(column))
    missing = table.filter(pl.col(column).is_null() | (pl.col(column) == "")).height
    findings = []
    if len(changed):
        findings.append(
            Finding(
                "ids.spelling",
                len(changed),
                len(raw),
                "repaired",
                tuple(f"{where}: {value!r}" for value in changed.head(3)),
                "ids that differ only by spaces or Unicode form are one id",
            )
        )
    if missing:
        findings.append(
            Finding(
                "ids.missing", missing, len(raw), "dropped", (f"{where}, column {column}",), "every row needs an id"
            )
        )
        table = table.filter(pl.col(column).is_not_null() & (pl.col(column) != ""))
    return table, findings


def as_time(values: pl.Series, where: str) -> pl.Series:
    """Return UTC times from datetimes, ISO text, or numbers since 1970 (s, ms, us or ns by their size).

    Raises:
        DataError: A value is no time; its row is named.
    """
    target = pl.Datetime("us", "UTC")
    if isinstance(values.dtype, pl.Datetime):
        zoned = (
            values.dt.replace_time_zone("UTC") if values.dtype.time_zone is None else values.dt.convert_time_zone("UTC")
        )
        return zoned.cast(target)
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if values.dtype == pl.String:
        number = values.cast(pl.Float64, strict=False)
        if number.null_count() > values.null_count():
            return _from_text(values, where)
        values = number
    size = values.abs().median()
    largest = float(size) if isinstance(size, (int, float)) else 0.0
    factor = next((f for limit, f in ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0)) if largest < limit), 1e-3)
    return (
        (values.cast(pl.Float64) * factor)
        .round()
        .cast(pl.Int64)
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("UTC")
        .alias(values.name)
    )


def as_number(values: pl.Series, where: str) -> pl.Series:
    """Return float32.

    Raises:
        DataError: A value is no number; its row is named.
    """
    numbers = values.cast(pl.Float32, strict=False)
    bad = (numbers.is_null() & values.is_not_null()).arg_true()
    if len(bad):
        raise _wrong(values, int(bad[0]), where, "a number")
    return numbers


def _from_text(values: pl.Series, where: str) -> pl.Series:
    parsed = values.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    bad = (parsed.is_null() & values.is_not_null()).arg_true()
    if len(bad):
        raise _wrong(values, int(bad[0]), where, "a time (2024-05-01T12:00:00Z, or seconds since 1970)")
    return parsed


def _wrong(values: pl.Series, row: int, where: str, expected: str) -> DataError:
    return DataError(
        f"{values[row]!r} is not {expected}.",
        where=f"{where} row {row + 2}, column {values.name}",
        fix="correct it, or leave the cell empty",
    )


def _read(path: Path, separator: str | None, columns: list[str] | None) -> pl.DataFrame:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return pl.read_parquet(path)
    raw = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    text = _to_utf8(raw)
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return pl.read_json(text) if text[:1] == b"[" else pl.read_ndjson(text, infer_schema_length=None)
    return pl.read_csv(
        text,
        separator=separator or ("\t" if name.endswith(".tsv") else ","),
        has_header=columns is None,
        new_columns=columns,
        infer_schema_length=10_000,
        truncate_ragged_lines=True,
        quote_char=None if separator == "\t" else '"',
    )


def _to_utf8(raw: bytes) -> bytes:
    """Read Chinese files in GB 18030, and anything else as Latin-1, where they are not UTF-8."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return raw.decode("gb18030").encode()
        except UnicodeDecodeError:
            return raw.decode("latin-1").encode()
    return raw
