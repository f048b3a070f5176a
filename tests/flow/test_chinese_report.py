"""A Chinese report of each task holds no English but names and data."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from chinese_pages import english
from labelled_media import words_and_sound, write_samples
from penchant.pipelines.classification import ClassificationConfig
from penchant.pipelines.classification import run as classify
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.world import WorldConfig, make_world


def test_a_recommendation_is_told_in_chinese(tmp_path: Path) -> None:
    truth = make_world(tmp_path / "world", WorldConfig(size="tiny"))
    drivers = truth.users.select("user_id", truth.users["driver"].alias("chooses_by"))
    run(
        RecommendationConfig.read(
            {
                "name": "test",
                "output": tmp_path / "bundle",
                "cache": tmp_path / "cache",
                "data": {"path": tmp_path / "world"},
                "content": {"text": {"encoder": "tfidf"}, "audio": {"encoder": "mel"}},
                "members": {
                    "knn": {"model": "item_knn"},
                    "like_audio": {"model": "content_knn", "channel": "audio"},
                    "content": {"model": "content_regression"},
                },
                "evaluation": {"language": "zh", "group": "chooses_by", "examples": 2, "max_users": 60},
            },
            where="test",
        ),
        groups=drivers,
    )
    page = (tmp_path / "bundle" / "report" / "report.html").read_text("utf-8")
    assert not english(page, {"test", "knn", "content", "category", *truth.users["driver"]})
    assert all(text.startswith("因为") for text in re.findall(r'class="reason">([^<]*)', page))


@pytest.mark.parametrize(("folds", "within"), [(3, None), pytest.param(0, "room", marks=pytest.mark.slow)])
def test_a_classification_is_told_in_chinese(tmp_path: Path, folds: int, within: str | None) -> None:
    table = write_samples(tmp_path, 60, modalities=("text", "audio"))
    table.with_columns(room=pl.Series(["north"] * 30 + ["south"] * 30)).write_csv(tmp_path / "samples.csv")
    config = {
        **words_and_sound(tmp_path),
        "name": "test",
        "classifiers": {"words": {"model": "ngrams"}, "sound": {"model": "linear"}},
        "split": {"folds": folds},
        "evaluation": {"language": "zh", "within": within, "intervals": {"resamples": 50}},
    }
    classify(ClassificationConfig.read(config, where="test"))
    own = {
        "test",
        "north",
        "south",
        "room",
        "penchant",
        "words",
        "sound",
        "stacking",
        "stratified",
        "auc",
        "voice",
        "TF-IDF",
        "TF",
        "IDF",
        "sentences",  # a channel
        "concat",  # ways of fusion
        "gated",
        "attention",
        "cross_attention",
    }
    reports = list((tmp_path / "bundle").rglob("report.html"))
    assert len(reports) == (1 if within is None else 2)
    for report in reports:
        page = report.read_text("utf-8")
        assert not english(page, own | {"cross", "glad"})
        assert "本结果不是诊断" in page


def test_a_sentence_that_nobody_translated_is_noticed() -> None:
    assert english("<p>数据划分：random。</p><code>image.blank</code>", ["random"]) == []
    assert english("<p>NDCG@20 with `min_seconds`</p>", []) == ["NDCG@20 with `min_seconds`"]
