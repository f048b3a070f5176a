"""Events in partitions of Parquet files: what nothing needs stays in the files."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.data.read.partitions import read_partitions
from penchant.data.read.sources import DataConfig, from_tables, read


def events(count: int = 60) -> pl.DataFrame:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "buyer": [f"u{n % 7}" for n in range(count)],
            "sku": [f"i{n % 11}" for n in range(count)],
            "when": pl.datetime_range(start, start.replace(month=12), "1d", eager=True, time_zone="UTC")[:count],
            "kind": ["view" if n % 3 else "purchase" for n in range(count)],
            "session": [f"s{n}" for n in range(count)],
        }
    )


CONFIG = {"columns": {"user_id": "buyer", "item_id": "sku", "at": "when"}}


def partitioned(folder: Path, table: pl.DataFrame) -> None:
    """Write one folder a month, as Spark and pandas do; the column of the partition is not in the files."""
    for month, part in table.with_columns(month=pl.col("when").dt.strftime("%Y-%m")).group_by("month"):
        place = folder / "interactions" / f"month={month[0]}"
        place.mkdir(parents=True)
        half = len(part) // 2
        part[:half].drop("month").write_parquet(place / "0.parquet")
        part[half:].drop("month").write_parquet(place / "1.parquet")


def test_partitions_give_what_one_table_gives(tmp_path: Path) -> None:
    partitioned(tmp_path, events())
    found = read(DataConfig.read({"path": tmp_path, **CONFIG}, where="test"))
    same = from_tables(events(), config=DataConfig.read(CONFIG, where="test"))
    order = ["at", "user_id", "item_id"]
    assert found.interactions.table.sort(order).equals(same.interactions.table.sort(order))
    (unused,) = (f for f in found.findings if f.check == "events.unused_columns")
    assert unused.examples == ("session, month",)


@pytest.mark.parametrize("kind", ["partitions", "file", "csv"])
def test_a_span_of_time_is_read_alone_and_counted(tmp_path: Path, kind: str) -> None:
    if kind == "partitions":
        partitioned(tmp_path, events())
    elif kind == "file":
        events().write_parquet(tmp_path / "interactions.parquet")
    else:
        events().write_csv(tmp_path / "interactions.csv")
    span = {"since": "2026-10-11", "until": datetime(2026, 10, 21, tzinfo=UTC)}
    found = read(DataConfig.read({"path": tmp_path, **CONFIG, **span}, where="test"))
    days = found.interactions.table["at"].dt.date()
    assert (days.min(), days.max(), len(days)) == (date(2026, 10, 11), date(2026, 10, 20), 10)
    (finding,) = (f for f in found.findings if f.check == "events.outside_span")
    assert (finding.count, finding.total) == (50, 60)


def test_columns_and_rows_that_are_not_needed_stay_in_the_files(tmp_path: Path) -> None:
    partitioned(tmp_path, events())
    for name in ("0", "1"):  # months outside the span may hold anything in columns nobody reads
        file = tmp_path / "interactions" / "month=2026-10" / f"{name}.parquet"
        pl.read_parquet(file).with_columns(session=pl.lit("x" * 100)).write_parquet(file)
    raw = read_partitions(
        tmp_path / "interactions", lambda names: {"buyer", "when"}, "when", since=datetime(2026, 11, 20, tzinfo=UTC)
    )
    assert raw.table.columns == ["buyer", "when"]
    assert (raw.table.height, raw.num_unread) == (10, 50)
    assert set(raw.unread) == {"sku", "kind", "session", "month"}


def test_a_missing_column_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    partitioned(tmp_path, events().rename({"sku": "item_di"}))
    with pytest.raises(DataError, match="There is no column 'item_id'") as error:
        read(DataConfig.read({"path": tmp_path, "columns": {"user_id": "buyer", "at": "when"}}, where="test"))
    assert "item_di" in error.value.fix


def test_a_damaged_partition_is_named(tmp_path: Path) -> None:
    partitioned(tmp_path, events())
    (tmp_path / "interactions" / "month=2026-10" / "0.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as a table") as error:
        read(DataConfig.read({"path": tmp_path, **CONFIG}, where="test"))
    assert error.value.where.endswith("month=2026-10/0.parquet")


def test_partitions_of_other_columns_are_refused(tmp_path: Path) -> None:
    partitioned(tmp_path, events())
    pl.DataFrame({"buyer": ["u"]}).write_parquet(tmp_path / "interactions" / "month=2026-10" / "2.parquet")
    with pytest.raises(DataError, match="cannot be read as a table") as error:
        read(DataConfig.read({"path": tmp_path, **CONFIG}, where="test"))
    assert error.value.fix == "check that all files have the same columns"
