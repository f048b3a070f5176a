"""Events in Parquet, in one file or in partitions, read by column and time.

In: a file, or a folder whose folders may be named NAME=VALUE. Out: a `RawTable` of the columns that are needed, and of the rows in a span of
time; the rest stays in the files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.data.read.tables import RawTable, check_parquet, is_partitioned


def is_parquet(path: Path) -> bool:
    """Return whether `read_partitions` reads a file or folder."""
    return path.name.endswith(".parquet") or (path.is_dir() and is_partitioned(path))


def read_partitions(
    path: Path,
    needed: Callable[[Collection[str]], Collection[str]],
    times: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> RawTable:
    """Return the needed columns of the rows in a span of time.

    Rows are left in the file where its column of times holds dates or moments; numbers and texts are read whole, for the caller to look at.

    Args:
        path: A Parquet file, or a folder of them.
        needed: Names of all columns to those that are read.
        times: The column of times.
        since: The first moment; None reads from the beginning.
        until: The moment before which the last row lies; None reads to the end.

    Raises:
        DataError: There is no file, one is damaged, or they do not have the same columns.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    total = sum(map(_rows, files))
    try:
        table = pl.scan_parquet(files, hive_partitioning=path.is_dir(), try_parse_hive_dates=True)
        schema = table.collect_schema()
        chosen = [name for name in schema.names() if name in set(needed(schema.names()))]
        rows = table.select(chosen)
        if times in schema and isinstance(schema[times], (pl.Datetime, pl.Date)):
            bounds = ((since, pl.col(times).ge), (until, pl.col(times).lt))
            rows = rows.filter(*[keep(_as(moment, schema[times])) for moment, keep in bounds if moment is not None])
        found = rows.collect(engine="streaming")
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unreadable(error, path) from error
    if total == 0:
        raise DataError("The file has no rows.", where=str(path), fix="export it again")
    unread = tuple(name for name in schema.names() if name not in chosen)
    return RawTable(found, path.name, unread=unread, num_unread=total - found.height)


def _rows(file: Path) -> int:
    try:
        return check_parquet(file)
    except OSError as error:
        raise _unreadable(error, file) from error


def _unreadable(error: BaseException, path: Path) -> DataError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    fix = "check that all files have the same columns" if path.is_dir() else "check its format and ending"
    return DataError(f"The file cannot be read as a table: {first}", where=str(path), fix=fix)


def _as(moment: datetime, kind: pl.DataType) -> pl.Expr:
    """Return a moment as a column of times states it; a time without a zone is in UTC, in settings and in files alike."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if isinstance(kind, pl.Date):
        return pl.lit(moment.date())
    zone = kind.time_zone if isinstance(kind, pl.Datetime) else None
    known = pl.lit(moment.replace(tzinfo=None), pl.Datetime("us"))
    return known if zone is None else known.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
