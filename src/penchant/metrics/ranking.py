"""Ranking metrics.

In: ranked item rows (users, K) and the true items of each user. Out: one number for each user, metric and k; means come later.
A true item is any with a positive weight; it counts once, however often it was touched.
"""

# ruff: noqa: ARG001 - every metric takes the same three arguments, needed or not

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int32, Int64

from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import Histories, Recommendations
from penchant.metrics import METRICS

Hits = Bool[np.ndarray, "users K"]
Relevant = Int64[np.ndarray, " users"]
PerUser = Float64[np.ndarray, " users"]

BATCH_CELLS = 8_000_000
"""List positions looked up at once: 64 MB of keys."""

PAD = -1
"""Stands where a list is shorter than K."""


def measure(
    recommendations: Recommendations,
    truth: Histories,
    *,
    ks: Sequence[int] = (5, 10, 20, 50),
    metrics: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return `user_id` and one column for each metric and k ("recall@20"), one row for each user who has a true item.

    Args:
        recommendations: Lists at least as long as the largest k, or the whole catalog if that is shorter.
        truth: What the same users chose later, rows in the same order.
        ks: Cut-offs.
        metrics: Names in `METRICS`; None takes all.

    Raises:
        DataError: The users differ, a list holds an item twice, or a list was cut before the largest k.
        ConfigError: A metric is unknown, or does not give one number for each user.
    """
    functions = {name: METRICS.load(name) for name in (METRICS.names() if metrics is None else metrics)}
    ranked = recommendations.item_index
    _check(recommendations, truth, max(ks))
    hits = hit_matrix(ranked, truth)
    num_relevant = relevant(truth).counts()
    columns = {
        f"{name}@{k}": _per_user(name, f(hits, num_relevant, k), len(hits)) for name, f in functions.items() for k in ks
    }
    table = pl.DataFrame({"user_id": pl.Series(recommendations.user_ids, dtype=pl.String), **columns})
    return table.filter(pl.Series(num_relevant > 0))


@dataclass(frozen=True)
class RelevantPairs:
    """The distinct true pairs, sorted by user and then item.

    Attributes:
        user_index: (pairs,) row of the user.
        item_index: (pairs,) row of the item.
        num_users: Rows of the truth, those without a true item included.
        num_items: Rows of the catalog.
    """

    user_index: Int64[np.ndarray, " pairs"]
    item_index: Int64[np.ndarray, " pairs"]
    num_users: int
    num_items: int

    def keys(self) -> Int64[np.ndarray, " pairs"]:
        """Return one ascending number for each pair."""
        return self.user_index * self.num_items + self.item_index

    def counts(self) -> Int64[np.ndarray, " users"]:
        """Return how many true items each user has."""
        return np.bincount(self.user_index, minlength=self.num_users)


def relevant(truth: Histories) -> RelevantPairs:
    """Return the true pairs: distinct, and of positive weight (a dislike is no true item)."""
    liked = truth.weight > 0
    keys = np.unique(truth.user_index()[liked] * truth.num_items + truth.item_index[liked])
    users, items = np.divmod(keys, max(truth.num_items, 1))
    return RelevantPairs(users, items, len(truth), truth.num_items)


def hit_matrix(ranked: Int32[np.ndarray, "users K"], truth: Histories) -> Bool[np.ndarray, "users K"]:
    """Return whether the item at each position was truly chosen; padding (-1) never was."""
    keys = relevant(truth).keys()
    hits = np.zeros(ranked.shape, bool)
    if not keys.size:
        return hits
    for rows in _blocks(ranked):
        listed = _keys(ranked[rows], rows.start, truth.num_items)
        place = np.minimum(np.searchsorted(keys, listed), keys.size - 1)
        hits[rows] = (keys[place] == listed) & (ranked[rows] != PAD)
    return hits


def found(ranked: Int32[np.ndarray, "users K"], truth: RelevantPairs, k: int) -> Bool[np.ndarray, " pairs"]:
    """Return whether each true pair is among the first k of its user's list."""
    answer = np.zeros(truth.user_index.size, bool)
    keys = truth.keys()
    for rows in _blocks(ranked[:, :k]):
        listed = ranked[rows, :k]
        shown = _keys(listed, rows.start, truth.num_items)[listed != PAD]
        first, last = np.searchsorted(truth.user_index, [rows.start, rows.stop])
        answer[first:last] = np.isin(keys[first:last], shown)
    return answer


def recall(hits: Hits, num_relevant: Relevant, k: int) -> PerUser:
    """Return the share of each user's true items within the first k; 0 for a user without any."""
    return hits[:, :k].sum(axis=1) / np.maximum(num_relevant, 1)


def precision(hits: Hits, num_relevant: Relevant, k: int) -> PerUser:
    """Return the share of the first k that are true items; a list shorter than k is divided by k all the same."""
    return hits[:, :k].sum(axis=1) / k


def hit_rate(hits: Hits, num_relevant: Relevant, k: int) -> PerUser:
    """Return 1 where at least one true item is within the first k, else 0."""
    return np.asarray(hits[:, :k].any(axis=1), np.float64)


def ndcg(hits: Hits, num_relevant: Relevant, k: int) -> PerUser:
    """Return the discounted gain over the best possible one: min(k, true items) hits at the top.

    Source: Järvelin and Kekäläinen, 2002; binary gains, discount 1 / log2(rank + 1).
    """
    discount = discounted_gain(np.arange(k), k)
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(num_relevant, k)]
    gain = hits[:, :k] @ discount[: hits.shape[1]]
    return np.divide(gain, ideal, out=np.zeros_like(gain), where=ideal > 0)


def discounted_gain(rank: Int64[np.ndarray, " hits"], k: int) -> Float64[np.ndarray, " hits"]:
    """Return what hits at these ranks add to the gain at k: 1 / log2(rank + 2), 0 from rank k on; rank 0 is the top."""
    return np.where(rank < k, 1.0 / np.log2(rank + 2.0), 0.0)


def reciprocal_rank(hits: Hits, num_relevant: Relevant, k: int) -> PerUser:
    """Return 1 / the rank of the first true item, 0 where none is within the first k."""
    top = hits[:, :k]
    return np.where(top.any(axis=1), 1.0 / (top.argmax(axis=1) + 1), 0.0) if top.shape[1] else np.zeros(len(top))


def average_precision(hits: Hits, num_relevant: Relevant, k: int) -> PerUser:
    """Return the precision at each hit within the first k, summed and divided by the number of true items.

    Source: trec_eval's `map_cut`. (Some toolboxes divide by min(k, true items), which gives larger numbers.)
    """
    top = hits[:, :k]
    precisions = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return (precisions * top).sum(axis=1) / np.maximum(num_relevant, 1)


def _per_user(name: str, values: Any, num_users: int) -> Float64[np.ndarray, " users"]:
    """Return a metric's values; a metric of another package may give anything."""
    values = np.asarray(values, np.float64)
    if values.shape != (num_users,) or not np.isfinite(values).all():
        raise ConfigError(
            f"The metric {name!r} gave {values.shape} numbers for {num_users} users, or not all of them finite.",
            where="the table of metrics",
            fix="return one finite number for each row of hits",
        )
    return values


def _blocks(ranked: Int32[np.ndarray, "users K"]) -> Iterator[slice]:
    """Yield runs of users whose lists hold at most `BATCH_CELLS` positions together."""
    size = max(1, BATCH_CELLS // max(ranked.shape[1], 1))
    for start in range(0, len(ranked), size):
        yield slice(start, min(start + size, len(ranked)))


def _keys(ranked: Int32[np.ndarray, "users K"], first: int, num_items: int) -> Int64[np.ndarray, "users K"]:
    """Return user * num_items + item, as `RelevantPairs.keys` does; padding gives a wrong key, to be masked."""
    return np.arange(first, first + len(ranked))[:, None] * num_items + ranked.astype(np.int64)


def _check(recommendations: Recommendations, truth: Histories, k: int) -> None:
    """Check that users, lengths and items of the lists fit the truth; else metrics would be silently wrong."""
    ranked = recommendations.item_index
    if recommendations.user_ids != truth.user_ids:
        raise DataError(
            f"The lists are of {len(recommendations.user_ids)} users, the truth is of {len(truth)} others or in another order.",
            where="evaluation",
            fix="pass both for the same users in the same order (`Histories.take` reorders)",
        )
    if ranked.shape[1] < min(k, truth.num_items):
        raise DataError(
            f"The lists hold {ranked.shape[1]} items, the metrics ask for {k}.",
            where="evaluation",
            fix=f"rank at least {k} items for each user, or ask for a smaller k",
        )
    for rows in _blocks(ranked):
        ordered = np.sort(ranked[rows], axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD)
        if twice.any():
            user, place = np.argwhere(twice)[0]
            raise DataError(
                f"A list holds item row {ordered[user, place]} twice.",
                where=f"the list of user {recommendations.user_ids[rows.start + user]!r}",
                fix="list each item once, or its hit is counted twice",
            )
