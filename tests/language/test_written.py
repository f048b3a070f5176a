"""What was written stays, whole or not at all."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

from penchant.core.errors import ArtifactError
from penchant.language.written import WrittenStore

SOURCE = {"model": "m", "weights": "w", "prompt": "p", "max_tokens": 8, "decoding": "greedy", "seed": None}


def test_texts_and_where_they_came_from_are_read_back(tmp_path: Path) -> None:
    store = WrittenStore(tmp_path, "a")
    store.append({"k1": "one"}, SOURCE)
    store.append({"k2": "two 雨"}, SOURCE)
    store.append({}, SOURCE)
    assert WrittenStore(tmp_path, "a").read() == {"k1": "one", "k2": "two 雨"}
    assert WrittenStore(tmp_path, "b").read() == {}
    row = pl.read_parquet(tmp_path / "written_a" / "*.parquet").filter(key="k1").drop("crc32").row(0, named=True)
    assert row == {"key": "k1", "text": "one", **SOURCE}


def test_damaged_batch_is_removed_and_the_rest_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = WrittenStore(tmp_path, "a")
    store.append({"k1": "one"}, SOURCE)
    (tmp_path / "written_a" / "bad.parquet").write_bytes(b"half")
    (tmp_path / "written_a" / "left.tmp").write_bytes(b"what kill -9 left behind")
    with caplog.at_level(logging.WARNING, logger="penchant"):
        assert store.read() == {"k1": "one"}
    assert "is damaged" in caplog.text
    assert not (tmp_path / "written_a" / "bad.parquet").exists()


def test_place_that_is_taken_is_said(tmp_path: Path) -> None:
    (tmp_path / "written_a").write_text("a file")
    with pytest.raises(ArtifactError, match="cannot be stored"):
        WrittenStore(tmp_path, "a").append({"k": "t"}, SOURCE)
