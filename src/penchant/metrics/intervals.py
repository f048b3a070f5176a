"""Bootstrap intervals and paired differences.

In: one number for each user and recommender. Out: means, paired differences, 95 % intervals, and the words for them.
Users are drawn again with replacement; the same draws serve every column, so all comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.stats import beta, rankdata

from penchant.core.config import Settings
from penchant.core.messages import message
from penchant.core.seeds import generator

BETTER = message("better")
WORSE = message("worse")
SAME = message("not distinguishable")

MIN_USERS = 10
"""With fewer users a bootstrap interval is far too narrow, so none is given."""

MAX_UNITS = 20_000
"""Above this, users are first put into that many groups at random and groups are drawn: equal width, bounded cost."""

BATCH_CELLS = 4_000_000
"""Draws held at once: 32 MB."""


class IntervalConfig(Settings):
    """Settings of intervals."""

    resamples: int = 2000
    """How often the users are drawn again."""

    confidence: float = 0.95
    """Share of such intervals that hold the true value."""

    seed: int = 0
    """Seed of the draws."""


@dataclass(frozen=True)
class Interval:
    """A mean over users and where it may lie; `low` and `high` are NaN with fewer than `MIN_USERS` users."""

    mean: float
    low: float
    high: float
    num_users: int


@dataclass(frozen=True)
class Difference:
    """A paired difference of means, first minus second.

    Attributes:
        mean: In units of the metric.
        low: Lower end of the interval; NaN with fewer than `MIN_USERS` users.
        high: Upper end.
        p: Two-sided bootstrap p value, at least 2 / (resamples + 1); adjusted where several were compared.
        outcome: "better", "worse" or "not distinguishable".
        num_users: Users who count in both.
    """

    mean: float
    low: float
    high: float
    p: float
    outcome: str
    num_users: int


class BootstrapMeans:
    """Means of several columns under the same draws of users.

    Args:
        values: (users, columns), one number for each user; NaN where a user does not count in that column.
        config: Number of draws, confidence, seed.
    """

    def __init__(self, values: Float64[np.ndarray, "users columns"], config: IntervalConfig | None = None) -> None:
        self.config = config or IntervalConfig()
        self._values = np.asarray(values, np.float64)
        self._means = _resampled_means(self._values, self.config)  # (resamples, columns)

    def interval(self, column: int) -> Interval:
        """Return the mean of one column and its interval."""
        values = self._values[:, column]
        count = int((~np.isnan(values)).sum())
        mean = float(np.nanmean(values)) if count else float("nan")
        return Interval(mean, *interval_ends(self._means[:, column], count, self.config), count)

    def difference(self, first: int, second: int) -> Difference:
        """Return how much larger the first column is, over users who count in both."""
        both = ~np.isnan(self._values[:, first] - self._values[:, second])
        count = int(both.sum())
        if (np.isnan(self._values[:, first]) != np.isnan(self._values[:, second])).any():
            pair = np.where(both[:, None], self._values[:, [first, second]], np.nan)
            return BootstrapMeans(pair, self.config).difference(0, 1)
        mean = float((self._values[both, first] - self._values[both, second]).mean()) if count else float("nan")
        return drawn_difference(mean, self._means[:, first] - self._means[:, second], count, self.config)


def interval_ends(draws: Float64[np.ndarray, " resamples"], count: int, config: IntervalConfig) -> tuple[float, float]:
    """Return the ends of the interval of a drawn statistic; NaN with fewer than `MIN_USERS` units."""
    if count < MIN_USERS or np.isnan(draws).all():
        return float("nan"), float("nan")
    tail = (1.0 - config.confidence) / 2
    low, high = np.nanquantile(draws, [tail, 1.0 - tail])
    return float(low), float(high)


def drawn_difference(
    mean: float, draws: Float64[np.ndarray, " resamples"], count: int, config: IntervalConfig
) -> Difference:
    """Return a difference with the interval, p value and outcome of its draws."""
    low, high = interval_ends(draws, count, config)
    known = draws[~np.isnan(draws)]
    tail = min((known <= 0).sum(), (known >= 0).sum())
    p = float(min(1.0, 2.0 * (tail + 1) / (known.size + 1))) if count >= MIN_USERS else 1.0
    return Difference(mean, low, high, p, _outcome(low, high), count)


def mean_interval(values: Float64[np.ndarray, " users"], config: IntervalConfig | None = None) -> Interval:
    """Return the mean of one number for each user, with its interval; NaN users do not count."""
    return BootstrapMeans(np.asarray(values)[:, None], config).interval(0)


def paired_difference(
    first: Float64[np.ndarray, " users"], second: Float64[np.ndarray, " users"], config: IntervalConfig | None = None
) -> Difference:
    """Return how much larger the first is on the same users, with its interval and outcome."""
    return BootstrapMeans(np.column_stack([first, second]), config).difference(0, 1)


def adjust(differences: Sequence[Difference], confidence: float = 0.95) -> list[Difference]:
    """Return the differences with p values and outcomes that allow for their number; the intervals stay as they are.

    A difference keeps "better" or "worse" only where its interval excludes 0 and its adjusted p is small enough.

    Source: Holm, 1979, "A simple sequentially rejective multiple test procedure".
    """
    adjusted = holm(np.array([d.p for d in differences]))
    kept = adjusted <= 1.0 - confidence
    return [
        replace(d, p=float(p), outcome=d.outcome if keep else SAME)
        for d, p, keep in zip(differences, adjusted, kept, strict=True)
    ]


def holm(p: Float64[np.ndarray, " comparisons"]) -> Float64[np.ndarray, " comparisons"]:
    """Return Holm's adjusted p values, in the order given."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def together(
    differences: Sequence[Difference],
    draws: Sequence[Float64[np.ndarray, " resamples"]],
    config: IntervalConfig,
) -> list[Difference]:
    """Return the differences with intervals that hold all true values at once, and the outcomes of these intervals.

    The percentiles are moved out until 95 % of the draws lie within all intervals at the same time, so that an outcome and the interval
    beside it never disagree. A single difference keeps its interval.

    Source: Montiel Olea & Plagborg-Møller, Simultaneous confidence bands, J. Applied Econometrics 2019 (sup-t, percentile form).
    """
    known = [number for number, d in enumerate(differences) if not np.isnan(d.low)]
    if len(known) < 2:
        return list(differences)
    columns = np.stack([np.nan_to_num(draws[number]) for number in known])  # (K, R)
    count = columns.shape[1]
    below = np.stack([rankdata(column, method="max") for column in columns]) / count
    above = np.stack([rankdata(-column, method="max") for column in columns]) / count
    furthest = 2 * np.minimum(below, above).min(axis=0)  # of each draw: how far out its most extreme column lies
    tail = float(np.quantile(furthest, 1 - config.confidence, method="lower")) / 2
    found = list(differences)
    for number, column in zip(known, columns, strict=True):
        low, high = np.quantile(column, [max(tail - 1 / count, 0), min(1 - tail + 1 / count, 1)])
        low, high = min(float(low), found[number].low), max(float(high), found[number].high)
        found[number] = replace(found[number], low=low, high=high, outcome=_outcome(low, high))
    return found


def exact_interval(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of the exact interval of a share of `count` independent units, for a share of 0 or 1 and for few units.

    Source: Clopper & Pearson, Biometrika 1934.
    """
    right, tail = share * count, (1 - confidence) / 2
    low = 0.0 if right <= 0 else float(beta.ppf(tail, right, count - right + 1))
    high = 1.0 if right >= count else float(beta.ppf(1 - tail, right + 1, count - right))
    return low, high


def draw_counts(rng: np.random.Generator, draws: int, units: int) -> Float64[np.ndarray, "draws units"]:
    """Return how often each unit was drawn, in `draws` samples of as many units with replacement."""
    picked = rng.integers(0, units, (draws, units))
    picked += np.arange(draws)[:, None] * units
    return np.bincount(picked.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float64)


def _resampled_means(
    values: Float64[np.ndarray, "users columns"], config: IntervalConfig
) -> Float64[np.ndarray, "draws columns"]:
    """Return each column's mean in each resample: drawn sums over drawn counts, a batch of resamples at a time."""
    rng = generator(config.seed, "bootstrap")
    counted = ~np.isnan(values)
    sums, sizes = _grouped(np.where(counted, values, 0.0)), _grouped(counted.astype(np.float64))
    means = np.full((config.resamples, values.shape[1]), np.nan)
    if not len(values):
        return means
    size = max(1, BATCH_CELLS // len(sums))
    for start in range(0, config.resamples, size):
        counts = draw_counts(rng, min(size, config.resamples - start), len(sums))
        drawn = counts @ sizes
        np.divide(counts @ sums, drawn, out=means[start : start + len(counts)], where=drawn > 0)
    return means


def _grouped(rows: Float64[np.ndarray, "users columns"]) -> Float64[np.ndarray, "units columns"]:
    """Return sums over random groups of users where there are more than `MAX_UNITS`, else the rows themselves."""
    if len(rows) <= MAX_UNITS:
        return rows
    order = generator(0, "bootstrap.groups").permutation(len(rows))
    starts = np.linspace(0, len(rows), MAX_UNITS, endpoint=False).astype(np.int64)
    return np.add.reduceat(rows[order], starts, axis=0)


def _outcome(low: float, high: float) -> str:
    """Return the word for an interval of a difference; an interval that is missing or touches 0 decides nothing."""
    if low > 0:
        return BETTER
    return WORSE if high < 0 else SAME
