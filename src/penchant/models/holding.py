"""A member that holds another one and changes what it gives.

In: the settings of the held member, under `of`. Out: the parts of the contract that are those of the held member.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from penchant.core.config import SettingsT_co
from penchant.core.schema import Content
from penchant.models.member import Member, make_member, restored

PART = "of"
"""Name of the held member among the parts, and at the start of its arrays."""


class HoldingMember(Member[SettingsT_co]):
    """Base class of members with one part; a subclass calls `_hold` in its `__init__`."""

    def _hold(self, of: Mapping[str, Any]) -> None:
        """Make the held member, unfitted, of its settings; it has the name of this one."""
        self.member: Member = make_member(self.name, of)
        self._learns_part = True

    def channels(self, content: Content) -> tuple[str, ...]:
        return self.member.channels(content)

    def parts(self) -> Mapping[str, Member]:
        return {PART: self.member}

    def with_parts(self, parts: Mapping[str, Member]) -> Self:
        held = self._holding(parts[PART])
        held._learns_part = False
        return held

    def _holding(self, member: Member) -> Self:
        """Return a copy that holds this member."""
        held = copy.copy(self)
        held.member = member
        return held

    def arrays(self) -> dict[str, np.ndarray]:
        return {f"{PART}/{name}": array for name, array in self.member.arrays().items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Restore the held member, of a catalog that has grown too."""
        start = f"{PART}/"
        own = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
        self.member = restored(self.member, own)
        return self
