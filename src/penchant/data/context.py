"""Circumstances of events and requests: hour, weekday and month, and columns such as the device.

In: interactions. Out: one channel for each circumstance, whose rows are its values; and interactions that name the value of each event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl

from penchant.core.config import Settings
from penchant.core.messages import message
from penchant.core.schema import (
    CONTEXT,
    Finding,
    Interactions,
    UserEmbeddings,
    context_column,
    make_findings,
    vector_column,
)

HOURS = 4
"""Hours of one part of the day."""
OF_TIME: dict[str, pl.Expr] = {
    "hour": pl.format(
        "{}-{}", pl.col("at").dt.hour() // HOURS * HOURS, pl.col("at").dt.hour() // HOURS * HOURS + HOURS
    ),
    "weekday": pl.col("at").dt.to_string("%A"),
    "month": pl.col("at").dt.to_string("%m"),
}
"""Circumstances that follow from the time, in UTC."""


def circumstances_at(at: datetime) -> dict[str, str]:
    """Return the circumstances that follow from a time, as `read_context` names them; a time without an offset is UTC."""
    table = pl.DataFrame({"at": [at]}, {"at": pl.Datetime("us", "UTC")})
    return {name: str(table.select(value=expression).item()) for name, expression in OF_TIME.items()}


class ContextConfig(Settings):
    """Circumstances that lists are asked for under."""

    time: list[str] = ["hour", "weekday", "month"]
    """Of the request's time: hour (a part of the day), weekday, month; UTC."""
    max_values: int = 200
    """Most frequent values of a column that are kept; a rarer one is as if it were not known."""
    min_events: int = 20
    """A value with fewer events is as if it were not known."""


def read_context(
    interactions: Interactions, columns: Sequence[str], config: ContextConfig
) -> tuple[Interactions, dict[str, UserEmbeddings], list[Finding]]:
    """Return interactions that name the value of each event, the channels, and findings about columns that say nothing.

    Args:
        interactions: Clean.
        columns: Of the events, besides those that follow from the time.
        config: Limits.
    """
    table = interactions.table
    has_hours = table.select((pl.col("at").dt.truncate("1d") != pl.col("at")).any()).item() is True
    named = {name: OF_TIME[name] for name in config.time if name != "hour" or has_hours}
    named |= {name: pl.col(context_column(name)) for name in columns}
    channels, same = {}, []
    for name, expression in named.items():
        values = table.select(value=expression).to_series()
        counts = values.drop_nulls().value_counts(sort=True).filter(pl.col("count") >= config.min_events)
        labels = sorted(counts.head(config.max_values)[counts.columns[0]].to_list())
        if len(labels) < 2:
            same.append(name)
            continue
        rows = values.replace_strict(labels, list(range(len(labels))), default=None, return_dtype=pl.Int32)
        table = table.with_columns(rows.alias(vector_column(name)))
        eye = np.eye(len(labels), dtype=np.float32)
        channels[name] = UserEmbeddings(name, "attribute", "requests", eye, CONTEXT, labels=tuple(labels))
    advice = message("have one frequent value or none, and say nothing about a request")
    told = [name for name in same if name in columns]
    findings = make_findings("context.one_value", len(told), len(named), "dropped", examples=told, advice=advice)
    return Interactions(table), channels, findings
