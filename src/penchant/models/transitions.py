"""Item-to-item transitions within a window.

In: histories in order. Out: a directed item-to-item matrix, read mostly from the end of a history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field
from scipy import sparse

from penchant.core.schema import Content, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, Matrix, power, top_k_rows
from penchant.models.member import SumOverUsers

MICROSECONDS_PER_DAY = 86_400_000_000
MAX_SUMMED_ITEMS = 4_000
"""Up to this many items the counts are one dense matrix (4 bytes x items^2), to which new events are added."""
MAX_FILLED = 0.2
"""Pairs of events for each entry of a block up to which it is sparse."""


class TransitionsConfig(ItemToItemConfig):
    """The settings of transitions."""

    half_life: float = Field(3, ge=0)
    """Events until a past event counts half when scoring; 0 lets all count the same."""
    window: int = Field(20, ge=1)
    """How many later events follow an event."""
    decay: float = Field(0.9, gt=0, le=1)
    """An event d steps later counts decay ** (d - 1)."""
    source_exponent: float = 0.7
    """Division by the earlier item's count to this power."""
    target_exponent: float = 0.3
    """Division by the later item's count to this power."""
    backward: float = Field(0.0, ge=0)
    """Share of the reversed direction that is added: what came before may also come after."""
    max_gap_days: float = Field(0, ge=0)
    """Pairs further apart in time do not count; 0 sets no bound."""
    gap_half_life_days: float = Field(0, ge=0)
    """Days between two events at which their pair counts half; 0 lets all count the same."""
    neighbours: int = Field(1000, ge=1)
    """Following items kept for each item."""


class Transitions(ItemToItem[TransitionsConfig]):
    """Counts of one item after another within a window, nearer steps counting more; divided by both items' counts to given powers.

    Pairs with a disliked event do not count. Cost: events x window; memory: two dense blocks of rows.
    """

    config_class = TransitionsConfig

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        return self.from_sums(self.known_sums(train), train, content)

    def user_sums(self, num_items: int) -> dict[str, SumOverUsers]:
        if num_items > MAX_SUMMED_ITEMS:
            return {}
        parts = ("window", "decay", "backward", "max_gap_days", "gap_half_life_days")
        return {f"transitions of {[getattr(self.config, part) for part in parts]}": self._counts}

    def _counts(self, histories: Histories) -> Float32[np.ndarray, "items items"]:
        """Return how much every item follows every other."""
        every = np.arange(histories.num_events)
        found: Any = self._follow(histories, histories.user_index(), every, 0, histories.num_items)
        return np.asarray(found if isinstance(found, np.ndarray) else found.toarray(), np.float32)

    def from_sums(self, sums: Mapping[str, np.ndarray], train: Histories, content: Content = Content.NONE) -> Self:
        count = np.bincount(train.item_index[train.weight > 0], minlength=train.num_items)
        left, right = power(count, -self.config.source_exponent), power(count, -self.config.target_exponent)
        user, order = train.user_index(), np.argsort(train.item_index, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(train.item_index, minlength=train.num_items))])

        def scaled_counts(rows: slice) -> Matrix:
            first, last = rows.start, min(rows.stop, train.num_items)
            if sums:
                counts: Matrix = next(iter(sums.values()))[first:last].copy()
            else:
                counts = self._follow(train, user, order[starts[first] : starts[last]], first, last)
            if isinstance(counts, np.ndarray):
                counts *= left[first:last, None]
                counts *= right[None, :]
            else:
                counts.data *= np.repeat(left[first:last], np.diff(counts.indptr))
                counts.data *= right[counts.indices]
            return counts

        items = train.num_items
        self.matrix = top_k_rows(scaled_counts, items, items, self.config.neighbours, keep_diagonal=True)
        return self

    def _follow(
        self,
        train: Histories,
        user: Int64[np.ndarray, " events"],
        events: Int64[np.ndarray, " chosen"],
        first: int,
        last: int,
    ) -> Matrix:
        """Return (block, items): how much every item follows items first to last, whose events are given; sparse where most entries are 0."""
        shape = last - first, train.num_items
        is_dense = 2 * self.config.window * len(events) > MAX_FILLED * shape[0] * shape[1]
        counts = np.zeros(shape[0] * shape[1] if is_dense else 0, np.float32)
        found = []
        for distance in range(1, self.config.window + 1):
            for sign, share in ((1, 1.0), (-1, self.config.backward)):
                if share:
                    place, weight = self._pairs(train, user, events, sign * distance)
                    step = weight * np.float32(share * self.config.decay ** (distance - 1))
                    row, column = train.item_index[place[0]] - first, train.item_index[place[1]]
                    if is_dense:
                        np.add.at(counts, row.astype(np.int64) * train.num_items + column, step)
                    else:
                        found.append((row, column, step))
        if is_dense:
            return counts.reshape(shape)
        row, column, step = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return sparse.csr_array(sparse.coo_array((step, (row, column)), shape=shape))

    def _pairs(
        self, train: Histories, user: Int64[np.ndarray, " events"], events: Int64[np.ndarray, " chosen"], shift: int
    ) -> tuple[tuple[np.ndarray, np.ndarray], Float32[np.ndarray, " pairs"]]:
        """Return (event, event `shift` later) of the same user, both liked, and the weight of each pair, 1 at most, by its gap in time."""
        other = events + shift
        inside = (other >= 0) & (other < train.num_events)
        here, there = events[inside], other[inside]
        keep = (user[here] == user[there]) & (train.weight[here] > 0) & (train.weight[there] > 0)
        here, there = here[keep], there[keep]
        days = np.abs(train.at[there] - train.at[here]) / MICROSECONDS_PER_DAY
        weight = np.ones(len(here), np.float32)
        if self.config.gap_half_life_days > 0:
            weight = np.exp2(-days / self.config.gap_half_life_days).astype(np.float32)
        if self.config.max_gap_days > 0:
            weight = np.where(days <= self.config.max_gap_days, weight, 0)
        return (here, there), weight
