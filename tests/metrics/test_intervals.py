import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from penchant.core.seeds import generator
from penchant.metrics import intervals
from penchant.metrics.intervals import BETTER, SAME, WORSE, DrawnDifference, IntervalConfig


def test_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(0).exponential(size=2000)
    found = intervals.mean_interval(values)
    error = 1.96 * values.std() / np.sqrt(2000)
    assert found.mean == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx([values.mean() - error, values.mean() + error], abs=0.1 * error)


def test_interval_equals_scipy_bootstrap():
    values = np.random.default_rng(1).normal(size=60)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", random_state=0)
    ours = intervals.mean_interval(values, IntervalConfig(resamples=9999))
    interval = theirs.confidence_interval
    assert [ours.low, ours.high] == pytest.approx([interval.low, interval.high], abs=0.02)


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        found = intervals.mean_interval(rng.normal(0.3, 1, 80), IntervalConfig(resamples=400))
        held += found.low <= 0.3 <= found.high
    assert 175 <= held <= 200


def test_a_paired_difference_is_found_where_users_differ_far_more_than_systems():
    base = np.random.default_rng(3).uniform(size=300)
    found = intervals.paired_difference(base + 0.01, base)
    assert found.mean == pytest.approx(0.01)
    assert found.outcome == BETTER
    assert intervals.paired_difference(base, base + 0.01).outcome == WORSE


def test_equal_lists_are_not_distinguishable():
    values = np.random.default_rng(4).uniform(size=50)
    found = intervals.paired_difference(values, values)
    assert (found.mean, found.p, found.outcome) == (0, 1, SAME)


def test_few_users_get_no_interval_and_no_outcome():
    found = intervals.paired_difference(np.ones(9), np.zeros(9))
    assert found.outcome == SAME
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
    assert intervals.mean_interval(values) != intervals.mean_interval(values, IntervalConfig(seed=1))


def test_many_users_in_groups_keep_the_width(monkeypatch):
    values = np.random.default_rng(6).normal(size=5000)
    whole = intervals.mean_interval(values)
    monkeypatch.setattr(intervals, "MAX_UNITS", 700)
    grouped = intervals.mean_interval(values)
    assert grouped.mean == whole.mean
    assert grouped.high - grouped.low == pytest.approx(whole.high - whole.low, rel=0.1)


def test_small_batches_of_draws_keep_the_numbers(monkeypatch):
    values = np.random.default_rng(7).normal(size=50)
    whole = intervals.mean_interval(values, IntervalConfig(resamples=500))
    monkeypatch.setattr(intervals, "BATCH_CELLS", 200)
    assert intervals.mean_interval(values, IntervalConfig(resamples=500)) == whole


def test_holm_equals_the_numbers_of_the_textbook():
    assert intervals.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(arrays(float, st.integers(1, 12), elements=st.floats(0, 1)))
def test_holm_is_never_below_p_and_keeps_the_order(p):
    adjusted = intervals.holm(p)
    assert (adjusted >= p).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert (adjusted <= 1).all()


def test_adjustment_takes_back_an_outcome_that_chance_would_give():
    rng = np.random.default_rng(8)
    noise = np.column_stack([np.zeros(100), *(rng.normal(0.0, 1, 100) for _ in range(40))])
    table = intervals.BootstrapMeans(noise)
    assert any(table.difference(column, 0).outcome != SAME for column in range(1, 41))
    together = table.differences([(column, 0) for column in range(1, 41)])
    assert all(d.outcome == SAME and d.low <= 0 <= d.high for d in together)


def drawn_means(values: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Return the mean of each resample, drawn one user at a time."""
    picked = generator(seed, "bootstrap").integers(0, len(values), (resamples, len(values)))
    return values[picked].mean(axis=1)


def test_interval_is_the_percentiles_of_the_means_of_drawn_users():
    values = np.random.default_rng(9).normal(size=12)
    found = intervals.mean_interval(values, IntervalConfig(resamples=300, confidence=0.9, seed=4))
    low, high = np.quantile(drawn_means(values, 300, 4), [0.05, 0.95])
    assert (found.mean, found.low, found.high, found.num_users) == pytest.approx((values.mean(), low, high, 12))


def test_difference_is_that_of_the_differences_and_its_p_counts_the_draws_beyond_zero():
    rng = np.random.default_rng(10)
    first, second = rng.normal(0.4, 1, 30), rng.normal(0, 1, 30)
    found = intervals.paired_difference(first, second, IntervalConfig(resamples=500))
    draws = drawn_means(first - second, 500)
    low, high = np.quantile(draws, [0.025, 0.975])
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    assert tail > 0
    assert (found.mean, found.low, found.high) == pytest.approx(((first - second).mean(), low, high))
    assert found.p == pytest.approx(2 * (tail + 1) / 501)
    mirrored = intervals.paired_difference(second, first, IntervalConfig(resamples=500))
    assert (mirrored.mean, mirrored.low, mirrored.high, mirrored.p) == pytest.approx(
        (-found.mean, -high, -low, found.p)
    )


def test_the_smallest_p_is_two_over_the_draws_and_one():
    assert intervals.paired_difference(np.ones(10), np.zeros(10), IntervalConfig(resamples=99)).p == pytest.approx(
        2 / 100
    )


def test_ten_users_get_an_interval_and_nine_do_not():
    assert intervals.paired_difference(np.ones(10), np.zeros(10)).outcome == BETTER
    assert np.isnan(intervals.mean_interval(np.arange(9.0)).low)
    assert not np.isnan(intervals.mean_interval(np.arange(10.0)).low)


def test_a_user_missing_in_one_column_leaves_the_others_as_they_are():
    rng = np.random.default_rng(11)
    values = rng.normal(size=(40, 3))
    values[:5, 2] = np.nan
    table = intervals.BootstrapMeans(values, IntervalConfig(resamples=200))
    whole = intervals.paired_difference(values[:, 0], values[:, 1], IntervalConfig(resamples=200))
    assert table.difference(0, 1) == whole
    assert table.difference(1, 2).num_users == 35
    assert table.difference(1, 2).mean == pytest.approx((values[5:, 1] - values[5:, 2]).mean())
    assert table.interval(2).mean == pytest.approx(values[5:, 2].mean())


def test_an_outcome_needs_an_interval_that_excludes_zero():
    assert [intervals._outcome(*ends) for ends in ((0.1, 1), (0, 1), (-1, 0), (-1, -0.1), (np.nan, np.nan))] == [
        BETTER,
        SAME,
        SAME,
        WORSE,
        SAME,
    ]


def drawn(tail: int, resamples: int = 399) -> DrawnDifference:
    """A difference of 1 with some draws below 0."""
    draws = np.linspace(0.5, 1.5, resamples)
    draws[:tail] -= 2
    return DrawnDifference(1.0, draws, 20)


def test_corrected_intervals_have_the_level_at_which_holm_tests_each() -> None:
    config = IntervalConfig(resamples=399)
    one, other = intervals.corrected([drawn(3), drawn(9)], config)
    assert (one.p, other.p) == pytest.approx((0.04, 0.05))  # 2 x 0.02 and 0.05
    assert (one.outcome, other.outcome) == (BETTER, BETTER)
    assert (one.low, one.high) == pytest.approx(tuple(np.quantile(drawn(3).draws, [0.0125, 0.9875])))
    assert (other.low, other.high) == pytest.approx(tuple(np.quantile(drawn(9).draws, [0.025, 0.975])))
    first, second = intervals.corrected([drawn(5), drawn(6)], config)  # 0.03 fails at 0.025, and so does the next
    assert [(d.outcome, d.low <= 0) for d in (first, second)] == [(SAME, True)] * 2
    assert second.high == pytest.approx(np.quantile(drawn(6).draws, 0.9875))
    assert intervals.corrected([drawn(5)], config)[0].outcome == BETTER
    assert intervals.corrected([], config) == []


@given(arrays(float, st.tuples(st.just(12), st.integers(2, 6)), elements=st.floats(-1, 1, width=16)))
def test_an_outcome_and_its_corrected_interval_never_disagree(values) -> None:
    table = intervals.BootstrapMeans(values, IntervalConfig(resamples=150, confidence=0.8))
    for one in table.differences([(column, 0) for column in range(1, values.shape[1])]):
        assert (one.outcome == SAME) == (one.low <= 0 <= one.high)
        assert one.outcome != BETTER or one.p <= 0.2 + 1e-12


def test_detectable_is_two_point_eight_standard_errors_and_more_in_company() -> None:
    rng = np.random.default_rng(3)
    values = np.column_stack([rng.normal(size=400), np.zeros(400), rng.normal(size=400)])
    alone = intervals.BootstrapMeans(values).difference(0, 1)
    assert alone.detectable == pytest.approx(2.8 * values[:, 0].std() / 20, rel=0.05)
    together = intervals.BootstrapMeans(values).differences([(0, 1), (2, 1)])
    assert together[0].detectable == pytest.approx((2.2414 + 0.8416) * values[:, 0].std() / 20, rel=0.05)
    assert np.isnan(intervals.paired_difference(np.ones(20), np.ones(20)).detectable)


def test_a_user_is_drawn_with_all_their_rows() -> None:
    rng = np.random.default_rng(4)
    users = [f"u{n}" for n in rng.integers(0, 15, 60)]
    values = rng.normal(size=(60, 1))
    values[3] = np.nan
    found = intervals.BootstrapMeans(values, IntervalConfig(resamples=300, seed=2), users=users)
    names, number = np.unique(users, return_inverse=True)
    picked = generator(2, "bootstrap").integers(0, len(names), (300, len(names)))
    means = []
    for draw in picked:
        rows = np.concatenate([np.flatnonzero(number == user) for user in draw])
        means.append(np.nanmean(values[rows, 0]))
    assert found._means[:, 0] == pytest.approx(np.array(means), abs=1e-12)
    one = found.interval(0)
    assert (one.mean, one.num_users) == (pytest.approx(np.nanmean(values)), len(names))
    assert np.isnan(intervals.BootstrapMeans(values, users=["u"] * 60).interval(0).low)  # one user decides nothing


def test_measuring_again_widens_the_interval_by_what_chance_decides() -> None:
    rng = np.random.default_rng(5)
    users, shift = rng.normal(0.1, 1.0, 500), np.array([-0.2, 0.0, 0.2])
    config = IntervalConfig(resamples=4000)
    same = intervals.hierarchical(np.tile(users, (3, 1)), config=config)
    assert np.std(same.draws) == pytest.approx(users.std() / np.sqrt(500), rel=0.05)
    moved = intervals.hierarchical(users + shift[:, None], config=config)
    assert moved.mean == pytest.approx(users.mean())
    expected = np.sqrt(users.var() / 500 + shift.var(ddof=1) / 3)
    assert np.std(moved.draws) == pytest.approx(expected, rel=0.05)
    assert intervals.corrected([moved], config)[0].num_users == 500


def test_a_measurement_of_some_users_counts_for_those() -> None:
    values = np.array([[1.0, np.nan, 3.0, 1.0], [3.0, np.nan, np.nan, 1.0]])
    found = intervals.hierarchical(values, ["a", "b", "a", "c"], IntervalConfig(resamples=50))
    assert (found.mean, found.num_users) == (pytest.approx(9 / 5), 2)
    assert np.nanmax(found.draws) <= 3


def test_holm_never_exceeds_one():
    assert intervals.holm(np.array([0.6, 0.7])).tolist() == [1, 1]


def test_drawn_counts_are_those_of_the_drawn_rows():
    picked = np.random.default_rng(0).integers(0, 4, (3, 4))
    counts = intervals.draw_counts(np.random.default_rng(0), 3, 4)
    assert counts.tolist() == [[(row == unit).sum() for unit in range(4)] for row in picked]


def test_groups_of_users_hold_every_user_once(monkeypatch):
    monkeypatch.setattr(intervals, "MAX_UNITS", 3)
    rows = np.arange(8.0)[:, None] ** 2
    grouped = intervals._grouped(rows)
    assert grouped.shape == (3, 1)
    assert grouped.sum() == rows.sum()
    assert intervals._grouped(rows[:3]) is not None
    assert np.array_equal(intervals._grouped(rows[:3]), rows[:3])


def test_a_draw_in_which_nobody_counts_is_left_out():
    values = np.full(30, np.nan)
    values[:12] = np.arange(12)
    few = np.full(30, np.nan)
    few[0] = 3.0
    table = intervals.BootstrapMeans(np.column_stack([values, few]), IntervalConfig(resamples=100))
    assert np.isnan(table._means[:, 1]).any()
    assert set(table._means[~np.isnan(table._means[:, 1]), 1]) == {3.0}
    assert table.interval(0).low < table.interval(0).mean < table.interval(0).high
