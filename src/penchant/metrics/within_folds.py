"""Ranking metrics compared within one fit only.

In: labels, scores, and which fit gave each score. Out: areas over the pairs of one fit, and ranks that are comparable over fits.

Scores of two fits have different scales, and a fold that trains on fewer samples of a class has more of them in its test part.
Pooled scores rank worse than those of any fold, below chance where little is learned.
Source: Forman & Scholz, SIGKDD Explorations 2010, "Apples-to-apples in cross-validation studies".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from penchant.metrics.interest import RankOrder


@dataclass(frozen=True)
class FoldOrder:
    """The rank orders of all fits of one repeat; fits with test samples of one class only hold no pair and are left out."""

    orders: tuple[RankOrder, ...]

    @classmethod
    def of(
        cls,
        label: Bool[np.ndarray, " samples"],
        score: Float64[np.ndarray, " samples"],
        unit: Int64[np.ndarray, " samples"],
        fold: Int64[np.ndarray, " samples"],
    ) -> Self:
        found = []
        for number in np.unique(fold):
            rows = fold == number
            if 0 < label[rows].sum() < rows.sum():
                found.append(RankOrder.of(label[rows], score[rows], unit[rows]))
        return cls(tuple(found))

    def areas(self, counts: Float64[np.ndarray, "draws units"]) -> Float64[np.ndarray, " draws"]:
        """Return the AUC of each draw of units: the mean over fits, weighted by their pairs; NaN where a draw holds no pair."""
        won, total = np.zeros(len(counts)), np.zeros(len(counts))
        for order in self.orders:
            more_won, more = order.pairs(counts)
            won, total = won + more_won, total + more
        return np.divide(won, total, out=np.full(len(counts), np.nan), where=total > 0)


def ranks_within(
    score: Float64[np.ndarray, " samples"], fold: Int64[np.ndarray, " samples"]
) -> Float64[np.ndarray, " samples"]:
    """Return each score's place among those of its own fit, 0 (lowest) to 1, so that one curve covers all fits."""
    place = np.zeros(len(score))
    for number in np.unique(fold):
        rows = fold == number
        place[rows] = (rankdata(score[rows]) - 0.5) / rows.sum()
    return place


def average_precision_within(
    label: Bool[np.ndarray, " samples"],
    score: Float64[np.ndarray, " samples"],
    fold: Int64[np.ndarray, " samples"],
) -> float:
    """Return the mean average precision over fits, weighted by their positives."""
    total = 0.0
    for number in np.unique(fold):
        rows = fold == number
        if label[rows].any():
            total += float(average_precision_score(label[rows], score[rows])) * int(label[rows].sum())
    return total / max(1, int(label.sum()))
