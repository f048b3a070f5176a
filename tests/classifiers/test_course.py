"""Courses over time against independent formulas, and against generated people whose change is known."""

import numpy as np
import pytest

from penchant.classifiers.course import (
    NEVER,
    WarningRule,
    change_points,
    fit_variances,
    log_odds,
    make_course,
    smooth,
    warn,
)

RULE = WarningRule("ill", 24.0, 0.75, 3.0, 1.0, 0.1, 1.0, 0.02, 100.0, 4, 0.5, 0.05)


def test_smoothing_is_the_posterior_of_a_random_walk_with_noise() -> None:
    rng = np.random.default_rng(0)
    number = np.array([0.0, 1, 2, 5, 6, 7, 9])
    values = rng.normal(size=7)
    steps = np.diff(np.eye(7), axis=0)
    precision = steps.T @ np.diag(1 / (0.3 * np.diff(number))) @ steps + np.eye(7) / 0.8
    covariance = np.linalg.inv(precision)
    level, error = smooth(values, number, 0.3, 0.8)
    assert level == pytest.approx(covariance @ values / 0.8, abs=1e-9)
    assert error == pytest.approx(np.sqrt(np.diag(covariance)), abs=1e-9)


def test_bands_hold_the_true_level_as_often_as_promised() -> None:
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(200):
        level = np.cumsum(rng.normal(0, 0.3, 30))
        found, error = smooth(level + rng.normal(0, 1.0, 30), np.arange(30.0), 0.09, 1.0)
        inside.append(np.abs(found - level) <= 1.96 * error)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_variances_are_recovered() -> None:
    rng = np.random.default_rng(2)
    courses = []
    for _ in range(60):
        level = np.cumsum(rng.normal(0, 0.5, 40))
        courses.append((level + rng.normal(0, 1.0, 40), np.arange(40.0)))
    level_variance, noise = fit_variances(courses)
    assert level_variance == pytest.approx(0.25, rel=0.25)
    assert noise == pytest.approx(1.0, rel=0.15)


def test_change_points_are_found_where_they_are() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0, 1, 20), rng.normal(3, 1, 15), rng.normal(-1, 1, 20)])
    found = change_points(values, 0.05, 1.0, "someone")
    assert len(found) == 2
    assert found == pytest.approx((20, 35), abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("windows", [8, 14, 60])
def test_people_without_change_show_one_as_often_as_promised(windows: int) -> None:
    rng = np.random.default_rng(windows)
    found = [bool(change_points(rng.standard_t(4, windows), 0.05, 1.0, str(n))) for n in range(400)]
    assert np.mean(found) <= 0.08


@pytest.mark.parametrize("values", [np.zeros(0), np.ones(30), np.array([0.0, 9, 0, 9, 0])])
def test_short_or_constant_courses_have_no_change(values: np.ndarray) -> None:
    assert change_points(values, 0.05, 1.0, "someone") == ()


def test_warning_adds_what_exceeds_the_slack_and_starts_again_after_an_alarm() -> None:
    values = np.array([1.0, -1, 1, -1, 2, 2, 0, 5, 0, -3])  # the first four are the beginning, with mean 0
    score, alarms = warn(values, RULE)
    assert np.isnan(score[:4]).all()
    assert score[4:] == pytest.approx([1.5, 3.0, 0.0, 4.5, 0.0, 0.0])
    assert alarms == (5, 7)
    assert warn(values[:4], RULE)[1] == ()


def test_an_infinite_threshold_never_warns_and_survives_json() -> None:
    rule = WarningRule.of({**RULE.facts(), "threshold": None})
    assert rule.threshold == NEVER
    assert rule.facts()["threshold"] is None
    assert warn(np.arange(30.0), rule)[1] == ()
    assert WarningRule.of(RULE.facts()) == RULE


def test_a_course_has_a_band_around_its_level() -> None:
    probability = np.array([0.2, 0.3, 0.25, 0.2, 0.9, 0.95, 0.97, 0.9])
    course = make_course("p", np.arange(8) * 86_400.0, True, probability, RULE)
    assert ((course.low < course.level) & (course.level < course.high)).all()
    assert course.changes == (4,)
    assert course.alarms
    assert min(course.alarms) >= 4
    plain = course.as_dict()
    assert plain["score"][0] is None
    assert len(plain["level"]) == 8


def test_an_empty_course_is_empty() -> None:
    course = make_course("p", np.zeros(0), False, np.zeros(0), RULE)
    assert course.changes == course.alarms == ()


def test_log_odds_are_bounded() -> None:
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
    assert log_odds(np.array([0.5]))[0] == 0
