"""The built-in mood reads plain sentences of two languages, negations included, and learns only from ratings that agree with the words."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.encoders import mood
from penchant.encoders.mood import MoodReader, clauses, table_mood

GOOD = (
    "Excellent quality, I love it.",
    "Not bad at all!",
    "I don't regret it.",
    "It was expensive, but so comfortable and really lovely.",
    "质量很好，非常满意。",
    "并不难吃",
    "一点也不后悔",
    "没有让我失望",
)
BAD = (
    "Terrible, a waste of money.",
    "Not good.",
    "I did not enjoy it and I wouldn't recommend it.",
    "This is NOT worth it",
    "房间又脏又吵，太失望了",
    "不好吃",
    "服务态度不太热情",
    "毫无新意，非常无聊",
)
NEUTRAL = ("The parcel has two parts.", "我昨天收到了。", "", "12345", "Ein schönes Haus")


@pytest.mark.parametrize("text", GOOD)
def test_good_words_are_read_as_good(text: str) -> None:
    assert table_mood(text) > 0


@pytest.mark.parametrize("text", BAD)
def test_bad_words_are_read_as_bad(text: str) -> None:
    assert table_mood(text) < 0


@pytest.mark.parametrize("text", NEUTRAL)
def test_texts_without_a_word_of_mood_have_none(text: str) -> None:
    assert table_mood(text) == 0


def test_a_text_is_cut_where_the_mood_may_turn() -> None:
    said = "Lovely colour, poor sole"
    assert [np.sign(table_mood(clause)) for clause in clauses(said)] == [1, -1]
    assert clauses("I like the colour but the sole is poor") == ["I like the colour", "but the sole is poor"]
    assert clauses("颜色很漂亮但是鞋底太差") == ["颜色很漂亮", "但是鞋底太差"]
    assert clauses("Butter, yetis and 100% howeverness") == ["Butter", "yetis and 100% howeverness"]


def test_an_intensifier_counts_and_a_far_negation_does_not() -> None:
    assert table_mood("very good") > table_mood("good") > 0
    assert table_mood("not one of the many people there said it was good") > 0


def test_other_languages_have_no_mood_and_nothing_known_is_even() -> None:
    found = MoodReader.fit([])(["とても良いです", "the parcel has two parts", "lovely"])
    assert np.isnan(found[0])
    assert found[1] == 0.5
    assert found[2] > 0.7


def rated(agree: bool) -> tuple[list[str], np.ndarray]:
    """Return texts with a word that no table holds ("zorgy") in every bad one, and numbers that agree with them or not."""
    texts = [
        f"lovely, great and perfect parcel {n}" if n % 2 else f"zorgy parcel {n}, bad, nasty and awful"
        for n in range(400)
    ]
    ratings = np.array([5.0 if n % 2 else 1.0 for n in range(400)])
    return texts, ratings if agree else np.random.default_rng(0).permutation(ratings)


def test_ratings_teach_words_that_no_table_holds() -> None:
    texts, ratings = rated(agree=True)
    reader = MoodReader.fit(texts, ratings)
    assert reader.learned_from == {"en": "ratings"}
    assert reader(["zorgy parcel"])[0] < 0.3
    half = np.where(np.arange(400) < 100, ratings, np.nan)  # too few of them: those that the table is sure of teach
    assert MoodReader.fit(texts, half).learned_from == {"en": "table"}
    assert MoodReader.fit(texts, half)(["zorgy parcel"])[0] < 0.3


def test_numbers_that_are_no_ratings_teach_nothing() -> None:
    texts, prices = rated(agree=False)
    assert MoodReader.fit(texts, prices).learned_from == {"en": "table"}
    assert MoodReader.fit(texts, np.full(400, 3.0)).learned_from == {"en": "table"}


def test_few_texts_are_read_by_the_table_alone() -> None:
    texts, _ = rated(agree=True)
    assert not MoodReader.fit(texts[: mood.LEAST_TEXTS // 2]).models
