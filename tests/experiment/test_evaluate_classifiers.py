"""What is published of labelled samples: answers of every row, folds put side by side, and what is said of how it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.combined import Calibration, ClassifierEnsemble, CombinedClassifier, DecisionRule
from penchant.core.schema import Catalog, Embeddings, Finding, Samples, SampleSplit
from penchant.data.split.samples import SampleSplitConfig
from penchant.experiment import evaluate_classifiers
from penchant.experiment.evaluate_classifiers import (
    COMMONEST,
    OURS,
    PACKAGES,
    ClassifierEvaluationConfig,
    assess,
    notes_within,
)
from penchant.experiment.fit_classifiers import ClassifierFitConfig, FittedClassifiers
from penchant.metrics.intervals import IntervalConfig

CLASSES = ("bad", "good")
LABELS = [0, 0, 0, 1, 1, 1, 1, 0]
PLACE = [0.9, 0.8, 0.4, 0.3, 0.2, 0.1, 0.7, 0.6]
"""What "words" gives the first class for each sample: 2 and 6 are wrong at one half."""
SAMPLES = Samples(
    pl.DataFrame(
        {
            "sample_id": [f"s{n}" for n in range(8)],
            "label": [CLASSES[label] for label in LABELS],
            "text": [f"{n}" for n in range(8)],
            "room": ["a", "a", "a", "a", "b", "b", "b", None],
        }
    ),
    CLASSES,
    ("text",),
    findings=(Finding("read", 1, 8, "kept"),),
)
SOUND = Embeddings("sound", "audio", np.ones((8, 2), np.float32), np.arange(8) > 1, "sound")
CATALOG = Catalog(
    pl.DataFrame({"item_id": [f"s{n}" for n in range(8)], "text": [f"{n}" for n in range(8)]}), None, ("text",)
)  # not SAMPLES.catalog(): a module that runs a query cannot be forked
VIEW = ContentBatch(CATALOG, {"sound": SOUND})
PARTS = SampleSplit(
    "stratified", np.array([0, 3]), np.array([1, 4, 5]), np.array([2, 6, 7]), (Finding("c", 0, 1, "kept"),)
)
ONE = SampleSplitConfig()
QUICK = ClassifierEvaluationConfig(intervals=IntervalConfig(resamples=50))


class Spoken:
    """A classifier that gives each sample the share of the first class that it was told."""

    def __init__(self, first: list[float]) -> None:
        self.first = np.array(first)

    def log_probability(self, view: ContentBatch) -> np.ndarray:
        share = self.first[[int(text) for text in view.texts]]
        return np.log(np.stack([share, 1 - share], axis=1))

    def present(self, view: ContentBatch) -> np.ndarray:
        return np.ones(len(view), bool)


def row(members: tuple[str, ...], weight: list[float], sure: float = 0.0) -> CombinedClassifier:
    ensemble = ClassifierEnsemble(members, np.array(weight), np.zeros(2), np.log([0.25, 0.75]))
    return CombinedClassifier(ensemble, Calibration(), DecisionRule(np.ones(2), sure))


def fitted(words: list[float] | None = None, *, weight: float = 1.0) -> FittedClassifiers:
    members: dict[str, Any] = {"words": Spoken(words or PLACE), "sound": Spoken([0.5001] * 8)}
    rows = {
        "words": row(("words",), [1.0]),
        "sound": row(("sound",), [1.0]),
        "both": row(("words", "sound"), [weight, 0.0], 0.65),
        "extra": row(("words",), [2.0]),
    }
    uses = {"words": ("text",), "sound": ("audio",), "both": ("text", "audio"), "extra": ("text",)}
    scores = {"words": 0.75, "sound": 0.5, "both": 0.8125}
    return FittedClassifiers(members, rows, uses, "both", ("words", "sound"), ("both",), scores, {})


def split_of(parts: SampleSplit = PARTS, split: SampleSplitConfig = ONE, one: FittedClassifiers | None = None) -> Any:
    return evaluate_classifiers.answers_on_test(
        SAMPLES, VIEW, {}, one or fitted(), parts, split, ClassifierFitConfig(), 7, "accuracy"
    )


def test_each_row_answers_the_test_samples_and_ours_comes_first() -> None:
    answers, rows, folds, flat = split_of()
    assert rows.tolist() == [2, 6, 7]
    assert folds is None
    assert flat == []
    assert list(answers) == [OURS, "sound", "extra", COMMONEST]  # "words" and "both" say what ours says
    np.testing.assert_allclose(answers[OURS].probability, [[[0.4, 0.6], [0.7, 0.3], [0.6, 0.4]]])
    assert answers[OURS].answer.tolist() == [[1, 0, 0]]
    assert answers[OURS].is_unsure.tolist() == [[True, False, True]]  # an answer below 0.65 goes to a person
    assert not answers["extra"].is_unsure.any()
    np.testing.assert_allclose(answers["extra"].probability[0, 1], [0.49 / 0.58, 0.09 / 0.58])
    assert {name: (said.role, said.uses) for name, said in answers.items()} == {
        OURS: ("ours", ("text", "audio")),
        "sound": ("alone", ("audio",)),
        "extra": ("member", ("text",)),
        COMMONEST: ("baseline", ()),
    }


def test_the_commonest_class_is_that_of_training_and_ranks_nothing() -> None:
    said = split_of()[0][COMMONEST]
    assert said.answer.tolist() == [[1, 1, 1]]
    assert (said.probability == 0.5).all()
    assert not said.is_unsure.any()


def test_a_row_that_differs_from_ours_keeps_its_role() -> None:
    answers = split_of(one=fitted(weight=0.5))[0]
    assert (answers["words"].role, answers["both" if "both" in answers else OURS].role) == ("alone", "ours")
    assert "both" not in answers


FOLDS = [([0, 3, 5], 0), ([1, 2, 4, 6, 7], 1), ([7, 1, 0], 2), ([2, 3, 4, 5, 6], 3)]


@pytest.fixture
def refits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Fit number n gives the first class a share of (n + 1) / 10; fit 2 is one that validation turns round."""
    calls: list[Any] = []

    def divisions(samples: Samples, config: SampleSplitConfig, seed: int) -> Iterator[SampleSplit]:
        assert (samples, seed) == (SAMPLES, 7)
        for test, number in FOLDS:
            yield SampleSplit("fold", np.array([number]), np.array([number]), np.array(test))

    def fit(
        tables: Any, view: Any, labels: Any, classes: Any, fold: Any, config: Any, *, seed: int, unit: Any, metric: str
    ) -> FittedClassifiers:
        assert (len(np.unique(unit)), metric) == (8, "accuracy")
        assert (view, classes) == (VIEW, CLASSES)
        assert labels.tolist() == LABELS
        calls.append((tables, fold.train.tolist(), config, seed))
        number = int(fold.train[0])
        return fitted([(number + 1) / 10] * 8, weight=0.0 if number == 2 else 1.0)

    monkeypatch.setattr(evaluate_classifiers, "fold_samples", divisions)
    monkeypatch.setattr(evaluate_classifiers, "fit", fit)
    return calls


def test_folds_are_put_side_by_side_repeat_by_repeat(refits: list[Any]) -> None:
    split = SampleSplitConfig(folds=2, repeats=2)
    answers, rows, folds, flat = split_of(split=split)
    assert rows.tolist() == list(range(8))
    assert folds is not None
    assert folds.tolist() == [[0, 1, 1, 0, 1, 0, 1, 1], [2, 2, 3, 3, 3, 3, 3, 2]]
    share = (folds + 1) / 10
    np.testing.assert_allclose(answers["words"].probability[..., 0], share)
    np.testing.assert_allclose(answers[COMMONEST].probability, 0.5)
    assert [call[3] for call in refits] == [7, 8, 9, 10]
    assert [call[1] for call in refits] == [[0], [1], [2], [3]]
    assert len(flat) == 1
    assert (flat[0].check, flat[0].count, flat[0].total, flat[0].action) == ("fit.flat", 1, 4, "repaired")
    assert (flat[0].examples, flat[0].severity) == (("fit 3",), "warning")
    assert "the slope was held at" in flat[0].advice


def test_findings_of_flat_fits_name_the_first_five() -> None:
    found = evaluate_classifiers._flat([True] * 7)[0]
    assert found.examples == ("fit 1", "fit 2", "fit 3", "fit 4", "fit 5")
    assert (found.count, found.total) == (7, 7)
    assert evaluate_classifiers._flat([False, False]) == []


def report(split: SampleSplitConfig = ONE, samples: Samples = SAMPLES) -> Any:
    config = QUICK.model_copy(update={"positive": "bad", "metric": "accuracy"})
    return assess(
        fitted(),
        {},
        VIEW,
        samples,
        PARTS,
        split,
        ClassifierFitConfig(),
        config,
        name="by hand",
        seed=7,
        notes=("mind",),
    )


def test_the_report_holds_the_scores_and_what_they_are_of() -> None:
    page, judged = report()
    assert page.labelled is judged
    assert (page.name, page.seed, page.language) == ("by hand", 7, "en")
    assert set(page.versions) == set(PACKAGES)
    assert page.hardware
    assert page.created_at.tzinfo is not None
    assert page.sizes == {"samples": 8, "train_samples": 2, "validation_samples": 3, "test_samples": 3}
    assert page.findings == (*SAMPLES.findings, *PARTS.checks)
    assert [(c.channel, c.modality, c.num_items, c.num_present) for c in page.coverage] == [("sound", "audio", 8, 6)]
    assert (judged.metric, judged.positive, judged.classes, judged.notes[1:]) == ("accuracy", "bad", CLASSES, ("mind",))
    assert judged.notes[0].startswith("Too few to tell: the test has 3 samples")
    assert (judged.num_samples, judged.num_units) == (3, 3)
    # of samples 2, 6 and 7 only the last is answered rightly
    assert judged.ours.scores["accuracy"].mean == pytest.approx(1 / 3)
    assert judged.review_load.share == pytest.approx(2 / 3)
    assert judged.review_load.accuracy == 0


def test_units_are_the_groups_of_the_samples() -> None:
    grouped = Samples(SAMPLES.table.with_columns(group=pl.Series(list("abcaabdc"))), CLASSES, ("text",))
    assert report(samples=grouped)[1].num_units == 2  # samples 2 and 7 are of one group


def test_folds_count_every_sample(refits: list[Any]) -> None:
    page, judged = report(SampleSplitConfig(folds=2, repeats=2))
    assert page.sizes["test_samples"] == judged.num_samples == 8
    assert judged.num_repeats == 2
    assert [finding.check for finding in page.findings] == ["read", "fit.flat", "c"]


def test_the_protocol_says_how_it_was_measured() -> None:
    settings = ClassifierFitConfig(choose_by="accuracy")
    once = evaluate_classifiers._protocol(PARTS, fitted(), ONE, settings)
    assert once[0] == "A stratified split; test is evaluated once."
    assert "the row (by accuracy)" in once[1]
    assert f"thresholds (for {settings.tune.aim})" in once[1]
    assert once[2:] == (
        "Taken: both.",
        *(f"On left-out samples {n}: {s}." for n, s in (("words", "0.7500"), ("sound", "0.5000"), ("both", "0.8125"))),
    )
    folds = evaluate_classifiers._protocol(PARTS, fitted(), SampleSplitConfig(folds=5, repeats=3), settings)
    assert folds[0].startswith("5 folds, drawn 3 time(s); in each")
    assert folds[1:] == once[1:]


def test_the_area_of_a_column_is_that_of_guessing_by_its_values() -> None:
    # good: room a has 1 of 4, b 3 of 3, none 0 of 1; of the 16 pairs b decides 12, a against none 1 right, a against a 3 ties
    assert evaluate_classifiers._area_of(SAMPLES, "room") == pytest.approx((12 + 1 + 1.5) / 16)
    assert notes_within(SAMPLES, None) == ()
    assert notes_within(SAMPLES, "ward") == ()
    note = notes_within(SAMPLES, "room")
    assert len(note) == 1
    assert note[0].startswith("Fitted and measured within one room only.")
    assert note[0].endswith("the room alone reaches AUC 0.906.")


def test_the_settings_of_intervals_reach_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    measure = evaluate_classifiers.evaluate_classification

    def watched(*args: Any, **settings: Any) -> Any:
        given.append(settings["config"])
        return measure(*args, **settings)

    monkeypatch.setattr(evaluate_classifiers, "evaluate_classification", watched)
    report()
    assert given == [QUICK.intervals]
