"""Times as shops write them, and those that nobody can tell."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.core.schema import Finding
from penchant.data.read.tables import as_raw
from penchant.data.read.times import read_times

LATE = datetime(2024, 5, 31, 20, 5, tzinfo=UTC)
EARLY = datetime(2024, 2, 1, tzinfo=UTC)


def read(values: list[object], form: str | None = None) -> tuple[list[datetime | None], list[Finding]]:
    times, findings = read_times(as_raw(pl.DataFrame({"at": values}, strict=False), "events"), "at", form)
    return times.to_list(), findings


@pytest.mark.parametrize(
    ("late", "early"),
    [
        ("31.05.2024 20:05", "01.02.2024"),
        ("31.5.24 20:05:00", "1.2.24"),
        ("31/05/2024 20:05", "01/02/2024"),
        ("31-05-2024 20:05:00.0", "01-02-2024"),
        ("5/31/2024 8:05 PM", "2/1/2024"),
        ("5/31/24, 8:05:00 p.m.", "2/1/24 12:00 AM"),
        ("05-31-2024 20:05", "02-01-2024 00:00"),
        ("2024年5月31日 20时5分", "2024年2月1日"),
        ("2024年05月31日20:05:00", "2024年02月01日"),
        ("2024/5/31 20:05", "2024/2/1"),
        ("20240531200500", "20240201000000"),
        ("2024-05-31 20:05:00+00", "2024-02-01 00:00:00.000+00"),
        ("2024-05-31 22:05:00.000 +02", "2024-01-31 19:00:00-05"),
        ("2024-05-31T20:05Z", "2024-02-01T00:00Z"),
        ("2024-06-01T04:05+08:00", "2024-02-01T08:00+0800"),
        ("2024-06-01T04:05+08", "2024-02-01T00:00:00Z"),
    ],
)
def test_dates_of_many_countries_are_read(late: str, early: str) -> None:
    assert read([late, early, "", None])[0] == [LATE, EARLY, None, None]


def test_dates_as_one_number_are_read() -> None:
    assert read([20240201, 20240531])[0][0] == EARLY
    assert read(["20240201", "20240531"])[0][0] == EARLY


def test_the_order_of_day_and_month_is_told() -> None:
    (day,) = read(["31.05.2024", "01.02.2024"])[1]
    assert (day.check, day.examples) == ("events.time_order", ("31.05.2024 = 2024-05-31",))
    assert "day before the month" in day.advice
    (month,) = read(["5/31/2024", "2/1/2024"])[1]
    assert "month before the day" in month.advice


def test_an_order_that_nothing_decides_is_refused_until_it_is_said() -> None:
    with pytest.raises(DataError, match="'03/04/2024' may be 3 April or 4 March") as caught:
        read(["05/05/2024", "03/04/2024"])
    assert caught.value.where == "events row 1, column at"
    assert 'time_format = "%d/%m/%Y"' in caught.value.fix
    assert read(["05/05/2024", "03/04/2024"], "%d/%m/%Y")[0][1] == datetime(2024, 4, 3, tzinfo=UTC)
    assert read(["05/05/2024"])[0] == [datetime(2024, 5, 5, tzinfo=UTC)]  # equal in both orders
    assert read(["03.04.2024"])[0] == [datetime(2024, 4, 3, tzinfo=UTC)]  # with points the day is first


def test_both_orders_in_one_column_are_refused_by_row() -> None:
    with pytest.raises(DataError, match="'5/31/2024' is not a time") as caught:
        read(["31/5/2024", "30/5/2024", "5/31/2024"])
    assert caught.value.where == "events row 2, column at"
    with pytest.raises(DataError, match="is not a time of the format %d/%m/%Y"):
        read(["31/5/2024", "5/31/2024"], "%d/%m/%Y")


@pytest.mark.parametrize("cast", [int, str, float])
def test_seconds_and_milliseconds_in_one_column_are_read_by_their_size(cast: type) -> None:
    times, (noticed,) = read([cast(n) for n in (1_706_745_600, 1_706_745_600, 1_717_185_900_000)])
    assert times == [EARLY, EARLY, LATE]
    assert (noticed.check, noticed.count, noticed.severity) == ("events.mixed_time_units", 1, "warning")
    assert "events row 2, column at" in noticed.examples[0]


def test_numbers_among_texts_are_read_by_their_size() -> None:
    assert read(["2024-02-01", "2024-02-01", "2024-02-01", "1717185900"])[0] == [EARLY, EARLY, EARLY, LATE]
    with pytest.raises(DataError, match="'5' is not a time"):
        read(["2024-02-01", "2024-02-01", "2024-02-01", "5"])


def test_an_impossible_number_stays_in_the_unit_of_the_column() -> None:
    times, (noticed,) = read([1_706_745_600, 1_706_745_600, 5])
    assert times[2] == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert noticed.check == "events.time_unit"
