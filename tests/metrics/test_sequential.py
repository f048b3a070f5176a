"""Intervals that may be read at any time: coverage under peeking, against what fixed intervals do; the boundary of the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from penchant.metrics.sequential import MIN_EVENTS, MIN_UNITS, half_width, sequential_difference


def peeks(rate: float, lift: float, seed: int, *, until: int = 4000, step: int = 100) -> tuple[bool, bool]:
    """Return whether some look during a trial missed the true difference: with our interval, and with one that is meant for a single look."""
    rng = np.random.default_rng(seed)
    first = (rng.random(until) < rate).astype(float)
    second = (rng.random(until) < rate + lift).astype(float)
    missed = fixed = False
    for count in range(step, until + 1, step):
        one, other = first[:count], second[:count]
        found = sequential_difference(one, other)
        missed |= found.low > lift or found.high < lift
        error = math.sqrt((one.var() + other.var()) / count)
        fixed |= abs(other.mean() - one.mean() - lift) > 1.96 * error
    return missed, fixed


@pytest.mark.parametrize(("rate", "lift"), [(0.05, 0.0), (0.3, 0.02)])
def test_the_interval_covers_at_all_looks_together(rate: float, lift: float):
    looks = np.array([peeks(rate, lift, seed) for seed in range(100)])
    assert looks[:, 0].sum() <= 8  # more than 8 of 100 have a probability of .06 at exactly 5 %
    assert looks[:, 1].mean() > 0.2  # an interval for one look fails often when it is read forty times


def test_a_true_difference_is_found_and_named():
    rng = np.random.default_rng(0)
    first, second = rng.random(6000) < 0.1, rng.random(6000) < 0.15
    assert sequential_difference(first.astype(float), second.astype(float)).outcome == "better"
    assert sequential_difference(second.astype(float), first.astype(float)).outcome == "worse"


def test_no_interval_before_the_variance_is_known():
    rng = np.random.default_rng(0)
    many = (rng.random(1000) < 0.5).astype(float)
    rare = np.zeros(1000)
    rare[: MIN_EVENTS - 1] = 1
    assert math.isnan(sequential_difference(many, many[: MIN_UNITS - 1]).low)
    assert math.isnan(sequential_difference(many, rare).low)
    assert sequential_difference(many, rare).outcome == "not distinguishable"
    assert not math.isnan(sequential_difference(many, many[:MIN_UNITS]).low)


def test_several_comparisons_share_what_may_fail():
    rng = np.random.default_rng(0)
    first, second = ((rng.random(2000) < 0.3).astype(float) for _ in range(2))
    one, four = (sequential_difference(first, second, comparisons=n) for n in (1, 4))
    assert four.high - four.low > one.high - one.low
    strict = sequential_difference(first, second, confidence=1 - 0.05 / 4)
    assert (four.low, four.high) == pytest.approx((strict.low, strict.high))


def test_the_boundary_is_that_of_a_normal_mixture():
    """Howard et al. 2021, equation 14, one-sided at alpha / 2 on both sides, with intrinsic time n and mixture precision 1 / rho^2."""
    rho2 = (-2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)) / 5000
    for count in (100, 5000, 100_000):
        boundary = math.sqrt((count + 1 / rho2) * math.log((count + 1 / rho2) / ((1 / rho2) * 0.05**2)))
        assert half_width(count, 0.05) == pytest.approx(boundary / count, rel=1e-12)
    assert half_width(5000, 0.05) < 1.7 * 1.96 / math.sqrt(5000)
