"""Sensor readings as they come: gaps, times twice, many signals in one table, and files that are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penchant.data.clean.inspection import InspectionConfig, Inspector, inspect_column
from penchant.data.media import MediaLimits, Signal, UnusableMediaError, load_signal, split_key

LIMITS = MediaLimits()


def counts(signal: Signal) -> dict[str, int]:
    return {finding.check: finding.count for finding in signal.findings}


def test_table_with_dates_gaps_and_times_twice_is_read_with_counts(tmp_path: Path) -> None:
    rows = ["00:03,4,x", "00:00,1,70", "00:01,2,71", "00:01,4,", "09:00,5,80", "09:01,6,81"]
    (tmp_path / "a.csv").write_text("timestamp,activity,heart\n" + "\n".join(f"2024-05-01 {row}" for row in rows))
    signal = load_signal(tmp_path / "a.csv", None, LIMITS)
    assert signal.is_dated
    assert signal.channels == ("activity", "heart")
    assert np.diff(signal.stream.at).tolist() == [60, 120, 8 * 3600 + 57 * 60, 60]
    np.testing.assert_array_equal(signal.stream.values[:, 0], [1, 3, 4, 5, 6])
    np.testing.assert_array_equal(signal.stream.values[:, 1], [70, 71, np.nan, 80, 81])
    assert counts(signal) == {
        "signal.duplicate_time": 1,
        "signal.unordered": 1,
        "signal.no_number": 1,
        "signal.gap": 1,
    }


def test_one_table_of_many_signals_is_read_by_key(tmp_path: Path) -> None:
    table = pl.DataFrame({"id": ["p1", "p1", "p2"], "seconds": [0.0, 0.5, 0.0], "value": [1.0, 2.0, 3.0]})
    table.write_parquet(tmp_path / "all.parquet")
    signal = load_signal(tmp_path / "all.parquet", "p1", LIMITS)
    assert not signal.is_dated
    assert signal.stream.at.tolist() == [0.0, 0.5]
    assert signal.channels == ("value",)
    with pytest.raises(UnusableMediaError, match="It has no readings of 'p3'") as caught:
        load_signal(tmp_path / "all.parquet", "p3", LIMITS)
    assert caught.value.where.endswith("all.parquet#p3")
    table.with_columns(value=pl.lit(9.0)).write_parquet(tmp_path / "all.parquet")
    assert load_signal(tmp_path / "all.parquet", "p2", LIMITS).stream.values.tolist() == [[9.0]]


def test_array_and_table_without_times_are_a_second_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    (tmp_path / "b.csv").write_text("x,name\n1,u\n2,v\n")
    signal = load_signal(tmp_path / "a.npy", None, LIMITS)
    assert signal.stream.at.tolist() == [0, 1, 2]
    assert signal.stream.values.shape == (3, 2)
    assert load_signal(tmp_path / "b.csv", None, LIMITS).channels == ("x",)


def test_columns_of_bytes_and_of_several_numbers_a_cell_are_no_channels(tmp_path: Path) -> None:
    pairs = pl.Series("pair", [[1, 2], [2, 3]], pl.Array(pl.Int64, 2))
    table = pl.DataFrame({"t": [1.0, 2.0], "x": [1.0, 2.0], "raw": [b"a", b"b"], "both": [{"a": 1}, {"a": 2}]})
    table.with_columns(pairs).write_parquet(tmp_path / "a.parquet")
    assert load_signal(tmp_path / "a.parquet", None, LIMITS).channels == ("x",)
    for odd in ("t", "id"):  # times and keys of such a type
        table.select("x", pl.col("both").alias(odd)).write_parquet(tmp_path / f"{odd}.parquet")
        with pytest.raises(UnusableMediaError, match="The signal cannot be read"):
            load_signal(tmp_path / f"{odd}.parquet", "p" if odd == "id" else None, LIMITS)


def test_long_signal_is_cut_with_a_count(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(50))
    signal = load_signal(tmp_path / "a.npy", None, MediaLimits(max_readings=20))
    assert len(signal.stream) == 20
    assert counts(signal) == {"signal.long": 30}


@pytest.mark.parametrize(
    ("name", "raw", "text"),
    [
        ("a.csv", b"time,word\n1,x\n2,y\n", "no column holds numbers"),
        ("a.csv", b"", "The file is empty"),
        ("a.csv", b"time,x\nsoon,1\nlater,2\n", "'soon' is not a time"),
        ("a.npy", b"\x93NUMPY rubbish", "The signal cannot be read"),
        ("a.parquet", b"rubbish", "cannot be read as a table"),
    ],
)
def test_file_of_something_else_is_refused(tmp_path: Path, name: str, raw: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UnusableMediaError, match=text) as caught:
        load_signal(tmp_path / name, None, LIMITS)
    assert "a column of times" in caught.value.fix


def test_pickled_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnusableMediaError, match="Python objects"):
        load_signal(tmp_path / "a.npy", None, LIMITS)


def test_split_key_takes_the_last_mark() -> None:
    assert split_key("a/b.csv#p#7") == ("a/b.csv#p", "7")
    assert split_key("a/b.csv") == ("a/b.csv", None)


def test_inspection_masks_what_is_unusable_and_adds_counts_up(tmp_path: Path) -> None:
    table = pl.DataFrame({"id": ["a", "a", "b", "b"], "t": [0.0, 0.0, 1.0, 1.0], "x": [1.0, 2, 3, 4]})
    table.write_csv(tmp_path / "all.csv")
    cells = pl.Series("signal", ["all.csv#a", "all.csv#b", "all.csv#c", "../all.csv#a", None])
    kept, findings = inspect_column(cells, str, "signal", tmp_path, Inspector(LIMITS, InspectionConfig()))
    assert kept.to_list() == ["all.csv#a", "all.csv#b", None, None, None]
    assert {f.check: f.count for f in findings} == {
        "signal.outside": 1,
        "signal.unreadable": 1,
        "signal.duplicate_time": 2,
    }
