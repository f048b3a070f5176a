"""A Parquet file that states more rows than a file of its size holds is refused before it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penchant.core.errors import DataError
from penchant.data.read import tables
from penchant.data.read.tables import read_parquet, read_table


def write_equal(path: Path, rows: int) -> None:
    """Write rows of one value, which take almost no space."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["u"]))
    pq.write_table(pa.table({"user_id": column}), path)


def test_many_rows_in_a_small_file_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_equal(tmp_path / "interactions.parquet", 30_000_000)
    assert (tmp_path / "interactions.parquet").stat().st_size < 1_000_000
    monkeypatch.setattr(pl, "read_parquet", lambda path: pytest.fail("the rows were read"))
    with pytest.raises(DataError, match=r"states 30,000,000 rows in .* bytes; at most 10,000,000 are read"):
        read_table(tmp_path / "interactions.parquet")


def test_many_values_in_lists_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "FREE_ROWS", 1000)
    pl.DataFrame({"v": [[0.0] * 200_000] * 3}).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(DataError, match="states 600,000 values in a column"):
        read_parquet(tmp_path / "v.parquet")


def test_rows_that_take_space_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "FREE_ROWS", 10)
    numbers = np.random.default_rng(0).integers(0, 2**40, 1000)
    pl.DataFrame({"v": numbers}).write_parquet(tmp_path / "v.parquet")
    assert read_parquet(tmp_path / "v.parquet").height == 1000


def test_file_that_is_no_parquet_is_a_data_error(tmp_path: Path):
    (tmp_path / "v.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_table(tmp_path / "v.parquet")
