"""A member that is made smaller after it was fitted.

In: the settings of any member, and how small it shall be. Out: a member whose scores are nearly the same, in less memory.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float32

from penchant.core.schema import Content, Histories
from penchant.models.compact import CompactConfig
from penchant.models.event_log import EventLog
from penchant.models.item_scores import ItemScorer, MakeNearest
from penchant.models.member import Contributions, FittedItems, Member, make_member

PART = "of"
"""Name of the member that is made smaller, among the parts of this one and at the start of its arrays."""
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


class Compressed(Member[CompressedConfig]):
    """The member named by `of`, fitted and then made smaller (`Member.compressed`).

    Its settings hold all that made it, so that it can be fitted again like any member, as after an erasure. Contributions sum exactly to
    its own scores.
    """

    config_class = CompressedConfig

    def __init__(self, config: CompressedConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.member = make_member(self.name, self.config.of)
        self._learns_part = True
        for trait in TRAITS:
            setattr(self, trait, getattr(self.member, trait))

    def channels(self, content: Content) -> tuple[str, ...]:
        return self.member.channels(content)

    def parts(self) -> Mapping[str, Member]:
        return {PART: self.member}

    def with_parts(self, parts: Mapping[str, Member]) -> Self:
        held = copy.copy(self)
        held.member, held._learns_part = parts[PART], False
        return held

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        member = self.member.fit(train, content) if self._learns_part else self.member
        self.member, self._learns_part = member.compressed(self.config), True
        return self

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        return self.member.score(histories)

    def contributions(self, history: Histories) -> Contributions:
        return self.member.contributions(history)

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        return self.member.item_scorer(num_items, make_nearest)

    def observed(self, log: EventLog) -> Member:
        member = self.member.observed(log)
        return self if member is self.member else self._holding(member)

    def trained_encoders(self) -> dict[str, Any]:
        return self.member.trained_encoders()

    def add_items(self, content: Content, new: range) -> Member:
        """Return a copy whose member has added the new items; nothing of these is left out."""
        return self._holding(self.member.add_items(content, new))

    def arrays(self) -> dict[str, np.ndarray]:
        return {f"{PART}/{name}": array for name, array in self.member.arrays().items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        own = {name.removeprefix(f"{PART}/"): array for name, array in arrays.items()}
        self.member = (FittedItems(self.member, 0) if FittedItems.SIZE in own else self.member).restore(own)
        return self

    def _holding(self, member: Member) -> Self:
        held = copy.copy(self)
        held.member = member
        return held


def compress_member(member: Member, table: Mapping[str, Any], config: CompactConfig) -> tuple[Member, dict[str, Any]]:
    """Return a fitted member made smaller, and the settings that make it; both as given where nothing can be made smaller."""
    if member.compressed(config) is member:
        return member, dict(table)
    smaller = {"model": "compressed", **config.model_dump(), "of": dict(table)}
    unfitted = Compressed(CompressedConfig(of=dict(table), **config.model_dump()), name=member.name)
    return unfitted.with_parts({PART: member}).fit(Histories.empty(0)), smaller
