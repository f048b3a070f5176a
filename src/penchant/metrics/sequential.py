"""Intervals that hold at every moment, however often one looks.

In: one number for each unit of two groups, in the order in which they came. Out: the difference of the means with an interval that covers
the true difference at all times together with a probability of 95 %: a test may be read, and ended, whenever one likes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from penchant.metrics.intervals import BETTER, SAME, WORSE

MIN_UNITS = 100
"""Units of each group below which no interval is given: the variance is not known yet."""
MIN_EVENTS = 10
"""Units of each group that must differ from its median: of rare events the first few say too little."""
TUNED_FOR = 5000
"""Number of units, of both groups together, for which the interval is narrowest."""


@dataclass(frozen=True)
class SequentialDifference:
    """A difference of means, the second group minus the first.

    Attributes:
        first: Mean of the first group.
        second: Mean of the second one.
        low: Lower end of the interval of the difference; NaN while there are too few units.
        high: Upper end.
        num_first: Units of the first group.
        num_second: Units of the second one.
    """

    first: float
    second: float
    low: float
    high: float
    num_first: int
    num_second: int

    @property
    def mean(self) -> float:
        return self.second - self.first

    @property
    def outcome(self) -> str:
        """Whether the second group is "better" or "worse"; else "not distinguishable"."""
        if self.low > 0:
            return BETTER
        return WORSE if self.high < 0 else SAME


def sequential_difference(
    first: Float64[np.ndarray, " first"],
    second: Float64[np.ndarray, " second"],
    *,
    confidence: float = 0.95,
    comparisons: int = 1,
) -> SequentialDifference:
    """Return the difference of two means with an interval that is valid at any time.

    The boundary of a normal mixture (the mixture sequential probability ratio test), with the variance as measured so far: the coverage is
    asymptotic, so it begins after `MIN_UNITS`.

    Source: Howard, Ramdas, McAuliffe and Sekhon 2021 (boundary); Johari, Koomen, Pekelis and Walsh 2022 (always-valid tests); Waudby-Smith, Arbour,
    Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory" (measured variance).

    Args:
        first: Of the first group, one number for each unit.
        second: Of the second group.
        confidence: Probability that the interval covers at all times.
        comparisons: Differences that are looked at together; each gets its part of what may fail.
    """
    one, other = (float(part.mean()) if len(part) else float("nan") for part in (first, second))
    sizes = len(first), len(second)
    if min(map(_varied, (first, second))) < MIN_EVENTS or min(sizes) < MIN_UNITS:
        return SequentialDifference(one, other, float("nan"), float("nan"), *sizes)
    total = sum(sizes)
    variance = total * sum(float(part.var()) / len(part) for part in (first, second))
    half = math.sqrt(variance) * half_width(total, (1 - confidence) / comparisons)
    gap = other - one
    return SequentialDifference(one, other, gap - half, gap + half, *sizes)


def half_width(count: int, alpha: float, tuned_for: int = TUNED_FOR) -> float:
    """Return half the width, in standard deviations of one unit, of the interval of a mean after `count` units."""
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned_for
    grown = count * rho2 + 1
    return math.sqrt(2 * grown / (count * count * rho2) * math.log(math.sqrt(grown) / alpha))


def _varied(values: Float64[np.ndarray, " units"]) -> int:
    """Return how many units differ from the median: of rare events, how many there were."""
    return int((values != np.median(values)).sum()) if len(values) else 0
