"""Ways to make an ensemble smaller.

In: an ensemble with the settings of its members. Out: recipes, and the ensemble that each of them makes, with the settings that make its members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from penchant.core.compact_embeddings import CodeKind
from penchant.core.messages import Message, message
from penchant.fusion import late
from penchant.models.compact import CompactConfig
from penchant.models.compressed import compress_member
from penchant.models.ensemble import Ensemble
from penchant.models.member import Member

Tables = Mapping[str, Mapping[str, Any]]


VECTORS: dict[CodeKind, Message] = {
    "int8": message("vectors of 8 bits"),
    "pca": message("vectors by main directions"),
    "product": message("vectors by product quantisation"),
    "binary": message("vectors of signs"),
}


@dataclass(frozen=True)
class Recipe:
    """One way to make an ensemble smaller.

    Attributes:
        compact: How members are made smaller; None leaves them as they are.
        weights: Of the members that stay.
        num_members: Members whose weights were chosen; the others are left out. None keeps all, with the weights they had.
        codes: What the vectors of content become; None leaves them as they are.
        pruned: Share of the heads and units of networks that is taken out.
        is_distilled: Whether one network takes the place of all members.
    """

    compact: CompactConfig | None
    weights: late.EnsembleWeights
    num_members: int | None = None
    codes: CodeKind | None = None
    pruned: float | None = None
    is_distilled: bool = False

    @property
    def name(self) -> Message:
        """The recipe in a few words."""
        if self.is_distilled:
            return message("one network that was taught the lists")
        name = message("{rows}, {members}", rows=self._rows, members=self._members)
        if self.codes is not None:
            name = message("{way}; {vectors}", way=name, vectors=VECTORS[self.codes])
        if self.pruned is not None:
            name = message(
                "{way}; networks without {percent} % of their units", way=name, percent=f"{100 * self.pruned:g}"
            )
        return name

    @property
    def _rows(self) -> Message:
        if self.compact is None:
            return message("as it is")
        if not self.compact.entries:
            return message("{bits} bits", bits=self.compact.bits)
        return message("{count} entries of {bits} bits a row", count=self.compact.entries, bits=self.compact.bits)

    @property
    def _members(self) -> Message:
        if self.num_members is None:
            return message("all members")
        return message("{count} members", count=self.num_members)


def compressed_members(
    ensemble: Ensemble, tables: Tables, compact: CompactConfig | None
) -> tuple[dict[str, Member], dict[str, Mapping[str, Any]]]:
    """Return the members of an ensemble made smaller, and the settings that make them."""
    if compact is None:
        return dict(ensemble.members), {name: tables[name] for name in ensemble.members}
    pairs = {name: compress_member(member, tables[name], compact) for name, member in ensemble.members.items()}
    return {name: member for name, (member, _) in pairs.items()}, {name: table for name, (_, table) in pairs.items()}


def over(ensemble: Ensemble, members: Mapping[str, Member], weights: late.EnsembleWeights) -> Ensemble:
    """Return the ensemble of some of these members with other weights."""
    kept = [name for name in ensemble.members if name in weights]
    return replace(
        ensemble,
        members={name: members[name] for name in kept},
        weights=weights.only(kept),
        channels={name: ensemble.channels[name] for name in kept},
    )
