"""What classifiers learn from, what is chosen by, and that nothing of the test takes part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.combined import Calibration, ClassifierEnsemble, CombinedClassifier, DecisionRule
from penchant.core.errors import DataError
from penchant.core.schema import Catalog, Embeddings, SampleSplit
from penchant.experiment.calibration import FittedRow
from penchant.experiment.fit_classifiers import (
    AVERAGE,
    Choice,
    ClassifierFitConfig,
    FittedClassifiers,
    _Plan,
    _PlannedRow,
    choose_row,
    default_classifiers,
    fit,
    fusion_tables,
    make_score_function,
    presence,
    simple_tables,
)
from penchant.experiment.left_out import LeftOut, deal

COUNT = 60
ROWS = np.random.default_rng(0).permutation(COUNT)
PARTS = SampleSplit("stratified", np.sort(ROWS[:30]), np.sort(ROWS[30:48]), np.sort(ROWS[48:]))
LABELS = np.arange(COUNT) % 2
CLASSES = ("cross", "glad")


def batch() -> ContentBatch:
    """Return words and pictures that tell the classes apart now and then, and sound that says nothing."""
    rng = np.random.default_rng(1)
    words = [
        f"{('bad', 'good')[label if rng.random() < 0.8 else 1 - label]} visit {n % 7}" for n, label in enumerate(LABELS)
    ]
    channels = {}
    for name, modality, told in (("look", "image", 1.0), ("noise", "audio", 0.0)):
        values = rng.normal(size=(COUNT, 3)).astype(np.float32)
        values[:, 0] += told * (2 * LABELS - 1)
        there = rng.random(COUNT) < 0.9
        values[~there] = 0
        channels[name] = Embeddings(name, modality, values, there, name)
    return ContentBatch(
        Catalog(pl.DataFrame({"item_id": [f"s{n}" for n in range(COUNT)], "text": words}), None, ("text",)), channels
    )


def fitted(seen: ContentBatch, labels: np.ndarray, **settings: Any) -> FittedClassifiers:
    settings = {
        "fusion": ["stacking"],
        "imbalance": {"weights": "balanced"},
        "simple": False,
        "inner_folds": 0,
        **settings,
    }
    return fit(
        default_classifiers(seen),
        seen,
        labels,
        CLASSES,
        PARTS,
        ClassifierFitConfig.read(settings, where="here"),
        seed=0,
    )


def everything(found: FittedClassifiers) -> dict[str, Any]:
    """Return all that a fit learned, chose, calibrated or set a threshold by."""
    out: dict[str, Any] = {f"{n}/{k}": a for n, m in found.members.items() for k, a in m.arrays().items()}
    out |= {f"{name}/facts": member.facts() for name, member in found.members.items()}
    out |= {f"row {name}/{k}": a for name, row in found.rows.items() for k, a in row.arrays().items()}
    out |= {f"row {name}/facts": row.facts() for name, row in found.rows.items()}
    return out | {"scores": dict(found.scores), "ours": found.ours, "uses": dict(found.uses), "alone": found.alone}


@pytest.mark.parametrize("inner_folds", [0, 5])
def test_a_simple_row_that_learns_nothing_is_left_out_and_a_named_one_is_an_error(
    inner_folds: int, caplog: pytest.LogCaptureFixture
) -> None:
    letters = "abcdefgh"
    texts = [f"{'xy'[label]}{letters[n // 8]}{letters[n % 8]}" for n, label in enumerate(LABELS)]  # no word twice
    table = pl.DataFrame({"item_id": [f"s{n}" for n in range(COUNT)], "text": texts})
    odd = ContentBatch(Catalog(table, None, ("text",)), {})
    found = fitted(odd, LABELS, simple=True, inner_folds=inner_folds)
    assert "word TF-IDF: left out" in caplog.text
    assert "word TF-IDF" not in found.members
    assert {"character TF-IDF", "ngrams"} <= set(found.members)
    named = {"mine": {"model": "ngrams", "kinds": ["word"]}}
    config = ClassifierFitConfig.read({"simple": True, "inner_folds": inner_folds}, where="here")
    with pytest.raises(DataError, match="No n-gram of words or characters"):
        fit(named, odd, LABELS, CLASSES, PARTS, config, seed=0)


@pytest.mark.parametrize("refit", [True, False])
def test_changing_labels_and_content_of_the_test_changes_nothing(refit: bool) -> None:
    seen, labels = batch(), LABELS.copy()
    labels[PARTS.test] = 1 - labels[PARTS.test]
    table = seen.catalog.table.with_columns(
        text=pl.when(pl.int_range(pl.len()).is_in(PARTS.test.tolist())).then(pl.lit("poison")).otherwise(pl.col("text"))
    )
    channels = {}
    for name, one in seen.channels.items():
        values, there = one.values.copy(), one.present.copy()
        values[PARTS.test], there[PARTS.test] = 1e6, True
        channels[name] = replace(one, values=values, present=there)
    poisoned = ContentBatch(replace(seen.catalog, table=table), channels)
    one, other = (everything(fitted(v, y, refit=refit)) for v, y in ((seen, LABELS), (poisoned, labels)))
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other[key], err_msg=key)
        else:
            assert value == other[key], key


def test_validation_labels_decide_but_are_not_learned_without_refit() -> None:
    seen, labels = batch(), LABELS.copy()
    labels[PARTS.validation] = 1 - labels[PARTS.validation]
    tables = {"look": {"model": "linear", "channels": ["look"], "strength": [1.0]}}
    config = ClassifierFitConfig.read({"fusion": [], "refit": False, "simple": False, "inner_folds": 0}, where="here")
    one, other = (fit(tables, seen, y, CLASSES, PARTS, config, seed=0) for y in (LABELS, labels))
    for key, array in one.members["look"].arrays().items():
        np.testing.assert_array_equal(array, other.members["look"].arrays()[key])
    assert one.scores["look"] > 0.75 > 0.25 > other.scores["look"]


def test_refit_learns_from_train_and_validation_with_the_weights_chosen_before() -> None:
    seen = batch()
    look = seen.channels["look"]
    before, after = fitted(seen, LABELS, refit=False), fitted(seen, LABELS, refit=True)
    for found, rows in ((before, PARTS.train), (after, np.concatenate([PARTS.train, PARTS.validation]))):
        here = rows[look.present[rows]]
        mean: Any = found.members["look"]
        np.testing.assert_allclose(mean.mean, look.values[here].mean(0), rtol=1e-4, atol=1e-5)
    for name, row in before.rows.items():
        for key, array in row.arrays().items():
            np.testing.assert_array_equal(array, after.rows[name].arrays()[key])


def test_without_a_clear_gain_the_best_simple_row_is_ours() -> None:
    seen = batch()
    found = fitted(seen, LABELS)
    assert found.alone == ("ngrams", "look", "noise")
    assert found.fused == (AVERAGE, "stacking")
    assert found.ours == found.simple[0] != "stacking"
    assert "No other row is clearly better" in found.why[0]
    assert found.uses["stacking"] == ("text", "image", "audio")
    alone = fitted(seen, LABELS, fusion=[])
    assert alone.fused == ()
    assert alone.ours == max(alone.alone, key=lambda name: alone.scores[name]) != "noise"
    assert set(alone.rows) == {"ngrams", "look", "noise"}
    assert alone.why == ()


def row_of(probability: np.ndarray) -> FittedRow:
    ensemble = ClassifierEnsemble(("m",), np.ones(1), np.zeros(2), np.log([0.5, 0.5]))
    combined = CombinedClassifier(ensemble, Calibration(), DecisionRule(np.ones(2)))
    return FittedRow(combined, probability, probability.argmax(1))


def choice(skills: dict[str, float], complexity: dict[str, int], groups: int = 600) -> Choice:
    """Choose among rows whose answers have so much skill."""
    rng, count = np.random.default_rng(3), 600
    labels, noise = np.arange(count) % 2, rng.standard_normal((count, 2))
    rows = {}
    for name, skill in skills.items():
        logits = skill * np.eye(2)[labels] + noise + 0.3 * rng.standard_normal((count, 2))
        rows[name] = row_of(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    plan = _Plan({name: _PlannedRow((name,), "one", complexity[name]) for name in skills}, (), ())
    left_out = LeftOut(labels, np.arange(count) % groups, np.zeros(count, np.int64), 2)
    return choose_row(plan, rows, left_out, "cross_entropy", "accuracy")


def test_a_complex_row_is_taken_where_it_is_clearly_better_and_the_simplest_of_equals() -> None:
    complexity = {"plain": 0, "poor": 0, "stack": 2, "net": 3}
    better = choice({"plain": 1.0, "poor": 0.2, "stack": 1.9, "net": 1.91}, complexity)
    assert better.ours == "stack"
    assert better.simple == ("plain", "poor")
    assert better.why[0].startswith("stack is clearly better")
    assert choice({"plain": 1.0, "poor": 0.2, "stack": 1.02, "net": 1.03}, complexity).ours == "plain"
    assert choice({"plain": 1.0, "poor": 0.2, "stack": 1.5, "net": 2.5}, complexity).ours == "net"
    assert choice({"plain": 1.0, "poor": 0.2, "stack": 1.9, "net": 1.91}, complexity, groups=8).ours == "plain"


def test_the_reason_names_the_metric_whose_gain_is_clear() -> None:
    labels, count = np.arange(600) % 2, 600
    noise = np.random.default_rng(0).random(count) < 0.1
    said = np.where(noise, 1 - labels, labels)
    rows = {
        name: row_of(np.where(np.eye(2)[said] > 0, sure, 1 - sure)) for name, sure in (("plain", 0.6), ("stack", 0.9))
    }  # the same answers, so only the cross-entropy can tell them apart
    plan = _Plan({"plain": _PlannedRow(("plain",), "one", 0), "stack": _PlannedRow(("stack",), "one", 2)}, (), ())
    left_out = LeftOut(labels, np.arange(count), np.zeros(count, np.int64), 2)
    taken = choose_row(plan, rows, left_out, "cross_entropy", "accuracy")
    assert taken.ours == "stack"
    assert ", in cross_entropy: +" in taken.why[0]
    assert "lower bound +" in taken.why[0]


def test_simple_rows_are_added_and_not_twice() -> None:
    seen = batch()
    found = simple_tables(seen, default_classifiers(seen))
    assert set(found) == {
        "word TF-IDF",
        "character TF-IDF",
        "word and character TF-IDF",
        "word and character TF-IDF, SVM",
    }
    assert found["character TF-IDF"]["chars"] == (2, 5)
    chinese = seen.catalog.table.with_columns(text=pl.lit("房间很好，服务也不错"))
    told = simple_tables(ContentBatch(replace(seen.catalog, table=chinese), {}), {})
    assert told["character TF-IDF"]["chars"] == (1, 3)
    assert "look, logistic regression" in simple_tables(seen, {"ngrams": {"model": "ngrams"}})
    two = ContentBatch(seen.catalog, {**seen.channels, "hiss": seen.channels["noise"]})
    joined = simple_tables(two, default_classifiers(two))["noise + hiss, logistic regression"]
    assert joined == {"model": "linear", "channels": ["noise", "hiss"]}


def test_inner_folds_leave_out_every_sample_once_and_whole_groups() -> None:
    seen = batch()
    tables = {"look": {"model": "linear", "channels": ["look"], "strength": [0.1, 1.0]}}
    config = ClassifierFitConfig.read({"fusion": [], "simple": False}, where="here")
    unit = np.arange(COUNT) // 4
    found = fit(tables, seen, LABELS, CLASSES, PARTS, config, seed=0, unit=unit)
    assert found.num_left_out == 48  # train and validation
    fold = deal(LABELS, unit, 5, np.random.default_rng(0))
    assert all(len(np.unique(fold[unit == group])) == 1 for group in np.unique(unit))
    assert len(np.unique(fold)) == 5
    assert deal(np.array([0, 0, 1]), np.arange(3), 5, np.random.default_rng(0)).tolist() == [0, 0, 0]
    everything = np.concatenate([PARTS.train, PARTS.validation])
    here = everything[seen.channels["look"].present[everything]]
    member: Any = found.members["look"]
    np.testing.assert_allclose(member.mean, seen.channels["look"].values[here].mean(0), rtol=1e-4, atol=1e-5)


def test_a_classifier_without_content_to_learn_from_is_left_out() -> None:
    seen = batch()
    look = seen.channels["look"]
    gone = replace(look, present=np.zeros(COUNT, bool), values=np.zeros_like(look.values))
    poor = ContentBatch(seen.catalog, {**seen.channels, "look": gone})
    found = fitted(poor, LABELS)
    assert "look" not in found.members
    with pytest.raises(DataError, match="No classifier can learn"):
        fit(
            {"look": {"model": "linear"}},
            poor,
            LABELS,
            CLASSES,
            PARTS,
            ClassifierFitConfig(simple=False, fusion=[]),
            seed=0,
        )


def test_the_prior_is_the_share_of_each_class_in_train() -> None:
    labels = np.where(np.arange(COUNT) < 45, 0, 1)
    found = fitted(batch(), labels)
    ones = int(labels[PARTS.train].sum())
    np.testing.assert_allclose(
        np.exp(found.rows["stacking"].ensemble.prior), [(30 - ones + 0.5) / 31, (ones + 0.5) / 31]
    )


def test_scorers_by_hand() -> None:
    labels = np.array([0, 1, 1, 0])
    found = np.log(np.array([[0.8, 0.2], [0.3, 0.7], [0.9, 0.1], [0.6, 0.4]]))
    assert make_score_function("accuracy")(labels, found) == 0.75
    # pairs of a one and a zero: .7 beats .2 and .4, .1 beats neither
    assert make_score_function("auc")(labels, found) == 0.5
    assert make_score_function("cross_entropy")(labels, found) == pytest.approx(np.log([0.8, 0.7, 0.1, 0.6]).mean())
    # class 0: precision 2/3, recall 1; class 1: precision 1, recall 1/2
    assert make_score_function("macro_f1")(labels, found) == pytest.approx((0.8 + 2 / 3) / 2)
    assert make_score_function("auc")(np.zeros(4, int), found) == 0.0


def test_presence_is_by_modality() -> None:
    seen = batch()
    twin = replace(seen.channels["look"], present=~seen.channels["look"].present)
    both = ContentBatch(seen.catalog, {**seen.channels, "twin": twin})
    found = presence(both)
    assert found.shape == (COUNT, 2)
    assert (found[:, 0] == seen.channels["noise"].present).all()  # audio, image
    assert found[:, 1].all()
    assert presence(ContentBatch(seen.catalog, {})).shape == (COUNT, 0)


def test_ways_of_fusion_need_two_modalities() -> None:
    seen, config = batch(), ClassifierFitConfig()
    assert set(fusion_tables(seen, config)) == {"concat", "gated", "attention"}
    assert fusion_tables(seen, config)["gated"] == {
        "model": "network",
        "fusion": "gated",
        "branches": {"look": {"channel": "look"}, "noise": {"channel": "noise"}},
    }
    assert fusion_tables(ContentBatch(seen.catalog, {"look": seen.channels["look"]}), config) == {}
    assert list(default_classifiers(seen)) == ["ngrams", "look", "noise"]
