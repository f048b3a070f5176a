"""Scores of classes against scikit-learn's, paired intervals, and verdicts that do not flatter."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from penchant.core.errors import DataError
from penchant.metrics.classification import judge
from penchant.metrics.classification_results import Answers, Labelled
from penchant.metrics.intervals import Config

QUICK = Config(resamples=300)
CLASSES = ("angry", "calm", "glad")
RNG = np.random.default_rng(0)
LABELS = RNG.choice(3, 300, p=[0.5, 0.3, 0.2])


def said(
    skill: float, *, seed: int = 1, role: str = "member", uses: tuple[str, ...] = ("text",), k: int = 3
) -> Answers:
    rng = np.random.default_rng(seed)
    logits = skill * np.eye(k)[LABELS % k] + rng.standard_normal((len(LABELS), k))
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    unsure = probability.max(1) < 0.5
    return Answers(probability[None], probability.argmax(1)[None], unsure[None], uses, role)


def judged(**rows: Answers) -> Labelled:
    return judge(rows, LABELS, CLASSES, ours="ours", config=QUICK)


def test_scores_equal_those_of_scikit_learn() -> None:
    ours = said(1.5)
    found = judged(ours=ours)
    answer = ours.answer[0]
    precision, recall, f1, support = precision_recall_fscore_support(LABELS, answer)
    scores = found.ours.scores
    assert scores["accuracy"].mean == pytest.approx(accuracy_score(LABELS, answer))
    assert scores["macro_f1"].mean == pytest.approx(f1.mean())
    assert scores["weighted_f1"].mean == pytest.approx(np.average(f1, weights=support))
    assert scores["macro_precision"].mean == pytest.approx(precision.mean())
    assert scores["macro_recall"].mean == pytest.approx(recall.mean())
    assert scores["auc"].mean == pytest.approx(roc_auc_score(LABELS, ours.probability[0], multi_class="ovr"))
    np.testing.assert_array_equal(found.confusion, confusion_matrix(LABELS, answer))
    assert [c.support for c in found.by_class] == support.tolist()
    assert found.by_class[2].auc == pytest.approx(roc_auc_score(LABELS == 2, ours.probability[0, :, 2]))


def test_intervals_hold_the_mean_and_pairs_are_compared_on_the_same_draws() -> None:
    found = judged(ours=said(2.0), same=said(2.0), worse=said(0.5, seed=2))
    rows = {row.name: row for row in found.rows}
    score = found.ours.scores["macro_f1"]
    assert score.low < score.mean < score.high
    assert rows["same"].difference is not None
    assert (rows["same"].difference.low, rows["same"].difference.high) == (0, 0)
    assert rows["worse"].difference is not None
    assert rows["worse"].difference.verdict == "better"


def test_fusion_helps_only_where_it_beats_every_modality_alone() -> None:
    both = said(2.5, uses=("text", "image"), role="ours")
    text, image = said(1.0, seed=2, role="alone"), said(0.3, seed=3, role="alone", uses=("image",))
    assert judged(ours=both, text=text, image=image).verdict() == "better"
    assert judged(ours=both, text=said(2.5, role="alone"), image=image).verdict() == "not distinguishable"
    assert judged(ours=said(0.3, uses=("text", "image")), text=said(2.5, role="alone")).verdict() == "worse"
    assert judged(ours=said(2.0)).verdict() == ""


def test_units_not_samples_are_drawn_again() -> None:
    ours = said(1.0)
    alike = [str(row // 30) for row in range(300)]
    narrow = judge({"ours": ours}, LABELS, CLASSES, ours="ours", config=QUICK)
    wide = judge({"ours": ours}, LABELS, CLASSES, ours="ours", groups=alike, config=QUICK)
    assert (narrow.num_units, wide.num_units) == (300, 10)
    assert wide.ours.scores["accuracy"].mean == narrow.ours.scores["accuracy"].mean


def test_repeats_are_averaged() -> None:
    first, second = said(1.0), said(3.0)
    both = Answers(
        *(np.concatenate([getattr(a, n) for a in (first, second)]) for n in ("probability", "answer", "is_unsure"))
    )
    found = judged(ours=both)
    each = [accuracy_score(LABELS, a.answer[0]) for a in (first, second)]
    assert found.num_repeats == 2
    assert found.ours.scores["accuracy"].mean == pytest.approx(np.mean(each))
    assert sum(map(sum, found.confusion)) == pytest.approx(300)


def test_costs_at_the_ends_are_those_of_always_and_never() -> None:
    two = said(1.5, k=2)
    labels = LABELS % 2
    found = judge({"ours": two}, labels, ("no", "yes"), ours="ours", config=QUICK)
    assert found.positive == "yes"
    even, dear_miss, dear_alarm = found.costs
    share = labels.mean()
    assert even.curve.y[0] == pytest.approx(1 - share)  # threshold 0: everything is yes, every no is wrong
    assert even.curve.y[-1] == pytest.approx(share)
    assert dear_miss.best <= even.best <= dear_alarm.best
    asked = found.asked
    kept = ~two.is_unsure[0]
    assert asked.share == pytest.approx(1 - kept.mean())
    assert asked.accuracy == pytest.approx(accuracy_score(labels[kept], two.answer[0][kept]))


def test_one_class_in_test_cannot_be_measured() -> None:
    with pytest.raises(DataError, match="All 300 test samples are 'angry'"):
        judge({"ours": said(1.0)}, np.zeros(300, np.int64), CLASSES, ours="ours")


def test_a_class_that_test_lacks_does_not_count() -> None:
    labels = np.where(LABELS == 2, 0, LABELS)
    found = judge({"ours": said(1.5)}, labels, CLASSES, ours="ours", config=QUICK)
    assert found.by_class[2].support == 0
    assert np.isnan(found.by_class[2].auc)
    assert np.isfinite(found.ours.scores["auc"].mean)


def test_rankings_are_compared_within_one_fit_only() -> None:
    labels = np.tile([0, 1], 100)
    fold = np.repeat([0, 1], 100)
    score = np.where(labels == 1, 0.4, 0.2) + 0.5 * fold  # each fold ranks perfectly, on a scale of its own
    ours = Answers(np.stack([1 - score, score], axis=1)[None], labels[None], np.zeros((1, 200), bool))

    def area(folds: np.ndarray | None) -> Labelled:
        return judge({"ours": ours}, labels, ("no", "yes"), ours="ours", folds=folds, config=QUICK)

    pooled, apart = area(None), area(fold[None])
    assert pooled.ours.scores["auc"].mean == pytest.approx(0.75)
    assert apart.ours.scores["auc"].mean == apart.by_class[1].auc == apart.by_class[1].average_precision == 1.0
    assert np.trapezoid(apart.by_class[1].roc.y, apart.by_class[1].roc.x) == pytest.approx(1.0)


def test_a_fold_counts_by_its_pairs() -> None:
    labels = np.concatenate([np.tile([0, 1], 45), np.zeros(8, int), [1], np.ones(10, int)])
    fold = np.concatenate([np.zeros(90, int), np.ones(9, int), np.full(10, 2)])
    score = (
        np.where(fold == 0, labels, 1 - labels) * 0.8 + 0.1
    )  # the second fold is upside down, the third holds no pair
    ours = Answers(np.stack([1 - score, score], axis=1)[None], labels[None], np.zeros((1, len(labels)), bool))
    found = judge({"ours": ours}, labels, ("no", "yes"), ours="ours", folds=fold[None], config=QUICK)
    assert found.ours.scores["auc"].mean == pytest.approx(45 * 45 / (45 * 45 + 8))
