"""The generated shop of the cost of a fit is the same every time, and what its description says."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import fit_cost


def test_the_shop_is_repeatable_and_as_described() -> None:
    one, two = fit_cost.shop(), fit_cost.shop()
    events = one.interactions.table
    assert events.equals(two.interactions.table)
    assert len(one.catalog) == 10_000
    assert events["user_id"].n_unique() == 10_000
    assert 92_000 < len(events) < 95_000
    assert not events.select("user_id", "item_id").is_duplicated().any()


def test_users_mostly_choose_from_two_topics() -> None:
    shop = fit_cost.shop()
    topics = shop.catalog.table.select("item_id", "category")
    counts = shop.interactions.table.join(topics, on="item_id").group_by("user_id", "category").len()
    per_user = counts.group_by("user_id").agg(
        pl.col("len").sort(descending=True).head(2).sum().alias("two"), pl.col("len").sum().alias("all")
    )
    assert 0.65 < per_user["two"].sum() / per_user["all"].sum() < 0.85
