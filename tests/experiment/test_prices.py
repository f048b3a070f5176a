"""The price of ranking options on lists whose right answers can be seen."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hand_made import histories
from penchant.core.schema import Catalog, Recommendations
from penchant.experiment.prices import calibrated_attribute, option_prices

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
