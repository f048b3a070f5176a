"""Scores of classes against scikit-learn's, paired intervals, and outcomes that do not flatter."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from penchant.core.errors import DataError
from penchant.core.seeds import generator
from penchant.metrics.classification import evaluate_classification, from_confusion
from penchant.metrics.classification_results import ClassificationResults, ClassifierAnswers
from penchant.metrics.interest import reliability
from penchant.metrics.intervals import IntervalConfig, draw_counts
from penchant.metrics.within_folds import average_precision_within, ranks_within

QUICK = IntervalConfig(resamples=300)
CLASSES = ("angry", "calm", "glad")
RNG = np.random.default_rng(0)
LABELS = RNG.choice(3, 300, p=[0.5, 0.3, 0.2])


def said(
    skill: float, *, seed: int = 1, role: str = "member", uses: tuple[str, ...] = ("text",), k: int = 3
) -> ClassifierAnswers:
    rng = np.random.default_rng(seed)
    logits = skill * np.eye(k)[LABELS % k] + rng.standard_normal((len(LABELS), k))
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    unsure = probability.max(1) < 0.5
    return ClassifierAnswers(probability[None], probability.argmax(1)[None], unsure[None], uses, role)


def judged(**rows: ClassifierAnswers) -> ClassificationResults:
    return evaluate_classification(rows, LABELS, CLASSES, ours="ours", config=QUICK)


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
    assert rows["worse"].difference.outcome == "better"


def test_fusion_helps_only_where_it_beats_every_modality_alone() -> None:
    both = said(2.5, uses=("text", "image"), role="ours")
    text, image = said(1.0, seed=2, role="alone"), said(0.3, seed=3, role="alone", uses=("image",))
    assert judged(ours=both, text=text, image=image).outcome() == "better"
    assert judged(ours=both, text=said(2.5, role="alone"), image=image).outcome() == "not distinguishable"
    assert judged(ours=said(0.3, uses=("text", "image")), text=said(2.5, role="alone")).outcome() == "worse"
    assert judged(ours=said(2.0)).outcome() == ""


def test_units_not_samples_are_drawn_again() -> None:
    ours = said(1.0)
    alike = [str(row // 30) for row in range(300)]
    narrow = evaluate_classification({"ours": ours}, LABELS, CLASSES, ours="ours", config=QUICK)
    wide = evaluate_classification({"ours": ours}, LABELS, CLASSES, ours="ours", groups=alike, config=QUICK)
    assert (narrow.num_units, wide.num_units) == (300, 10)
    assert wide.ours.scores["accuracy"].mean == narrow.ours.scores["accuracy"].mean


def test_repeats_are_averaged() -> None:
    first, second = said(1.0), said(3.0)
    both = ClassifierAnswers(
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
    found = evaluate_classification({"ours": two}, labels, ("no", "yes"), ours="ours", config=QUICK)
    assert found.positive == "yes"
    even, dear_miss, dear_alarm = found.costs
    share = labels.mean()
    assert even.curve.y[0] == pytest.approx(1 - share)  # threshold 0: everything is yes, every no is wrong
    assert even.curve.y[-1] == pytest.approx(share)
    assert dear_miss.best <= even.best <= dear_alarm.best
    asked = found.review_load
    kept = ~two.is_unsure[0]
    assert asked.share == pytest.approx(1 - kept.mean())
    assert asked.accuracy == pytest.approx(accuracy_score(labels[kept], two.answer[0][kept]))


def test_one_class_in_test_cannot_be_measured() -> None:
    with pytest.raises(DataError, match="All 300 test samples are 'angry'"):
        evaluate_classification({"ours": said(1.0)}, np.zeros(300, np.int64), CLASSES, ours="ours")


def test_a_class_that_test_lacks_does_not_count() -> None:
    labels = np.where(LABELS == 2, 0, LABELS)
    found = evaluate_classification({"ours": said(1.5)}, labels, CLASSES, ours="ours", config=QUICK)
    assert found.by_class[2].support == 0
    assert np.isnan(found.by_class[2].auc)
    assert np.isfinite(found.ours.scores["auc"].mean)


def test_rankings_are_compared_within_one_fit_only() -> None:
    labels = np.tile([0, 1], 100)
    fold = np.repeat([0, 1], 100)
    score = np.where(labels == 1, 0.4, 0.2) + 0.5 * fold  # each fold ranks perfectly, on a scale of its own
    ours = ClassifierAnswers(np.stack([1 - score, score], axis=1)[None], labels[None], np.zeros((1, 200), bool))

    def area(folds: np.ndarray | None) -> ClassificationResults:
        return evaluate_classification({"ours": ours}, labels, ("no", "yes"), ours="ours", folds=folds, config=QUICK)

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
    ours = ClassifierAnswers(np.stack([1 - score, score], axis=1)[None], labels[None], np.zeros((1, len(labels)), bool))
    found = evaluate_classification({"ours": ours}, labels, ("no", "yes"), ours="ours", folds=fold[None], config=QUICK)
    assert found.ours.scores["auc"].mean == pytest.approx(45 * 45 / (45 * 45 + 8))


def test_intervals_are_those_of_drawn_units_by_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    speakers = rng.integers(0, 20, 300)
    ours, other = said(1.5), said(1.0, seed=2)
    config = IntervalConfig(resamples=60, confidence=0.9, seed=3)
    groups = [None if s == 0 else str(s) for s in speakers]
    found = evaluate_classification(
        {"ours": ours, "other": other}, LABELS, CLASSES, ours="ours", groups=groups, config=config
    )
    names = [f"sample {row}" if group is None else f"group {group}" for row, group in enumerate(groups)]
    unit = np.unique(names, return_inverse=True)[1]
    counts = draw_counts(generator(3, "bootstrap.labelled"), 60, int(unit.max()) + 1)

    def drawn(one: ClassifierAnswers, metric: str) -> np.ndarray:
        score = {
            "accuracy": lambda w: accuracy_score(LABELS, one.answer[0], sample_weight=w),
            "macro_f1": lambda w: f1_score(LABELS, one.answer[0], average="macro", sample_weight=w),
            "auc": lambda w: np.mean(
                [roc_auc_score(k == LABELS, one.probability[0, :, k], sample_weight=w) for k in range(3)]
            ),
        }[metric]
        return np.array([score(row[unit]) for row in counts])

    for metric in ("accuracy", "macro_f1", "auc"):
        low, high = np.quantile(drawn(ours, metric), [0.05, 0.95])
        score = found.ours.scores[metric]
        assert (score.low, score.high, score.num_users) == pytest.approx((low, high, found.num_units))
    draws = drawn(ours, "macro_f1") - drawn(other, "macro_f1")
    gap = found.rows[1].difference
    assert gap is not None
    assert (gap.low, gap.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))
    assert gap.mean == pytest.approx(found.ours.scores["macro_f1"].mean - found.rows[1].scores["macro_f1"].mean)
    assert gap.p == pytest.approx(2 * (min((draws <= 0).sum(), (draws >= 0).sum()) + 1) / 61)


def test_rows_stand_by_the_deciding_metric_and_ours_first() -> None:
    found = evaluate_classification(
        {"bad": said(0.3, seed=4), "good": said(3.0, seed=5), "ours": said(1.0)},
        LABELS,
        CLASSES,
        ours="ours",
        metric="auc",
        config=QUICK,
        notes=("n",),
    )
    assert [row.name for row in found.rows] == ["ours", "good", "bad"]
    assert [row.difference and row.difference.outcome for row in found.rows] == [None, "worse", "better"]
    assert (found.metric, found.notes, found.positive, found.costs) == ("auc", ("n",), None, ())
    assert (found.classes, found.num_samples, found.num_repeats) == (CLASSES, 300, 1)
    with pytest.raises(DataError, match="There is no metric 'f1'"):
        evaluate_classification({"ours": said(1.0)}, LABELS, CLASSES, ours="ours", metric="f1")


def test_classes_equal_those_of_scikit_learn() -> None:
    ours = said(1.5)
    found = judged(ours=ours)
    each = precision_recall_fscore_support(LABELS, ours.answer[0])
    for k, one in enumerate(found.by_class):
        assert (one.name, one.precision, one.recall, one.f1) == (CLASSES[k], *(each[n][k] for n in range(3)))
        score = ours.probability[0, :, k]
        assert one.average_precision == pytest.approx(average_precision_score(k == LABELS, score))
        assert one.roc.x[-1] == one.roc.y[-1] == 1
    top = ours.probability[0].max(1)
    right = ours.answer[0] == LABELS
    assert found.reliability == reliability(right, top)


def test_a_positive_class_can_be_named() -> None:
    two, labels = said(1.5, k=2), LABELS % 2
    found = evaluate_classification({"ours": two}, labels, ("yes", "no"), ours="ours", positive="yes", config=QUICK)
    score = two.probability[0, :, 0]
    assert found.positive == "yes"
    assert found.ours.scores["auc"].mean == pytest.approx(roc_auc_score(labels == 0, score))
    assert found.reliability == reliability(labels == 0, score)
    miss, alarm = 5.0, 1.0
    curve = next(c for c in found.costs if (c.miss, c.false_alarm) == (miss, alarm))
    cost = []
    for threshold in np.linspace(0, 1, 101):
        answer = score >= threshold
        wrong = miss * (~answer & (labels == 0)).sum() + alarm * (answer & (labels == 1)).sum()
        cost.append(wrong / (miss * (labels == 0).sum() + alarm * (labels == 1).sum()))
    assert curve.curve.y == pytest.approx(tuple(cost))
    assert curve.best == pytest.approx(np.linspace(0, 1, 101)[int(np.argmin(cost))])


def test_few_units_get_no_interval_and_no_outcome() -> None:
    nine = [str(row % 9) for row in range(300)]
    rows = {"ours": said(3.0), "bad": said(0.1, seed=2)}
    found = evaluate_classification(rows, LABELS, CLASSES, ours="ours", groups=nine, config=QUICK)
    gap = found.rows[1].difference
    assert gap is not None
    assert (gap.p, gap.outcome) == (1.0, "not distinguishable")
    assert np.isnan([found.ours.scores["auc"].low, gap.low, gap.high]).all()


def test_averages_over_classes_leave_out_a_class_without_samples_and_count_one_nobody_is_put_in_as_zero() -> None:
    found = from_confusion(np.array([[[3.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]]))
    assert found["accuracy"].tolist() == [0.5]
    assert found["macro_recall"].tolist() == [pytest.approx((3 / 4 + 0) / 2)]
    assert found["macro_precision"].tolist() == [pytest.approx((3 / 5 + 0) / 2)]
    assert found["macro_f1"].tolist() == [pytest.approx((2 * 0.6 * 0.75 / 1.35) / 2)]
    assert found["weighted_f1"].tolist() == [pytest.approx(4 / 6 * (2 * 0.6 * 0.75 / 1.35))]


def test_ranks_and_average_precision_are_of_one_fit() -> None:
    score, fold = np.array([5.0, 1.0, 3.0, 0.2, 0.1, 0.2]), np.array([0, 0, 0, 1, 1, 1])
    assert ranks_within(score, fold) == pytest.approx([2.5 / 3, 0.5 / 3, 1.5 / 3, 2 / 3, 0.5 / 3, 2 / 3])
    label = np.array([True, False, False, False, True, True])
    first, second = 1.0, average_precision_score(label[3:], score[3:])
    assert average_precision_within(label, score, fold) == pytest.approx((first + 2 * second) / 3)
    assert average_precision_within(np.zeros(6, bool), score, fold) == 0.0


def perfect(labels: np.ndarray) -> ClassifierAnswers:
    """Return answers that are all right."""
    probability = np.where(np.eye(2)[labels] == 1, 0.9, 0.1)
    return ClassifierAnswers(probability[None], labels[None], np.zeros((1, len(labels)), bool))


def test_answers_that_are_all_right_get_an_exact_interval() -> None:
    labels = np.arange(40) % 2
    found = evaluate_classification({"ours": perfect(labels)}, labels, ("no", "yes"), ours="ours", config=QUICK)
    accuracy, recall = found.ours.scores["accuracy"], found.ours.scores["macro_recall"]
    assert (accuracy.mean, accuracy.high) == (1, 1)
    assert accuracy.low == pytest.approx(0.025 ** (1 / 40))  # Clopper and Pearson, all of 40
    assert recall.low == pytest.approx(0.025 ** (1 / 20))  # the rarer class decides
    assert found.notes == ()


@pytest.mark.parametrize("groups", [["ann"] * 40, None])
def test_too_few_are_said_to_be_too_few(groups: list[str] | None) -> None:
    labels = np.arange(40 if groups else 2) % 2
    found = evaluate_classification(
        {"ours": perfect(labels)}, labels, ("no", "yes"), ours="ours", groups=groups, config=QUICK
    )
    accuracy = found.ours.scores["accuracy"]
    assert accuracy.low == pytest.approx(0.025 ** (1 / (1 if groups else 2)))
    assert np.isnan(found.ours.scores["macro_f1"].low)
    assert found.notes[0].startswith("Too few to tell: the test has")


def test_verdict_and_interval_never_disagree_and_hold_for_all_rows_at_once() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(400) % 2

    def answers(right: float) -> ClassifierAnswers:
        answer = np.where(rng.random(400) < right, labels, 1 - labels)
        return ClassifierAnswers(
            np.where(np.eye(2)[answer] == 1, 0.8, 0.2)[None], answer[None], np.zeros((1, 400), bool)
        )

    rows = {
        "ours": answers(0.82),
        **{f"other {n}": answers(right) for n, right in enumerate(np.linspace(0.7, 0.84, 12))},
    }
    config = IntervalConfig(resamples=1000)
    found = evaluate_classification(rows, labels, ("no", "yes"), ours="ours", metric="accuracy", config=config)
    outcomes = []
    for row in found.rows[1:]:
        gap = row.difference
        assert gap is not None
        assert gap.outcome == ("better" if gap.low > 0 else "worse" if gap.high < 0 else "not distinguishable")
        pair = {"ours": rows["ours"], row.name: rows[row.name]}
        alone = evaluate_classification(pair, labels, ("no", "yes"), ours="ours", metric="accuracy", config=config)
        single = alone.rows[1].difference
        assert single is not None
        assert gap.low <= single.low
        assert gap.high >= single.high
        outcomes.append(gap.outcome)
    assert {"better", "not distinguishable"} <= set(outcomes)
