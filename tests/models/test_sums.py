"""A member made from sums over users equals one fitted on all of them, and new events are added to the sums exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penchant.core.schema import Histories
from penchant.models.member import Member, make_member

TABLES: dict[str, dict[str, Any]] = {
    "ease": {"model": "ease", "regularisation": 20},
    "ease by user": {"model": "ease", "user_exponent": 0.5, "target_exponent": 0.3, "dropout": 0.1},
    "ease of counts": {"model": "ease", "strength": "log"},
    "item_knn": {"model": "item_knn", "neighbours": 10},
    "rp3beta": {"model": "rp3beta", "neighbours": 10},
    "graph": {"model": "graph_filter", "hops": 2, "shift": 0.3},
    "transitions": {"model": "transitions", "window": 4, "backward": 0.5, "max_gap_days": 2},
    "sessions": {"model": "session_regression"},
    "returns": {"model": "session_regression", "min_gap_hours": 1, "past": 30},
    "lifted": {"model": "lifted", "of": {"model": "ease"}, "half_life_days": 2},
}
ITEMS = 25


def people(seed: int, users: int = 60) -> Histories:
    """Return users with up to fifteen events of two weeks, some of them dislikes."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 16, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    count = int(offsets[-1])
    at = np.concatenate([np.sort(rng.integers(1, 14 * 86_400, n)) for n in lengths]) * 1_000_000
    weight = rng.choice([1.0, 1.0, 0.5, -1.0], count).astype(np.float32)
    items = rng.integers(0, ITEMS, count).astype(np.int32)
    return Histories([f"{seed}-{n}" for n in range(users)], offsets, items, at, weight, ITEMS)


def sums_of(member: Member, histories: Histories) -> dict[str, np.ndarray]:
    return {name: one(histories) for name, one in member.user_sums(ITEMS).items()}


@pytest.mark.parametrize("name", TABLES)
def test_sums_of_groups_make_the_member_that_a_fit_makes(name: str):
    first, second = people(1), people(2)
    whole = Histories.joined([first, second])
    member = make_member(name, TABLES[name])
    groups = [sums_of(member, part) for part in (first, second)]
    assert groups[0], "the member has sums"
    total = {key: groups[0][key] + groups[1][key] for key in groups[0]}
    made = make_member(name, TABLES[name]).from_sums(total, whole)
    fitted = make_member(name, TABLES[name]).fit(whole)
    np.testing.assert_allclose(made.score(whole), fitted.score(whole), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", TABLES)
def test_changed_users_are_exchanged_in_the_sums(name: str):
    before, other = people(1), people(3)
    member = make_member(name, TABLES[name])
    changed = np.arange(0, len(before), 7)
    kept = before.take(np.setdiff1d(np.arange(len(before)), changed))
    now = Histories.joined([kept, other])
    gone, come = sums_of(member, before.take(changed)), sums_of(member, other)
    total = {key: one - gone[key] + come[key] for key, one in sums_of(member, before).items()}
    for key, one in sums_of(member, now).items():
        np.testing.assert_allclose(total[key], one, rtol=1e-6, atol=1e-5)
    held = {key: one.copy() for key, one in total.items()}
    made = make_member(name, TABLES[name]).from_sums(total, now)
    fitted = make_member(name, TABLES[name]).fit(now)
    np.testing.assert_allclose(made.score(now), fitted.score(now), rtol=1e-3, atol=1e-5)
    for key, one in held.items():
        np.testing.assert_array_equal(total[key], one, err_msg="a fit must not change the sums of others")


def test_large_catalogs_have_no_sums():
    assert not make_member("ease", {"model": "ease", "max_items": 10}).user_sums(ITEMS)
    assert not make_member("popularity", {"model": "popularity"}).user_sums(ITEMS)
