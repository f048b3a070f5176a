"""Binary metrics of yes-or-no interest.

In: a label, a probability and a group (the user) for each pair. Out: `InterestResults`: scores, curves, calibration, an AUC with its interval.
The threshold and the calibration are fitted on validation pairs and only applied to test pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from penchant.core.errors import DataError
from penchant.core.seeds import generator
from penchant.metrics.intervals import MIN_USERS, Interval, IntervalConfig, draw_counts, interval_ends

BATCH_CELLS = 1_000_000
"""Weights of pairs held at once: 8 MB, which a processor's cache nearly holds."""

MAX_POINTS = 400
"""Points of a curve that are kept; a plot shows no more."""


@dataclass(frozen=True)
class Curve:
    """Points of a curve, x ascending, thinned to at most `MAX_POINTS`."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Reliability:
    """Reliability of probabilities: predicted against observed rate.

    Attributes:
        probability: Mean probability of each bin.
        share: Share of positives in each bin.
        count: Pairs in each bin; empty bins are left out.
        error: Expected calibration error: the mean distance of the two, weighted by count.
    """

    probability: tuple[float, ...]
    share: tuple[float, ...]
    count: tuple[int, ...]
    error: float


@dataclass(frozen=True)
class InterestResults:
    """Results of one recommender on the yes-or-no question.

    Attributes:
        name: The recommender.
        num_pairs: Pairs evaluated.
        num_groups: Users they come from.
        share_positive: Share of pairs whose label is yes: the accuracy of always answering yes.
        threshold: At or above it the answer is yes; chosen on validation pairs.
        accuracy: Share of right answers.
        precision: Share of yes answers that were right.
        recall: Share of true yes that were found.
        f1: Harmonic mean of the two.
        auc: Area under the ROC curve, with an interval over users.
        average_precision: Area under the precision-recall curve, as a step function.
        roc: False positive rate to true positive rate.
        precision_recall: Recall to precision.
        reliability: Calibration.
        is_explicit: Whether "no" is a user's dislike; else it is an untouched item drawn at random.
    """

    name: str
    num_pairs: int
    num_groups: int
    share_positive: float
    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: Interval
    average_precision: float
    roc: Curve
    precision_recall: Curve
    reliability: Reliability
    is_explicit: bool = True


def evaluate_answers(
    name: str,
    label: Bool[np.ndarray, " pairs"],
    probability: Float[np.ndarray, " scores"],
    group: Int64[np.ndarray, " scores"],
    *,
    threshold: float = 0.5,
    is_explicit: bool = True,
    config: IntervalConfig | None = None,
) -> InterestResults:
    """Return every score of one recommender on test pairs.

    Args:
        name: What the report calls it.
        label: Whether the user was interested.
        probability: 0 to 1; as many as there are labels.
        group: Row of the user, the unit that is drawn again for the interval.
        threshold: From `best_threshold` on validation pairs.
        is_explicit: Whether "no" is a user's dislike, not an untouched item.
        config: How the interval is made.

    Raises:
        DataError: Lengths differ, a probability is no number, or all labels are the same.
    """
    _check(label, probability)
    answer = probability >= threshold
    precision, recall, f1, _ = precision_recall_fscore_support(label, answer, average="binary", zero_division=0.0)
    return InterestResults(
        name,
        len(label),
        int(np.unique(group).size),
        float(label.mean()),
        float(threshold),
        float(accuracy_score(label, answer)),
        float(precision),
        float(recall),
        float(f1),
        auc_interval(label, probability, group, config),
        float(average_precision_score(label, probability)),
        roc(label, probability),
        precision_recall(label, probability),
        reliability(label, probability),
        is_explicit,
    )


def roc(label: Bool[np.ndarray, " pairs"], probability: Float[np.ndarray, " pairs"]) -> Curve:
    """Return false positive rate against true positive rate."""
    x, y, _ = roc_curve(label, probability)
    return _thinned(x, y)


def precision_recall(label: Bool[np.ndarray, " pairs"], probability: Float[np.ndarray, " pairs"]) -> Curve:
    """Return recall against precision, recall ascending."""
    precision, recall, _ = precision_recall_curve(label, probability, drop_intermediate=True)
    return _thinned(recall[::-1], precision[::-1])


def reliability(
    label: Bool[np.ndarray, " pairs"], probability: Float[np.ndarray, " pairs"], bins: int = 10
) -> Reliability:
    """Return calibration over bins of equal width.

    Source: Guo et al., 2017, "On calibration of modern neural networks", equation 3.
    """
    row = np.minimum((probability * bins).astype(np.int64), bins - 1)
    count = np.bincount(row, minlength=bins)
    used = count > 0
    mean = np.bincount(row, probability, bins)[used] / count[used]
    share = np.bincount(row, label.astype(np.float64), bins)[used] / count[used]
    error = float((np.abs(mean - share) * count[used]).sum() / max(len(label), 1))
    return Reliability(tuple(mean.tolist()), tuple(share.tolist()), tuple(count[used].tolist()), error)


def best_threshold(label: Bool[np.ndarray, " pairs"], probability: Float[np.ndarray, " pairs"]) -> float:
    """Return the threshold of the highest accuracy on validation pairs; the lowest of equals, one above every pair where "no" to all is right most often.

    Args:
        label: Whether the user was interested.
        probability: 0 to 1.

    Raises:
        DataError: Lengths differ, a probability is no number, or all labels are the same.
    """
    _check(label, probability)
    order = np.argsort(-probability, kind="stable")
    score, hit = probability[order], label[order].astype(np.float64)
    last = np.append(score[1:] != score[:-1], True)  # pairs of equal score get the same answer
    right = np.cumsum(hit)[last]
    value = right - (np.arange(1, len(hit) + 1)[last] - right)
    if value.max() < 0:  # 0 is the value of never answering yes
        return float(np.nextafter(score[0], score.dtype.type(np.inf)))
    return float(score[last][len(value) - 1 - int(np.argmax(value[::-1]))])


def fit_platt(label: Bool[np.ndarray, " pairs"], score: Float[np.ndarray, " pairs"]) -> tuple[float, float]:
    """Return slope and intercept of the map from scores of any scale to log odds, fitted on validation pairs.

    Source: Platt, 1999: targets are (positives + 1) / (positives + 2) and 1 / (negatives + 2), so that few pairs do not give
    certainty.

    Raises:
        DataError: Lengths differ, a score is no number, or all labels are the same.
    """
    _check(label, score)
    centre, scale = float(np.mean(score)), float(np.std(score)) or 1.0
    x = ((score - centre) / scale)[:, None]
    positives, negatives = label.sum(), (~label).sum()
    target = np.where(label, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    model = LogisticRegression(C=1e6, max_iter=1000)
    yes_and_no = np.repeat([True, False], len(label))
    model.fit(np.vstack([x, x]), yes_and_no, sample_weight=np.concatenate([target, 1 - target]))
    slope = float(model.coef_[0, 0]) / scale
    return slope, float(model.intercept_[0]) - slope * centre


def auc_interval(
    label: Bool[np.ndarray, " pairs"],
    probability: Float[np.ndarray, " pairs"],
    group: Int64[np.ndarray, " pairs"],
    config: IntervalConfig | None = None,
) -> Interval:
    """Return the area under the ROC curve; users, not pairs, are drawn again, since one user's pairs are alike.

    Costs resamples * pairs; memory is bounded. A draw without both labels is left out.

    Raises:
        DataError: Lengths differ, a probability is no number, or all labels are the same.
    """
    _check(label, probability)
    config = config or IntervalConfig()
    groups, member = np.unique(group, return_inverse=True)
    area = float(roc_auc_score(label, probability))
    if groups.size < MIN_USERS:
        return Interval(area, float("nan"), float("nan"), int(groups.size))
    rng = generator(config.seed, "bootstrap.auc")
    size = max(1, BATCH_CELLS // len(label))
    order = RankOrder.of(label, probability, member)
    areas = []
    for start in range(0, config.resamples, size):
        counts = draw_counts(rng, min(size, config.resamples - start), groups.size)
        areas.append(order.areas(counts))
    return Interval(area, *interval_ends(np.concatenate(areas), int(groups.size), config), int(groups.size))


@dataclass(frozen=True)
class RankOrder:
    """What of the scores an AUC depends on, so that each draw of users needs only new weights.

    Attributes:
        yes: (positives,) group of each positive.
        no: (negatives,) group of each negative, lowest score first.
        lower: (positives,) how many negatives score below each positive.
        up_to: (positives,) how many score below it or the same.
    """

    yes: Int64[np.ndarray, " positives"]
    no: Int64[np.ndarray, " negatives"]
    lower: Int64[np.ndarray, " positives"]
    up_to: Int64[np.ndarray, " positives"]

    @classmethod
    def of(
        cls,
        label: Bool[np.ndarray, " pairs"],
        probability: Float[np.ndarray, " pairs"],
        member: Int64[np.ndarray, " pairs"],
    ) -> RankOrder:
        no = np.flatnonzero(~label)
        no = no[np.argsort(probability[no], kind="stable")]
        lower, up_to = (np.searchsorted(probability[no], probability[label], side=side) for side in ("left", "right"))
        return cls(member[label], member[no], lower, up_to)

    def areas(self, counts: Float64[np.ndarray, "draws groups"]) -> Float64[np.ndarray, " draws"]:
        """Return the AUC with each pair weighted by how often its group was drawn; ties count half."""
        won, total = self.pairs(counts)
        return np.divide(won, total, out=np.full(len(counts), np.nan), where=total > 0)

    def pairs(
        self, counts: Float64[np.ndarray, "draws groups"]
    ) -> tuple[Float64[np.ndarray, " draws"], Float64[np.ndarray, " draws"]]:
        """Return the weight of the pairs that are in the right order, and of all pairs."""
        weight = counts.take(self.yes, axis=1)
        below = np.zeros((len(counts), len(self.no) + 1))  # the weight of the lowest n negatives, n = 0 ...
        np.cumsum(counts.take(self.no, axis=1), axis=1, out=below[:, 1:])
        won = 0.5 * (weight * (below.take(self.lower, axis=1) + below.take(self.up_to, axis=1))).sum(axis=1)
        return won, weight.sum(axis=1) * below[:, -1]


def _thinned(x: Float64[np.ndarray, " points"], y: Float64[np.ndarray, " points"]) -> Curve:
    """Keep the ends and evenly spaced points between them."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).round().astype(np.int64))
    return Curve(tuple(x[kept].tolist()), tuple(y[kept].tolist()))


def _check(label: Bool[np.ndarray, " pairs"], score: Float[np.ndarray, " scores"]) -> None:
    if len(label) != len(score):
        raise DataError(
            f"There are {len(label)} labels and {len(score)} scores.",
            where="evaluation of yes and no",
            fix="pass one score for each label",
        )
    if not np.isfinite(score).all():
        row = int(np.flatnonzero(~np.isfinite(score))[0])
        raise DataError(
            f"The score {score[row]} is not a number that can be ranked.",
            where=f"evaluation of yes and no, pair {row}",
            fix="leave out the pairs that have no score",
        )
    if not len(label) or label.all() or not label.any():
        word = "yes" if len(label) and label.all() else "no"
        raise DataError(
            f"All {len(label)} labels are {word!r}.",
            where="evaluation of yes and no",
            fix="pass pairs of both kinds: items the user took and items the user refused",
        )
