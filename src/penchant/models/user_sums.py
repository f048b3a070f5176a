"""Sums over users that members are fitted from: each shard of users gives a part, and the parts add up to the whole.

In: histories, and functions of some users. Out: the sums, added up shard by shard on the executor of the context.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from penchant.core.executor import current_executor
from penchant.core.schema import Histories

UserSum = Callable[[Histories], Any]
"""Histories of some users to their part of a sum: an array, or a sparse one; the parts of all shards add up to that of all users."""
UserSums = Mapping[Hashable, UserSum]
"""Sums by the key under which `computed_once` keeps them."""
SHARD_EVENTS = 1_000_000
"""Events of one shard; what fits one is summed up where it is needed."""


def user_shards(train: Histories, events: int | None = None) -> list[tuple[int, int]]:
    """Return the rows between which users make a shard of about so many events (`SHARD_EVENTS`); they depend on the events alone."""
    wanted = max(1, round(train.num_events / (events or SHARD_EVENTS)))
    ends = np.searchsorted(train.offsets, np.linspace(0, train.num_events, wanted + 1)[1:-1])
    edges = [0, *np.unique(ends[(ends > 0) & (ends < len(train))]).tolist(), len(train)]
    return list(pairwise(edges))


def summed(train: Histories, sums: Iterable[UserSums]) -> dict[Hashable, Any]:
    """Return each sum over all users, equal keys once, map and reduce over shards; nothing where the events fit one shard.

    Every shard is added exactly once, in the order of the users, so that the rounding is the same on any number of nodes.
    """
    shards = user_shards(train)
    if len(shards) < 2:
        return {}
    wanted = {key: function for one in sums for key, function in one.items()}
    return {
        key: current_executor().sum(_part, shards, (train, function), title="sum over users")
        for key, function in wanted.items()
    }


def _part(users: tuple[int, int], train: Histories, function: UserSum) -> Any:
    return function(train.rows(*users))
