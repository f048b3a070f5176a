"""Sums over users, shard by shard, are those of all users; members that are given them learn the same."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from penchant.core.schema import Histories
from penchant.models import user_sums
from penchant.models.member import make_member
from penchant.models.shared import SharedResults, sharing
from penchant.models.user_sums import summed, user_shards

DAY = 86_400_000_000


def people(count: int = 60, items: int = 20) -> Histories:
    rng = np.random.default_rng(5)
    lengths = rng.integers(0, 9, count)
    total = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    at = np.concatenate([np.sort(rng.integers(0, 90 * DAY, n)) for n in lengths]).astype(np.int64)
    weight = rng.choice(np.array([1, 1, 1, -1], np.float32), total)
    index = rng.integers(0, items, total).astype(np.int32)
    return Histories([f"u{n}" for n in range(count)], offsets, index, at, weight, items)


TABLES: list[dict[str, Any]] = [
    {"model": "popularity"},
    {"model": "popularity", "half_life_days": 7, "user_exponent": 0.5},
    {"model": "ease", "regularisation": 5},
    {"model": "item_knn"},
    {"model": "transitions", "window": 3, "backward": 0.5, "gap_half_life_days": 2},
    {"model": "session_regression", "regularisation": 5},
    {"model": "session_regression", "min_gap_hours": 1, "past": 30, "regularisation": 5},
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: " ".join(map(str, table.values())))
def test_members_learn_from_summed_shards_what_they_learn_from_all_users(
    table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = people()
    monkeypatch.setattr(user_sums, "SHARD_EVENTS", 30)
    assert len(user_shards(train)) > 4
    alone = make_member("m", table).fit(train)
    found = summed(train, [make_member("m", table).user_sums(train)])
    assert len(found) == 1
    results = SharedResults(dict(found), train)
    with sharing(results):
        again = make_member("m", table).fit(train)
    assert np.allclose(again.score(train), alone.score(train), rtol=1e-6, atol=1e-6)
    doubled = {key: value * 2 for key, value in found.items()}  # so that the sums, and not the events, were read
    with sharing(SharedResults(doubled, train)):
        other = make_member("m", table).fit(train)
    assert not np.allclose(other.score(train), alone.score(train), rtol=1e-3, atol=1e-3)


def test_shards_added_in_any_order_give_the_sum() -> None:
    train = people()
    ((_, function),) = make_member("m", {"model": "transitions"}).user_sums(train).items()
    shards = user_shards(train, 20)
    assert [users for start, stop in shards for users in range(start, stop)] == list(range(len(train)))
    whole = function(train).toarray()
    for seed in range(3):
        random.Random(seed).shuffle(shards)
        parts = [sparse.csr_array(function(train.rows(*users))) for users in shards]
        assert np.allclose(sum(part.toarray() for part in parts), whole, atol=1e-6)


def test_events_of_one_shard_are_summed_where_they_are_needed() -> None:
    train = people()
    assert user_shards(train) == [(0, len(train))]
    assert summed(train, [make_member("m", TABLES[0]).user_sums(train)]) == {}
