"""Members that do not look at what a user chose: popularity, optionally with a half-life, and a random order.

In: histories. Out: a prior, without a term for any event.
"""

from __future__ import annotations

import copy
import zlib
from typing import Any, Self

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.config import Settings, SettingsT_co
from penchant.core.schema import Content, Histories
from penchant.models.item_scores import ItemScorer, MakeNearest, PriorScorer
from penchant.models.member import Contributions, Member

MICROSECONDS_PER_DAY = 86_400_000_000


class PopularityConfig(Settings):
    """Popularity's settings."""

    half_life_days: float = Field(0, ge=0)
    """Days before the newest event at which an event counts half; 0 lets all count the same."""
    user_exponent: float = 0.0
    """An event counts 1 / (events of its user) ** this; above 0 heavy users count less."""


class PriorMember(Member[SettingsT_co]):
    """Base class of members with one score for each item, `prior`, the same for every user."""

    def __init__(self, config: SettingsT_co | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.prior = np.zeros(0, np.float32)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        return np.tile(self.prior, (len(histories), 1))

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        return PriorScorer(lambda _: self.prior)

    def contributions(self, history: Histories) -> Contributions:
        return self.prior, np.zeros((history.num_events, history.num_items), np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"prior": self.prior}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.prior = arrays["prior"]
        return self


class Popularity(PriorMember[PopularityConfig]):
    """log(1 + positive events of the item), newer events with more weight if a half-life is given.

    Dislikes are left out, so that an item with many likes and dislikes is not penalised.
    """

    config_class = PopularityConfig

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        weight = np.maximum(train.weight, 0).astype(np.float64)
        if self.config.half_life_days > 0 and train.num_events:
            days = (train.at.max() - train.at) / MICROSECONDS_PER_DAY
            weight = weight * np.exp2(-days / self.config.half_life_days)
        if self.config.user_exponent:
            weight = weight * (train.lengths() + 1e-9)[train.user_index()] ** -self.config.user_exponent
        counts = np.bincount(train.item_index, weights=weight, minlength=train.num_items)
        self.prior = np.log1p(counts).astype(np.float32)
        return self

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which new items have the score of an item without events."""
        grown = copy.copy(self)
        grown.prior = np.concatenate([self.prior, np.zeros(len(new), np.float32)])
        return grown


class RandomOrderConfig(Settings):
    """The settings of a random order."""

    seed: int = 0
    """Of the order."""


class RandomOrder(Member[RandomOrderConfig]):
    """A random score for each item, drawn for each history anew: the floor of a measurement. Equal histories get equal scores."""

    config_class = RandomOrderConfig

    learns_from_behaviour = False

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        return self

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        out = np.empty((len(histories), histories.num_items), np.float32)
        for user in range(len(histories)):
            chosen = histories.item_index[histories.offsets[user] : histories.offsets[user + 1]]
            rng = np.random.default_rng((self.config.seed, zlib.crc32(chosen.tobytes())))
            out[user] = rng.random(histories.num_items, np.float32)
        return out

    def contributions(self, history: Histories) -> Contributions:
        return self.score(history)[0], np.zeros((history.num_events, history.num_items), np.float32)

    def add_items(self, content: Content, new: range) -> Self:
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        return self
