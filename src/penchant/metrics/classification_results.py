"""Results of a classification: per row, per class, costs, review load.

In: the answers of each row on held-out samples (`ClassifierAnswers`). Out, from `classification`: `ClassificationResults`: scores with
paired intervals, the confusion matrix, curves, calibration, costs, and the share left to reviewers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64

from penchant.metrics.interest import Curve, Reliability
from penchant.metrics.intervals import BETTER, SAME, WORSE, Difference, Interval

METRICS = ("accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall", "auc")


@dataclass(frozen=True)
class ClassifierAnswers:
    """Answers of one row on the test samples.

    Attributes:
        probability: (repeats, samples, classes); more than one repeat where folds were drawn again.
        answer: (repeats, samples) class index.
        is_unsure: (repeats, samples) whether a reviewer decides.
        uses: Modalities.
        role: "ours", "alone" (one modality), "simple", "member", "fused" or "baseline".
        plausible: (repeats, samples, classes) whether each class is; None where nothing is promised.
    """

    probability: Float64[np.ndarray, "repeats samples classes"]
    answer: Int64[np.ndarray, "repeats samples"]
    is_unsure: Bool[np.ndarray, "repeats samples"]
    uses: tuple[str, ...] = ()
    role: str = "member"
    plausible: Bool[np.ndarray, "repeats samples classes"] | None = None


@dataclass(frozen=True)
class Coverage:
    """What was promised of the plausible classes, and what was kept on the test.

    Attributes:
        promised: Share of samples whose class is plausible.
        kept: The same on the test.
        by_class: The same of each class; NaN without test samples of it.
        size: Mean number of plausible classes.
        single: Share of samples with exactly one.
    """

    promised: float
    kept: Interval
    by_class: tuple[float, ...]
    size: float
    single: float


@dataclass(frozen=True)
class ClassificationRow:
    """One row of the comparison.

    Attributes:
        name: The row.
        role: As in `ClassifierAnswers`.
        uses: Modalities.
        scores: Metric to mean and interval.
        difference: Ours minus this row in the metric of the comparison; None for ours.
    """

    name: str
    role: str
    uses: tuple[str, ...]
    scores: Mapping[str, Interval]
    difference: Difference | None = None


@dataclass(frozen=True)
class ClassScores:
    """One class of ours, against the rest.

    Attributes:
        name: The class.
        support: Samples of it.
        precision: Share of answers of this class that are right.
        recall: Share of its samples that are answered right.
        f1: Harmonic mean of the two.
        auc: Area under the ROC curve; NaN without test samples of the class.
        average_precision: Area under the precision-recall curve.
        roc: False positive rate to true positive rate.
        precision_recall: Recall to precision.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    auc: float
    average_precision: float
    roc: Curve
    precision_recall: Curve


@dataclass(frozen=True)
class CostCurve:
    """Cost by threshold of the positive class, as a share of the cost of all answers wrong.

    Attributes:
        miss: Cost of a miss.
        false_alarm: Cost of a false alarm.
        curve: Threshold to cost.
        best: Threshold of least cost on these samples: a description of the curve, not a setting.
    """

    miss: float
    false_alarm: float
    curve: Curve
    best: float


@dataclass(frozen=True)
class ReviewLoad:
    """Share and accuracy of the answers left to human review.

    Attributes:
        share: Samples that a reviewer decides.
        accuracy: Of the other answers; NaN without any.
        accuracy_of_all: Of all answers, without review.
    """

    share: float
    accuracy: float
    accuracy_of_all: float


@dataclass(frozen=True)
class ClassificationResults:
    """All results of one classification.

    Attributes:
        classes: Names; of two, the last is the positive one unless `positive` says otherwise.
        positive: Class whose curves are shown for two classes; None for more.
        metric: Of the comparison.
        num_samples: Of the test.
        num_units: Speakers, patients, ... they come from; samples where there are no groups.
        num_repeats: Number of draws of the folds.
        rows: Ours first, then by `metric`.
        by_class: Of ours.
        confusion: Of ours, true class by answer, mean over repeats.
        reliability: Of ours: of the positive class, or of the answer given where there are more than two.
        costs: Of the positive class; empty for more than two.
        review_load: Of ours.
        notes: For the reader ("not a diagnosis").
        against_simple: Ours minus the best simple row on left-out samples, one comparison planned beforehand; None where ours is that row
            or there is none.
        coverage: Of the plausible classes of ours; None where nothing is promised.
    """

    classes: tuple[str, ...]
    positive: str | None
    metric: str
    num_samples: int
    num_units: int
    num_repeats: int
    rows: tuple[ClassificationRow, ...]
    by_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[float, ...], ...]
    reliability: Reliability
    costs: tuple[CostCurve, ...]
    review_load: ReviewLoad
    notes: tuple[str, ...] = field(default=())
    against_simple: Difference | None = None
    coverage: Coverage | None = None

    @property
    def ours(self) -> ClassificationRow:
        return self.rows[0]

    def outcome(self) -> str:
        """Return whether fusion helps: better only where it is better than every modality alone; "" without fusion."""
        alone = [row.difference for row in self.rows if row.role == "alone" and row.difference is not None]
        if len(self.ours.uses) < 2 or not alone:
            return ""
        outcomes = {difference.outcome for difference in alone}
        return WORSE if WORSE in outcomes else SAME if SAME in outcomes else BETTER
