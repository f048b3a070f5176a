"""What can be reached on a sample world.

In: the truth of a world, users and the times they are asked at. Out: the probability with which each user chooses each item next, as the world
draws it. Nobody ranks better on average than by this probability: what is missing to a perfect list is chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float32, Float64, Int64

from penchant.world.choices import FAVOURITE_UTILITY, FORTNIGHT, START, ItemSampler
from penchant.world.items import ATTRIBUTES
from penchant.world.truth import WorldTruth
from penchant.world.users import REASONS


def choice_probabilities(
    truth: WorldTruth, user_ids: Sequence[str], at: Int64[np.ndarray, " users"], item_ids: Sequence[str]
) -> Float32[np.ndarray, "users items"]:
    """Return the probability of each item as the next choice, before items the user already has are left out.

    Args:
        truth: Of the world.
        user_ids: A user may come several times, at several times.
        at: When each is asked, microseconds since 1970.
        item_ids: Columns of the result. An item that the world does not have, or that is not released yet, has 0.
    """
    sampler = ItemSampler.build(truth.items)
    weight = _weights(sampler, truth.items.height)
    rows = pl.DataFrame({"user_id": list(user_ids)}).join(
        truth.users, on="user_id", how="left", maintain_order="left", coalesce=True
    )
    day = (np.asarray(at) - START.astype(np.int64)) // 86_400_000_000
    fortnight = np.clip(day // FORTNIGHT, 0, len(weight) - 1)
    is_later = day >= rows["changes_on"].fill_null(np.iinfo(np.int64).max).to_numpy()
    found = np.zeros((len(rows), truth.items.height))
    for reason in REASONS:
        share = rows[f"by_{reason}"].fill_null(0.0).to_numpy()
        choice = weight[fortnight] if reason != "chance" else (weight[fortnight] > 0).astype(np.float64)
        if reason in ATTRIBUTES:
            choice = choice * _favour(rows, reason, is_later)[:, sampler.codes[reason]]
        found += share[:, None] * choice / np.maximum(choice.sum(axis=1, keepdims=True), 1e-300)
    place = {item: row for row, item in enumerate(truth.items["item_id"].to_list())}
    column = np.array([place.get(item, len(place)) for item in item_ids], np.int64)
    return np.hstack([found, np.zeros((len(found), 1))])[:, column].astype(np.float32)


def _weights(sampler: ItemSampler, num_items: int) -> Float64[np.ndarray, "fortnights items"]:
    """Return the weight of every item in every fortnight, in the order of the items."""
    trend = sampler.samplers["trend"]  # its one value holds all items in their order
    return np.diff(trend.running).reshape(-1, num_items)


def _favour(rows: pl.DataFrame, attribute: str, is_later: np.ndarray) -> Float64[np.ndarray, "users values"]:
    """Return the factor of each value of an attribute: more than 1 for a user's favourites at that time."""
    values = list(ATTRIBUTES[attribute])
    factor = np.ones((len(rows), len(values)))
    first, later = (rows[f"{time}_{attribute}"].to_list() for time in ("likes", "later"))
    for row, (before, after) in enumerate(zip(first, later, strict=True)):
        named = after if is_later[row] else before
        for name, utility in zip((named or "").split("|") if named else (), FAVOURITE_UTILITY, strict=False):
            factor[row, values.index(name)] = np.exp(utility)
    return factor
