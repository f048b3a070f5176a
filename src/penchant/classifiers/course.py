"""The course of one person over time: smoothed log odds, change points, and an early warning with a promised rate of false alarms.

In: log odds of consecutive windows, and a rule fitted on people who stay as they are. Out: a `Course`. It says that recordings changed, not why:
it is no diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Float64
from pydantic import Field
from scipy.optimize import minimize_scalar

from penchant.core.config import Settings
from penchant.core.errors import ConfigError, import_optional
from penchant.core.seeds import generator
from penchant.data.media.signals import window_key
from penchant.data.read.windows import HOUR, read_windows

if TYPE_CHECKING:  # the bundle holds a rule, and so imports this module
    from penchant.classifiers.bundle import TrainedClassifier

Values = Float64[np.ndarray, " windows"]
MIN_PROBABILITY = 1e-6
PERMUTATIONS = 499
MIN_WINDOWS = 6
"""Fewer windows cannot tell a change: two of them on each side, and something to compare with."""
MIN_SEGMENT = 2
"""Windows between two changes: one odd day is no change."""
HOURS_A_DAY = 24.0
NEVER = float("inf")


class CourseConfig(Settings):
    """Settings of courses over time."""

    steady: str | None = None
    """Class whose people are taken to stay as they are: alarms about them are false. None takes everybody."""
    alarms_per_day: float = Field(0.02, gt=0, le=24)
    """False alarms promised, for each day of each person who is watched; 0.02 is one in 50 days."""
    baseline_windows: int = Field(5, ge=2)
    """First windows of a person, with which the later ones are compared; nothing is warned of during them."""
    slack: float = Field(0.5, ge=0, le=5)
    """Deviation from the baseline that does not count, in standard deviations within a person; half the change to be found soonest."""
    change_level: float = Field(0.05, gt=0, lt=1)
    """Share of steady people in whom a change point is found all the same."""


@dataclass(frozen=True)
class WarningRule:
    """What courses need, fitted on people who were left out of the fit that judged them.

    Attributes:
        positive: Class whose log odds are followed.
        window_hours: Length of a window.
        min_share: Readings that a window needs.
        threshold: Of the sum of deviations at which is warned; infinite where there are too few days to promise the rate.
        spread: Standard deviation of log odds within a person.
        level_variance: Of the change of the level from window to window, log odds squared.
        noise_variance: Of one window about its level.
        alarms_per_day: Promised.
        days: Person-days that the threshold rests on.
        baseline_windows: As in the settings.
        slack: As in the settings.
        change_level: As in the settings.
        change_cost: What a change costs, in multiples of what the best change gains in `change_level` of random orders of the same windows:
            days resemble their neighbours, so that 1 would find changes in too many.
    """

    positive: str
    window_hours: float
    min_share: float
    threshold: float
    spread: float
    level_variance: float
    noise_variance: float
    alarms_per_day: float
    days: float
    baseline_windows: int
    slack: float
    change_level: float
    change_cost: float = 1.0

    def facts(self) -> dict[str, Any]:
        """Return it as JSON holds it; an infinite threshold is null."""
        return {**asdict(self), "threshold": self.threshold if np.isfinite(self.threshold) else None}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> WarningRule:
        """Return the rule of `facts`."""
        return cls(**{**facts, "threshold": NEVER if facts["threshold"] is None else float(facts["threshold"])})


@dataclass(frozen=True)
class Course:
    """One person over time.

    Attributes:
        person: Id.
        start: (windows,) start of each, seconds as in the readings.
        is_dated: They are seconds since 1970.
        probability: (windows,) of the class followed, each window by itself.
        level: (windows,) smoothed probability, between change points.
        low: (windows,) lower end of its 95 % band.
        high: (windows,) upper end.
        changes: Numbers of the windows at which something changed.
        score: (windows,) sum of deviations from the person's own beginning; NaN during it.
        alarms: Numbers of the windows at which is warned.
        threshold: Of the score.
    """

    person: str
    start: Values
    is_dated: bool
    probability: Values
    level: Values
    low: Values
    high: Values
    changes: tuple[int, ...]
    score: Values
    alarms: tuple[int, ...]
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        rows = {
            name: getattr(self, name).tolist() for name in ("start", "probability", "level", "low", "high", "score")
        }
        plain = {name: [None if np.isnan(v) else v for v in values] for name, values in rows.items()}
        threshold = self.threshold if np.isfinite(self.threshold) else None
        return {
            "person": self.person,
            "is_dated": self.is_dated,
            **plain,
            "changes": list(self.changes),
            "alarms": list(self.alarms),
            "threshold": threshold,
        }


def log_odds(probability: Values) -> Values:
    """Return log odds, at most those of one in a million."""
    kept = np.clip(probability, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return np.log(kept / (1 - kept))


def make_course(person: str, start: Values, is_dated: bool, probability: Values, rule: WarningRule) -> Course:
    """Return the course of one person; windows in order of time."""
    values = log_odds(probability)
    number = np.round(start / (rule.window_hours * HOUR)) if len(start) else start
    changes = change_points(values, rule.change_level, rule.change_cost, person)
    # the level moves little from day to day, so it starts anew where it changed: one walk would hide the change for days
    parts = [slice(a, b) for a, b in pairwise((0, *changes, len(values)))]
    smoothed = [smooth(values[p], number[p], rule.level_variance, rule.noise_variance) for p in parts]
    level, error = (np.concatenate(one) for one in zip(*smoothed, strict=True))
    score, alarms = warn(values, rule)
    middle, low, high = (1 / (1 + np.exp(-one)) for one in (level, level - 1.96 * error, level + 1.96 * error))
    return Course(
        person,
        start,
        is_dated,
        probability,
        middle,
        low,
        high,
        changes,
        score,
        alarms,
        rule.threshold,
    )


def smooth(values: Values, number: Values, level_variance: float, noise_variance: float) -> tuple[Values, Values]:
    """Return the level at each window given all windows, and its standard error: a random walk seen with noise.

    Args:
        values: (windows,) log odds.
        number: (windows,) number of each window, rising; the level moves further over a gap.
        level_variance: Of the level's step from one window to the next.
        noise_variance: Of a window about the level.

    Source: Durbin & Koopman, Time Series Analysis by State Space Methods, 2012, sections 2.2 and 2.4 (local level model, diffuse start).
    """
    n = len(values)
    if n == 0:
        return values, values
    mean, variance, moved = np.zeros(n), np.zeros(n), np.zeros(n)
    mean[0], variance[0] = values[0], noise_variance  # diffuse: the first level is known from its window alone
    for t in range(1, n):
        moved[t] = variance[t - 1] + level_variance * (number[t] - number[t - 1])
        gain = moved[t] / (moved[t] + noise_variance)
        mean[t] = mean[t - 1] + gain * (values[t] - mean[t - 1])
        variance[t] = moved[t] * (1 - gain)
    for t in range(n - 2, -1, -1):
        back = variance[t] / moved[t + 1]
        mean[t] += back * (mean[t + 1] - mean[t])
        variance[t] += back**2 * (variance[t + 1] - moved[t + 1])
    return mean, np.sqrt(variance)


def fit_variances(courses: Sequence[tuple[Values, Values]]) -> tuple[float, float]:
    """Return the variances of level and noise under which the courses of several people, as (values, numbers), are likeliest."""

    def innovations(ratio: float) -> tuple[float, float, int]:
        squares, logs, count = 0.0, 0.0, 0
        for values, number in courses:
            mean, variance = (values[0] if len(values) else 0.0), 1.0
            for t in range(1, len(values)):
                moved = variance + ratio * (number[t] - number[t - 1])
                total = moved + 1
                squares, logs, count = squares + (values[t] - mean) ** 2 / total, logs + np.log(total), count + 1
                mean, variance = mean + moved / total * (values[t] - mean), moved / total
        return squares, logs, count

    def loss(log_ratio: float) -> float:
        squares, logs, count = innovations(float(np.exp(log_ratio)))
        return count * float(np.log(max(squares, 1e-12) / max(count, 1))) + logs

    ratio = float(np.exp(minimize_scalar(loss, bounds=(np.log(1e-5), np.log(1e2)), method="bounded").x))
    squares, _, count = innovations(ratio)
    noise = max(squares / max(count, 1), 1e-6)
    return ratio * noise, noise


def change_points(values: Values, level: float, cost: float, purpose: str) -> tuple[int, ...]:
    """Return the windows at which the mean changes: exact least squares by PELT.

    A change costs `cost` times what the best single change gains in `level` of the orders of the same windows. With 1, a course of unrelated windows
    shows a change about that often; where windows resemble their neighbours (weekends, a device left at home), `change_ratio` tells what is needed.

    Args:
        values: (windows,) log odds.
        level: Share of courses without change in which one is found.
        cost: From `WarningRule`.
        purpose: Name of the random orders.

    Source: Killick et al., Optimal detection of changepoints with a linear computational cost, JASA 2012.
    """
    one = _gain_of_chance(values, level, purpose)
    if one is None:
        return ()
    ruptures = import_optional("ruptures", "health")
    found = ruptures.Pelt(model="l2", min_size=MIN_SEGMENT, jump=1).fit(values[:, None]).predict(pen=cost * one)
    return tuple(int(place) for place in found[:-1])


def change_ratio(values: Values, level: float, purpose: str) -> float:
    """Return what the best change gains, in multiples of what it gains in `level` of random orders; 0 for too few windows."""
    one = _gain_of_chance(values, level, purpose)
    return 0.0 if one is None else float(_best_gain(values[None])[0]) / one


def _gain_of_chance(values: Values, level: float, purpose: str) -> float | None:
    """Return what the best change gains in `level` of random orders; None for too few or equal windows."""
    if len(values) < MIN_WINDOWS or float(np.ptp(values)) < 1e-9:
        return None
    rng = generator(0, f"course.changes {purpose}")
    orders = rng.permuted(np.tile(values, (PERMUTATIONS, 1)), axis=1)
    return max(float(np.quantile(_best_gain(orders), 1 - level)), 1e-12)


def _best_gain(orders: Float64[np.ndarray, "orders windows"]) -> Float64[np.ndarray, " orders"]:
    """Return by how much the best single change lowers the sum of squares."""
    n = orders.shape[1]
    before = np.arange(MIN_SEGMENT, n - MIN_SEGMENT + 1)
    total = np.cumsum(orders - orders.mean(axis=1, keepdims=True), axis=1)[:, before - 1]
    return np.asarray((total**2 * n / (before * (n - before))).max(axis=1))


def warn(values: Values, rule: WarningRule) -> tuple[Values, tuple[int, ...]]:
    """Return the sum of deviations above the person's own beginning at each window, and where it reaches the threshold.

    After an alarm the sum starts again at 0.

    Source: Page, Continuous inspection schemes, Biometrika 1954 (CUSUM).
    """
    score = np.full(len(values), np.nan)
    first = rule.baseline_windows
    if len(values) <= first:
        return score, ()
    deviation = (values[first:] - values[:first].mean()) / rule.spread - rule.slack
    alarms, total = [], 0.0
    for t, step in enumerate(deviation.tolist(), start=first):
        total = max(0.0, total + step)
        score[t] = total
        if total >= rule.threshold:
            alarms.append(t)
            total = 0.0
    return score, tuple(alarms)


def watched_days(courses: Sequence[Values], rule: WarningRule) -> float:
    """Return the person-days after the beginnings."""
    return sum(max(0, len(one) - rule.baseline_windows) for one in courses) * rule.window_hours / HOURS_A_DAY


def read_courses(trained: TrainedClassifier, file: Path) -> dict[str, Course]:
    """Return the course of every person of a table of readings, by id; a person without enough readings for a window has an empty one.

    Args:
        trained: Of a labelled task with `[course]`.
        file: A column with the person's id, one with times, and the channels of training.

    Raises:
        ConfigError: It was not trained on windows.
        DataError: The table cannot be read, or has no column of ids.
    """
    rule, column = trained.warning, trained.inputs.media_columns.get("signal")
    if rule is None or column is None:
        raise ConfigError(
            "The bundle holds no rule for courses over time.",
            where=str(trained.folder or "the classifier"),
            fix="train it with [data] window_hours = 24 and a table [course]: see docs/tasks.md",
        )
    windows = read_windows(file, rule.window_hours, rule.min_share)
    keys = [
        (person, window_key(person, start, rule.window_hours * HOUR))
        for person, one in windows.items()
        for start in one.start.tolist()
    ]
    table = pl.DataFrame({"sample_id": [key for _, key in keys], column: [f"{file.name}#{key}" for _, key in keys]})
    said = trained.predict_table(table, root=file.parent, evidence=False) if keys else []
    probability: dict[str, list[float]] = {person: [] for person in windows}
    for (person, _), one in zip(keys, said, strict=True):
        probability[person].append(one.probabilities[rule.positive])
    return {
        person: make_course(person, one.start, one.is_dated, np.array(probability[person], np.float64), rule)
        for person, one in windows.items()
    }
