"""Read one file, or one table in memory.

In: CSV, TSV, Parquet, JSON lines (gzipped too), a folder of these, pandas, Polars or Arrow. Out: a `RawTable` with its own columns.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding
from penchant.data.read.csv_shape import (
    find_separator,
    header_names,
    separator_finding,
    short_rows,
    without_decimal_commas,
)

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".csv.gz", ".tsv.gz", ".jsonl.gz")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
PolarsType: TypeAlias = pl.DataType | type[pl.DataType]
BLOCK = 1 << 20
FREE_ROWS = 10_000_000
"""Rows that a Parquet file of any size may hold; a larger table has at least one byte for each."""
VALUES_PER_BYTE = 8
"""The same for values in lists: vectors of zeros, where content is missing, take less than a byte for each number."""
FREE_BYTES, INFLATED_PER_BYTE = 100_000_000, 200
"""Bytes that a gzip file of any size may hold; a larger one at most so many for each of its own. Tables compress to a third, or a fiftieth."""
FIELD_MARK = "\x1f"
"""Replaces a separator of several characters: Polars splits on one."""


@dataclass(frozen=True)
class RawTable:
    """A table and its origin.

    Attributes:
        table: As read; every column of a CSV or TSV is str, so that an id such as "007" keeps its zeros.
        name: File, for messages.
        first_row: Number of its first row in messages: 2 below a header.
        findings: Of reading.
        unread: Columns that nothing needs, left in the file.
        num_unread: Rows outside the times asked for, left in the file.
    """

    table: pl.DataFrame
    name: str
    first_row: int = 1
    findings: tuple[Finding, ...] = ()
    unread: tuple[str, ...] = ()
    num_unread: int = 0

    def place(self, row: int, column: str) -> str:
        """Return the place of a cell, for `where=`."""
        return message("{table} row {row}, column {column}", table=self.name, row=row + self.first_row, column=column)

    def refuse(self, bad: pl.Series, values: pl.Series, column: str, problem: str, fix: str) -> None:
        """Raise for the first row of `bad`.

        Args:
            bad: (rows,) whether a row is refused.
            values: The column as read, for the message.
            column: Its name.
            problem: The message; {value} stands for the row's value.
            fix: What the user can do.

        Raises:
            DataError: A row is bad.
        """
        rows = bad.arg_true()
        if len(rows):
            row = int(rows[0])
            raise DataError(problem.replace("{value}", repr(values[row])), where=self.place(row, column), fix=fix)

    def having(self, table: pl.DataFrame) -> RawTable:
        """Return another table from the same place."""
        return replace(self, table=table)


def find_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first file (or folder of files) that has one of the names; None where there is none."""
    for name in names:
        for place in (*(folder / (name + suffix) for suffix in SUFFIXES), folder / name):
            if place.is_file() or (place.is_dir() and (_tables_in(place) or is_partitioned(place))):
                return place
    return None


def read_table(
    path: Path,
    *,
    separator: str | None = None,
    columns: list[str] | None = None,
    quote: str | None = '"',
    schema: Mapping[str, PolarsType] | None = None,
) -> RawTable:
    """Return one file as a table; a folder gives all its files, one below the other.

    Args:
        path: File or folder.
        separator: Between columns; None takes it from the ending.
        columns: Names, for files that have no header.
        quote: Around cells that hold the separator; None where a quotation mark means itself.
        schema: Fields to take from JSON lines; None takes all there are.

    Raises:
        DataError: It is missing, empty, not text, or not a table.
    """
    if path.is_dir():
        parts = [read_table(p, separator=separator, columns=columns, quote=quote) for p in _tables_in(path)]
        if not parts:
            raise DataError(
                "The folder holds no table.", where=str(path), fix=f"add a file ending in one of {', '.join(SUFFIXES)}"
            )
        table = pl.concat([part.table for part in parts], how="diagonal_relaxed")
        return RawTable(table, path.name, findings=tuple(f for part in parts for f in part.findings))
    if not path.is_file():
        raise DataError(
            f"There is no file {path.name!r}.", where=str(path.parent), fix="correct [data] path and file names"
        )
    try:
        raw = _read(path, separator, columns, quote, schema)
    except pl.exceptions.NoDataError:
        raise DataError("The file is empty.", where=str(path), fix="export it again") from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"The file cannot be read as a table: {first}", where=str(path), fix="check its format and ending"
        ) from error
    if raw.table.height == 0:
        raise DataError("The file has no rows.", where=str(path), fix="export it again")
    return raw


def is_partitioned(folder: Path) -> bool:
    """Return whether a folder holds folders of Parquet files, such as `month=2026-11`."""
    return next(folder.glob("*/**/*.parquet"), None) is not None


def read_parquet(path: Path) -> pl.DataFrame:
    """Return a Parquet file that `check_parquet` does not refuse.

    Raises:
        DataError: Too many rows for its size.
        OSError: It is missing, or not a Parquet file.
    """
    check_parquet(path)
    try:
        return pl.read_parquet(path)
    except pl.exceptions.PanicException as error:  # no Exception: a damaged file that Polars does not foresee
        raise OSError("not a Parquet file: its pages do not fit together") from error


def check_parquet(path: Path) -> int:
    """Return the rows of a Parquet file; it is refused unread where it states more rows, or values in lists, than a file of its size holds.

    A column of equal values takes next to nothing on disk: 20 MB may state 400 million rows.

    Raises:
        DataError: Too many rows for its size.
        OSError: It is missing, or not a Parquet file.
    """
    try:
        about = pq.read_metadata(path)
    except pa.ArrowException as error:
        raise OSError(f"not a Parquet file: {str(error).splitlines()[0]}") from error
    groups = [about.row_group(n) for n in range(about.num_row_groups)]
    values = [sum(group.column(c).num_values for group in groups) for c in range(about.num_columns)]
    size = path.stat().st_size
    for count, noun, most in (
        (about.num_rows, "rows", max(FREE_ROWS, size)),
        (max(values, default=0), "values in a column", max(FREE_ROWS, VALUES_PER_BYTE * size)),
    ):
        if count > most:
            raise DataError(
                f"The file states {count:,} {noun} in {size:,} bytes; at most {most:,} are read.",
                where=str(path),
                fix="check where the file comes from; if it is right, write it as CSV",
            )
    return int(about.num_rows)


def as_raw(table: Any, name: str) -> RawTable:
    """Return a pandas, Arrow or Polars table; rows are counted from 0, as in Python.

    Raises:
        DataError: It is none of these, has no rows, or holds a column of mixed types.
    """
    module = type(table).__module__.partition(".")[0]
    frame: Any = table.collect() if isinstance(table, pl.LazyFrame) else table
    try:
        if module == "pandas":
            frame = pl.from_pandas(table)
        elif module == "pyarrow":
            frame = pl.from_arrow(table)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:  # pyarrow's errors derive from these
        raise DataError(
            f"A column cannot be read: {error}.", where=name, fix="give each column one type, for example astype(str)"
        ) from error
    objects = (
        [name for name, kind in frame.schema.items() if kind == pl.Object] if isinstance(frame, pl.DataFrame) else []
    )
    if objects:
        raise DataError(
            f"The column {objects[0]!r} holds Python objects.",
            where=name,
            fix="give each column one type of numbers, text or times",
        )
    if not isinstance(frame, pl.DataFrame):
        raise DataError(
            f"{type(table).__name__} is not a table.", where=name, fix="pass a pandas, Polars or Arrow table"
        )
    if frame.height == 0:
        raise DataError("The table has no rows.", where=name, fix="pass a table with rows")
    return RawTable(frame, name, first_row=0)


def _tables_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name.endswith(SUFFIXES))


def _read(
    path: Path,
    separator: str | None,
    columns: list[str] | None,
    quote: str | None,
    schema: Mapping[str, PolarsType] | None,
) -> RawTable:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return RawTable(read_parquet(path), path.name)
    raw, findings = _as_utf8(inflated(path) if path.suffix == ".gz" else path.read_bytes(), path)
    if name.endswith(JSON_SUFFIXES):
        return RawTable(_read_json(raw, path, schema), path.name, findings=findings)
    usual = "\t" if name.endswith(".tsv") else ","
    header = columns is None
    mark = separator or (find_separator(raw, usual, quote) if header else usual)
    if separator is None and mark != usual:
        findings += (separator_finding(mark, path.name),)
    if len(mark) > 1:
        raw, mark = raw.replace(mark.encode(), FIELD_MARK.encode()), FIELD_MARK
    if columns is None:
        columns, notes = header_names(raw, mark, quote, path.name)
        findings += tuple(notes)
    try:
        table = pl.read_csv(
            raw, separator=mark, has_header=header, new_columns=columns, quote_char=quote, infer_schema=False
        )
        findings += tuple(short_rows(raw, table, mark, quote, path.name))
        if mark in (";", "\t"):
            table, notes = without_decimal_commas(table, path.name)
            findings += tuple(notes)
    except pl.exceptions.ComputeError as error:
        raise _ragged(raw, mark, quote, path) or error from None
    except pl.exceptions.ShapeError:
        raise DataError(
            f"The file does not have {len(columns or [])} columns.",
            where=str(path),
            fix=f"it must hold, without a header: {', '.join(columns or [])}",
        ) from None
    return RawTable(table, path.name, first_row=2 if header else 1, findings=findings)


def inflated(path: Path) -> bytes:
    """Return what a gzip file holds; it is refused where that is far more than tables compress to, before memory is taken for all of it.

    Raises:
        DataError: It is no gzip file, is cut short, or holds too much for its size.
    """
    most = max(FREE_BYTES, INFLATED_PER_BYTE * path.stat().st_size)
    try:
        with gzip.open(path) as file:
            raw = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"The file cannot be read as a table: {error}",
            where=str(path),
            fix="check its format and ending, or compress it again",
        ) from error
    if len(raw) > most:
        raise DataError(
            f"The archive holds over {most:,} bytes in {path.stat().st_size:,}.",
            where=str(path),
            fix="check where the file comes from; if it is right, decompress it first",
        )
    return raw


def _read_json(raw: bytes, path: Path, schema: Mapping[str, PolarsType] | None) -> pl.DataFrame:
    if not raw.strip():
        raise pl.exceptions.NoDataError
    try:
        if raw[:1] == b"[":
            return pl.read_json(raw, infer_schema_length=None)
        return pl.read_ndjson(raw, schema=schema, infer_schema_length=None)
    except pl.exceptions.ComputeError as error:
        raise _broken_line(raw, path) or error from None


def _broken_line(raw: bytes, path: Path) -> DataError | None:
    """Find the first line that is no JSON object; Polars does not name it."""
    for number, line in enumerate(io.BytesIO(raw), start=1):
        if line.strip():
            try:
                pl.read_ndjson(line)
            except pl.exceptions.PolarsError:
                shown = line.decode("utf-8", "replace").strip()[:80]
                return DataError(
                    f"A line is not a JSON object: {shown}", where=f"{path} line {number}", fix="correct that line"
                )
    return None


def _ragged(raw: bytes, separator: str, quote: str | None, path: Path) -> DataError | None:
    """Find the first row with more cells than the header."""
    text = io.TextIOWrapper(io.BytesIO(raw), "utf-8", newline="")
    lines = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL)
    try:
        width = len(next(lines, []))
        for row, cells in enumerate(lines, start=2):
            if len(cells) > width:
                line = f" (line {lines.line_num})" if lines.line_num != row else ""
                return DataError(
                    f"A row has {len(cells)} cells, the header has {width}.",
                    where=f"{path} row {row}{line}",
                    fix=f"put the cell that holds {separator!r} in quotation marks",
                )
    except csv.Error:  # a cell beyond its limit, or a NUL: Polars' own message is shown
        pass
    return None


def _as_utf8(raw: bytes, path: Path) -> tuple[bytes, tuple[Finding, ...]]:
    """Return UTF-8 from UTF-8, UTF-16 (with a mark), GB 18030 or Latin-1, and a finding where it was not UTF-8."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return raw.decode("utf-16").encode(), (_encoding_finding("UTF-16", "", path),)
        except UnicodeDecodeError as error:
            raise DataError(
                f"The file begins as UTF-16 and is not: {error.reason}.", where=str(path), fix="export it as UTF-8"
            ) from error
    if b"\0" in raw[:BLOCK]:
        raise DataError(
            "The file is not text.", where=str(path), fix="check its ending: .parquet, .gz, or export it as UTF-8"
        )
    raw = raw.removeprefix(codecs.BOM_UTF8)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(raw), BLOCK):  # in blocks: a decoded copy may take four times the memory
            decoder.decode(raw[start : start + BLOCK], final=start + BLOCK >= len(raw))
    except UnicodeDecodeError:
        text, encoding = _from_other(raw)
        example = next((line for line in text.splitlines() if not line.isascii()), "")
        return text.encode(), (_encoding_finding(encoding, example[:80], path),)
    return raw, ()


def _from_other(raw: bytes) -> tuple[str, str]:
    """Decode GB 18030 or Latin-1: Chinese bytes above 127 come in pairs, accented letters stand alone."""
    high = np.frombuffer(raw, np.uint8) >= 128
    beside = high.copy()
    beside[1:] &= high[:-1]
    if 4 * int(beside.sum()) >= int(high.sum()):
        try:
            return raw.decode("gb18030"), "GB 18030"
        except UnicodeDecodeError:
            pass
    return raw.decode("latin-1"), "Latin-1"


def _encoding_finding(encoding: str, example: str, path: Path) -> Finding:
    return Finding(
        "files.encoding",
        1,
        1,
        "repaired",
        (f"{path.name}: {example}",) if example else (path.name,),
        message(
            "the file is not UTF-8 and was read as {encoding}; if the example looks wrong, save it as UTF-8",
            encoding=encoding,
        ),
        "warning",
    )
