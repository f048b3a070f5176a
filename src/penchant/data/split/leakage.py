"""Detect leakage: columns, ties and rows that reveal test events.

In: tables and a split. Out: shares and names: events out of order, rows in two parts, columns computed from the outcome, ties decided by file order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from penchant.core.schema import INTERACTION_SCHEMA, Dataset, Split

OUTCOME_CORRELATION = 0.95
TIME = INTERACTION_SCHEMA["at"]
_MIN_ROWS = 20
_MAX_KINDS = 6


@dataclass(frozen=True)
class TimeTies:
    """Events that time does not order.

    Attributes:
        untimed: Share of events without a time.
        last_two: Share of users (of those with two timed events) whose last two events share a time.
        file_order: Share of users (of those with five events) whose rows are in ascending order of item id: breaking
            ties by file order would then reveal what comes last.
    """

    untimed: float
    last_two: float
    file_order: float


@dataclass(frozen=True)
class LeakingColumn:
    """A column that nearly determines the target.

    Attributes:
        table: "items" or "users".
        column: Its name.
        statistic: What of the interactions it repeats ("number of events", "share of 'like'", "mean value").
        correlation: Rank correlation, -1 to 1.
    """

    table: str
    column: str
    statistic: str
    correlation: float


@dataclass(frozen=True)
class LeakageReport:
    """Leakage found in a split.

    Attributes:
        early: Share of test events before the end of training, where the kind of split promises that there is none: before
            the same user's ("user_time", "last_out") or all users' ("global_time", "rolling_time").
        ahead: Share of test events before the last training event of all users: later choices of other users are then known. Usual for
            every other split, and it flatters every model.
        same_rows: Events (user, item, time, kind) in train or validation and again in test.
        same_pairs: Test events whose user and item were together before.
    """

    early: float
    ahead: float
    same_rows: int
    same_pairs: int


def find_ties(events: pl.DataFrame) -> TimeTies:
    """Measure how far the order of events is random or depends on the file."""
    timed = events.select("user_id", "at").drop_nulls()
    last = timed.group_by("user_id").agg(pl.col("at").top_k(2)).filter(pl.col("at").list.len() == 2)
    tied = _share(last["at"].list.max() == last["at"].list.min())
    number = events["item_id"].cast(pl.Int64, strict=False)
    key = events["item_id"] if number.null_count() else number
    rows = pl.DataFrame({"user_id": events["user_id"], "key": key})
    sizes = rows.group_by("user_id").agg(size=pl.len(), ascending=(pl.col("key") >= pl.col("key").shift()).all())
    ordered = _share(sizes.filter(pl.col("size") >= 5)["ascending"])
    return TimeTies(events["at"].null_count() / max(events.height, 1), tied, ordered)


def _share(condition: pl.Series) -> float:
    """Return how much of a column is true; null counts as false, and of nothing it is 0."""
    return int(condition.sum() or 0) / max(len(condition), 1)


def find_leaks(split: Split) -> LeakageReport:
    """Compare the parts of a split."""
    test = split.test.table
    before = pl.concat([split.train.table, split.validation.table], how="diagonal_relaxed")
    pair = ["user_id", "item_id"]
    again = with_pairs_of(before, test)
    ends = split.train.table.group_by("user_id").agg(end=pl.col("at").max())
    own = test.join(ends, on="user_id", how="left").select("at", "end")
    # compared as columns: without any time the last moment is null, with which a column cannot be compared
    ahead = _share(test.select(ahead=pl.col("at") < pl.lit(split.train.table["at"].max(), TIME))["ahead"])
    of_user = _share(own["at"] < own["end"])
    promised = {"user_time": of_user, "last_out": of_user, "global_time": ahead, "rolling_time": ahead}
    return LeakageReport(
        promised.get(split.kind, 0.0),
        ahead,
        test.drop_nulls("at").join(again, on=[*pair, "at", "kind"], how="semi").height,
        test.join(again, on=pair, how="semi").height,
    )


def with_pairs_of(events: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Return the events whose user and item stand together in a test: few of millions, so that joins with the test need not read the others."""
    pair = ["user_id", "item_id"]
    return events.join(test.select(pair).unique(), on=pair, how="semi")


def find_outcomes(dataset: Dataset) -> list[LeakingColumn]:
    """Name number columns of items and users that seem computed from the interactions, test included."""
    events = dataset.interactions.table
    found = _repeats(dataset.catalog.table, events, "item")
    return found + ([] if dataset.users is None else _repeats(dataset.users.table, events, "user"))


def _repeats(table: pl.DataFrame, events: pl.DataFrame, noun: str) -> list[LeakingColumn]:
    """Correlate every number column with every statistic of the interactions; return the strongest of each."""
    key = f"{noun}_id"
    columns = [name for name, kind in table.schema.items() if kind.is_numeric()]
    if not columns:
        return []
    statistics = _statistics(events, key)
    names = [name for name in statistics.columns if name != key]
    both = table.select(key, *columns).join(statistics.rename({n: f"?{n}" for n in names}), on=key, how="left")
    both = both.with_columns(pl.col("?number of events").fill_null(0))
    found = []
    for column in columns:
        scores = {name: _correlation(both[column], both[f"?{name}"]) for name in names}
        best = max(scores, key=lambda name: abs(scores[name]))
        if abs(scores[best]) > OUTCOME_CORRELATION:
            found.append(LeakingColumn(f"{noun}s", column, best, scores[best]))
    return found


def _statistics(events: pl.DataFrame, key: str) -> pl.DataFrame:
    """Return statistics of the interactions of each item or user."""
    kinds = events["kind"].drop_nulls().value_counts(sort=True)["kind"].head(_MAX_KINDS).to_list()
    counts = [(pl.col("kind") == kind).sum().alias(f"number of {kind!r}") for kind in kinds]
    shares = [(pl.col("kind") == kind).mean().alias(f"share of {kind!r}") for kind in kinds]
    several = counts + shares if len(kinds) > 1 else []
    return events.group_by(key).agg(
        pl.len().alias("number of events"), pl.col("value").mean().alias("mean value"), *several
    )


def _correlation(left: pl.Series, right: pl.Series) -> float:
    """Return the rank correlation over rows where both are known; 0 where too few are, or one never varies."""
    both = np.stack([left.cast(pl.Float64).to_numpy(), right.cast(pl.Float64).to_numpy()])
    both = both[:, np.isfinite(both).all(axis=0)]
    if both.shape[1] < _MIN_ROWS or (both.min(axis=1) == both.max(axis=1)).any():
        return 0.0
    return float(stats.spearmanr(both[0], both[1]).statistic)
