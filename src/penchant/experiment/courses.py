"""Fit and measure the early warning on people whom the classifier had not seen.

In: samples in windows, and the settings of a run. Out: the rule that a bundle holds, every left-out course, and the false alarms promised and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64

from penchant.classifiers.classifier import ContentBatch, predict_members
from penchant.classifiers.course import (
    NEVER,
    Course,
    CourseConfig,
    Values,
    WarningRule,
    change_ratio,
    fit_variances,
    log_odds,
    make_course,
    warn,
    watched_days,
)
from penchant.core.errors import DataError
from penchant.core.logs import logger
from penchant.core.schema import Samples
from penchant.core.seeds import generator
from penchant.data.read.times import ORDINARY_SECONDS
from penchant.data.read.windows import HOUR, WINDOW_START
from penchant.data.split.samples import SampleSplitConfig, fold_samples, sample_units
from penchant.experiment.fit_classifiers import ClassifierFitConfig, fit
from penchant.experiment.left_out import Metric
from penchant.metrics.intervals import MIN_USERS, Interval, draw_counts

FOLDS = 5
DRAWS = 1000
SHIFTS = (1.0, 2.0)
"""Standard deviations within a person by which courses are raised to see how late is warned."""
ROUNDS = 20
"""Times that the beginning of a shift is drawn for each person."""
MIN_AFTER = 3
"""Windows that a shift lasts at least."""


@dataclass(frozen=True)
class PersonCourse:
    """Left-out log odds of one person.

    Attributes:
        person: Id.
        label: Class.
        fold: Fit that judged them.
        start: (windows,) seconds.
        values: (windows,) log odds.
    """

    person: str
    label: str
    fold: int
    start: Values
    values: Values


@dataclass(frozen=True)
class Detection:
    """How a shift that was added to real courses is found.

    Attributes:
        shift: Standard deviations within a person.
        found: Share with an alarm before the course ends.
        delay: Median windows from the beginning of the shift to the alarm, of those found; NaN for none.
    """

    shift: float
    found: float
    delay: float


@dataclass(frozen=True)
class CourseResults:
    """What the early warning and the change points are worth.

    Attributes:
        rule: Fitted on everybody; what a bundle holds.
        courses: Of every person, by a fit and a rule without them.
        labels: Class of each.
        kept: Class to alarms a person-day, by rules fitted on the others, with intervals over people.
        days: Class to person-days watched.
        changed: Class to the share of people with a change point.
        detections: Of shifts added to courses of steady people.
    """

    rule: WarningRule
    courses: tuple[Course, ...]
    labels: tuple[str, ...]
    kept: Mapping[str, Interval]
    days: Mapping[str, float]
    changed: Mapping[str, Interval]
    detections: tuple[Detection, ...]

    def lines(self) -> list[str]:
        """Return the results as lines of text."""
        rule = self.rule
        threshold = "never: too few person-days" if rule.threshold == NEVER else f"{rule.threshold:.2f}"
        found = [
            f"early warning: promised {rule.alarms_per_day:g} false alarms a person-day, threshold {threshold} "
            f"({rule.days:.0f} person-days, {rule.baseline_windows} windows as baseline)"
        ]
        for label, kept in self.kept.items():
            found.append(
                f"  {label}: {kept.mean:.4f} [{kept.low:.4f}, {kept.high:.4f}] alarms a person-day over {self.days[label]:.0f} days; "
                f"a change point in {self.changed[label].mean:.0%} of {sum(one == label for one in self.labels)} people"
            )
        for one in self.detections:
            found.append(
                f"  shift of {one.shift:g} deviations added: found {one.found:.0%}, median delay {one.delay:g} windows"
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the results as JSON holds them."""
        return {
            "rule": self.rule.facts(),
            "alarms_per_day": {label: [i.mean, i.low, i.high] for label, i in self.kept.items()},
            "days": dict(self.days),
            "changed": {label: [i.mean, i.low, i.high] for label, i in self.changed.items()},
            "detections": [[d.shift, d.found, None if np.isnan(d.delay) else d.delay] for d in self.detections],
            "courses": [
                {**c.as_dict(), "person": number, "label": label}  # people are numbered: a report names nobody
                for number, (c, label) in enumerate(zip(self.courses, self.labels, strict=True), 1)
            ],
        }


def measure_courses(
    tables: Mapping[str, Mapping[str, Any]],
    batch: ContentBatch,
    samples: Samples,
    split: SampleSplitConfig,
    fit_config: ClassifierFitConfig,
    config: CourseConfig,
    *,
    window_hours: float,
    min_share: float,
    positive: str,
    seed: int,
    metric: Metric,
) -> CourseResults:
    """Return the rule and what it is worth; every person is judged by a fit without them, and every alarm by a rule without them.

    Args:
        tables: Settings of the classifiers.
        batch: All windows.
        samples: The same with labels, groups and starts.
        split: Its folds are used once; 0 takes 5.
        fit_config: Settings of the fit.
        config: Settings of courses.
        window_hours: Length of a window.
        min_share: Readings that a window needs.
        positive: Class whose log odds are followed.
        seed: Of folds and draws.
        metric: Of the report.
    """
    people = left_out_courses(tables, batch, samples, split, fit_config, positive=positive, seed=seed, metric=metric)
    return assess_courses(people, config, window_hours=window_hours, min_share=min_share, positive=positive, seed=seed)


def left_out_courses(
    tables: Mapping[str, Mapping[str, Any]],
    batch: ContentBatch,
    samples: Samples,
    split: SampleSplitConfig,
    fit_config: ClassifierFitConfig,
    *,
    positive: str,
    seed: int,
    metric: Metric,
) -> list[PersonCourse]:
    """Return the log odds of each person's windows, by fits without the person."""
    folds = split.model_copy(update={"folds": split.folds or FOLDS, "repeats": 1})
    labels, unit, place = samples.labels(), sample_units(samples), samples.classes.index(positive)
    values, fold_of = np.zeros(len(samples)), np.zeros(len(samples), np.int64)
    for number, fold in enumerate(fold_samples(samples, folds, seed)):
        logger.info("  courses: fold %d of %d", number + 1, folds.folds)
        one = fit(
            tables, batch, labels, samples.classes, fold, fit_config, seed=seed + number, unit=unit, metric=metric
        )
        probability = one.served.probability(*predict_members(one.members, batch.take(fold.test)))
        values[fold.test], fold_of[fold.test] = log_odds(probability[:, place]), number
    table = samples.table.select("group", "label", pl.col(WINDOW_START).cast(pl.Float64)).with_columns(
        values=pl.Series(values), fold=pl.Series(fold_of)
    )
    found = []
    for key, part in sorted(table.partition_by("group", as_dict=True).items()):
        ordered = part.sort(WINDOW_START)
        found.append(
            PersonCourse(
                str(key[0]),
                ordered["label"][0],
                int(ordered["fold"][0]),
                ordered[WINDOW_START].to_numpy(),
                ordered["values"].to_numpy(),
            )
        )
    return found


def assess_courses(
    people: Sequence[PersonCourse],
    config: CourseConfig,
    *,
    window_hours: float,
    min_share: float,
    positive: str,
    seed: int,
) -> CourseResults:
    """Return rule and results of left-out courses.

    Raises:
        DataError: Nobody is steady, or nobody has windows after the baseline.
    """
    fitted = partial(fit_rule, config=config, window_hours=window_hours, min_share=min_share, positive=positive)
    rule = fitted(_steady(people, config))
    own_rule: dict[int, WarningRule] = {}
    for fold in sorted({one.fold for one in people}):
        others = _steady([one for one in people if one.fold != fold], config) or _steady(people, config)
        own_rule[fold] = fitted(others)
    courses = tuple(
        make_course(
            one.person,
            one.start,
            float(one.start.max()) >= ORDINARY_SECONDS,
            1 / (1 + np.exp(-one.values)),
            own_rule[one.fold],
        )
        for one in people
    )
    labels = np.array([one.label for one in people])
    days = np.array([watched_days([one.values], rule) for one in people])
    alarms = np.array([len(one.alarms) for one in courses], np.float64)
    changed = np.array([bool(one.changes) for one in courses], np.float64)
    rng = generator(seed, "courses.intervals")
    kept, over, shares = {}, {}, {}
    for label in sorted(set(labels.tolist())):
        rows = np.flatnonzero(labels == label)
        kept[label] = _ratio(alarms[rows], days[rows], rng)
        over[label] = float(days[rows].sum())
        shares[label] = _ratio(changed[rows], np.ones(len(rows)), rng)
    steady = _steady(people, config)
    detections = tuple(_detect(steady, own_rule, shift, generator(seed, f"courses.shift {shift}")) for shift in SHIFTS)
    return CourseResults(rule, courses, tuple(labels.tolist()), kept, over, shares, detections)


def fit_rule(
    people: Sequence[PersonCourse], config: CourseConfig, *, window_hours: float, min_share: float, positive: str
) -> WarningRule:
    """Return the lowest threshold at which these people, and one alarm more, keep the promised rate.

    The one more is for the people to come: a threshold at which the rate is just kept on some people is broken on others half of the time.

    Raises:
        DataError: Nobody has windows after the baseline.
    """
    values = [one.values for one in people]
    within = [one - one.mean() for one in values if len(one) > 1]
    freedom = sum(len(one) - 1 for one in within)
    if not freedom or all(len(one) <= config.baseline_windows for one in values):
        raise DataError(
            f"Nobody has more than the {config.baseline_windows} windows of the baseline.",
            where="course.baseline_windows",
            fix="lower it, take shorter windows ([data] window_hours), or bring longer recordings",
        )
    spread = max(float(np.sqrt(sum(float((one**2).sum()) for one in within) / freedom)), 1e-6)
    level, noise = fit_variances([(one.values, np.round(one.start / (window_hours * HOUR))) for one in people])
    rule = WarningRule(
        positive,
        window_hours,
        min_share,
        NEVER,
        spread,
        level,
        noise,
        config.alarms_per_day,
        0.0,
        config.baseline_windows,
        config.slack,
        config.change_level,
    )
    ratios = np.sort([change_ratio(one.values, config.change_level, one.person) for one in people])
    # of n steady people and one more, `change_level` may lie above (conformal); with too few of them above the largest
    rank = min(len(ratios), int(np.ceil((1 - config.change_level) * (len(ratios) + 1))))
    rule = replace(rule, days=watched_days(values, rule), change_cost=max(1.0, float(ratios[rank - 1]) + 1e-6))
    scores = np.concatenate([warn(one, rule)[0] for one in values])
    candidates = np.unique(np.round(scores[np.isfinite(scores) & (scores > 0)], 6))
    most = config.alarms_per_day * rule.days - 1
    if most < 0:
        return rule
    low, high = 0, len(candidates)  # alarms fall with the threshold
    while low < high:
        middle = (low + high) // 2
        tried = replace(rule, threshold=float(candidates[middle]) + 1e-6)
        if sum(len(warn(one, tried)[1]) for one in values) <= most:
            high = middle
        else:
            low = middle + 1
    top = float(candidates[min(low, len(candidates) - 1)]) + 1e-6 if len(candidates) else rule.slack + 1.0
    return replace(rule, threshold=top)


def _steady(people: Sequence[PersonCourse], config: CourseConfig) -> list[PersonCourse]:
    return [one for one in people if config.steady in (None, one.label)]


def _ratio(
    over: Float64[np.ndarray, " people"], under: Float64[np.ndarray, " people"], rng: np.random.Generator
) -> Interval:
    """Return a ratio of sums with its 95 % interval over people."""
    total, num = float(under.sum()), len(over)
    if total == 0 or num < MIN_USERS:
        return Interval(float(over.sum()) / total if total else float("nan"), float("nan"), float("nan"), num)
    counts = draw_counts(rng, DRAWS, num)
    low, high = np.quantile((counts @ over) / np.maximum(counts @ under, 1e-9), (0.025, 0.975))
    return Interval(float(over.sum()) / total, float(low), float(high), num)


def _detect(
    people: Sequence[PersonCourse], rules: Mapping[int, WarningRule], shift: float, rng: np.random.Generator
) -> Detection:
    """Raise the end of each course and return how often and how late is warned; earlier alarms start the sum again, as they would."""
    delays: list[float] = []
    for one in people:
        rule = rules[one.fold]
        last = len(one.values) - MIN_AFTER
        if last < rule.baseline_windows:
            continue
        for begin in rng.integers(rule.baseline_windows, last + 1, ROUNDS).tolist():
            raised = one.values + np.where(np.arange(len(one.values)) >= begin, shift * rule.spread, 0.0)
            after = [t for t in warn(raised, rule)[1] if t >= begin]
            delays.append(after[0] - begin if after else np.nan)
    known = np.array(delays)
    found = np.isfinite(known)
    return Detection(
        shift,
        float(found.mean()) if len(known) else float("nan"),
        float(np.median(known[found])) if found.any() else float("nan"),
    )
