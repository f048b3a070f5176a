import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from penchant.metrics import intervals
from penchant.metrics.intervals import BETTER, SAME, WORSE, Config


def test_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).exponential(size=2000)
    found = intervals.mean_interval(values)
    error = 1.96 * values.std() / np.sqrt(2000)
    assert found.mean == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx([values.mean() - error, values.mean() + error], abs=0.1 * error)


def test_interval_equals_scipy_bootstrap():
    values = np.random.default_rng(1).normal(size=60)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", random_state=0)
    ours = intervals.mean_interval(values, Config(resamples=9999))
    interval = theirs.confidence_interval
    assert [ours.low, ours.high] == pytest.approx([interval.low, interval.high], abs=0.02)


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        found = intervals.mean_interval(rng.normal(0.3, 1, 80), Config(resamples=400))
        held += found.low <= 0.3 <= found.high
    assert 175 <= held <= 200


def test_a_paired_difference_is_found_where_users_differ_far_more_than_systems():
    base = np.random.default_rng(3).uniform(size=300)
    found = intervals.paired_difference(base + 0.01, base)
    assert found.mean == pytest.approx(0.01)
    assert found.verdict == BETTER
    assert intervals.paired_difference(base, base + 0.01).verdict == WORSE


def test_equal_lists_are_not_distinguishable():
    values = np.random.default_rng(4).uniform(size=50)
    found = intervals.paired_difference(values, values)
    assert (found.mean, found.p, found.verdict) == (0, 1, SAME)


def test_few_users_get_no_interval_and_no_verdict():
    found = intervals.paired_difference(np.ones(9), np.zeros(9))
    assert found.verdict == SAME
    assert found.p == 1
    assert np.isnan([found.low, found.high]).all()


def test_users_who_do_not_count_are_left_out_of_both():
    first = np.array([1.0] * 20 + [np.nan] * 5 + [9.0] * 5)
    second = np.array([0.0] * 20 + [9.0] * 5 + [np.nan] * 5)
    found = intervals.paired_difference(first, second)
    assert (found.mean, found.num_users) == (1.0, 20)
    assert intervals.mean_interval(first).num_users == 25


def test_no_user_at_all_gives_no_number():
    found = intervals.mean_interval(np.zeros(0))
    assert found.num_users == 0
    assert np.isnan(found.mean)


def test_the_same_seed_gives_the_same_interval_and_another_another():
    values = np.random.default_rng(5).uniform(size=200)
    assert intervals.mean_interval(values) == intervals.mean_interval(values)
    assert intervals.mean_interval(values) != intervals.mean_interval(values, Config(seed=1))


def test_many_users_in_groups_keep_the_width(monkeypatch):
    values = np.random.default_rng(6).normal(size=5000)
    whole = intervals.mean_interval(values)
    monkeypatch.setattr(intervals, "MAX_UNITS", 700)
    grouped = intervals.mean_interval(values)
    assert grouped.mean == whole.mean
    assert grouped.high - grouped.low == pytest.approx(whole.high - whole.low, rel=0.1)


def test_small_batches_of_draws_keep_the_numbers(monkeypatch):
    values = np.random.default_rng(7).normal(size=50)
    whole = intervals.mean_interval(values, Config(resamples=500))
    monkeypatch.setattr(intervals, "BATCH_CELLS", 200)
    assert intervals.mean_interval(values, Config(resamples=500)) == whole


def test_holm_equals_the_numbers_of_the_textbook():
    assert intervals.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(arrays(float, st.integers(1, 12), elements=st.floats(0, 1)))
def test_holm_is_never_below_p_and_keeps_the_order(p):
    adjusted = intervals.holm(p)
    assert (adjusted >= p).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert (adjusted <= 1).all()


def test_adjustment_takes_back_a_verdict_that_chance_would_give():
    rng = np.random.default_rng(8)
    noise = [intervals.paired_difference(rng.normal(0.0, 1, 100), np.zeros(100)) for _ in range(40)]
    assert any(d.verdict != SAME for d in noise)
    assert all(d.verdict == SAME for d in intervals.adjust(noise))
