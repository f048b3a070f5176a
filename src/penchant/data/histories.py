"""Histories from events.

In: a table of interactions, or one user's later events, and the catalog's vocabulary. Out: `Histories`, oldest event first.

The run builds histories from a table (`build_histories`), the service appends the events it was sent (`add_events`). Both give the same
history for the same events:

- Identity: of several events with equal user, item, time and kind, the last one counts (data/clean/events.py drops the others).
- Weight: the weight of the event's kind, times its value where [histories] values is set; an unhappy mood replaces both.
- Order: time; then `tie_breaker`, a seeded hash of user, item and time; then kind.
- Left out: events of unknown items and of weight 0. `max_events` then keeps the most recent ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Int32, Int64, UInt64

from penchant.core.schema import (
    INTERACTION_SCHEMA,
    Histories,
    Interactions,
    OwnContent,
    UserChannel,
    UserContent,
    Vocabulary,
    vector_column,
)
from penchant.data.event_weights import HistoriesConfig, event_weights, kind_weights, table_weights
from penchant.data.tie_breaking import TIME_ORDER, tie_breaker


def build_histories(
    interactions: Interactions,
    items: Vocabulary,
    config: HistoriesConfig,
    *,
    users: Sequence[str] | None = None,
    seed: int = 0,
    content: UserContent | None = None,
) -> Histories:
    """Return one row for each user, events in time; ties in time, and events without a time, in seeded random order.

    Events without a time count as the oldest, with `at` 0. The truth is built from test events by the same function.

    Args:
        interactions: Events; those of unknown items, and of kinds that weigh 0, are left out.
        items: The catalog's ids.
        config: Event weights.
        users: Users in the order of the result, those without events included; None takes all users, sorted.
        seed: Of the order of ties.
        content: What users wrote, showed, said, or are; None reads none.
    """
    content = content or UserContent()
    of_events = [name for name, e in content.embeddings.items() if e.of != "users"]
    vectors = [pl.col(vector_column(name)).fill_null(-1).cast(pl.Int32) for name in of_events]
    weight = pl.Series("weight", table_weights(interactions.table, config))
    table = interactions.table.select(
        "user_id", "kind", "value", "at", weight, tie_breaker(seed).alias("tie"), *vectors
    )
    table = table.with_columns(item=pl.Series(items.indices(interactions.table["item_id"])))
    table = table.filter(pl.col("item") >= 0, pl.col("weight") != 0)
    ids = table["user_id"].unique().sort().to_list() if users is None else list(users)
    table = table.with_columns(user=pl.Series(Vocabulary(ids).indices(table["user_id"]))).filter(pl.col("user") >= 0)
    table = table.sort("user", *TIME_ORDER, nulls_last=False)
    if config.max_events is not None:
        table = table.filter(pl.int_range(pl.len(), 0, -1).over("user") <= config.max_events)
    counts = np.bincount(table["user"].to_numpy(), minlength=len(ids))
    rows = {name: table[vector_column(name)].to_numpy() for name in of_events} | _rows_of_users(content, ids)
    return Histories(
        ids,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        table["item"].to_numpy().astype(np.int32),
        table["at"].dt.epoch("us").fill_null(0).to_numpy().astype(np.int64),
        table["weight"].to_numpy().astype(np.float32),
        len(items),
        user_channels={name: UserChannel(e, rows[name]) for name, e in content.embeddings.items()},
        derived=content.derived,
    )


def _rows_of_users(content: UserContent, ids: Sequence[str]) -> dict[str, Int32[np.ndarray, " users"]]:
    """Return the row of each user's vector in each channel of users, -1 for a user without one."""
    names = [name for name, e in content.embeddings.items() if e.of == "users"]
    if not names:
        return {}
    table = pl.DataFrame({"user_id": ids}, {"user_id": pl.String})
    table = table.join(content.users, on="user_id", how="left", maintain_order="left")
    return {name: table[name].fill_null(-1).cast(pl.Int32).to_numpy() for name in names}


@dataclass(frozen=True, slots=True)
class Event:
    """One interaction.

    Attributes:
        user_id: User.
        item_id: Item.
        kind: view, like, purchase, ...
        at: Time, microseconds since 1970, UTC.
        value: A rating, a price, seconds; None where there is none.
        key: Idempotency key: the store keeps one event of a user for each key; None stores it anyway.
        content: What the user wrote, showed or said in it; None where there is nothing.
    """

    user_id: str
    item_id: str
    kind: str
    at: int
    value: float | None = None
    key: str | None = None
    content: OwnContent | None = None


def add_events(
    history: Histories, events: Sequence[Event], items: Vocabulary, config: HistoriesConfig, *, seed: int = 0
) -> Histories:
    """Return one user's history with events added: equal to `build_histories` of all of them in one table.

    A history holds no kinds, so an event that was sent again is recognised by counting: of the events of one item at one instant, those of
    the history are kept unless `events` holds more of them, and then these replace them.

    Args:
        history: Exactly one user, built with the same settings and seed.
        events: Events of this user in the order received.
        items: The catalog's ids.
        config: Event weights.
        seed: Of the order of ties.
    """
    relevant = [e for e in {(e.item_id, e.at, e.kind): e for e in events}.values() if e.item_id in items]
    by_kind = kind_weights(config)
    weight = event_weights(
        np.array([by_kind.get(e.kind.strip().lower(), 1.0) for e in relevant], np.float32),
        np.array([np.nan if e.value is None else e.value for e in relevant], np.float32),
        np.zeros(len(relevant), bool),  # received events have no mood
        config,
    )
    rows = [(items.index(e.item_id), e.at) for e in relevant]
    received = Counter(row for row, w in zip(rows, weight, strict=True) if w != 0)
    in_history = list(zip(history.item_index.tolist(), history.at.tolist(), strict=True)) if received else []
    count = Counter(in_history)
    replaced = {row for row in received if received[row] > count[row]}
    if not replaced:
        return history
    kept = np.array([n for n, row in enumerate(in_history) if row not in replaced], np.int64)
    new = [n for n in range(len(relevant)) if weight[n] != 0 and rows[n] in replaced]
    new.sort(key=lambda n: relevant[n].kind)
    item_index = np.concatenate([history.item_index[kept], np.array([rows[n][0] for n in new], np.int32)])
    at = np.concatenate([history.at[kept], np.array([rows[n][1] for n in new], np.int64)])
    tie = _ties(history.user_ids[0], item_index, at, len(kept), items, seed)
    order = np.lexsort((tie, at))  # stable, so that events of one item and instant stay in the order of their kinds
    if config.max_events is not None:
        order = order[-config.max_events :]
    weights = np.concatenate([history.weight[kept], weight[new]])
    added = Histories.of_one(history.user_ids[0], item_index[order], at[order], weights[order], history.num_items)
    content = [relevant[n].content or OwnContent() for n in new]
    return replace(
        added,
        user_channels={name: _with_rows(c, kept, content, order) for name, c in history.user_channels.items()},
        derived=history.derived,
    )


def _with_rows(
    channel: UserChannel,
    kept: Int64[np.ndarray, " kept"],
    new: Sequence[OwnContent],
    order: Int64[np.ndarray, " events"],
) -> UserChannel:
    """Return a channel over the events that were kept and new ones with their vectors, in the given order."""
    if not channel.is_of_events:
        return channel
    channel = replace(channel, row=channel.row[kept])
    channel = channel.extended([one.vectors.get(channel.embeddings.name) for one in new])
    return replace(channel, row=channel.row[order])


def _ties(
    user_id: str,
    item_index: Int32[np.ndarray, " events"],
    at: Int64[np.ndarray, " events"],
    start: int,
    items: Vocabulary,
    seed: int,
) -> UInt64[np.ndarray, " events"]:
    """Return `tie_breaker` where an event from `start` on shares its time with another event, 0 elsewhere."""
    tie = np.zeros(len(at), np.uint64)
    times, counts = np.unique(at, return_counts=True)
    if len(times) == len(at):
        return tie
    tied = np.flatnonzero(np.isin(at, np.intersect1d(times[counts > 1], at[start:])))
    if len(tied):
        columns = {
            "user_id": [user_id] * len(tied),
            "item_id": [items.ids[i] for i in item_index[tied]],
            "at": at[tied],
        }
        table = pl.DataFrame(columns).cast({"at": INTERACTION_SCHEMA["at"]})
        tie[tied] = table.select(tie_breaker(seed)).to_series().to_numpy()
    return tie
