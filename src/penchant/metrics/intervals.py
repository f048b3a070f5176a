"""Bootstrap intervals and paired differences.

In: one number for each user and recommender. Out: means, paired differences, 95 % intervals, and the words for them.
Users are drawn again with replacement, each with all their rows; the same draws serve every column, so all comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64
from scipy.stats import beta

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

POWER = 0.8
"""Probability with which a difference of `Difference.detectable` would be told from 0."""


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
        low: Lower end of the interval, corrected where several were compared; NaN with fewer than `MIN_USERS` users.
        high: Upper end.
        p: Two-sided bootstrap p value, at least 2 / (resamples + 1); adjusted where several were compared.
        outcome: "better" or "worse" where the interval excludes 0, else "not distinguishable".
        num_users: Users who count in both.
        detectable: The smallest true difference that these users would show with a probability of `POWER`: 2.8 standard errors, more where
            several were compared.
    """

    mean: float
    low: float
    high: float
    p: float
    outcome: str
    num_users: int
    detectable: float = float("nan")


@dataclass(frozen=True)
class DrawnDifference:
    """A paired difference of means under draws of users, before it is corrected for others.

    Attributes:
        mean: In units of the metric.
        draws: The difference in each draw; NaN where a draw has no user.
        num_users: Users who count.
    """

    mean: float
    draws: Float64[np.ndarray, " resamples"]
    num_users: int


class BootstrapMeans:
    """Means of several columns under the same draws of users.

    Args:
        values: (rows, columns), one number for each row; NaN where a row does not count in that column.
        config: Number of draws, confidence, seed.
        users: The user of each row, who is drawn with all their rows; None where every row is another user.
    """

    def __init__(
        self,
        values: Float64[np.ndarray, "rows columns"],
        config: IntervalConfig | None = None,
        *,
        users: Sequence[str] | pl.Series | None = None,
    ) -> None:
        self.config = config or IntervalConfig()
        self._values = np.asarray(values, np.float64)
        self._user = None if users is None else user_numbers(users)
        self._means = _resampled_means(self._values, self.config, self._user)  # (resamples, columns)

    def interval(self, column: int) -> Interval:
        """Return the mean of one column over its rows, and its interval."""
        values = self._values[:, column]
        counted = ~np.isnan(values)
        count = self._count(counted)
        mean = float(np.nanmean(values)) if count else float("nan")
        return Interval(mean, *interval_ends(self._means[:, column], count, self.config), count)

    def difference(self, first: int, second: int) -> Difference:
        """Return how much larger the first column is, over rows that count in both."""
        return self.differences([(first, second)])[0]

    def differences(self, pairs: Sequence[tuple[int, int]]) -> list[Difference]:
        """Return how much larger the first column of each pair is, corrected for the number of pairs."""
        return corrected([self.drawn(*pair) for pair in pairs], self.config)

    def drawn(self, first: int, second: int) -> DrawnDifference:
        """Return the difference of two columns over rows that count in both, not corrected."""
        both = ~np.isnan(self._values[:, first] - self._values[:, second])
        if (np.isnan(self._values[:, first]) != np.isnan(self._values[:, second])).any():
            pair = np.where(both[:, None], self._values[:, [first, second]], np.nan)
            means = _resampled_means(pair, self.config, self._user)
        else:
            means = self._means[:, [first, second]]
        mean = float((self._values[both, first] - self._values[both, second]).mean()) if both.any() else float("nan")
        return DrawnDifference(mean, means[:, 0] - means[:, 1], self._count(both))

    def _count(self, counted: Bool[np.ndarray, " rows"]) -> int:
        return int(counted.sum()) if self._user is None else len(np.unique(self._user[counted]))


def user_numbers(users: Sequence[str] | pl.Series) -> Int64[np.ndarray, " rows"] | None:
    """Return a number for the user of each row, equal for equal users; None where every row is another user."""
    _, first, number = np.unique(np.asarray(users), return_index=True, return_inverse=True)
    return None if len(first) == len(number) else number.astype(np.int64)


def interval_ends(
    draws: Float64[np.ndarray, " resamples"], count: int, config: IntervalConfig, confidence: float | None = None
) -> tuple[float, float]:
    """Return the ends of the interval of a drawn statistic, NaN with fewer than `MIN_USERS` units; `confidence` None takes that of `config`."""
    if count < MIN_USERS or np.isnan(draws).all():
        return float("nan"), float("nan")
    tail = (1.0 - (config.confidence if confidence is None else confidence)) / 2
    low, high = np.nanquantile(draws, [tail, 1.0 - tail])
    return float(low), float(high)


def corrected(drawn: Sequence[DrawnDifference], config: IntervalConfig) -> list[Difference]:
    """Return differences with p values, intervals and outcomes that allow for their number.

    Holm's procedure tests the smallest of m p values at a level of alpha / m, the next at alpha / (m - 1), and ends at the first that
    fails. Each interval has the level at which its difference was tested, those after the first failure the level of that failure: it
    excludes 0 where the procedure rejects, and only there.

    Source: Holm, 1979, "A simple sequentially rejective multiple test procedure".
    """
    p = np.array([_p_value(one) for one in drawn], np.float64)
    order = np.argsort(p, kind="stable")
    level, rejected, failed = np.empty(len(p)), np.zeros(len(p), bool), False
    step = 1.0 - config.confidence
    for done, place in enumerate(order):
        if not failed:
            step = (1.0 - config.confidence) / (len(p) - done)
            failed = bool(p[place] > step)
        level[place], rejected[place] = step, not failed
    return [
        _difference(one, float(adjusted), float(alpha), bool(kept), config)
        for one, adjusted, alpha, kept in zip(drawn, holm(p), level, rejected, strict=True)
    ]


def _p_value(one: DrawnDifference) -> float:
    if one.num_users < MIN_USERS:
        return 1.0
    known = one.draws[~np.isnan(one.draws)]
    tail = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2.0 * (tail + 1) / (known.size + 1)))


def _difference(one: DrawnDifference, p: float, level: float, rejected: bool, config: IntervalConfig) -> Difference:
    low, high = interval_ends(one.draws, one.num_users, config, 1.0 - level)
    if not rejected and not np.isnan(
        low
    ):  # a quantile between two draws may lie on the other side of 0 than the p value says
        low, high = min(low, 0.0), max(high, 0.0)
    outcome = _outcome(low, high)
    spread = float("nan") if np.isnan(low) else float(np.nanstd(one.draws))
    if not spread > 0:  # too few users, or the two never differed: nothing says what would be seen
        return Difference(one.mean, low, high, p, outcome, one.num_users)
    normal = NormalDist()
    reach = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(POWER)
    return Difference(one.mean, low, high, p, outcome, one.num_users, reach * spread)


def reversed_difference(found: Difference) -> Difference:
    """Return the second minus the first, for the first minus the second."""
    words: dict[str, str] = {BETTER: WORSE, WORSE: BETTER}
    return replace(
        found, mean=-found.mean, low=-found.high, high=-found.low, outcome=words.get(found.outcome, found.outcome)
    )


def mean_interval(values: Float64[np.ndarray, " users"], config: IntervalConfig | None = None) -> Interval:
    """Return the mean of one number for each user, with its interval; NaN users do not count."""
    return BootstrapMeans(np.asarray(values)[:, None], config).interval(0)


def paired_difference(
    first: Float64[np.ndarray, " users"], second: Float64[np.ndarray, " users"], config: IntervalConfig | None = None
) -> Difference:
    """Return how much larger the first is on the same users, with its interval and outcome."""
    return BootstrapMeans(np.column_stack([first, second]), config).difference(0, 1)


def hierarchical(
    differences: Float64[np.ndarray, "draws rows"],
    users: Sequence[str] | pl.Series | None = None,
    config: IntervalConfig | None = None,
) -> DrawnDifference:
    """Return the mean of a paired difference that was measured several times, under draws of both measurements and users.

    The measurements differ in what chance decided (a seed, the order of ties, the items made cold); the rows are the same in each. One less
    than there are measurements are drawn, with replacement: drawing as many gives too small a variance (a third too small for three).
    `corrected` gives the interval and the outcome.

    Source: Rao and Wu, 1988, "Resampling inference with complex survey data", on the number of draws.

    Args:
        differences: One number for each measurement and row; NaN where a row does not count in that measurement.
        users: The user of each row, who is drawn with all their rows; None where every row is another user.
        config: Number of draws, seed.
    """
    config = config or IntervalConfig()
    number = None if users is None else user_numbers(users)
    counted = ~np.isnan(differences)
    rows = np.arange(differences.shape[1]) if number is None else number
    present = rows[counted.any(axis=0)]
    mean = float(np.nanmean(differences)) if present.size else float("nan")
    sums, sizes = (_grouped(_by_user(part.T, number)) for part in (np.where(counted, differences, 0.0), counted * 1.0))
    rng, times = generator(config.seed, "bootstrap.hierarchical"), len(differences)
    drawn = np.full(config.resamples, np.nan)
    size = max(1, BATCH_CELLS // max(len(sums), 1))
    for start in range(0, config.resamples if present.size else 0, size):
        count = min(size, config.resamples - start)
        of_users = draw_counts(rng, count, len(sums))
        picked = rng.integers(0, times, (count, max(times - 1, 1)))
        of_times = np.stack([(picked == time).sum(axis=1) for time in range(times)], axis=1)
        total, weight = (((of_users @ part) * of_times).sum(axis=1) for part in (sums, sizes))
        np.divide(total, weight, out=drawn[start : start + count], where=weight > 0)
    return DrawnDifference(mean, drawn, len(np.unique(present)))


def holm(p: Float64[np.ndarray, " comparisons"]) -> Float64[np.ndarray, " comparisons"]:
    """Return Holm's adjusted p values, in the order given."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


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
    values: Float64[np.ndarray, "rows columns"], config: IntervalConfig, user: Int64[np.ndarray, " rows"] | None = None
) -> Float64[np.ndarray, "draws columns"]:
    """Return each column's mean in each resample: drawn sums over drawn counts, a batch of resamples at a time."""
    rng = generator(config.seed, "bootstrap")
    counted = ~np.isnan(values)
    sums, sizes = (
        _grouped(_by_user(part, user)) for part in (np.where(counted, values, 0.0), counted.astype(np.float64))
    )
    means = np.full((config.resamples, values.shape[1]), np.nan)
    if not len(values):
        return means
    size = max(1, BATCH_CELLS // len(sums))
    for start in range(0, config.resamples, size):
        counts = draw_counts(rng, min(size, config.resamples - start), len(sums))
        drawn = counts @ sizes
        np.divide(counts @ sums, drawn, out=means[start : start + len(counts)], where=drawn > 0)
    return means


def _by_user(
    rows: Float64[np.ndarray, "rows columns"], user: Int64[np.ndarray, " rows"] | None
) -> Float64[np.ndarray, "users columns"]:
    """Return the sums of each user's rows, the rows themselves where every row is another user."""
    if user is None:
        return rows
    sums = np.zeros((int(user.max()) + 1, rows.shape[1]))
    np.add.at(sums, user, rows)
    return sums


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
