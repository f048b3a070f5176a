"""A member that is made smaller after it was fitted.

In: the settings of any member, and how small it shall be. Out: a member whose scores are nearly the same, in less memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, Int64

from penchant.core.schema import Content, Histories
from penchant.models.compact import CompactConfig
from penchant.models.event_log import EventLog
from penchant.models.holding import PART, HoldingMember
from penchant.models.item_scores import ItemScorer, MakeNearest
from penchant.models.member import Contributions, ContributionsTo, Member

TRAITS = (
    "additive",
    "learns_from_behaviour",
    "stands_without_content",
    "needs_every_channel",
    "standardised",
    "is_costly",
)
"""What holds of a compressed member as it does of the member itself."""


class CompressedConfig(CompactConfig):
    """The settings of a compressed member."""

    of: dict[str, Any] = {"model": "ease"}
    """The member that is made smaller, with its settings."""


class Compressed(HoldingMember[CompressedConfig]):
    """The member named by `of`, fitted and then made smaller (`Member.compressed`).

    Its settings hold all that made it, so that it can be fitted again like any member, as after an erasure. Contributions sum exactly to
    its own scores.
    """

    config_class = CompressedConfig

    def __init__(self, config: CompressedConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self._hold(self.config.of)
        for trait in TRAITS:
            setattr(self, trait, getattr(self.member, trait))

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        member = self.member.fit(train, content) if self._learns_part else self.member
        self.member, self._learns_part = member.compressed(self.config), True
        return self

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        return self.member.score(histories)

    def contributions(self, history: Histories) -> Contributions:
        return self.member.contributions(history)

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        return self.member.contributions_to(history, items)

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        return self.member.item_scorer(num_items, make_nearest)

    def observed(self, log: EventLog) -> Member:
        member = self.member.observed(log)
        return self if member is self.member else self._holding(member)

    def add_items(self, content: Content, new: range) -> Member:
        """Return a copy whose member has added the new items; nothing of these is left out."""
        return self._holding(self.member.add_items(content, new))


def compress_member(member: Member, table: Mapping[str, Any], config: CompactConfig) -> tuple[Member, dict[str, Any]]:
    """Return a fitted member made smaller, and the settings that make it; both as given where nothing can be made smaller."""
    if member.compressed(config) is member:
        return member, dict(table)
    smaller = {"model": "compressed", **config.model_dump(), "of": dict(table)}
    unfitted = Compressed(CompressedConfig(of=dict(table), **config.model_dump()), name=member.name)
    return unfitted.with_parts({PART: member}).fit(Histories.empty(0)), smaller
