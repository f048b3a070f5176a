"""What words name in one catalog: topics by votes, numbers by their columns, items by their titles."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from penchant.assistant.dialogue import Assistant
from penchant.assistant.terms import CatalogTerms, Facet
from penchant.recommender.recommender import Recommender

SEA, KITCHEN = Facet("topic", "sea · boats · sailors"), Facet("topic", "kitchen · bread · cooking")


def test_what_is_refused_needs_fewer_votes_than_what_is_wanted(assistant: Assistant) -> None:
    assert assistant.terms.by_meaning("boats kitchen") == (SEA,)
    assert assistant.terms.by_meaning("boats kitchen", refused=True) == (SEA, KITCHEN)


@pytest.mark.parametrize(
    ("text", "number", "column"),
    [
        ("5", 5.0, "price"),  # the only column in whose range it lies
        ("2000", 2000.0, "year"),
        ("about 50000", 50_000.0, None),
        ("cheap 900", 900.0, None),  # no price is anything like it
        ("price 900", 900.0, "price"),  # but the column is named
        ("made 12", 12.0, "price"),  # a word for years, and no year
    ],
)
def test_a_number_belongs_to_the_column_it_fits(
    assistant: Assistant, text: str, number: float, column: str | None
) -> None:
    assert assistant.terms.number_named(text, number) == column


def test_a_number_that_fits_two_columns_belongs_to_none(cinema: Recommender) -> None:
    table = cinema.catalog.table.with_columns(points=pl.col("price"))
    catalog = replace(cinema.catalog, table=table, attribute_columns=(*cinema.catalog.attribute_columns, "points"))
    terms = CatalogTerms(Recommender(catalog, cinema.histories, cinema.ensemble, cinema.tables, cinema.topics, {}))
    assert terms.number_named("5", 5.0) is None
    assert terms.number_named("5 dollars", 5.0) == "price"


def test_the_longest_title_in_a_text_is_meant(assistant: Assistant) -> None:
    assert assistant.terms.item_in("like the long sea and storm pilot") == "f1"
    assert assistant.terms.item_in("Storm Pilot") == "f2"
    assert assistant.terms.item_in("stormy pilots") is None


def test_items_nearer_to_some_words_than_to_others(assistant: Assistant) -> None:
    boats, kitchens = (
        set(assistant.terms.nearer(*pair)) for pair in (("boats sea", "kitchen bread"), ("kitchen bread", "boats sea"))
    )
    assert (boats, kitchens) == ({"f0", "f1", "f2"}, {"f4", "f5", "f6"})
