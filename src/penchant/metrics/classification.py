"""Classification metrics with intervals.

In: labels, and each row's probabilities and answers on held-out samples. Out: `ClassificationResults`. Units (speakers, patients), not
samples, are drawn again for intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64
from sklearn.metrics import precision_recall_fscore_support

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.seeds import generator
from penchant.metrics.classification_results import (
    METRICS,
    ClassificationResults,
    ClassificationRow,
    ClassifierAnswers,
    ClassScores,
    CostCurve,
    Coverage,
    ReviewLoad,
)
from penchant.metrics.interest import Curve, Reliability, precision_recall, reliability, roc
from penchant.metrics.intervals import (
    MIN_USERS,
    Difference,
    DrawnDifference,
    Interval,
    IntervalConfig,
    corrected,
    draw_counts,
    exact_interval,
    interval_ends,
)
from penchant.metrics.within_folds import FoldOrder, average_precision_within, ranks_within

BATCH_CELLS = 1_000_000
COSTS = ((1.0, 1.0), (5.0, 1.0), (1.0, 5.0))
"""Costs of a miss and of a false alarm, one curve for each pair."""
NUM_THRESHOLDS = 101


def evaluate_classification(
    answers: Mapping[str, ClassifierAnswers],
    labels: Int64[np.ndarray, " samples"],
    classes: Sequence[str],
    *,
    ours: str,
    metric: str = "macro_f1",
    positive: str | None = None,
    groups: Sequence[str | None] | None = None,
    folds: Int64[np.ndarray, "repeats samples"] | None = None,
    config: IntervalConfig | None = None,
    notes: Sequence[str] = (),
    simple: str | None = None,
    promised: float = 0.0,
) -> ClassificationResults:
    """Return every score of a classification.

    Args:
        answers: By row.
        labels: The truth.
        classes: Names.
        ours: The row that is compared with all others.
        metric: One of `METRICS`; decides outcomes and the order of rows.
        positive: Positive class of two; None takes the last.
        groups: Resampling unit of each sample; None resamples samples.
        folds: Fit that answered each sample, for each repeat; rankings are compared within one fit only. None: one fit for all.
        config: Settings of intervals.
        notes: For the reader.
        simple: Row of the one comparison that was planned; its interval is its own, not that of all rows at once.
        promised: Share of samples whose class is promised to be plausible; 0 promises nothing.

    Raises:
        DataError: The labels hold one class only, or there is no such metric.
    """
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"All {len(labels):,} test samples are {classes[labels[0]] if len(labels) else 'gone'!r}: nothing can be measured.",
            where="evaluation of classes",
            fix="bring test samples of another class",
        )
    if metric not in METRICS:
        raise DataError(
            f"There is no metric {metric!r}.", where="evaluation.metric", fix=f"one of {', '.join(METRICS)}"
        )
    config = config or IntervalConfig()
    positive_index = _positive(classes, positive)
    unit = _units(groups, len(labels))
    shown = list(range(len(classes))) if positive_index is None else [positive_index]
    fold = np.zeros((len(answers[ours].answer), len(labels)), np.int64) if folds is None else folds
    drawn = {name: UnitScores(row, labels, unit, fold, len(classes), shown) for name, row in answers.items()}
    draws = _draw(drawn, int(unit.max()) + 1, config)
    rarest = min(len(np.unique(unit[labels == k])) for k in np.unique(labels))
    rows = _rows(answers, drawn, draws, ours, metric, int(unit.max()) + 1, rarest, config)
    best = answers[ours]
    return ClassificationResults(
        tuple(classes),
        None if positive_index is None else classes[positive_index],
        metric,
        len(labels),
        int(unit.max()) + 1,
        len(best.answer),
        rows,
        tuple(_by_class(best, labels, fold, classes)),
        tuple(tuple(row) for row in _confusion(best.answer, labels, len(classes)).tolist()),
        _reliability(best, labels, positive_index),
        _costs(best, labels, positive_index),
        _review_load(best, labels),
        (*_too_few(labels, unit, groups is not None), *notes),
        None if simple is None else _planned(drawn, draws, ours, simple, metric, int(unit.max()) + 1, config),
        _coverage(best, labels, unit, promised, config),
    )


class UnitScores:
    """Confusion and rank order of one row by unit, so that each draw of units needs only new counts."""

    def __init__(
        self,
        answers: ClassifierAnswers,
        labels: Int64[np.ndarray, " samples"],
        unit: np.ndarray,
        folds: np.ndarray,
        num_classes: int,
        shown: list[int],
    ) -> None:
        self.num_classes = num_classes
        num_units = int(unit.max()) + 1
        self.cells = []
        for answer in answers.answer:
            cells = np.zeros((num_units, num_classes**2))
            np.add.at(cells, (unit, labels * num_classes + answer), 1.0)
            self.cells.append(cells)
        self.orders = [
            [FoldOrder.of(labels == k, p[:, k], unit, fold) for k in shown if 0 < (labels == k).sum() < len(labels)]
            for p, fold in zip(answers.probability, folds, strict=True)
        ]

    def scores(
        self, counts: Float64[np.ndarray, "draws units"], *, with_auc: bool = True
    ) -> dict[str, Float64[np.ndarray, " draws"]]:
        """Return each metric under each draw, the mean over repeats; without `with_auc` only those of answers."""
        each = [
            from_confusion((counts @ cells).reshape(-1, self.num_classes, self.num_classes)) for cells in self.cells
        ]
        found = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
        if not with_auc:
            return found
        areas = [np.stack([order.areas(counts) for order in orders]) for orders in self.orders if orders]
        with np.errstate(invalid="ignore"):
            found["auc"] = np.mean([area.mean(axis=0) for area in areas], axis=0)
        return found


def from_confusion(confusion: Float64[np.ndarray, "draws classes classes"]) -> dict[str, Float64[np.ndarray, " draws"]]:
    """Return accuracy and averages over classes; a class without a sample does not count.

    Args:
        confusion: True class by answer.
    """
    support, answered = confusion.sum(axis=2), confusion.sum(axis=1)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    precision = np.divide(right, answered, out=np.zeros_like(right), where=answered > 0)
    recall = np.divide(right, support, out=np.zeros_like(right), where=support > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)
    there = support > 0
    number, total = np.maximum(there.sum(axis=1), 1), np.maximum(support.sum(axis=1), 1)

    def macro(values: np.ndarray) -> np.ndarray:
        return np.where(there, values, 0.0).sum(axis=1) / number

    return {
        "accuracy": right.sum(axis=1) / total,
        "macro_f1": macro(f1),
        "weighted_f1": (f1 * support).sum(axis=1) / total,
        "macro_precision": macro(precision),
        "macro_recall": macro(recall),
    }


def _draw(
    drawn: Mapping[str, UnitScores], num_units: int, config: IntervalConfig
) -> dict[str, dict[str, Float64[np.ndarray, " draws"]]]:
    """Return every row's scores under the same draws of units."""
    rng = generator(config.seed, "bootstrap.labelled")
    parts: dict[str, dict[str, list[np.ndarray]]] = {name: {metric: [] for metric in METRICS} for name in drawn}
    size = max(1, BATCH_CELLS // num_units)
    for start in range(0, config.resamples, size):
        counts = draw_counts(rng, min(size, config.resamples - start), num_units)
        for name, one in drawn.items():
            for metric, values in one.scores(counts).items():
                parts[name][metric].append(values)
    return {name: {metric: np.concatenate(v) for metric, v in found.items()} for name, found in parts.items()}


def _rows(
    answers: Mapping[str, ClassifierAnswers],
    drawn: Mapping[str, UnitScores],
    draws: Mapping[str, Mapping[str, np.ndarray]],
    ours: str,
    metric: str,
    num_units: int,
    rarest: int,
    config: IntervalConfig,
) -> tuple[ClassificationRow, ...]:
    once = np.ones((1, num_units))
    points = {name: {m: float(v[0]) for m, v in one.scores(once).items()} for name, one in drawn.items()}
    others = sorted((name for name in answers if name != ours), key=lambda name: -points[name][metric])
    gaps = corrected(
        [
            DrawnDifference(
                points[ours][metric] - points[name][metric], draws[ours][metric] - draws[name][metric], num_units
            )
            for name in others
        ],
        config,
    )
    found: list[tuple[str, Difference | None]] = [(ours, None), *zip(others, gaps, strict=True)]
    return tuple(
        ClassificationRow(
            name,
            answers[name].role,
            answers[name].uses,
            {
                m: Interval(
                    points[name][m], *_ends(m, points[name][m], draws[name][m], num_units, rarest, config), num_units
                )
                for m in METRICS
            },
            gap,
        )
        for name, gap in found
    )


def _ends(
    metric: str, point: float, draws: np.ndarray, num_units: int, rarest: int, config: IntervalConfig
) -> tuple[float, float]:
    """Return the ends of an interval: exact where every draw is 0 or 1, and for the accuracy of few units; else of the draws.

    Drawn again, answers that are all right are all right in every draw; this says nothing about the next ones.
    """
    count = num_units if metric == "accuracy" else rarest
    is_same = point in (0.0, 1.0) and not np.isnan(draws).all() and float(np.nanmax(draws) - np.nanmin(draws)) == 0
    if (is_same and num_units >= MIN_USERS) or (metric == "accuracy" and num_units < MIN_USERS):
        return exact_interval(point, count, config.confidence)
    return interval_ends(draws, num_units, config)


def _too_few(labels: np.ndarray, unit: np.ndarray, has_groups: bool) -> tuple[str, ...]:
    """Return the note that the test is too small to tell; none where it is not."""
    count = int(unit.max()) + 1
    if count >= MIN_USERS:
        return ()
    if has_groups:
        return (
            message(
                "Too few to tell: the test has {samples} samples of {units} groups, and samples of one group are not independent. From {least} "
                "groups on there are intervals; that of accuracy is exact and counts groups.",
                samples=len(labels),
                units=count,
                least=MIN_USERS,
            ),
        )
    return (
        message(
            "Too few to tell: the test has {samples} samples. From {least} on there are intervals; that of accuracy is exact.",
            samples=len(labels),
            least=MIN_USERS,
        ),
    )


def _planned(
    drawn: Mapping[str, UnitScores],
    draws: Mapping[str, Mapping[str, np.ndarray]],
    ours: str,
    simple: str,
    metric: str,
    num_units: int,
    config: IntervalConfig,
) -> Difference:
    """Return ours minus the row of the planned comparison."""
    once = np.ones((1, num_units))
    gap = float((drawn[ours].scores(once)[metric] - drawn[simple].scores(once)[metric])[0])
    return corrected([DrawnDifference(gap, draws[ours][metric] - draws[simple][metric], num_units)], config)[0]


def _coverage(
    best: ClassifierAnswers, labels: np.ndarray, unit: np.ndarray, promised: float, config: IntervalConfig
) -> Coverage | None:
    """Return how often the true class is plausible; the interval is over units."""
    if promised == 0 or best.plausible is None:
        return None
    kept = best.plausible[:, np.arange(len(labels)), labels].mean(axis=0)  # (samples,)
    size = np.bincount(unit)
    counts = draw_counts(generator(config.seed, "bootstrap.coverage"), min(config.resamples, 500), len(size))
    draws = (counts @ np.bincount(unit, kept)) / (counts @ size)
    by_class = tuple(
        float(kept[labels == k].mean()) if (labels == k).any() else float("nan")
        for k in range(best.probability.shape[2])
    )
    each = best.plausible.sum(axis=2)
    mean = float(kept.mean())
    ends = interval_ends(draws, len(size), config)
    return Coverage(promised, Interval(mean, *ends, len(size)), by_class, float(each.mean()), float((each == 1).mean()))


def _positive(classes: Sequence[str], positive: str | None) -> int | None:
    if len(classes) != 2:
        return None
    return len(classes) - 1 if positive is None else list(classes).index(positive)


def _units(groups: Sequence[str | None] | None, count: int) -> Int64[np.ndarray, " samples"]:
    if groups is None:
        return np.arange(count)
    named = [f"sample {row}" if group is None else f"group {group}" for row, group in enumerate(groups)]
    return np.unique(named, return_inverse=True)[1]


def _by_class(
    best: ClassifierAnswers, labels: np.ndarray, folds: np.ndarray, classes: Sequence[str]
) -> list[ClassScores]:
    numbers = np.arange(len(classes))
    each = [
        precision_recall_fscore_support(labels, answer, labels=numbers, average=None, zero_division=0.0)[:3]
        for answer in best.answer
    ]
    precision, recall, f1 = np.mean(each, axis=0)
    return [
        ClassScores(
            name,
            int((labels == k).sum()),
            float(precision[k]),
            float(recall[k]),
            float(f1[k]),
            *_ranked(best.probability[..., k], labels == k, folds),
        )
        for k, name in enumerate(classes)
    ]


def _ranked(
    probability: Float64[np.ndarray, "repeats samples"],
    truth: Bool[np.ndarray, " samples"],
    folds: Int64[np.ndarray, "repeats samples"],
) -> tuple[float, float, Curve, Curve]:
    """Return both areas, means over repeats, and both curves, over the samples of all repeats."""
    if truth.all() or not truth.any():
        return float("nan"), float("nan"), Curve((), ()), Curve((), ())
    once, same = np.ones((1, 1)), np.zeros(len(truth), np.int64)
    repeats = list(zip(probability, folds, strict=True))
    area = np.mean([FoldOrder.of(truth, p, same, fold).areas(once)[0] for p, fold in repeats])
    average = np.mean([average_precision_within(truth, p, fold) for p, fold in repeats])
    one_fit = len(np.unique(folds)) == 1
    score = np.concatenate([p if one_fit else ranks_within(p, fold) for p, fold in repeats])
    labels = np.tile(truth, len(repeats))
    return float(area), float(average), roc(labels, score), precision_recall(labels, score)


def _confusion(answer: np.ndarray, labels: np.ndarray, num_classes: int) -> Float64[np.ndarray, "classes classes"]:
    cells = labels * num_classes + answer  # (repeats, samples)
    return np.bincount(cells.ravel(), minlength=num_classes**2).reshape(num_classes, num_classes) / len(answer)


def _reliability(best: ClassifierAnswers, labels: np.ndarray, positive_index: int | None) -> Reliability:
    truth = np.tile(labels, len(best.answer))
    probability = best.probability.reshape(len(truth), -1)
    if positive_index is not None:
        return reliability(truth == positive_index, probability[:, positive_index])
    answer = probability.argmax(axis=1)
    return reliability(truth == answer, probability[np.arange(len(truth)), answer])


def _costs(best: ClassifierAnswers, labels: np.ndarray, positive_index: int | None) -> tuple[CostCurve, ...]:
    if positive_index is None:
        return ()
    truth = np.tile(labels, len(best.answer)) == positive_index
    probability = best.probability[..., positive_index].ravel()
    thresholds = np.linspace(0, 1, NUM_THRESHOLDS)
    yes, no = np.sort(probability[truth]), np.sort(probability[~truth])
    missed = np.searchsorted(yes, thresholds, side="left")
    false = len(no) - np.searchsorted(no, thresholds, side="left")
    found = []
    for miss, alarm in COSTS:
        cost = (miss * missed + alarm * false) / (miss * len(yes) + alarm * len(no))
        curve = Curve(tuple(thresholds.tolist()), tuple(cost.tolist()))
        found.append(CostCurve(miss, alarm, curve, float(thresholds[int(np.argmin(cost))])))
    return tuple(found)


def _review_load(best: ClassifierAnswers, labels: np.ndarray) -> ReviewLoad:
    right = best.answer == labels
    kept = ~best.is_unsure
    accuracy = float(right[kept].mean()) if kept.any() else float("nan")
    return ReviewLoad(float(best.is_unsure.mean()), accuracy, float(right.mean()))
