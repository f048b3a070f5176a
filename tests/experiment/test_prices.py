"""The price of ranking options on lists whose right answers can be seen."""

from __future__ import annotations

import tracemalloc

import numpy as np
import polars as pl
import pytest

from hand_made import histories
from penchant.core.schema import Catalog, Recommendations
from penchant.experiment.prices import calibrated_attribute, kinds_of, option_prices
from penchant.metrics.beyond_accuracy import gini

USERS, ITEMS, K = 12, 40, 4


@pytest.fixture
def catalog() -> Catalog:
    ids = [f"i{n}" for n in range(ITEMS)]
    table = pl.DataFrame(
        {
            "item_id": ids,
            "genre": ["a" if n % 2 else "b" for n in range(ITEMS)],
            "brand": [f"m{n // 10}" for n in range(ITEMS)],
            "code": ids,
        }
    )
    return Catalog(table, "item_id", attribute_columns=("code", "genre", "brand"))


def prices(catalog: Catalog, provider: str = "brand"):
    order = np.array([*range(1, ITEMS, 2), *range(0, ITEMS, 2)])  # genre a first
    ranked = np.tile(order, (USERS, 1)).astype(np.int32)
    scores = np.tile(np.linspace(1, 0, ITEMS, dtype=np.float32), (USERS, 1))
    users = [f"u{n}" for n in range(USERS)]
    past = histories([[0, 1]] * USERS, ITEMS)  # half of either genre
    truth = histories([[1]] * 6 + [[0]] * 6, ITEMS)
    popular = np.tile(np.array([1, 3, 0, 2]), (USERS, 1)).astype(np.int32)
    candidates = Recommendations(users, ranked, scores)
    return option_prices(candidates, popular, past, truth, catalog, None, k=K, attribute="genre", provider=provider)


def test_calibration_reaches_the_mix_and_its_price_is_told(catalog: Catalog):
    found = prices(catalog)
    rows = {(str(row.option), row.strength): row for row in found.rows}
    plain, strong = rows["by score alone", 0.0], rows["calibration", 0.7]
    assert plain.price is None
    assert plain.divergence > 1
    assert strong.divergence < 0.2
    assert plain.score.mean == pytest.approx(0.5)  # item 1 stands first, item 0 nowhere
    assert strong.score.mean > plain.score.mean
    assert strong.price is not None
    assert strong.price.mean == pytest.approx(strong.score.mean - plain.score.mean)
    assert plain.popular == pytest.approx(0.5)
    assert strong.popular == pytest.approx(0.75)


def test_diversity_makes_items_less_alike(catalog: Catalog):
    rows = {(str(row.option), row.strength): row for row in prices(catalog).rows}
    assert rows["by score alone", 0.0].likeness == pytest.approx(1.0)
    assert rows["diversity", 0.7].likeness <= 0.5


def test_exposure_by_provider(catalog: Catalog):
    found = prices(catalog)
    assert [(row.provider, row.of_lists, row.of_choices, row.of_catalog) for row in found.exposures] == [
        ("m0", 1.0, 1.0, pytest.approx(0.25)),
        *((f"m{n}", 0.0, 0.0, pytest.approx(0.25)) for n in (1, 2, 3)),
    ]
    assert found.rows[0].gini == pytest.approx(0.75)
    assert prices(catalog, "").exposures == ()


def test_exposure_of_items_of_several_providers_is_that_of_a_dense_table(catalog: Catalog):
    rng = np.random.default_rng(0)
    brands = [sorted({f"b{n:02}" for n in rng.integers(0, 15, rng.integers(0, 4))}) for _ in range(ITEMS)]
    brands[2] += brands[2]  # named twice, counts once
    several = Catalog(
        catalog.table.with_columns(brand=pl.Series(brands)), "item_id", attribute_columns=("genre", "brand")
    )
    found = prices(several)
    dense = kinds_of(several, "brand").astype(np.float64)
    shown = dense[[1, 3, 5, 7]].sum(0) / dense[[1, 3, 5, 7]].sum()  # every list holds the same items
    names = sorted({name for own in brands for name in own})
    wanted = dict(zip(names, zip(shown, dense.sum(0) / dense.sum(), strict=True), strict=True))
    assert len(found.exposures) == 11
    for row in found.exposures[:10]:
        assert (row.of_lists, row.of_catalog) == pytest.approx(wanted[row.provider])
    assert found.rows[0].gini == pytest.approx(gini(shown), abs=1e-5)


def test_exposure_of_many_providers_takes_no_dense_table():
    items = 6_000
    ids = [f"i{n}" for n in range(items)]
    shop = Catalog(pl.DataFrame({"item_id": ids, "seller": ids}), "item_id", attribute_columns=("seller",))
    found = np.arange(USERS * K).reshape(USERS, K).astype(np.int32)
    candidates = Recommendations([f"u{n}" for n in range(USERS)], found, np.ones(found.shape, np.float32))
    past, truth = histories([[9]] * USERS, items), histories([[1]] * USERS, items)
    tracemalloc.start()
    made = option_prices(candidates, found, past, truth, shop, None, k=K, attribute="", provider="seller")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # a dense table has 144 MB
    assert made.exposures[0].of_lists == pytest.approx(1 / (USERS * K))


def test_the_first_attribute_with_few_values_is_taken(catalog: Catalog):
    assert calibrated_attribute(catalog, None) == "code"  # 40 values of 40 items are few enough by number alone
    many = Catalog(
        pl.concat([catalog.table] * 10).with_columns(code=pl.Series([str(n) for n in range(400)])),
        "item_id",
        attribute_columns=("code", "genre"),
    )
    assert calibrated_attribute(many, None) == "genre"
    assert calibrated_attribute(catalog, "brand") == "brand"
    assert calibrated_attribute(catalog, "nothing") == ""


def test_an_item_of_several_values_is_a_part_of_each_and_a_repeated_value_counts_once() -> None:
    table = pl.DataFrame({"item_id": ["a", "b", "c"], "genre": [["x", "y", "x"], ["y"], []]})
    found = kinds_of(Catalog(table, attribute_columns=("genre",)), "genre")
    assert found.tolist() == [[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]
