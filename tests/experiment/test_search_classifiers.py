"""What fits the budget is tried, what does not is left out with the reason, and the test is never looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.classifiers.classifier import ContentBatch
from penchant.core.errors import ConfigError
from penchant.core.schema import Catalog, Embeddings, SampleSplit
from penchant.experiment.fit_classifiers import ClassifierFitConfig, simple_tables
from penchant.experiment.search import SearchConfig
from penchant.experiment.search_classifiers import WORDS, ClassifierSearch, _num_fits, search_classifiers

CLASSES = ("cross", "glad")
COUNT = 200
LABELS = np.arange(COUNT) % 2
PARTS = SampleSplit("stratified", np.arange(0, 140), np.arange(140, 170), np.arange(170, COUNT))
FUSED = ClassifierFitConfig(fusion=["stacking", "concat"])


def batch(count: int = COUNT) -> ContentBatch:
    """Return words, pictures and sound."""
    words = [f"{('bad', 'good')[n % 2]} visit {n % 7}" for n in range(count)]
    values = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    look = Embeddings("look", "image", values, np.ones(count, bool), "look")
    table = pl.DataFrame({"item_id": [f"s{n}" for n in range(count)], "text": words})
    channels = {"look": look, "hum": replace(look, name="hum", modality="audio")}
    return ContentBatch(Catalog(table, None, ("text",)), channels)


def found(budget: dict[str, Any], fitting: ClassifierFitConfig = FUSED, rounds: int = 1) -> ClassifierSearch:
    config = SearchConfig.read(budget, where="here")
    return search_classifiers(
        batch(), LABELS, CLASSES, PARTS, fitting, config, unit=np.arange(COUNT), rounds=rounds
    )  # fmt: skip


def test_with_time_everything_is_tried_and_said() -> None:
    got = found({"budget_minutes": 10, "budget_gb": 4})
    assert set(got.tables) == {"ngrams", "look", "hum"}
    assert got.fitting.fusion == ["stacking", "concat"]
    assert got.fitting.inner_folds is None
    assert got.reasons[0].startswith("170 samples of 2 classes from 170 independent units, 3 kinds of content")
    assert "simple rows, about" in got.reasons[1]
    assert got.reasons[2].startswith("concat: about")
    assert set(got.seconds) == {*simple_tables(batch(), got.tables), *got.tables, "concat"}
    assert min(got.seconds.values()) > 0


def test_the_test_part_is_not_looked_at() -> None:
    seen, labels = batch(), LABELS.copy()
    labels[PARTS.test] = 0
    table = seen.catalog.table.with_columns(text=pl.when(pl.int_range(pl.len()) >= 170).then(None).otherwise("text"))
    poisoned = replace(seen, catalog=replace(seen.catalog, table=table))
    got = search_classifiers(
        poisoned, labels, CLASSES, PARTS, FUSED, SearchConfig(budget_minutes=10), unit=np.arange(COUNT)
    )
    assert set(got.tables) == {"ngrams", "look", "hum"}
    assert got.reasons[0].startswith("170 samples of 2 classes from 170 independent units")


def test_a_network_without_time_is_left_out_with_the_reason() -> None:
    simple = found({"budget_minutes": 10}, ClassifierFitConfig(fusion=["stacking"]))
    rounds = max(1, round(30 / sum(simple.seconds.values())))  # so that timing weighs little
    minutes = 1.6 * rounds * sum(simple.seconds.values()) / 60
    many = ClassifierFitConfig(fusion=["concat", "gated", "attention"])
    got = found({"budget_minutes": minutes}, many, rounds=rounds)
    left_out = [reason for reason in got.reasons if reason.startswith("left out ")]
    assert left_out
    assert len(left_out) + len(got.fitting.fusion) == 3
    assert set(got.tables) == {"ngrams", "look", "hum"}


def test_a_budget_too_small_names_the_smallest_that_works() -> None:
    with pytest.raises(ConfigError, match=r"Nothing can be fitted in 0\.0001 minutes") as told:
        found({"budget_minutes": 0.0001})
    assert told.value.where == "search.budget_minutes"
    assert float(told.value.fix.rsplit(" ", 1)[1]) > 0
    with pytest.raises(ConfigError, match="does not fit into 1e-06 GB"):
        found({"budget_minutes": 1, "budget_gb": 1e-6})


def test_without_time_for_inner_folds_the_validation_part_is_left_out_alone() -> None:
    once = sum(found({"budget_minutes": 10}, ClassifierFitConfig(fusion=[])).seconds.values())
    each = once / _num_fits(5, is_network=False)
    rounds = max(1, round(60 / each))  # so that timing weighs little
    minutes = rounds * each * 6 / 60
    got = found({"budget_minutes": minutes}, ClassifierFitConfig(fusion=[]), rounds=rounds)
    assert got.fitting.inner_folds == 0
    assert any(reason.startswith("no inner folds: ") for reason in got.reasons)


def test_words_in_order_are_read_where_there_are_many_texts() -> None:
    count = 2100
    parts = SampleSplit("stratified", np.arange(0, 1900), np.arange(1900, 2050), np.arange(2050, count))
    config = SearchConfig(budget_minutes=60)
    got = search_classifiers(
        batch(count),
        np.arange(count) % 2,
        CLASSES,
        parts,
        ClassifierFitConfig(fusion=[]),
        config,
        unit=np.arange(count),
    )
    assert got.tables[WORDS]["branches"]["words"]["net"] == "cnn"
    assert any(reason.startswith(f"{WORDS}: about") for reason in got.reasons)


def test_fits_are_counted_as_they_are_made() -> None:
    assert _num_fits(5, is_network=False) == 11  # fitted and fitted again in each fold, and once at last
    assert _num_fits(0, is_network=False) == 2
    assert (_num_fits(5, is_network=True), _num_fits(0, is_network=True)) == (6, 1)
