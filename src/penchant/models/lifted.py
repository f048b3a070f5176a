"""A member times the popularity of the moment.

In: any additive member whose scores grow with preference. Out: the same, with items that are chosen a lot at the time of the request lifted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.schema import Content, Histories
from penchant.models.compact import CompactConfig
from penchant.models.event_log import EMPTY, EventLog
from penchant.models.holding import PART, HoldingMember
from penchant.models.item_scores import ItemScorer, MakeNearest, SparseScorer
from penchant.models.item_to_item import ItemToItem, RowSums
from penchant.models.member import Contributions, ContributionsTo, Member


class LiftedConfig(Settings):
    """The settings of a lifted member."""

    of: dict[str, Any] = {"model": "ease"}
    """The member that is lifted, with its settings."""
    window_days: float = Field(14, gt=0)
    """Events of this many days before the request count; not used where a half-life is set."""
    half_life_days: float = Field(0, ge=0)
    """Days before the request at which an event counts half; 0 uses the window."""
    power: float = Field(1, ge=0)
    """Exponent of the recent count; 0 leaves it out."""
    offset: float = Field(1, gt=0)
    """Added to the recent count: smaller lifts more."""
    total_exponent: float = Field(0.7, ge=0)
    """Division by the item's count before the request to this exponent times `power`; 0 does not divide."""
    total_offset: float = Field(20, gt=0)
    """Added to the count before the request."""


class Lifted(HoldingMember[LiftedConfig]):
    """score(item) = member's score x ((offset + c) ^ power / (total_offset + n) ^ (total_exponent x power)).

    c counts the item's events shortly before the request (in a window, or decayed), n those of all time before it. The factor depends on the moment and the
    item only, so each event's contribution is that of the member times the factor. Cost: the member's, and two counts of `EventLog`.
    """

    config_class = LiftedConfig
    reading = frozenset({"window_days", "half_life_days", "power", "offset", "total_exponent", "total_offset"})

    def __init__(self, config: LiftedConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self._hold(self.config.of)
        self.removal = self.member.removal
        self.log = EMPTY
        self._sums: tuple[tuple[object, ...], RowSums] | None = None
        """Sums at the end of the log, with what they were made of."""

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        if self._learns_part:
            self.member = self.member.fit(train, content)
        self.log, self._learns_part = EventLog.of(train), True
        return self

    def refit(self, train: Histories, content: Content, before: Member) -> Self:
        """Learn from more events; the part continues from the part of `before`."""
        part = before.parts().get(PART)
        if self._learns_part and part is not None:
            return self.with_parts({PART: self.member.refit(train, content, part)}).fit(train, content)
        return self.fit(train, content)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        return self.member.score(histories) * self._factor(histories)

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        """Return the member's with every score multiplied, where its other items score 0."""
        own = self.member.item_scorer(num_items, make_nearest)
        if not isinstance(own, SparseScorer) or own.unknown is not None or own.factor is not None:
            return None
        return replace(own, factor=lambda history: self._factor(history)[0])

    def contributions(self, history: Histories) -> Contributions:
        prior, events = self.member.contributions(history)
        factor = self._factor(history)
        return prior * factor[0], events * factor

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        member = self.member
        if not isinstance(member, ItemToItem) or type(member).contributions_to is not ItemToItem.contributions_to:
            return super().contributions_to(history, items)
        factor = self._factor(history)[0]
        (prior, events), means = member.contributions_with(self._row_sums(member, history, factor), history, items)
        return (prior * factor[items], events * factor[items]), means

    def _row_sums(self, member: ItemToItem[Any], history: Histories, factor: Float32[np.ndarray, " items"]) -> RowSums:
        """Return the sums over the rows of the member's matrix times the factors; those of the end of the log are kept."""
        columns = factor if member.kept is None else factor[member.kept]
        if self.log.moments(history)[0] != self.log.end:
            return RowSums(member.matrix, columns)
        made_of = (self.log, self.config, member.matrix)
        if self._sums is None or any(a is not b for a, b in zip(self._sums[0], made_of, strict=True)):
            self._sums = (made_of, RowSums(member.matrix, columns))  # two threads may both make it: they are equal
        return self._sums[1]

    def _factor(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        return self.log.as_of(self.log.moments(histories), self._lift, (type(self), repr(self.config)))

    def _lift(self, moments: Int64[np.ndarray, " users"]) -> Float32[np.ndarray, "users items"]:
        config = self.config
        if config.half_life_days:
            recent = self.log.decayed(moments, config.half_life_days)
        else:
            recent = self.log.windowed(moments, config.window_days)
        factor = (recent + np.float32(config.offset)) ** np.float32(config.power)
        if config.total_exponent and config.power:
            total = self.log.windowed(moments, self.log.span_days) + np.float32(config.total_offset)
            factor /= total ** np.float32(config.total_exponent * config.power)
        return factor

    def observed(self, log: EventLog) -> Self:
        """Return a copy that counts the events of this log, and whose part does."""
        observed = self._holding(self.member.observed(log))
        observed.log = log
        return observed

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which the member has added the new items; they have no events yet."""
        grown = self._holding(self.member.add_items(content, new))
        grown.log = self.log.grown(new.stop)
        return grown

    def compressed(self, config: CompactConfig) -> Self:
        """Return a copy whose member is smaller."""
        member = self.member.compressed(config)
        return self if member is self.member else self._holding(member)

    def arrays(self) -> dict[str, np.ndarray]:
        return {**self.log.arrays(), **super().arrays()}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.log = EventLog.restored(arrays)
        return super().restore(arrays)
