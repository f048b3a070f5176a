"""Item-to-item transitions within a window.

In: histories in order. Out: a directed item-to-item matrix, read mostly from the end of a history.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field
from scipy import sparse

from penchant.core.schema import Content, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, power
from penchant.models.products import Matrix, blocks_of, top_k_rows
from penchant.models.shared import known
from penchant.models.user_sums import UserSums

MICROSECONDS_PER_DAY = 86_400_000_000
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
        count = np.bincount(train.item_index[train.weight > 0], minlength=train.num_items)
        left, right = power(count, -self.config.source_exponent), power(count, -self.config.target_exponent)
        order = np.argsort(train.item_index, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(train.item_index, minlength=train.num_items))])
        later, earlier = _places(train)
        whole = known(train, self._key)

        def scaled_counts(rows: slice) -> Matrix:
            events = order[starts[rows.start] : starts[rows.stop]]
            counts: Matrix = (
                self._follow(train, events, later[events], earlier[events], rows)
                if whole is None
                else sparse.csr_array(whole[rows])
            )
            if isinstance(counts, np.ndarray):
                counts *= left[rows, None]
                counts *= right[None, :]
            else:
                counts.data *= np.repeat(left[rows], np.diff(counts.indptr))
                counts.data *= right[counts.indices]
            return counts

        items = train.num_items
        blocks = blocks_of(self._most_pairs * starts, items, MAX_FILLED)
        self.matrix = top_k_rows(scaled_counts, items, items, self.config.neighbours, keep_diagonal=True, blocks=blocks)
        return self

    @property
    def _key(self) -> tuple[str, str]:
        counted = self.config.model_dump(include={"window", "decay", "backward", "max_gap_days", "gap_half_life_days"})
        return "transitions", repr(sorted(counted.items()))

    def user_sums(self, train: Histories) -> UserSums:
        return {self._key: self._counts}

    def _counts(self, users: Histories) -> sparse.csr_array:
        """Return (items, items): how much every item follows every other, of some users."""
        every = np.arange(users.num_events)
        return sparse.csr_array(self._follow(users, every, *_places(users), slice(0, users.num_items)))

    @property
    def _most_pairs(self) -> int:
        """Pairs of an event with others, at most."""
        return 2 * self.config.window

    def _follow(
        self,
        train: Histories,
        events: Int64[np.ndarray, " chosen"],
        later: Int64[np.ndarray, " chosen"],
        earlier: Int64[np.ndarray, " chosen"],
        rows: slice,
    ) -> Matrix:
        """Return (block, items): how much every item follows the items of some rows; sparse where most entries are 0.

        Args:
            train: All events.
            events: Those of the block's items.
            later: Later events of the same user, for each of them.
            earlier: Earlier events of the same user.
            rows: The block.
        """
        shape = rows.stop - rows.start, train.num_items
        is_dense = self._most_pairs * len(events) > MAX_FILLED * shape[0] * shape[1]
        counts = np.zeros(shape[0] * shape[1] if is_dense else 0, np.float32)
        own, disliked = train.item_index[events] - rows.start, train.weight <= 0
        if disliked.any():
            liked = ~disliked[events]
            events, later, earlier, own = events[liked], later[liked], earlier[liked], own[liked]
        found = []
        for distance in range(1, self.config.window + 1):
            for sign, share, room in ((1, 1.0, later), (-1, self.config.backward, earlier)):
                if share:
                    has_other = np.flatnonzero(room >= distance)
                    here, there = events[has_other], events[has_other] + sign * distance
                    weight = self._weights(train, here, there) * np.float32(share * self.config.decay ** (distance - 1))
                    weight[disliked[there]] = 0
                    row, column = own[has_other], train.item_index[there]
                    if is_dense:
                        np.add.at(counts, row.astype(np.int64) * train.num_items + column, weight)
                    else:
                        found.append((row, column, weight))
        if is_dense:
            return counts.reshape(shape)
        row, column, step = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return sparse.csr_array(sparse.coo_array((step, (row, column)), shape=shape))

    def _weights(
        self, train: Histories, here: Int64[np.ndarray, " pairs"], there: Int64[np.ndarray, " pairs"]
    ) -> Float32[np.ndarray, " pairs"]:
        """Return the weight of pairs of events, 1 at most, by their gap in time."""
        weight = np.ones(len(here), np.float32)
        if self.config.gap_half_life_days <= 0 and self.config.max_gap_days <= 0:
            return weight
        days = np.abs(train.at[there] - train.at[here]) / MICROSECONDS_PER_DAY
        if self.config.gap_half_life_days > 0:
            weight = np.exp2(-days / self.config.gap_half_life_days).astype(np.float32)
        if self.config.max_gap_days > 0:
            weight = np.where(days <= self.config.max_gap_days, weight, 0)
        return weight


def _places(users: Histories) -> tuple[Int64[np.ndarray, " events"], Int64[np.ndarray, " events"]]:
    """Return the number of later and of earlier events of the same user, for each event."""
    return users.ages(), np.arange(users.num_events) - np.repeat(users.offsets[:-1], users.lengths())
