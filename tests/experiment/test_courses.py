"""The promised rate of false alarms is kept by people to come; shifts are found; too few days promise nothing."""

import numpy as np
import pytest

from penchant.classifiers.course import NEVER, CourseConfig, warn
from penchant.core.errors import DataError
from penchant.experiment.courses import PersonCourse, assess_courses, fit_rule

FITTED = {"window_hours": 24.0, "min_share": 0.75, "positive": "ill"}


def people(count: int, windows: int, rng: np.random.Generator, label: str = "well") -> list[PersonCourse]:
    """Return people who stay as they are, each about a level of their own."""
    return [
        PersonCourse(
            f"{label}{n}", label, n % 5, np.arange(windows) * 86_400.0, rng.normal(0, 2) + rng.normal(0, 1.3, windows)
        )
        for n in range(count)
    ]


def test_promised_rate_is_kept_by_people_to_come() -> None:
    kept = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rule = fit_rule(people(40, 30, rng), CourseConfig(alarms_per_day=0.02), **FITTED)  # type: ignore[arg-type]
        alarms = sum(len(warn(one.values, rule)[1]) for one in people(200, 30, rng))
        kept.append(alarms / (200 * 25))
    assert np.mean(kept) <= 0.02
    assert np.mean(kept) >= 0.01  # and is not kept by never warning


def test_larger_shifts_are_found_more_often_and_sooner() -> None:
    rng = np.random.default_rng(0)
    found = assess_courses(people(60, 40, rng), CourseConfig(alarms_per_day=0.02), seed=0, **FITTED)  # type: ignore[arg-type]
    one, two = found.detections
    assert two.found > one.found
    assert two.found > 0.8
    assert two.delay <= one.delay
    kept = found.kept["well"]
    assert kept.low <= 0.02
    assert found.changed["well"].mean <= 0.15
    assert any("promised 0.02" in line for line in found.lines())


def test_change_points_are_promised_for_people_whose_days_resemble_each_other() -> None:
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        walks = [
            PersonCourse(one.person, "well", one.fold, one.start, one.values + np.cumsum(rng.normal(0, 0.5, 25)))
            for one in people(60, 25, rng)
        ]
        found = assess_courses(walks, CourseConfig(change_level=0.1), seed=0, **FITTED)  # type: ignore[arg-type]
        assert found.rule.change_cost > 1.2
        shares.append(found.changed["well"].mean)
    assert np.mean(shares) == pytest.approx(
        0.1, abs=0.05
    )  # random orders of the same windows alone would find far more


def test_only_steady_people_set_the_threshold() -> None:
    rng = np.random.default_rng(1)
    restless = [
        PersonCourse(f"ill{n}", "ill", n % 5, np.arange(30) * 86_400.0, np.linspace(0, 9, 30) + rng.normal(0, 1, 30))
        for n in range(20)
    ]
    well = people(40, 30, rng)
    alone = assess_courses(well, CourseConfig(steady="well"), seed=0, **FITTED)  # type: ignore[arg-type]
    found = assess_courses([*well, *restless], CourseConfig(steady="well"), seed=0, **FITTED)  # type: ignore[arg-type]
    assert found.rule == alone.rule
    assert found.kept["ill"].mean > 3 * found.kept["well"].mean


def test_nobody_is_warned_of_by_a_rule_that_saw_them() -> None:
    rng = np.random.default_rng(2)
    quiet = people(40, 30, rng)
    loud = [
        PersonCourse(
            f"loud{n}", "well", 5, np.arange(30) * 86_400.0, np.repeat([0.0, 8, -8, 8, -8, 8], 5) + rng.normal(0, 1, 30)
        )
        for n in range(8)
    ]
    found = assess_courses([*quiet, *loud], CourseConfig(), seed=0, **FITTED)  # type: ignore[arg-type]
    threshold = {one.person: one.threshold for one in found.courses}
    assert threshold["loud0"] == fit_rule(quiet, CourseConfig(), **FITTED).threshold  # type: ignore[arg-type]
    assert found.kept["well"].mean > 0.02


def test_too_few_days_promise_nothing() -> None:
    rule = fit_rule(people(4, 10, np.random.default_rng(0)), CourseConfig(alarms_per_day=0.02), **FITTED)  # type: ignore[arg-type]
    assert rule.days == 20
    assert rule.threshold == NEVER


def test_recordings_shorter_than_the_baseline_are_refused() -> None:
    with pytest.raises(DataError, match="more than the 5 windows of the baseline"):
        fit_rule(people(4, 5, np.random.default_rng(0)), CourseConfig(), **FITTED)  # type: ignore[arg-type]
