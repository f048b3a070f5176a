"""Groups of a list, and filters that no item passes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from penchant.core.errors import NotFoundError
from penchant.core.schema import Catalog, Content, Histories
from penchant.explanation.topics import Topics
from penchant.recommender.lists import Edit, RankingOptions
from penchant.recommender.lookup import CatalogLookup
from penchant.recommender.ranking import rank

TITLES = ["A", "A", "B", "C", "D", "D", "E", "F"]
SERIES = ["s", "s", "s", "t", None, None, "u", "t"]
AUTHORS = [["x"], ["y"], ["x", "y"], ["z"], None, ["z", "w"], ["w"], []]
SCORES = np.array([8, 7, 6, 5, 4, 3, 2, 1], np.float32)


@pytest.fixture
def lookup() -> CatalogLookup:
    ids = [f"i{n}" for n in range(8)]
    table = pl.DataFrame({"item_id": ids, "title": TITLES, "series": SERIES, "authors": AUTHORS})
    catalog = Catalog(table, "title", attribute_columns=("series", "authors"))
    return CatalogLookup(catalog, Topics(np.full(8, -1, np.int32), (), ()))


def ranked(lookup: CatalogLookup, *edits: Edit, history: tuple[int, ...] = (), **options: object) -> list[int]:
    rows = np.array(history, np.int32)
    own = Histories.of_one("u", rows, np.arange(len(rows)), np.ones(len(rows), np.float32), 8)
    given = RankingOptions.read({"k": 5, **options}, where="test")
    return rank(lookup, Content(), SCORES, own, edits, given, np.ones(8, bool)).rows.tolist()


def test_a_list_holds_one_item_of_each_group(lookup: CatalogLookup) -> None:
    assert ranked(lookup) == [0, 1, 2, 3, 4]
    assert ranked(lookup, one_per="series") == [0, 3, 4, 5, 6]  # items without a series are not limited
    assert ranked(lookup, one_per="title") == [0, 2, 3, 4, 6]
    assert ranked(lookup, one_per="authors") == [0, 1, 3, 4, 6]  # an item of two authors shares with either


def test_groups_of_pins_and_of_the_history_are_left_out(lookup: CatalogLookup) -> None:
    pin = Edit("item", "i7", "pin")
    assert ranked(lookup, pin, one_per="series") == [7, 0, 4, 5, 6]
    assert ranked(lookup, history=(2,), one_per="series") == [0, 3, 4, 5, 6]
    assert ranked(lookup, history=(2,), one_per="series", new_groups=True) == [3, 4, 5, 6]


def test_groups_hold_among_diverse_lists_and_filters(lookup: CatalogLookup) -> None:
    assert sorted(ranked(lookup, one_per="series", diversity=0.5)) == [0, 3, 4, 5, 6]
    assert ranked(lookup, one_per="title", where=["series:s"]) == [0, 2]


def test_an_unknown_group_or_value_is_told(lookup: CatalogLookup) -> None:
    with pytest.raises(NotFoundError, match="There is no attribute 'serie'") as caught:
        ranked(lookup, one_per="serie")
    assert caught.value.fix == "Did you mean 'series'?"
    with pytest.raises(NotFoundError, match="No item has authors 'q' or 'r'") as caught:
        ranked(lookup, where=["authors:q", "authors:r"])
    assert caught.value.fix == "Known names: w, x, y, z."
    assert ranked(lookup, where=["authors:q", "authors:x"]) == [0, 2]  # one of the alternatives is known
