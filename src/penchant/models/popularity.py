"""Members that do not look at what a user chose: popularity, optionally with a half-life, and a random order.

In: histories. Out: a prior, without a term for any event.
"""

from __future__ import annotations

import copy
import zlib
from functools import partial
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, Float64, Int64
from pydantic import Field

from penchant.core.config import Settings, SettingsT_co
from penchant.core.schema import Content, Histories
from penchant.models.item_scores import ItemScorer, MakeNearest, PriorScorer
from penchant.models.member import Contributions, ContributionsTo, Member, prior_to
from penchant.models.shared import computed_once
from penchant.models.user_sums import UserSums

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

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        return prior_to(self.prior, history, items)

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
        ((key, counts_of),) = self.user_sums(train).items()
        counts = computed_once(train, key, lambda: counts_of(train))
        self.prior = np.log1p(counts).astype(np.float32)
        return self

    def user_sums(self, train: Histories) -> UserSums:
        newest = int(train.at.max()) if train.num_events else 0
        since = (
            newest if self.config.half_life_days else 0
        )  # where events fade, another newest one makes it another sum
        key = ("popularity", self.config.half_life_days, self.config.user_exponent, since)
        return {key: partial(self._counts, newest)}

    def _counts(self, newest: int, users: Histories) -> Float64[np.ndarray, " items"]:
        """Return the weighted events of each item, of some users; `newest` is the time of the newest event of all."""
        weight = np.maximum(users.weight, 0).astype(np.float64)
        if self.config.half_life_days > 0:
            weight = weight * np.exp2((users.at - newest) / MICROSECONDS_PER_DAY / self.config.half_life_days)
        if self.config.user_exponent:
            weight = weight * (users.lengths() + 1e-9)[users.user_index()] ** -self.config.user_exponent
        return np.bincount(users.item_index, weights=weight, minlength=users.num_items)

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

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        return prior_to(self.score(history)[0], history, items)

    def add_items(self, content: Content, new: range) -> Self:
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        return self
