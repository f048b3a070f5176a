"""Members that read the moment of the request: recent popularity, its trend, and newly arrived items.

In: the events of all users. Out: a prior for each user, as of the moment the list is asked for.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field

from penchant.core.config import Settings, SettingsT_co
from penchant.core.schema import Content, Histories
from penchant.models.event_log import EMPTY, MICROSECONDS_PER_DAY, EventLog
from penchant.models.item_scores import ItemScorer, MakeNearest, PriorScorer
from penchant.models.member import Contributions, ContributionsTo, Member, prior_to


class MomentPrior(Member[SettingsT_co]):
    """Base class of members whose score depends on the item and the moment of the request, not on the history.

    The moment is `Histories.requested_at`; where it is not known, the time of the user's last event.
    """

    def __init__(self, config: SettingsT_co | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.log = EMPTY

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        self.log = EventLog.of(train)
        return self

    @abstractmethod
    def as_of(self, moments: Int64[np.ndarray, " users"]) -> Float32[np.ndarray, "users items"]:
        """Return the score of every item at each moment; it depends on the log and the settings alone."""

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        return self.log.as_of(self.log.moments(histories), self.as_of, (type(self), repr(self.config)))

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        log = self.log
        return PriorScorer(lambda history: self.score(history)[0], lambda one: bool(log.moments(one)[0] == log.end))

    def contributions(self, history: Histories) -> Contributions:
        return self.score(history)[0], np.zeros((history.num_events, history.num_items), np.float32)

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        return prior_to(self.score(history)[0], history, items)

    def observed(self, log: EventLog) -> Self:
        """Return a copy that counts the events of this log."""
        observed = copy.copy(self)
        observed.log = log
        return observed

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which new items have the score of an item without events."""
        grown = copy.copy(self)
        grown.log = self.log.grown(new.stop)
        return grown

    def arrays(self) -> dict[str, np.ndarray]:
        return self.log.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.log = EventLog.restored(arrays)
        return self


class RecentPopularityConfig(Settings):
    """The settings of recent popularity."""

    half_life_days: float = Field(7, gt=0)
    """Days before the request at which an event counts half; not used where a window is set."""
    window_days: float = Field(0, ge=0)
    """Events of this many days before the request count 1, others 0; 0 uses the half-life."""
    offset: float = Field(0.3, gt=0)
    """Added to a count before its logarithm: smaller separates rare items from absent ones more."""


class RecentPopularity(MomentPrior[RecentPopularityConfig]):
    """log(offset + events of the item shortly before the request).

    Cost of a score: the events before the latest request of the batch, and users x items; nothing but users x items for what is served.
    """

    config_class = RecentPopularityConfig
    reading = frozenset(RecentPopularityConfig.model_fields)

    def as_of(self, moments: Int64[np.ndarray, " users"]) -> Float32[np.ndarray, "users items"]:
        if self.config.window_days:
            counts = self.log.windowed(moments, self.config.window_days)
        else:
            counts = self.log.decayed(moments, self.config.half_life_days)
        return np.log(np.float32(self.config.offset) + counts)


class NewArrivalsConfig(Settings):
    """The settings of new arrivals."""

    days: float = Field(30, gt=0)
    """Days after its first event during which an item is new."""


class NewArrivals(MomentPrior[NewArrivalsConfig]):
    """1 for an item whose first event came within `days` before the request, else 0."""

    config_class = NewArrivalsConfig
    reading = frozenset(NewArrivalsConfig.model_fields)

    def as_of(self, moments: Int64[np.ndarray, " users"]) -> Float32[np.ndarray, "users items"]:
        first = self.log.first_at[None, :]
        start = (moments - round(self.config.days * MICROSECONDS_PER_DAY))[:, None]
        return ((first < moments[:, None]) & (first >= start)).astype(np.float32)


class TrendConfig(Settings):
    """The settings of the trend."""

    days: float = Field(3, gt=0)
    """The days before the request that are compared."""
    against_days: float = Field(14, gt=0)
    """With the mean over so many days before it, the former included."""
    offset: float = Field(1, gt=0)
    """Added to both counts before their logarithms: larger asks for more events before an item counts as rising."""


class Trend(MomentPrior[TrendConfig]):
    """log(offset + events of the last days) - log(offset + as many days' share of a longer time): above 0 where an item is rising.

    Cost of a score: as `RecentPopularity` with a window, twice.
    """

    config_class = TrendConfig
    reading = frozenset(TrendConfig.model_fields)

    def as_of(self, moments: Int64[np.ndarray, " users"]) -> Float32[np.ndarray, "users items"]:
        config = self.config
        lately = self.log.windowed(moments, config.days)
        usual = self.log.windowed(moments, config.against_days) * np.float32(config.days / config.against_days)
        return np.log(np.float32(config.offset) + lately) - np.log(np.float32(config.offset) + usual)
