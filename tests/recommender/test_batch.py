"""Everybody's lists in one file equal everybody's lists one by one."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from penchant.recommender import batch
from penchant.recommender.recommender import Recommender


def test_file_holds_the_list_of_everybody(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "batch_users", lambda _: 7)
    bundle = Recommender.load(shop)
    assert bundle.recommend_all(tmp_path / "out" / "lists.parquet", 3) == 120
    table = pl.read_parquet(tmp_path / "out" / "lists.parquet")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["lists.parquet"]
    for user in ("u0", "u39"):
        mine = table.filter(pl.col("user_id") == user)
        assert mine["rank"].to_list() == [1, 2, 3]
        assert mine["item_id"].to_list() == [s.item_id for s in bundle.recommend(user, 3, reasons=False)]


def test_list_longer_than_the_catalog_ends_early(shop: Path, tmp_path: Path):
    rows = Recommender.load(shop).recommend_all(tmp_path / "lists.parquet", 50)
    assert rows == sum(24 - len(set(h.item_index)) for h in Recommender.load(shop).histories.batches(1))
