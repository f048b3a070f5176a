"""Scores of left-out answers, and what they can tell.

In: labels, independent units, and the answers of fits that had not seen these samples. Out: scores, the same under draws of units, and whether
one set of answers is clearly better than another. Few units (speakers, patients) count as few samples, whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from penchant.classifiers.combined import Probability
from penchant.core.seeds import generator
from penchant.metrics.classification import UnitScores
from penchant.metrics.classification_results import ClassifierAnswers
from penchant.metrics.intervals import MIN_USERS, draw_counts

Metric = Literal["auc", "accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall", "cross_entropy"]
DRAWS = 300
"""Draws of units behind one comparison."""
PARTS = 5
"""Parts of left-out samples on which weights, calibration and thresholds are tried."""
MIN_PROBABILITY = 1e-6
FEW = 2
"""A class of fewer units than parts cannot be in every part."""


@dataclass(frozen=True)
class Gain:
    """How much better one set of answers is than another on the same samples.

    Attributes:
        mean: First minus second.
        low: Lower end of the 95 % interval over units.
        error: Standard error.
    """

    mean: float
    low: float
    error: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0


@dataclass(frozen=True)
class LeftOut:
    """Samples whose answers come from fits without them.

    Attributes:
        labels: (samples,) the truth.
        unit: (samples,) independent unit of each, 0 and up.
        fold: (samples,) fit that gave the log-probabilities; rankings are compared within one.
        num_classes: Of the task.
        seed: Of the draws.
    """

    labels: Int64[np.ndarray, " samples"]
    unit: Int64[np.ndarray, " samples"]
    fold: Int64[np.ndarray, " samples"]
    num_classes: int
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def parts(self) -> Int64[np.ndarray, " samples"]:
        """Part of each sample, 0 to `PARTS` - 1, whole units in each; all 0 where a class has too few units to divide."""
        return deal(self.labels, self.unit, PARTS, generator(self.seed, "left_out.parts"))

    def held(self) -> Iterator[tuple[Bool[np.ndarray, " samples"], Bool[np.ndarray, " samples"]]]:
        """Yield masks of the samples to fit on and to try on; nothing where there are too few to divide."""
        for number in range(1 if self.parts.max(initial=0) == 0 else self.parts.max() + 1):
            out = self.parts == number
            if not out.all() and out.any():
                yield ~out, out

    @property
    def can_hold_out(self) -> bool:
        return bool(self.parts.max(initial=0) > 0)

    @cached_property
    def counts(self) -> Float64[np.ndarray, "draws units"]:
        """Row 0 counts every unit once, the others are draws."""
        num_units = int(self.unit.max()) + 1
        drawn = draw_counts(generator(self.seed, "left_out.draws"), DRAWS, num_units)
        return np.concatenate([np.ones((1, num_units)), drawn])

    def scores(self, probability: Probability, answers: Int64[np.ndarray, " samples"], metric: Metric) -> np.ndarray:
        """Return the score and then its draws; higher is better."""
        if metric == "cross_entropy":
            of_truth = np.log(np.maximum(probability[np.arange(len(self)), self.labels], MIN_PROBABILITY))
            return self._mean(of_truth)
        said = ClassifierAnswers(probability[None], answers[None], np.zeros((1, len(self)), bool))
        shown = list(range(self.num_classes)) if metric == "auc" else []
        found = UnitScores(said, self.labels, self.unit, self.fold[None], self.num_classes, shown)
        return found.scores(self.counts, with_auc=metric == "auc")[metric]

    def gain(self, first: np.ndarray, second: np.ndarray) -> Gain:
        """Return how much better the first of two `scores` is."""
        difference = (first - second)[~np.isnan(first - second)]
        if len(difference) < 2 or np.isnan(first[0] - second[0]):
            return Gain(0.0, float("-inf"), float("inf"))
        draws = difference[1:]
        enough = self.counts.shape[1] >= MIN_USERS  # drawn again, few units look alike: nothing is clear
        low = float(np.quantile(draws, 0.025)) if enough else float("-inf")
        return Gain(float(first[0] - second[0]), low, float(draws.std()))

    def loss_gain(self, before: Float64[np.ndarray, " samples"], after: Float64[np.ndarray, " samples"]) -> Gain:
        """Return how much lower the second of two losses of each sample is."""
        return self.gain(self._mean(-after), self._mean(-before))

    def _mean(self, values: Float64[np.ndarray, " samples"]) -> np.ndarray:
        num_units = self.counts.shape[1]
        sums, sizes = np.bincount(self.unit, values, num_units), np.bincount(self.unit, minlength=num_units)
        return np.asarray((self.counts @ sums) / np.maximum(self.counts @ sizes, 1))


def deal(
    labels: Int64[np.ndarray, " samples"], unit: Int64[np.ndarray, " samples"], folds: int, rng: np.random.Generator
) -> Int64[np.ndarray, " samples"]:
    """Return the fold of each sample: units are dealt in turn, class by class, in random order.

    Where a class has fewer units than folds there are so many folds; with a single unit in a class, only fold 0.
    """
    num_units, num_classes = int(unit.max(initial=-1)) + 1, int(labels.max(initial=0)) + 1
    cells = np.bincount(unit * num_classes + labels, minlength=num_units * num_classes).reshape(num_units, num_classes)
    stratum = cells.argmax(axis=1)
    fewest = min((int((cells[:, k] > 0).sum()) for k in range(num_classes) if cells[:, k].any()), default=0)
    folds = min(folds, fewest)
    if folds < FEW:
        return np.zeros(len(labels), np.int64)
    order = np.lexsort((rng.random(num_units), stratum))
    fold = np.empty(num_units, np.int64)
    fold[order] = np.arange(num_units) % folds
    return fold[unit]
