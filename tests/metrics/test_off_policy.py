"""Estimates of what a policy would have earned: numbers of Open Bandit Pipeline, coverage in simulation, real traffic, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from open_bandit import CAMPAIGNS, campaign
from penchant.core.errors import DataError
from penchant.metrics.intervals import IntervalConfig
from penchant.metrics.off_policy import LoggedChoices, cross_fitted_rates, effective_size, evaluate_policy


def drawn_log() -> tuple[LoggedChoices, np.ndarray]:
    """Return choices and expected rewards drawn as for the reference figures below."""
    rng = np.random.default_rng(20251129)
    n, c, k = 400, 5, 2
    position = rng.integers(0, k, n)
    logging = rng.dirichlet(np.ones(c), n)
    action = np.array([rng.choice(c, p=p) for p in logging])
    target = rng.dirichlet(np.ones(c), (n, k)).transpose(0, 2, 1)
    reward = rng.binomial(1, 0.1 + 0.1 * action / c).astype(float)
    rates = rng.uniform(0.05, 0.3, (n, c, k))
    rows = np.arange(n)
    log = LoggedChoices(
        reward,
        logging[rows, action],
        action,
        position,
        np.tile(np.arange(c), (n, 1)),
        target[rows, :, position],
        rows,
    )
    return log, rates[rows, :, position]


def simulated(seed: int, users: int, epsilon: float, num_items: int = 6) -> tuple[LoggedChoices, float]:
    """Return choices of an epsilon-greedy policy, evaluated for one that prefers another item, and what that would truly earn."""
    rng = np.random.default_rng(seed)
    rate = np.linspace(0.05, 0.3, num_items)
    logging = np.full(num_items, epsilon / num_items)
    logging[0] += 1 - epsilon
    target = np.full(num_items, 0.1 / num_items)
    target[-1] += 0.9
    unit = np.repeat(np.arange(users), 2)
    taste = rng.normal(0, 0.03, users)[unit]
    chosen = rng.choice(num_items, len(unit), p=logging)
    reward = (rng.random(len(unit)) < rate[chosen] + taste).astype(float)
    candidates = np.tile(np.arange(num_items), (len(unit), 1))
    policy = np.tile(target, (len(unit), 1))
    place = np.zeros(len(unit), np.int64)
    return LoggedChoices(reward, logging[chosen], chosen, place, candidates, policy, unit), float(target @ rate)


@pytest.mark.parametrize(
    ("name", "cut", "value"),
    [
        ("ips", 1.0, 0.10652542155333063),
        ("snips", 1.0, 0.1051041723163312),
        ("doubly_robust", 1.0, 0.09698219864729367),
        ("switch", 1.0, 0.15793224473376935),
        ("switch", 3.0, 0.13073147519578843),
        ("switch", 10.0, 0.10054010721697218),
    ],
)
def test_estimates_equal_those_of_open_bandit_pipeline(name: str, cut: float, value: float, monkeypatch):
    """Reference: obp 0.4.1, `obp.ope.estimators` on the same arrays (`estimate_policy_value`; cut is its `tau`)."""
    monkeypatch.setattr("penchant.metrics.off_policy.MIN_EFFECTIVE", 10.0)
    log, rates = drawn_log()
    assert evaluate_policy(log, rates=rates, cut=cut)[name].value == pytest.approx(value, rel=1e-12)


def test_intervals_cover_the_true_value_as_often_as_they_say():
    config = IntervalConfig(resamples=200)
    covered = dict.fromkeys(("ips", "snips", "doubly_robust", "switch"), 0)
    for seed in range(60):
        log, truth = simulated(seed, 1500, 0.5)
        found = evaluate_policy(log, config=config)
        for name in covered:
            covered[name] += found[name].low <= truth <= found[name].high
    assert all(count >= 51 for count in covered.values()), (
        covered
    )  # 95 % of 60 is 57; 50 or fewer have probability .001


def test_a_user_is_drawn_with_all_their_choices():
    log, _ = simulated(0, 1500, 0.5)
    twice = [np.concatenate([getattr(log, name)] * 8) for name in LoggedChoices.__dataclass_fields__]
    once, again = evaluate_policy(log)["snips"], evaluate_policy(LoggedChoices(*twice))["snips"]
    assert again.high - again.low == pytest.approx(once.high - once.low, rel=0.15)


@pytest.mark.parametrize("name", CAMPAIGNS)
@pytest.mark.parametrize("direction", [("random", "bts"), ("bts", "random")])
def test_intervals_hold_the_click_rate_of_the_other_policy_on_real_traffic(
    shared_data: Path, name: str, direction: tuple[str, str]
):
    log, truth = campaign(shared_data / "open_bandit", name, *direction)
    found = evaluate_policy(log)
    for value in found.values:
        assert np.isnan(value.low) or value.low <= truth <= value.high, value
    assert found.best.low <= truth <= found.best.high


def test_few_weights_that_decide_give_no_interval(shared_data: Path):
    log, _ = campaign(
        shared_data / "open_bandit", "women", "bts", "random"
    )  # one propensity of 1e-6: a weight of 21,739
    found = evaluate_policy(log)
    assert found["ips"].effective < 3
    assert np.isnan(found["ips"].low)
    assert found.best.name == "switch"
    assert found.best.effective > 100


def test_a_policy_that_the_log_never_shows_is_refused():
    log, _ = simulated(1, 3000, 0.5)
    policy = np.zeros_like(log.policy)
    policy[:, 0] = 1.0  # the item that this log never holds
    kept = log.chosen != 0
    parts = [getattr(log, n) for n in LoggedChoices.__dataclass_fields__]
    parts[5] = policy
    held = LoggedChoices(*(part[kept] for part in parts))
    with pytest.raises(DataError, match=r"(?s)count as 0 for this policy.*where: off-policy evaluation: overlap.*fix:"):
        evaluate_policy(held)


def test_items_that_were_no_candidates_are_refused():
    log, _ = simulated(1, 3000, 0.5)
    parts = [getattr(log, n) for n in LoggedChoices.__dataclass_fields__]
    parts[5] = log.policy * 0.8
    with pytest.raises(DataError, match="20% of what the policy would show was never a candidate"):
        evaluate_policy(LoggedChoices(*parts))


def test_propensities_that_cannot_be_true_are_refused():
    log, _ = simulated(1, 3000, 0.5)
    parts = [getattr(log, n) for n in LoggedChoices.__dataclass_fields__]
    parts[1] = np.minimum(1.0, log.propensity * 3)
    with pytest.raises(DataError, match="standard errors apart"):
        evaluate_policy(LoggedChoices(*parts))
    parts[1] = np.where(np.arange(len(log)) == 7, 0.0, log.propensity)
    with pytest.raises(DataError, match=r"(?s)A propensity is 0, and 1 of 6,000.*the log, choice 7"):
        evaluate_policy(LoggedChoices(*parts))


def test_rates_do_not_know_the_users_own_clicks():
    log, _ = simulated(2, 300, 0.5)
    rates = cross_fitted_rates(log)
    parts = [getattr(log, n) for n in LoggedChoices.__dataclass_fields__]
    parts[0] = np.where(log.unit == 5, 1 - log.reward, log.reward)
    assert np.array_equal(cross_fitted_rates(LoggedChoices(*parts))[log.unit == 5], rates[log.unit == 5])


def test_equal_weights_count_in_full_and_one_large_weight_as_one():
    assert effective_size(np.full(50, 0.3)) == pytest.approx(50)
    assert effective_size(np.array([1000.0, 0.001, 0.001])) == pytest.approx(1, abs=1e-4)
