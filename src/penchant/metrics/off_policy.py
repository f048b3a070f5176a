"""Off-policy evaluation: what a policy would have earned, from choices that another one made.

In: logged choices with the probability of each (its propensity), what each earned, and the probabilities of the policy in question. Out:
`OffPolicyResults`: four estimates with intervals, the effective sample size; a refusal where the log says nothing about the policy.

A choice is one item at one place of a list. What it earns depends on the user, the item and the place, not on the other items of the list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from penchant.core.errors import DataError
from penchant.core.seeds import generator
from penchant.metrics.intervals import MIN_USERS, IntervalConfig, draw_counts, interval_ends

NOBODY = -1
"""Pads `candidates` where a choice had fewer than others."""
MIN_EFFECTIVE = 100.0
"""Effective choices below which an estimate rests on a handful of weights, and its interval is too narrow."""
MAX_UNCOVERED = 0.05
"""Share of the policy's probability that may lie on items which were never offered."""
MAX_OFF_BALANCE = 5.0
"""Standard errors by which the mean weight may miss 1 before the propensities cannot be true."""
FOLDS = 5
"""Users are put in so many parts; a part's rates come from the others."""
BATCH_CELLS = 4_000_000
"""Draws held at once: 32 MB."""


@dataclass(frozen=True)
class LoggedChoices:
    """Choices of a logging policy, and the probabilities of the policy in question.

    Attributes:
        reward: (choices,) what each earned, such as 1 for a click.
        propensity: (choices,) probability with which the logging policy put this item at this place, above 0 and at most 1.
        chosen: (choices,) column of `candidates` that holds the item that was shown.
        place: (choices,) place in the list, 0 is the first.
        candidates: (choices, width) item at each column, `NOBODY` where there is none.
        policy: (choices, width) probability with which the policy in question puts each candidate at this place; a row sums to 1, or to less
            where it would show items that were no candidates.
        unit: (choices,) number of the user, who is drawn with all their choices; one of its own each where users are unknown.
    """

    reward: Float64[np.ndarray, " choices"]
    propensity: Float64[np.ndarray, " choices"]
    chosen: Int64[np.ndarray, " choices"]
    place: Int64[np.ndarray, " choices"]
    candidates: Int64[np.ndarray, "choices width"]
    policy: Float64[np.ndarray, "choices width"]
    unit: Int64[np.ndarray, " choices"]

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def weight(self) -> Float64[np.ndarray, " choices"]:
        """Probability of the choice under the policy in question over that under the logging policy."""
        return self.policy[np.arange(len(self)), self.chosen] / self.propensity


@dataclass(frozen=True)
class PolicyValue:
    """One estimate of what the policy would earn for each choice.

    Attributes:
        name: Of the estimator: "ips", "snips", "doubly_robust", "switch".
        value: The estimate.
        low: Lower end of the interval; NaN where the effective size is below `MIN_EFFECTIVE` or there are fewer than `MIN_USERS` users.
        high: Upper end.
        effective: Effective number of choices: (sum of weights)^2 / sum of squared weights, of the weights that the estimate uses.
    """

    name: str
    value: float
    low: float
    high: float
    effective: float


@dataclass(frozen=True)
class OffPolicyResults:
    """What a policy would have earned.

    Attributes:
        values: An estimate for each estimator.
        logged: What the logging policy itself earned for each choice, with its interval; "logged".
        num_choices: Logged choices.
        num_units: Their users.
        mean_weight: Close to 1 where the propensities are true and the log covers the policy.
        uncovered: Share of the policy's probability on items that were no candidates, mean over choices.
        cut: Weights above it are not used by "switch".
        answered_by_rates: Share of the policy's probability that "switch" takes from the rates of items alone.
    """

    values: tuple[PolicyValue, ...]
    logged: PolicyValue
    num_choices: int
    num_units: int
    mean_weight: float
    uncovered: float
    cut: float
    answered_by_rates: float

    def __getitem__(self, name: str) -> PolicyValue:
        return next(value for value in self.values if value.name == name)

    @property
    def best(self) -> PolicyValue:
        """The estimate to read first: "doubly_robust" where enough choices stand behind it, else "switch"."""
        robust = self["doubly_robust"]
        return robust if robust.effective >= MIN_EFFECTIVE else self["switch"]


def evaluate_policy(
    log: LoggedChoices,
    *,
    rates: Float64[np.ndarray, "choices width"] | None = None,
    cut: float | None = None,
    config: IntervalConfig | None = None,
) -> OffPolicyResults:
    """Return what the policy would have earned for each choice, by four estimators.

    - "ips": the mean of reward x weight. Unbiased, wide.
    - "snips": the same over the mean weight; a little biased, narrower.
    - "doubly_robust": what `rates` expect of the policy, plus the weighted error of the rates at the logged choice.
    - "switch": the same, but where a weight is above `cut` the rates are believed without correction.

    Intervals are percentiles of 2,000 draws of users, the rates held fixed.

    Source: Horvitz and Thompson 1952 (ips); Swaminathan and Joachims 2015 (snips); Dudík, Langford and Li 2011 (doubly robust); Wang, Agarwal and
    Dudík 2017 (switch); Ionides 2008 for the cut at the square root of the number of choices. Checked against Open Bandit Pipeline 0.4.1.

    Args:
        log: Logged choices with the policy's probabilities.
        rates: Expected reward of each candidate at each choice, not learned from its own user; None takes `cross_fitted_rates`.
        cut: None takes the square root of the number of choices.
        config: Draws, confidence, seed.

    Raises:
        DataError: The log is empty, a propensity is no probability, or the log does not cover the policy.
    """
    config = config or IntervalConfig()
    _check(log)
    weight = log.weight
    limit = float(np.sqrt(len(log))) if cut is None else cut
    uncovered = float(1 - log.policy.sum(1).mean())
    rates = cross_fitted_rates(log, seed=config.seed) if rates is None else rates
    kept = np.where(weight <= limit, weight, 0.0)
    _check_overlap(log, weight, kept, uncovered)
    expected = (log.policy * rates).sum(1) + (1 - log.policy.sum(1)) * log.reward.mean()
    error = log.reward - rates[np.arange(len(log)), log.chosen]
    columns = np.column_stack(
        [weight * log.reward, weight, expected + weight * error, expected + kept * error, log.reward]
    )
    means, draws = columns.mean(0), _drawn_means(columns, log.unit, config)
    num_units = int(np.unique(log.unit).size)

    def estimate(
        name: str, value: float, drawn: Float64[np.ndarray, " draws"], used: Float64[np.ndarray, " n"]
    ) -> PolicyValue:
        size = effective_size(used)
        low, high = interval_ends(drawn, num_units if size >= MIN_EFFECTIVE else 0, config)
        return PolicyValue(name, float(value), low, high, size)

    with np.errstate(invalid="ignore", divide="ignore"):
        drawn_ratio = draws[:, 0] / draws[:, 1]
    return OffPolicyResults(
        (
            estimate("ips", means[0], draws[:, 0], weight),
            estimate("snips", means[0] / means[1], drawn_ratio, weight),
            estimate("doubly_robust", means[2], draws[:, 2], weight),
            estimate("switch", means[3], draws[:, 3], kept),
        ),
        estimate("logged", means[4], draws[:, 4], np.ones(len(log))),
        len(log),
        num_units,
        float(weight.mean()),
        uncovered,
        limit,
        max(0.0, 1 - float(kept.mean())),
    )


def effective_size(weight: Float64[np.ndarray, " choices"]) -> float:
    """Return how many equally weighted choices say as much: (sum)^2 / sum of squares; 0 where all are 0. Source: Kish 1965."""
    squares = float((weight * weight).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def cross_fitted_rates(log: LoggedChoices, seed: int = 0) -> Float64[np.ndarray, "choices width"]:
    """Return the expected reward of each candidate at each place, learned from the choices of other users.

    The mean reward of the item at any place, as if it had been shown 1 / (mean reward) times more often with the mean, times what the place
    earns against the mean: few parameters, since clicks are rare.
    """
    items, flat = np.unique(log.candidates, return_inverse=True)
    column = flat.reshape(log.candidates.shape)
    own = column[np.arange(len(log)), log.chosen]
    places = int(log.place.max()) + 1
    folds = generator(seed, "off_policy.folds").integers(0, FOLDS, int(log.unit.max()) + 1)[log.unit]
    rates = np.zeros(log.policy.shape)
    for fold in range(FOLDS):
        inside = folds == fold
        others = ~inside
        if not inside.any() or not others.any():
            continue
        mean = max(float(log.reward[others].mean()), 1e-9)
        strength = min(1 / mean, float(others.sum()))
        by_item = _shrunk(own[others], log.reward[others], len(items), mean, strength)
        by_place = _shrunk(log.place[others], log.reward[others], places, mean, strength)
        rates[inside] = by_item[column[inside]] * (by_place[log.place[inside]] / mean)[:, None]
    rates[log.candidates == NOBODY] = 0.0
    return rates


def _shrunk(
    group: Int64[np.ndarray, " n"], reward: Float64[np.ndarray, " n"], size: int, mean: float, strength: float
) -> Float64[np.ndarray, " size"]:
    shown = np.bincount(group, minlength=size)
    earned = np.bincount(group, weights=reward, minlength=size)
    return (earned + strength * mean) / (shown + strength)


def _drawn_means(
    columns: Float64[np.ndarray, "choices columns"], unit: Int64[np.ndarray, " choices"], config: IntervalConfig
) -> Float64[np.ndarray, "draws columns"]:
    """Return the mean of each column in each draw of units, each with all its choices."""
    _, number = np.unique(unit, return_inverse=True)
    sums = np.zeros((int(number.max()) + 1, columns.shape[1] + 1))
    np.add.at(sums, number, np.column_stack([columns, np.ones(len(columns))]))
    rng, found = generator(config.seed, "off_policy"), []
    size = max(1, BATCH_CELLS // len(sums))
    for start in range(0, config.resamples, size):
        counts = draw_counts(rng, min(size, config.resamples - start), len(sums))
        totals = counts @ sums
        found.append(totals[:, :-1] / totals[:, -1:])
    return np.concatenate(found)


def _check(log: LoggedChoices) -> None:
    if not len(log):
        raise DataError(
            "The log holds no choices.",
            where="off-policy evaluation",
            fix="log served lists first: `exploration` of the service",
        )
    wrong = ~((log.propensity > 0) & (log.propensity <= 1 + 1e-9))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"A propensity is {log.propensity[row]:g}, and {int(wrong.sum()):,} of {len(log):,} are no probabilities above 0.",
            where=f"the log, choice {row}",
            fix="log the probability with which the item was put at its place; a shown item cannot have 0",
        )
    if (log.policy < -1e-9).any() or (log.policy.sum(1) > 1 + 1e-6).any() or not np.isfinite(log.reward).all():
        raise DataError(
            "Probabilities of the policy are below 0 or sum to more than 1, or a reward is not finite.",
            where="off-policy evaluation",
            fix="give one distribution over the candidates for each choice, and finite rewards",
        )


def _check_overlap(
    log: LoggedChoices,
    weight: Float64[np.ndarray, " choices"],
    kept: Float64[np.ndarray, " choices"],
    uncovered: float,
) -> None:
    """Refuse a log that says nothing about the policy: no number is better than a confident wrong one."""
    if uncovered > MAX_UNCOVERED:
        raise DataError(
            f"{uncovered:.0%} of what the policy would show was never a candidate in the log.",
            where="off-policy evaluation: overlap",
            fix="log with exploration over more candidates, or evaluate a policy that ranks among the logged candidates",
        )
    size = effective_size(kept)
    if size < MIN_EFFECTIVE:
        raise DataError(
            f"The {len(log):,} choices of the log count as {size:.0f} for this policy; {MIN_EFFECTIVE:.0f} are needed.",
            where="off-policy evaluation: overlap",
            fix="log more lists, with more exploration, or evaluate a policy nearer to the one that served",
        )
    off = _standard_errors_off(weight, log.unit, 1 - uncovered)
    if off > MAX_OFF_BALANCE:
        raise DataError(
            f"The mean weight is {weight.mean():.3f}, and {1 - uncovered:.3f} is expected: {off:.0f} standard errors apart.",
            where="off-policy evaluation: overlap",
            fix="check the propensities; or the policy shows at some places what the log never shows there: explore there",
        )


def _standard_errors_off(weight: Float64[np.ndarray, " n"], unit: Int64[np.ndarray, " n"], expected: float) -> float:
    """Return by how many standard errors of users the mean weight misses what it is expected to be."""
    _, number = np.unique(unit, return_inverse=True)
    gap = np.bincount(number, weights=weight - expected)
    spread = float(np.sqrt((gap * gap).sum()))
    is_known: Bool[np.ndarray, ""] | bool = len(gap) >= MIN_USERS and spread > 0
    return abs(float(gap.sum())) / spread if is_known else 0.0
