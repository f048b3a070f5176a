"""Event weights by kind, value and mood.

In: events and the `[histories]` settings. Out: one weight for each event; negative means dislike, 0 leaves the event out.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.schema import Finding, make_findings

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
    "return": -0.5,
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


@dataclass(frozen=True)
class KindUse:
    """One kind of event in the data.

    Attributes:
        kind: Its name, in lower case.
        events: How many there are.
        weight: Of each.
        suggestion: For a kind without a weight of its own, the known kind whose name is nearest; "" where none is near, or it is known.
        is_known: Whether it has a weight of its own.
    """

    kind: str
    events: int
    weight: float
    suggestion: str = ""
    is_known: bool = True


def kind_uses(table: pl.DataFrame, config: HistoriesConfig) -> list[KindUse]:
    """Return the kinds of a table of events with their weights, the most frequent first."""
    weights = kind_weights(config)
    counts = table["kind"].drop_nulls().value_counts().sort("count", "kind", descending=[True, False])
    return [
        KindUse(kind, count, weights[kind])
        if kind in weights
        else KindUse(kind, count, 1.0, next(iter(get_close_matches(kind, weights, 1, cutoff=0.6)), ""), is_known=False)
        for kind, count in counts.iter_rows()
    ]


def unknown_kinds(table: pl.DataFrame, config: HistoriesConfig) -> list[Finding]:
    """Return a finding about the kinds of event that have no weight of their own, with the known kinds whose names are nearest."""
    unknown = [use for use in kind_uses(table, config) if not use.is_known]
    return make_findings(
        "events.unknown_kind",
        sum(use.events for use in unknown),
        table.height,
        "kept",
        examples=(
            message("“{kind}”: {count}; did you mean “{known}”?", kind=u.kind, count=u.events, known=u.suggestion)
            if u.suggestion
            else message("“{kind}”: {count}", kind=u.kind, count=u.events)
            for u in unknown
        ),
        advice=message(
            "these kinds of event are not known and weigh 1 each: correct them, or set their weights in [histories] kinds"
        ),
        severity="warning" if any(use.suggestion for use in unknown) else "info",
    )


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
