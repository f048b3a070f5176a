"""Tables of events become rows of numbers.

In: interactions and the catalog's vocabulary. Out: `Histories`, oldest event first, each event weighing what its kind says.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import polars as pl
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.logs import logger
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
TIME_ORDER = ("at", "tie", "kind", "value")
"""Order of one user's events, for `tie_breaker` as `tie`; the last two decide only between events of one user, item and instant."""


class Config(Settings):
    """What an event says about interest."""

    kinds: dict[str, float] = {}
    """Weight by kind of event, beside the built-in ones; negative means dislike, 0 leaves the kind out. Unknown kinds weigh 1."""
    values: bool = False
    """Whether an event weighs less when its value (rating) is low; an event without a value weighs in full."""
    full_value: float = Field(5.0, gt=0)
    """Value that weighs in full, for `values`."""
    unhappy: float = -1.0
    """Weight of an event whose words, or whose voice note, are unhappy, whatever its kind says; needs [reviews]."""
    max_events: int | None = Field(None, ge=1)
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

    Events without a time count as the oldest, with `at` 0. Of test events, the same function makes the truth.

    Args:
        interactions: Events; those of unknown items, and of kinds that weigh 0, are left out.
        items: The catalog's ids.
        config: Weights of kinds.
        users: Which users, in which order, those without events included; None takes everyone there is, sorted.
        seed: Decides ties.
    """
    table = interactions.table.select(
        "user_id", "kind", "value", "at", _weight(interactions.table, config), tie_breaker(seed).alias("tie")
    )
    table = table.with_columns(item=pl.Series(items.indices(interactions.table["item_id"])))
    table = table.filter(pl.col("item") >= 0, pl.col("weight") != 0)
    ids = table["user_id"].unique().sort().to_list() if users is None else list(users)
    table = table.with_columns(user=pl.Series(Vocabulary(ids).indices(table["user_id"]))).filter(pl.col("user") >= 0)
    table = table.sort("user", *TIME_ORDER, nulls_last=False)
    if config.max_events is not None:
        table = table.filter(pl.int_range(pl.len(), 0, -1).over("user") <= config.max_events)
    counts = np.bincount(table["user"].to_numpy(), minlength=len(ids))
    return Histories(
        ids,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        table["item"].to_numpy().astype(np.int32),
        table["at"].dt.epoch("us").fill_null(0).to_numpy().astype(np.int64),
        table["weight"].to_numpy().astype(np.float32),
        len(items),
    )


def tie_breaker(seed: int) -> pl.Expr:
    """Return a number for each event that depends on the event and the seed, never on its place in the file.

    File order leaks: in MovieLens, events of one instant are sorted by item id. Another version of Polars may hash otherwise,
    so the order is repeatable under the versions of the lock.
    """
    return pl.struct("user_id", "item_id", "at").hash(seed)


def _weight(table: pl.DataFrame, config: Config) -> pl.Expr:
    """Weigh each event by its kind, and by its value where that is asked for; unhappy words outweigh both."""
    weights = {**KIND_WEIGHTS, **{kind.strip().lower(): weight for kind, weight in config.kinds.items()}}
    unknown = sorted(set(table["kind"].unique().drop_nulls()) - set(weights))
    if unknown:
        _tell_unknown(tuple(unknown))
    weight = pl.col("kind").replace_strict(weights, default=1.0, return_dtype=pl.Float32)
    if config.values:
        weight *= (pl.col("value") / config.full_value).clip(0, 1).fill_nan(None).fill_null(1.0)
    if "mood" in table.columns:
        weight = pl.when(pl.col("mood") == "unhappy").then(pl.lit(config.unhappy)).otherwise(weight)
    return weight.cast(pl.Float32).alias("weight")


@lru_cache
def _tell_unknown(kinds: tuple[str, ...]) -> None:
    """Say it once, though histories are built many times."""
    logger.warning(
        "Events of kind %s weigh 1 each; say what they mean in [histories] kinds.", ", ".join(map(repr, kinds))
    )
