"""Whole numbers that group variants are categories; quantities stay quantities."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from penchant.data.read.codes import find_codes, is_grouped
from penchant.data.read.sources import DataConfig, from_tables
from penchant.encoders.catalog import default_channels

KINDS = ["shirt", "dress", "scarf", "belt", "coat", "sock"]
PRODUCTS = 120


def shop(seed: int = 0) -> pl.DataFrame:
    """Return articles: 1 to 5 variants of each product share its code and title; the price follows the kind of product."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(np.arange(100_000, 900_000), PRODUCTS, replace=False)
    rows = []
    for product, code in enumerate(codes.tolist()):
        kind = int(rng.integers(len(KINDS)))
        for colour in rng.choice(["red", "blue", "green", "black", "white", "grey"], rng.integers(1, 6), replace=False):
            price = 1000 * (kind + 1) + 5 * int(rng.integers(0, 25))
            title = f"{KINDS[kind]} model{product} series{product}"
            rows.append(
                {"title": title, "colour": str(colour), "kind": KINDS[kind], "product_code": code, "price": price}
            )
    return (
        pl.DataFrame(rows)
        .sample(fraction=1, shuffle=True, seed=seed)
        .with_row_index("item_id")
        .cast({"item_id": pl.String})
    )


ITEMS = shop()
EVENTS = pl.DataFrame({"user_id": [f"u{n % 9}" for n in range(len(ITEMS))], "item_id": ITEMS["item_id"].to_list()})


@pytest.mark.parametrize("seed", range(5))
def test_the_code_of_variants_is_a_code_and_the_price_is_not(seed: int) -> None:
    items = shop(seed)
    assert is_grouped(items["price"])
    assert find_codes(items, ["colour", "kind", "product_code", "price"], ["title"]) == ("product_code",)


def test_a_column_that_groups_at_random_or_that_nothing_can_be_compared_with_is_no_code() -> None:
    shuffled = ITEMS.with_columns(pl.col("product_code").shuffle(1))
    assert find_codes(shuffled, ["colour", "kind", "product_code"], ["title"]) == ()
    assert find_codes(ITEMS, ["product_code"], []) == ()


def test_codes_are_read_as_categories_with_a_channel_of_their_own_and_a_finding_says_so() -> None:
    dataset = from_tables(EVENTS, ITEMS)
    assert dataset.catalog.table["product_code"].dtype == pl.String
    assert dataset.catalog.table["price"].dtype.is_integer()
    (finding,) = [f for f in dataset.findings if f.check == "items.codes"]
    assert finding.examples == ("product_code",)
    assert "categories = []" in finding.advice
    channels = default_channels(dataset.catalog)
    assert channels["product_code"].encoder == "codes"
    assert channels["product_code"].columns == ["product_code"]
    assert "product_code" not in channels["attributes"].columns


def test_the_settings_decide_which_numbers_are_categories() -> None:
    off = from_tables(EVENTS, ITEMS, config=DataConfig(categories=[]))
    assert off.catalog.table["product_code"].dtype.is_integer()
    (finding,) = [f for f in off.findings if f.check == "items.codes"]
    assert "name them in [data] categories" in finding.advice
    other = from_tables(EVENTS, ITEMS, config=DataConfig(categories=["price", "product_code"]))
    assert other.catalog.table.select("price", "product_code").dtypes == [pl.String, pl.String]
    assert not [f for f in other.findings if f.check == "items.codes"]


def test_whole_numbers_with_gaps_are_categories_without_a_decimal_point() -> None:
    gaps = ITEMS.with_columns(product_code=pl.col("product_code").cast(pl.Float64))
    gaps = gaps.with_columns(product_code=pl.when(pl.col("item_id") != "3").then("product_code"))
    table = from_tables(EVENTS, gaps).catalog.table
    assert table["product_code"].null_count() == 1
    assert set(table["product_code"].drop_nulls()) <= {str(code) for code in ITEMS["product_code"]}
