"""Event weights by kind, value and mood.

In: events and the `[histories]` settings. Out: one weight for each event; negative means dislike, 0 leaves the event out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.logs import logger

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
"""Default weight of each kind of event; any other kind weighs 1."""


class HistoriesConfig(Settings):
    """Event weights."""

    kinds: dict[str, float] = {}
    """Weight by kind of event, beside the built-in ones; negative means dislike, 0 leaves the kind out. Unknown kinds weigh 1."""
    values: bool | Literal["log"] = False
    """Whether an event weighs less when its value (rating) is low: value / full_value, 1 at most. "log" is for counts of plays or purchases:
    log(1 + value) / log(1 + full_value), above 1 too. An event without a value weighs in full."""
    full_value: float = Field(5.0, gt=0)
    """Value that weighs in full, for `values`; for counts a usual one."""
    unhappy: float = -1.0
    """Weight of an event whose text or voice note is unhappy, for every kind; needs [reviews]."""
    max_events: int | None = Field(None, ge=1)
    """Most recent events kept for each user; None keeps all."""


def kind_weights(config: HistoriesConfig) -> dict[str, float]:
    """Return the weight of each kind by its name in lower case; any other kind weighs 1."""
    return {**KIND_WEIGHTS, **{kind.strip().lower(): weight for kind, weight in config.kinds.items()}}


def event_weights(
    by_kind: Float32[np.ndarray, " events"],
    value: Float32[np.ndarray, " events"],
    is_unhappy: Bool[np.ndarray, " events"],
    config: HistoriesConfig,
) -> Float32[np.ndarray, " events"]:
    """Return the weight of each event.

    Args:
        by_kind: Weight of the event's kind.
        value: NaN for an event without one, which then weighs in full.
        is_unhappy: Whether its mood is unhappy.
        config: Whether values count, and the weight of an unhappy event.
    """
    weight = by_kind
    if config.values:
        share = np.clip(value / np.float32(config.full_value), 0, 1)
        if config.values == "log":
            share = np.log1p(np.maximum(value, 0)) / np.float32(np.log1p(config.full_value))
        weight = by_kind * np.where(np.isnan(share), np.float32(1), share)
    return np.where(is_unhappy, np.float32(config.unhappy), weight).astype(np.float32)


def table_weights(table: pl.DataFrame, config: HistoriesConfig) -> Float32[np.ndarray, " events"]:
    """Return the weight of each row of an interactions table; kinds without a weight are logged once."""
    weights = kind_weights(config)
    unknown = sorted(set(table["kind"].unique().drop_nulls()) - set(weights))
    if unknown:
        _log_unknown_kinds(tuple(unknown))
    by_kind = table["kind"].replace_strict(weights, default=1.0, return_dtype=pl.Float32)
    is_unhappy = (table["mood"] == "unhappy").fill_null(False).to_numpy() if "mood" in table.columns else False
    value = table["value"].to_numpy()
    return event_weights(by_kind.to_numpy(), value, np.broadcast_to(is_unhappy, len(value)), config)


@lru_cache
def _log_unknown_kinds(kinds: tuple[str, ...]) -> None:
    """Log unknown kinds once, although histories are built many times."""
    logger.warning(
        "Events of kind %s weigh 1 each; set their weights in [histories] kinds.", ", ".join(map(repr, kinds))
    )
