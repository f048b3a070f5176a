"""Unhappy words turn an event against its item; what nobody can read changes nothing."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from penchant.classifiers.reviews import ReviewsConfig, classify_reviews
from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import Dataset, Vocabulary
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import build_histories
from penchant.data.media import MediaLimits
from penchant.data.read.sources import from_tables
from penchant.pipelines.classification import ClassificationConfig, run

GLAD = ("I love it, a lovely present", "lovely, simply superb", "superb and a joy", "a joy from the first day")
CROSS = ("I hate it, it broke", "it broke, so nasty", "nasty and a waste", "a waste from the first day")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a classifier of happy and unhappy words."""
    folder = tmp_path_factory.mktemp("reader")
    texts = [f"{text} {number}" for number in range(12) for text in (*GLAD, *CROSS)]
    labels = ["positive"] * 4 + ["negative"] * 4
    pl.DataFrame({"text": texts, "label": labels * 12}).write_csv(folder / "samples.csv")
    settings = {
        "output": folder / "bundle",
        "cache": folder / "cache",
        "data": {"path": folder / "samples.csv", "text": ["text"], "media": {}},
        "content": {},
        "classifiers": {"words": {"model": "ngrams", "strength": [10]}},
        "fit": {"simple_minutes": 0},
        "evaluation": {"intervals": {"resamples": 50}},
    }
    return run(ClassificationConfig.read(settings, where="test"))[0].folder or folder


def data(texts: list[str | None]) -> Dataset:
    """Return one purchase an hour of one user, with what they said of it."""
    count = len(texts)
    events = pl.DataFrame(
        {
            "user_id": ["ann"] * (count - 1) + ["bob"],
            "item_id": [f"i{number}" for number in range(count)],
            "at": [f"2024-01-01T{number:02d}:00:00Z" for number in range(count)],
            "kind": "purchase",
            "text": pl.Series(texts, dtype=pl.String),
        }
    )
    return from_tables(events)


def test_unhappy_words_count_against_the_item(reader: Path, tmp_path: Path) -> None:
    dataset = data(["lovely, a joy", "it broke, what a waste", None, "it broke, what a waste"])
    found = classify_reviews(dataset, ReviewsConfig(sentiment={"any": reader}), MediaLimits(), cache=tmp_path)
    events = found.interactions
    assert events.table["mood"].to_list() == ["happy", "unhappy", None, "unhappy"]
    items = Vocabulary(found.catalog.item_ids)
    weights = build_histories(events, items, HistoriesConfig(unhappy=-0.7)).weight  # ann's three, then bob's
    assert weights.tolist() == pytest.approx([1, -0.7, 1, -0.7])
    counts = {finding.check: finding.count for finding in found.findings if finding.check.startswith("reviews.")}
    assert counts == {"reviews.happy": 1, "reviews.unhappy": 2, "reviews.unsure": 0}


def test_each_language_has_its_reader(reader: Path, tmp_path: Path) -> None:
    dataset = data(["what a waste, it broke", "太差了，浪费钱", None])
    found = classify_reviews(dataset, ReviewsConfig(sentiment={"en": reader}), MediaLimits(), cache=tmp_path)
    assert found.interactions.table["mood"].to_list() == ["unhappy", None, None]
    assert {f.check: f.count for f in found.findings}["reviews.not_read"] == 1


def test_the_built_in_mood_needs_no_classifier_and_leaves_languages_that_have_one(reader: Path, tmp_path: Path) -> None:
    dataset = data(["not good, a waste", "太差了，浪费钱", "lovely", "the parcel came", "とても悪い"])
    config = ReviewsConfig(built_in=True)
    found = classify_reviews(dataset, config, MediaLimits(), cache=tmp_path)
    assert found.interactions.table["mood"].to_list() == ["unhappy", "unhappy", "happy", None, None]
    assert {f.check: f.count for f in found.findings}["reviews.not_read"] == 1
    named = classify_reviews(
        dataset, ReviewsConfig(built_in=True, sentiment={"zh": reader}), MediaLimits(), cache=tmp_path
    )
    assert named.interactions.table["mood"].to_list() == ["unhappy", None, "happy", None, None]


def test_without_a_classifier_nothing_changes(tmp_path: Path) -> None:
    dataset = data(["it broke", None])
    assert classify_reviews(dataset, ReviewsConfig(), MediaLimits(), cache=tmp_path) is dataset


def test_what_does_not_fit_is_said(reader: Path, tmp_path: Path) -> None:
    silent = data([None, None])
    with pytest.raises(DataError, match="None of 2 events has text to read"):
        classify_reviews(silent, ReviewsConfig(sentiment={"en": reader}), MediaLimits(), cache=tmp_path)
    with pytest.raises(ConfigError, match="none of sad is among its classes"):
        classify_reviews(
            data(["it broke", None]),
            ReviewsConfig(sentiment={"en": reader}, unhappy=["sad"]),
            MediaLimits(),
            cache=tmp_path,
        )
