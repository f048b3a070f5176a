"""Metrics over groups of users and of true items.

In: one number for each user, or ranked lists and truth, and labels. Out: rows with a count, a mean, and the paired difference to the baseline.
Labels are computed by the caller from training data only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int32, Int64

from penchant.core.messages import message
from penchant.core.schema import Embeddings, Histories
from penchant.metrics.comparison import per_user, shared_metrics
from penchant.metrics.intervals import BootstrapMeans, Difference, Interval, IntervalConfig
from penchant.metrics.ranking import RelevantPairs, found, relevant

POPULARITY_EDGES = (1, 4, 11, 51)
"""Groups of items by their training events: 0 (cold), 1-3, 4-10, 11-50, over 50."""

HISTORY_EDGES = (1, 6, 21, 51, 201)
"""Groups of users by their events before the test: 0, 1-5, 6-20, 21-50, 51-200, over 200."""


@dataclass(frozen=True)
class GroupLabels:
    """One group, or none, for each user or item.

    Attributes:
        names: Groups, in the order they are shown.
        code: (rows,) number of the group, -1 for none.
    """

    names: tuple[str, ...]
    code: Int64[np.ndarray, " rows"]

    @classmethod
    def of(cls, values: pl.Series) -> GroupLabels:
        """Return one group for each distinct value, sorted; null belongs to none."""
        text = values.cast(pl.String)
        names = tuple(sorted(text.drop_nulls().unique().to_list()))
        number = pl.DataFrame({"value": pl.Series(names, dtype=pl.String), "code": np.arange(len(names))})
        table = text.alias("value").to_frame().join(number, on="value", how="left", maintain_order="left")
        return cls(names, table["code"].fill_null(-1).to_numpy())

    @classmethod
    def binned(cls, counts: Int64[np.ndarray, " rows"], edges: Sequence[int]) -> GroupLabels:
        """Return groups of counts: below the first edge, from each edge to the next, from the last edge up."""
        starts = [0, *edges]
        ranges = zip(starts, edges, strict=False)
        spans = [str(first) if first == after - 1 else f"{first}-{after - 1}" for first, after in ranges]
        return cls((*spans, f">{edges[-1] - 1}"), np.searchsorted(edges, counts, side="right"))


@dataclass(frozen=True)
class Slice:
    """One metric over one group.

    Attributes:
        dimension: What the groups are of ("popularity of the true item").
        group: The group ("4-10").
        metric: For example "recall@20".
        num_users: Users who count.
        num_rows: Rows of the tables, or of the truth, that count: requests where a user may have several, else as many as users.
        num_pairs: True items that count; None where whole users are sliced.
        ours: Mean with interval.
        baseline: The baseline's mean over the same users.
        difference: Ours minus baseline; interval and outcome allow for the number of groups of this dimension.
    """

    dimension: str
    group: str
    metric: str
    num_users: int
    num_rows: int
    num_pairs: int | None
    ours: Interval
    baseline: Interval
    difference: Difference


def slice_users(
    ours: pl.DataFrame,
    baseline: pl.DataFrame,
    labels: Mapping[str, GroupLabels],
    *,
    metric: str,
    config: IntervalConfig | None = None,
) -> list[Slice]:
    """Return a metric by kind of user.

    Args:
        ours: `user_id` and metric columns, from `measure`.
        baseline: The same rows.
        labels: Dimension ("history length", "age") to a group for each row of the tables.
        metric: Column, for example "recall@20".
        config: How intervals are made.

    Raises:
        DataError: The tables are of other users, or in another order.
    """
    tables = {"ours": ours, "baseline": baseline}
    shared_metrics(tables, metric)
    pair = np.hstack([per_user(tables, name, (metric,)) for name in tables])
    slices: list[Slice] = []
    for dimension, label in labels.items():
        inside = label.code[:, None] == np.arange(len(label.names))
        values = np.hstack([np.where(inside, pair[:, [side]], np.nan) for side in (0, 1)])
        slices += _slices(dimension, label, metric, values, ours["user_id"], config=config)
    return slices


def slice_items(
    ours: Int32[np.ndarray, "users K"],
    baseline: Int32[np.ndarray, "users K"],
    truth: Histories,
    labels: Mapping[str, GroupLabels],
    *,
    k: int,
    config: IntervalConfig | None = None,
) -> list[Slice]:
    """Return recall by kind of true item: each user's share found among the true items of the group.

    A user without a true item of the group does not count in it.

    Args:
        ours: Ranked lists, users as in `truth`.
        baseline: Ranked lists of the same users.
        truth: What they chose later.
        labels: Dimension ("popularity of the true item", "poster") to a group for each item.
        k: Cut-off.
        config: How intervals are made.
    """
    pairs = relevant(truth)
    found_by = [found(ours, pairs, k), found(baseline, pairs, k)]
    slices: list[Slice] = []
    for dimension, label in labels.items():
        values = np.hstack([_recall_by_group(pairs, hit, label) for hit in found_by])
        counted = np.bincount(label.code[pairs.item_index] + 1, minlength=len(label.names) + 1)[1:]
        slices += _slices(dimension, label, f"recall@{k}", values, truth.user_ids, counted=counted, config=config)
    return slices


def presence_labels(channel: Embeddings) -> GroupLabels:
    """Return "present", "filled in" (from its neighbours) or "missing" for each item."""
    filled = channel.usable & ~channel.present
    return GroupLabels(
        (message("present"), message("filled in"), message("missing")),
        np.where(channel.present, 0, np.where(filled, 1, 2)),
    )


def _recall_by_group(
    pairs: RelevantPairs, hit: Bool[np.ndarray, " pairs"], label: GroupLabels
) -> Float64[np.ndarray, "users groups"]:
    """Return each user's recall within each group, NaN where the user has no true item of it."""
    group, width = label.code[pairs.item_index], len(label.names)
    used = group >= 0
    cell = pairs.user_index[used] * width + group[used]
    total = np.bincount(cell, minlength=pairs.num_users * width)
    hits = np.bincount(cell, hit[used].astype(np.float64), pairs.num_users * width)
    share = np.divide(hits, total, out=np.full(len(total), np.nan), where=total > 0)
    return share.reshape(pairs.num_users, width)


def _slices(
    dimension: str,
    label: GroupLabels,
    metric: str,
    values: Float64[np.ndarray, "rows twice_groups"],
    users: Sequence[str] | pl.Series,
    *,
    counted: Int64[np.ndarray, " groups"] | None = None,
    config: IntervalConfig | None = None,
) -> list[Slice]:
    """Return the rows of one dimension from our groups and then the baseline's; empty groups are left out."""
    width = len(label.names)
    means = BootstrapMeans(values, config, users=users)
    shown = [g for g in range(width) if not np.isnan(values[:, g]).all()]
    differences = means.differences([(g, width + g) for g in shown])
    return [
        Slice(
            dimension,
            label.names[g],
            metric,
            difference.num_users,
            int((~np.isnan(values[:, [g, width + g]]).any(1)).sum()),
            None if counted is None else int(counted[g]),
            means.interval(g),
            means.interval(width + g),
            difference,
        )
        for g, difference in zip(shown, differences, strict=True)
    ]
