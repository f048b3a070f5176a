"""Off-policy evaluation of a bundle: what its lists would have earned on logged traffic.

In: a recommender, and a log of served lists with propensities and rewards (`penchant served` writes one). Out: estimates with intervals; an
error where the log says nothing about the bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64

from penchant.core.errors import DataError, nearest
from penchant.core.schema import Histories
from penchant.metrics.intervals import IntervalConfig
from penchant.metrics.off_policy import NOBODY, LoggedChoices, OffPolicyResults, evaluate_policy
from penchant.models.ensemble import batch_users, blocked_items, top_k
from penchant.recommender.recommender import Recommender

COLUMNS: dict[str, Any] = {
    "list_id": pl.String,
    "user_id": pl.String,
    "at": pl.Int64,
    "place": pl.Int64,
    "item_id": pl.String,
    "reward": pl.Float64,
    "propensity": pl.Float64,
    "candidates": pl.List(pl.String),
    "history": pl.List(pl.String),
}
"""Columns of a log, one row for each shown place: `at` in microseconds since 1970, `place` 1 for the first, `history` what the user had done, oldest first."""
OPTIONAL = ("history",)


@dataclass(frozen=True)
class BundleValue:
    """What a bundle would have earned for each shown place.

    Attributes:
        results: Estimates with intervals.
        is_reranked: Whether the bundle ranked the logged candidates alone, not the whole catalog.
        learned_after: Share of the choices whose user the bundle learned from at a later time: it may know the answers.
        num_lists: Lists of the log.
    """

    results: OffPolicyResults
    is_reranked: bool
    learned_after: float
    num_lists: int


def evaluate_bundle(
    recommender: Recommender, log: pl.DataFrame, *, rerank: bool = False, config: IntervalConfig | None = None
) -> BundleValue:
    """Return what the bundle's lists would have earned on logged traffic.

    Args:
        recommender: The bundle in question; it always shows its best items.
        log: Columns of `COLUMNS`. Without `history` a user's history is what the bundle holds of them before the list.
        rerank: Rank the candidates of each list alone: how good the bundle is as a ranker of what was possible.
        config: Of the intervals.

    Raises:
        DataError: A column is missing, or the log does not cover the bundle (`metrics.off_policy`).
    """
    log = checked_log(log)
    choices, learned = _choices(recommender, log, rerank)
    num_lists = log["list_id"].n_unique()
    try:
        results = evaluate_policy(choices, config=config)
    except DataError as error:
        if rerank or "never a candidate" not in error.message:
            raise
        raise DataError(
            error.message, where=error.where, fix=f"{error.fix}; --rerank evaluates this bundle so"
        ) from None
    return BundleValue(results, rerank, float(learned.mean()), num_lists)


def read_log(path: Path) -> pl.DataFrame:
    """Return a log of served lists from a Parquet file or JSON lines.

    Raises:
        DataError: It cannot be read.
    """
    readers: dict[str, Any] = {".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson, ".ndjson": pl.read_ndjson}
    if path.suffix not in readers:
        raise DataError(
            f"A log of lists is no {path.suffix or 'file without a suffix'}.",
            where=str(path),
            fix="give .parquet or .jsonl, as `penchant served` writes it",
        )
    try:
        found: pl.DataFrame = readers[path.suffix](path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"The log cannot be read: {str(error).splitlines()[0]}", where=str(path), fix="write it again"
        ) from None
    return found


def checked_log(log: pl.DataFrame) -> pl.DataFrame:
    """Return the log with the types of `COLUMNS`, in the order of lists and places."""
    for name in COLUMNS:
        if name not in log.columns and name not in OPTIONAL:
            raise DataError(
                f"The log has no column {name!r}.", where="the log of lists", fix=nearest(name, log.columns)
            )
    try:
        typed = log.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items() if name in log.columns)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"A column has values of another type: {str(error).splitlines()[0]}",
            where="the log of lists",
            fix="give at and place as whole numbers, reward and propensity as numbers, candidates as lists of ids",
        ) from None
    missing = [name for name in typed.columns if typed[name].null_count()]
    if missing:
        raise DataError(
            f"The column {missing[0]!r} has no value in some rows.", where="the log of lists", fix="fill it"
        )
    return typed.sort("list_id", "place")


def _choices(recommender: Recommender, log: pl.DataFrame, rerank: bool) -> tuple[LoggedChoices, np.ndarray]:
    """Return the choices with the bundle's probabilities, and whether the bundle learned from the user later."""
    lists = log.group_by("list_id", maintain_order=True).agg(
        pl.col(name).first() for name in log.columns if name != "list_id"
    )
    starts = np.flatnonzero(log["list_id"].ne(log["list_id"].shift(1)).fill_null(True).to_numpy())
    number = np.repeat(np.arange(len(lists)), np.diff([*starts, len(log)]))
    place = log["place"].to_numpy() - 1
    orders = list(_orders(recommender, lists, int(place.max()) + 1, rerank))
    candidates = log["candidates"].to_list()
    width = max(map(len, candidates), default=1)
    names: dict[str, int] = {}
    ids = np.full((len(log), width), NOBODY)
    policy = np.zeros((len(log), width))
    chosen = np.zeros(len(log), np.int64)
    for row, (own, shown) in enumerate(zip(candidates, log["item_id"].to_list(), strict=True)):
        ids[row, : len(own)] = [names.setdefault(item, len(names)) for item in own]
        if shown not in own:
            raise DataError(
                f"The list {log['list_id'][row]!r} shows {shown!r}, which is none of its candidates.",
                where="the log of lists",
                fix="log the candidates among which the item was chosen",
            )
        chosen[row] = own.index(shown)
        order = orders[number[row]]
        wanted = order[place[row]] if place[row] < len(order) else None
        if wanted in own:
            policy[row, own.index(wanted)] = 1.0
    units = log["user_id"].rank("dense").to_numpy().astype(np.int64) - 1
    last = _last_events(recommender)
    learned = np.array([last.get(u, -1) > at for u, at in zip(log["user_id"], log["at"], strict=True)])
    choices = LoggedChoices(log["reward"].to_numpy(), log["propensity"].to_numpy(), chosen, place, ids, policy, units)
    return choices, learned


def _orders(recommender: Recommender, lists: pl.DataFrame, k: int, rerank: bool) -> Iterator[list[str]]:
    """Yield the bundle's list at each logged list: of the whole catalog without the history, or of the candidates."""
    ids, lookup = recommender.lookup.items.ids, recommender.lookup
    size = batch_users(len(recommender.catalog))
    for start in range(0, len(lists), size):
        part = lists.slice(start, size)
        histories = Histories.joined([_history(recommender, row) for row in part.iter_rows(named=True)])
        scores = recommender.score(histories)
        if rerank:
            for row, own in enumerate(part["candidates"].to_list()):
                mask = lookup.mask(lookup.rows(own))
                scores[row, ~mask] = -np.inf
        else:
            scores[blocked_items(histories)] = -np.inf
        for found in top_k(scores, k, histories.user_ids).item_index:
            yield [ids[item] for item in found if item >= 0]


def _history(recommender: Recommender, row: dict[str, Any]) -> Histories:
    """Return what the user had done before the list: as logged, else as the bundle holds it."""
    if "history" in row:
        known: Sequence[str] = [item for item in row["history"] if item in recommender.lookup.items]
        return (
            recommender.history_of(known, row["user_id"])
            if known
            else recommender.history(row["user_id"], (), use_own=False)
        )
    own = recommender.history(row["user_id"], ())
    before = int(np.searchsorted(own.at, row["at"]))
    kept: Int64[np.ndarray, " events"] = np.arange(before)
    return recommender.history(row["user_id"], (), use_own=False).appended(
        own.item_index[kept], own.at[kept], own.weight[kept]
    )


def _last_events(recommender: Recommender) -> dict[str, int]:
    """Return the time of the last event of each user that the bundle learned from."""
    known = recommender.histories
    ends = known.offsets[1:]
    has = np.flatnonzero(np.diff(known.offsets) > 0)
    return {known.user_ids[user]: int(known.at[ends[user] - 1]) for user in has}
