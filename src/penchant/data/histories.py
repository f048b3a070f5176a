"""Tables of events become rows of numbers.

In: interactions and the catalog's vocabulary. Out: `Histories`, oldest event first, each event weighing what its kind says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from penchant.core.config import Settings
from penchant.core.schema import Histories, Interactions, Vocabulary

KIND_WEIGHTS = {
    "interaction": 1.0,
    "view": 0.5,
    "click": 0.5,
    "play": 1.0,
    "like": 1.0,
    "rating": 1.0,
    "review": 1.0,
    "cart": 0.8,
    "purchase": 1.0,
    "skip": -0.5,
    "dislike": -1.0,
    "neither": 0.0,
}


class Config(Settings):
    """What an event says about interest."""

    kinds: dict[str, float] = {}
    """Weight by kind of event, beside the built-in ones; negative means dislike, 0 leaves the kind out. Unknown kinds weigh 1."""
    max_events: int | None = None
    """Most recent events kept for each user; None keeps all."""


def build_histories(
    interactions: Interactions,
    items: Vocabulary,
    config: Config,
    *,
    users: Sequence[str] | None = None,
    seed: int = 0,
) -> Histories:
    """Return one row for each user, events in time; ties in time, and events without a time, in seeded random order.

    Args:
        interactions: Events; those of unknown items, and of kinds that weigh 0, are left out.
        items: The catalog's ids.
        config: Weights of kinds.
        users: Which users, in which order; None takes everyone there is, sorted.
        seed: Decides ties.
    """
    weights = {**KIND_WEIGHTS, **config.kinds}
    table = (
        interactions.table.select("user_id", "item_id", "at", "kind")
        .with_columns(
            item=pl.Series(items.indices(interactions.table["item_id"])),
            weight=pl.col("kind").replace_strict(weights, default=1.0, return_dtype=pl.Float32),
            tie=tie_breaker(seed),
        )
        .filter(pl.col("item") >= 0, pl.col("weight") != 0)
    )
    ids = sorted(table["user_id"].unique()) if users is None else list(users)
    table = table.with_columns(user=pl.Series(Vocabulary(ids).indices(table["user_id"]))).filter(pl.col("user") >= 0)
    table = table.sort("user", "at", "tie", nulls_last=False)
    if config.max_events:
        table = table.filter(pl.int_range(pl.len(), 0, -1).over("user") <= config.max_events)
    counts = np.bincount(table["user"].to_numpy(), minlength=len(ids))
    at = table["at"].dt.epoch("us").fill_null(0)
    return Histories(
        ids,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        table["item"].to_numpy().astype(np.int32),
        at.to_numpy().astype(np.int64),
        table["weight"].to_numpy().astype(np.float32),
        len(items),
    )


def tie_breaker(seed: int) -> pl.Expr:
    """Return a number for each event that depends on the event and the seed, never on its place in the file.

    File order leaks: in MovieLens, events of one instant are sorted by item id.
    """
    return pl.struct("user_id", "item_id", "at").hash(seed)
