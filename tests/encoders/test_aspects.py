"""Reviews name attributes and words of the items, and each mention has the mood of its clause, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest

from penchant.core.schema import Catalog
from penchant.encoders.aspects import ReviewAspects, ReviewAspectsConfig, num_aspects, num_columns
from penchant.encoders.encoder import code_of

ENGLISH = Catalog(
    pl.DataFrame(
        {
            "item_id": list("abcd"),
            "title": ["Laced walking boots", "Laced sandals", "Buckled boots", "Plain slippers"],
            "colour": ["red", "red", "navy blue", "navy blue"],
            "sole": ["rubber", "leather", "rubber", "leather"],
        }
    ),
    "title",
    text_columns=("title",),
    attribute_columns=("colour", "sole"),
)
CHINESE = Catalog(
    pl.DataFrame(
        {
            "item_id": list("abcd"),
            "颜色": ["红色", "红色", "蓝色", "蓝色"],
            "鞋底": ["橡胶", "皮革", "橡胶", "皮革"],
        }
    ),
    attribute_columns=("颜色", "鞋底"),
)


def said(catalog: Catalog, *texts: str, **options: object) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    config = ReviewAspectsConfig.read({"min_reviews": 1, "max_item_share": 0.6, **options}, where="test")
    encoder = ReviewAspects(config).about(catalog)
    prepared = [encoder.prepare(text) for text in texts]
    learned = encoder.learn(prepared)
    return encoder.encode_learned(prepared, learned), learned


def of_columns(catalog: Catalog, text: str, **options: object) -> list[float]:
    """Return what a review says of each column."""
    vectors, learned = said(catalog, text, **options)
    return [round(float(one), 2) for one in vectors[0, num_aspects(learned) :]]


def of(name: str, vectors: np.ndarray, learned: Mapping[str, np.ndarray]) -> float:
    return float(vectors[0, learned["aspects"].tolist().index(code_of(name))])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lovely colour, poor sole", [1, -1]),
        ("The sole is bad but I love the colour!", [1, -1]),
        ("Not a nice colour. The soles: terrible.", [-0.8, -1]),
        ("I asked about the colour", [0.5, 0]),
        ("The sole works, and so on", [0, 0.5]),
        ("Lovely weather today", [0, 0]),
        ("👍" * 50, [0, 0]),
    ],
)
def test_a_clause_of_an_english_review_says_its_mood_of_the_column_it_names(text: str, expected: list[float]) -> None:
    assert of_columns(ENGLISH, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("颜色很漂亮，鞋底太差", [1, -1]), ("鞋底不好但是颜色喜欢", [1, -0.8]), ("今天天气不错", [0, 0])],
)
def test_a_clause_of_a_chinese_review_says_its_mood_of_the_column_it_names(text: str, expected: list[float]) -> None:
    found = of_columns(CHINESE, text)
    assert np.sign(found).tolist() == np.sign(expected).tolist()


def test_names_in_another_language_are_given_in_the_settings() -> None:
    assert of_columns(ENGLISH, "颜色很漂亮，鞋底太差") == [0, 0]
    assert of_columns(ENGLISH, "颜色很漂亮，鞋底太差", names={"colour": ["颜色"], "sole": ["鞋底"]}) == [1, -1]


def test_values_and_words_of_items_are_named_too() -> None:
    vectors, learned = said(ENGLISH, "Beautiful navy blue, ugly rubber; I wear boots")
    assert of("navy blue", vectors, learned) == 1
    assert of("rubber", vectors, learned) == -1
    assert of("boot", vectors, learned) == 0.5  # the singular of what the titles say
    owned = learned["item_rows"][learned["item_aspects"] == learned["aspects"].tolist().index(code_of("boot"))]
    assert owned.tolist() == [0, 2]
    assert num_columns(learned) == 2


def test_a_value_of_two_columns_is_named_by_its_column_alone() -> None:
    both = ENGLISH.table.with_columns(sole=pl.col("colour"))
    vectors, learned = said(Catalog(both, attribute_columns=("colour", "sole")), "lovely red")
    assert not vectors.any()
    assert learned["aspects"].tolist().count(0) == 4


def test_words_of_one_item_or_of_most_and_words_of_mood_are_no_aspects() -> None:
    _, learned = said(ENGLISH, "slippers, lovely laced boots", max_item_share=0.4)
    words = {code for code, owner in zip(learned["aspects"].tolist(), learned["owner"], strict=True) if not owner}
    assert words == set()  # slippers: one item; laced, boots: half of them


def test_a_long_review_is_cut_and_stays_within_bounds() -> None:
    vectors, _ = said(ENGLISH, "lovely colour! " * 100_000)
    assert np.abs(vectors).max() == 1


def test_another_catalog_is_another_encoder() -> None:
    assert ReviewAspects().about(ENGLISH).fingerprint() != ReviewAspects().about(CHINESE).fingerprint()
