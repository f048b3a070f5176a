"""A version is promoted where it is shown to be no worse, by a rule that looking often does not weaken."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from penchant.core.schema import Histories
from penchant.learning.judging import (
    JudgingConfig,
    count_requests,
    error_share,
    judge,
    judged,
    last_look,
    looks_done,
    needed_requests,
    verdict_of,
)
from penchant.metrics.intervals import BootstrapMeans, Difference, IntervalConfig
from penchant.recommender.recommender import Recommender

CONFIG = JudgingConfig()


def outcome(change: float, seed: int) -> str:
    """Return what becomes of a version whose NDCG is so much higher, in proportion, looked at as the learner does."""
    rng = np.random.default_rng([seed, round(1000 * (1 + change))])
    count = CONFIG.first_look * 2 ** (CONFIG.looks - 1)
    users = np.sort(rng.integers(0, count // 8, count))
    hit = rng.random(count) < 0.3  # a third of the lists hold the item at a random place
    parent = np.where(hit, rng.random(count), 0.0)
    version = np.where(rng.random(count) < 0.7, parent, np.where(rng.random(count) < 0.3, rng.random(count), 0.0))
    version *= 1 + change
    order = rng.permutation(count)
    for look in range(1, CONFIG.looks + 1):
        seen = order[: CONFIG.first_look * 2 ** (look - 1)]
        means = BootstrapMeans(
            np.column_stack([version[seen], parent[seen]]),
            IntervalConfig(confidence=1 - error_share(look, CONFIG), resamples=400),
            users=users[seen].astype(str).tolist(),
        )
        different = int((version[seen] != parent[seen]).sum())
        gap, base = means.difference(0, 1), means.interval(1).mean
        found = verdict_of(gap, base, look, CONFIG, len(seen), different)
        if found != "waiting":
            return found
    return "waiting"


def test_worse_version_is_never_promoted_and_a_better_one_mostly():
    worse = [outcome(-0.05, seed) for seed in range(20)]
    better = [outcome(0.05, seed) for seed in range(20)]
    assert worse.count("promoted") == 0
    assert better.count("promoted") >= 16


@pytest.mark.parametrize(("count", "looks"), [(199, 0), (200, 1), (399, 1), (400, 2), (10**6, 7)])
def test_looks_are_at_twice_as_many_requests_each(count: int, looks: int):
    assert looks_done(count, CONFIG) == looks


def test_looks_share_the_error_and_the_last_has_half_of_it():
    shares = [error_share(look, CONFIG) for look in range(1, CONFIG.looks + 1)]
    assert sum(shares) == pytest.approx(1 - CONFIG.confidence, abs=1e-12)
    assert shares[-1] == pytest.approx(sum(shares) / 2, rel=0.01)


@pytest.mark.slow
def test_version_at_the_margin_is_promoted_in_few_of_many_tries():
    tries = [outcome(-CONFIG.margin, seed) for seed in range(200)]
    # an error of 2.5 % on this side: more than 12 of 200 has a probability of .002
    assert tries.count("promoted") <= 12


def test_equal_versions_are_promoted_once_no_larger_loss_would_have_stayed_unseen():
    def verdict(requests: int) -> str:
        same = np.full(requests, 0.3)
        users = [f"u{n}" for n in range(requests)]
        return judged({"version": same, "parent": same, "popularity": same}, users, 0, 1, CONFIG, 1).verdict

    enough = -np.log(error_share(1, CONFIG)) / (CONFIG.margin * 0.3)
    assert verdict(int(enough)) == "waiting"
    assert verdict(int(enough) + 1) == "promoted"


@pytest.mark.parametrize("sign", [1, -1])
def test_nothing_is_decided_by_a_few_requests_that_differ(sign: int):
    def verdict(different: int, look: int = 1) -> str:
        parent = np.full(1000, 0.3)
        version = parent.copy()
        version[:different] += sign * 0.2
        users = [f"u{n}" for n in range(1000)]
        return judged({"version": version, "parent": parent, "popularity": parent}, users, 0, 1, CONFIG, look).verdict

    assert verdict(CONFIG.min_different - 1) == "waiting"
    assert verdict(CONFIG.min_different) == ("promoted" if sign > 0 else "rejected")
    assert verdict(CONFIG.min_different - 1, CONFIG.looks) == "rejected"


def test_too_few_users_are_rejected_at_the_last_look_alone():
    drawn = np.random.default_rng(0).random((300, 2))
    gains = {"version": drawn[:, 0], "parent": drawn[:, 1], "popularity": drawn[:, 1]}
    users = ["a", "b", "c"] * 100
    assert judged(gains, users, 0, 1, CONFIG, 1).verdict == "waiting"
    assert judged(gains, users, 0, 1, CONFIG, CONFIG.looks).verdict == "rejected"


SPREAD, BASE = 0.1, 0.2
"""Standard deviation of the difference of one request, and the parent's NDCG."""


def drawn(requests: int, seed: int, change: float = 0.0) -> dict[str, np.ndarray]:
    """Return gains of a version that is better by a share, each request of another user."""
    rng = np.random.default_rng(seed)
    parent = BASE + 0.05 * rng.standard_normal(requests)
    version = parent + change * BASE + SPREAD * rng.standard_normal(requests)
    return {"version": version, "parent": parent, "popularity": np.zeros(requests)}


def judged_at(requests: int, seed: int, change: float = 0.0, look: int = CONFIG.looks):
    return judged(drawn(requests, seed, change), [f"u{n}" for n in range(requests)], 0, 1, CONFIG, look)


@pytest.mark.parametrize("change", [0.0, 0.05])
def test_needed_requests_promote_four_of_five(change: float):
    found = judged_at(4000, 0)
    assert found.difference is not None
    base = found.scores["parent"].mean
    needed = needed_requests(found.difference, base, found.requests, CONFIG, CONFIG.looks, change)
    normal = NormalDist()
    reach = normal.inv_cdf(1 - error_share(CONFIG.looks, CONFIG) / 2) + normal.inv_cdf(0.8)
    expected = (reach * SPREAD / ((change + CONFIG.margin) * BASE)) ** 2
    assert needed == pytest.approx(expected, rel=0.1)
    early = judged_at(4000, 0, look=1)
    assert early.difference is not None
    assert needed_requests(early.difference, base, 4000, CONFIG, 1, change) == pytest.approx(needed, rel=0.1)
    if not change:  # as many requests take long
        return
    tries = [judged_at(needed, seed, change).verdict for seed in range(1, 21)]
    assert 11 <= tries.count("promoted") <= 20


def test_comparison_says_how_many_requests_one_as_good_needs_and_where_comparisons_end():
    found = judged_at(4000, 0, change=0.03)
    assert found.difference is not None
    assert found.needed == needed_requests(found.difference, found.scores["parent"].mean, 4000, CONFIG, CONFIG.looks)
    assert found.last_look == last_look(CONFIG) == 12_800
    assert last_look(JudgingConfig(max_requests=3000)) == 3000


def test_needed_requests_are_unknown_without_a_margin_or_an_interval():
    found = judged_at(300, 0).difference
    assert found is not None
    assert needed_requests(found, BASE, 300, JudgingConfig(margin=0), 1) is None
    unknown = Difference(0.0, float("nan"), float("nan"), 1.0, "not distinguishable", 3)
    assert needed_requests(unknown, BASE, 300, CONFIG, 1) is None


def repeated(base: Recommender, requests: int, repeats: int, since: int) -> Histories:
    """Return users who each choose one new item after `since`, as many as there are requests, and then often an item that they had before."""
    number = max(requests, 1)
    new = [1] if requests else []
    item = np.array([0, *new, *[0] * repeats] * number, np.int32)
    at = np.array([1, *(since + 1 + place for place in range(len(new) + repeats))] * number)
    offsets = (len(new) + repeats + 1) * np.arange(number + 1)
    users = [f"r{n}" for n in range(number)]
    return Histories(users, offsets, item, at, np.ones(len(item), np.float32), len(base.catalog))


def test_repeats_of_items_that_users_had_reach_no_look(own_shop: Path):
    base = Recommender.load(own_shop)
    since = 10**15
    for requests, repeats in [(0, 300), (20, 700)]:
        events = repeated(base, requests, repeats, since)
        assert count_requests(events, since, since + 10**6) == requests
        found = judge(base, base, events, base.catalog.item_ids, since, since + 10**6, CONFIG)
        assert (found.verdict, found.look, found.requests) == ("waiting", 0, requests)
