"""What everybody likes, lately.

In: histories. Out: the same score of an item for every user, a prior with no terms.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from jaxtyping import Float32

from penchant.core.config import Settings
from penchant.core.schema import Content, Histories
from penchant.models.member import Member

MICROSECONDS_PER_DAY = 86_400_000_000


class Popularity(Member):
    """log(1 + welcome events of the item), newer events counting more where a half-life is given."""

    class Config(Settings):
        """Popularity's settings."""

        half_life_days: float | None = None
        """Days before the newest event at which an event counts half; None lets all count the same."""

    def __init__(self, config: Settings | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.prior = np.zeros(0, np.float32)

    def fit(self, train: Histories, content: Content) -> Self:
        weight = np.maximum(train.weight, 0).astype(np.float64)
        if self.config.half_life_days is not None and train.num_events:
            days = (train.at.max() - train.at) / MICROSECONDS_PER_DAY
            weight = weight * np.exp2(-days / self.config.half_life_days)
        counts = np.bincount(train.item_index, weights=weight, minlength=train.num_items)
        self.prior = np.log1p(counts).astype(np.float32)
        return self

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        return np.tile(self.prior, (len(histories), 1))

    def contributions(
        self, history: Histories
    ) -> tuple[Float32[np.ndarray, " items"], Float32[np.ndarray, "events items"]]:
        return self.prior, np.zeros((history.num_events, history.num_items), np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"prior": self.prior}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.prior = arrays["prior"]
        return self
