"""The estimated offset is the true one, its interval holds it, and unrelated recordings are not trusted."""

import numpy as np
import pytest

from penchant.data.align.offsets import Activity, Offset, OffsetConfig, estimate_offset

RATE = 50


def talk(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return speech and pauses of random lengths, on and off."""
    values = np.zeros(int(seconds * RATE))
    at = 0
    while at < len(values):
        length = int(rng.uniform(0.5, 3) * RATE)
        values[at : at + length] = 1
        at += length + int(rng.uniform(0.3, 2) * RATE)
    return values


def heard_elsewhere(
    values: np.ndarray, offset: float, drift: float, noise: float, rng: np.random.Generator
) -> Activity:
    """Return the same on a clock for which time there = offset + (1 + drift) x time here."""
    middle = (np.arange(len(values)) + 0.5) / RATE
    found = np.interp(offset + (1 + drift) * middle, middle, values, left=np.nan, right=np.nan)
    return Activity(found + noise * rng.normal(size=len(values)), 0)


def estimate(
    reference: Activity, other: Activity, drifts: bool = False, most: float = 0.5, **settings: float
) -> Offset:
    return estimate_offset(reference, other, OffsetConfig(**settings), drifts=drifts, most=most, seed=0)


@pytest.mark.parametrize("offset", [3.44, -7.2, 0.0, 21.013])
def test_offset_is_recovered_within_a_hundredth_and_trusted(offset: float) -> None:
    rng = np.random.default_rng(1)
    values = talk(90, rng)
    found = estimate(
        Activity(values + 0.3 * rng.normal(size=len(values)), 0), heard_elsewhere(values, offset, 0, 0.3, rng)
    )
    assert found.seconds == pytest.approx(offset, abs=0.01)
    assert found.low <= offset <= found.high
    assert found.doubt == ""


@pytest.mark.slow
def test_intervals_hold_the_true_offset_about_as_often_as_promised() -> None:
    inside = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        values = talk(40, rng)
        offset = float(rng.uniform(-8, 8))
        found = estimate(
            Activity(values + rng.normal(size=len(values)), 0),
            heard_elsewhere(values, offset, 0, 1.0, rng),
            max_offset_seconds=10,
        )
        inside += found.low <= offset <= found.high
    assert inside >= 26


def test_cells_do_not_need_to_start_together() -> None:
    rng = np.random.default_rng(2)
    values = talk(60, rng)
    later = Activity(values[500:], 500)
    found = estimate(Activity(values, 0), Activity(values[500:], 0))
    assert found.seconds == pytest.approx(10.0, abs=0.005)
    assert estimate(Activity(values, 0), later).seconds == pytest.approx(0.0, abs=0.005)


def test_unrelated_recordings_are_not_trusted() -> None:
    trusted = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        trusted += estimate(Activity(talk(60, rng), 0), Activity(talk(60, rng), 0)).doubt == ""
    assert trusted <= 1


def test_a_correlation_like_that_of_chance_is_not_trusted_whatever_its_interval() -> None:
    rng = np.random.default_rng(7)
    found = estimate(Activity(talk(60, rng), 0), Activity(talk(60, rng), 0), most=1e9)
    assert found.chance > 0.01
    assert "not above that of chance" in found.doubt


def test_an_interval_wider_than_allowed_is_not_trusted() -> None:
    rng = np.random.default_rng(8)
    values = talk(60, rng)
    found = estimate(Activity(values, 0), Activity(values, 0), most=0.001)
    assert "is wider than" in found.doubt


def test_an_offset_beyond_those_tried_is_not_trusted() -> None:
    rng = np.random.default_rng(3)
    values = talk(90, rng)
    assert estimate(Activity(values, 0), heard_elsewhere(values, 20, 0, 0.1, rng), max_offset_seconds=5).doubt


@pytest.mark.parametrize("values", [np.ones(500), np.full(500, np.nan), np.arange(2.0)])
def test_activity_without_change_gives_a_reason_and_no_offset(values: np.ndarray) -> None:
    found = estimate(Activity(talk(10, np.random.default_rng(0)), 0), Activity(values, 0))
    assert found.seconds == 0
    assert "constant" in found.doubt


def test_drift_is_recovered_and_times_go_back_and_forth() -> None:
    rng = np.random.default_rng(4)
    values = talk(600, rng)
    found = estimate(Activity(values, 0), heard_elsewhere(values, 12.3, 0.0004, 0.3, rng), drifts=True)
    assert found.drift == pytest.approx(0.0004, abs=0.00003)
    assert found.there(np.array([600.0]))[0] == pytest.approx(12.3 + 600.24, abs=0.02)
    assert found.here(found.there(np.array([5.0])))[0] == pytest.approx(5.0)
    without = estimate(Activity(values, 0), heard_elsewhere(values, 12.3, 0.0004, 0.3, rng))
    assert without.correlation < found.correlation - 0.05


def test_the_same_seed_gives_the_same_interval() -> None:
    rng = np.random.default_rng(5)
    values = talk(30, rng)
    other = heard_elsewhere(values, 1.0, 0, 1.0, rng)
    assert estimate(Activity(values, 0), other) == estimate(Activity(values, 0), other)
