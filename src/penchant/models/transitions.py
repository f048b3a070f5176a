"""What people do next.

In: histories in order. Out: a directed item-to-item matrix, read mostly from the end of a history.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy import sparse

from penchant.core.schema import Content, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, power


class Transitions(ItemToItem):
    """Counts of "then", within a window, nearer steps counting more; divided by both items' counts to given powers.

    Cost: events x window.
    """

    class Config(ItemToItemConfig):
        """The settings of transitions."""

        half_life: float | None = 3.0
        """Events until a past event counts half when scoring."""
        window: int = 20
        """How many later events follow an event."""
        decay: float = 0.9
        """An event d steps later counts decay ** (d - 1)."""
        source_exponent: float = 0.7
        """Division by the earlier item's count to this power."""
        target_exponent: float = 0.3
        """Division by the later item's count to this power."""
        backward: float = 0.0
        """Share of the reversed direction that is added: what came before may also come after."""
        max_gap_days: float | None = None
        """Pairs further apart in time do not count."""

    def fit(self, train: Histories, content: Content) -> Self:
        pairs = sparse.csr_array((train.num_items, train.num_items), dtype=np.float32)
        user = train.user_index()
        for distance in range(1, self.config.window + 1):
            earlier = (
                np.flatnonzero(user[:-distance] == user[distance:]) if distance < len(user) else np.zeros(0, np.int64)
            )
            later = earlier + distance
            keep = (train.weight[earlier] > 0) & (train.weight[later] > 0)
            if self.config.max_gap_days is not None:
                keep &= train.at[later] - train.at[earlier] <= self.config.max_gap_days * 86_400_000_000
            step = np.full(int(keep.sum()), self.config.decay ** (distance - 1), np.float32)
            place = (train.item_index[earlier[keep]], train.item_index[later[keep]])
            pairs = pairs + sparse.coo_array((step, place), shape=pairs.shape).tocsr()
        both = pairs + self.config.backward * pairs.T
        count = np.bincount(train.item_index, minlength=train.num_items)
        left, right = power(count, -self.config.source_exponent), power(count, -self.config.target_exponent)
        self.matrix = (sparse.diags_array(left) @ both @ sparse.diags_array(right)).tocsr().astype(np.float32)
        return self
