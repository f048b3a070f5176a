"""The arms of the ablation and the pool of members they need.

In: members and the channels they read. Out: one arm for each set of modalities, fitted without the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penchant.core.schema import BEHAVIOUR, CONTEXT, Content
from penchant.models.member import MemberTables, make_member


@dataclass(frozen=True)
class AblationArm:
    """An ablation arm: its members and the modalities they may use.

    Attributes:
        uses: Modalities, and "behaviour".
        members: Pool names of the members that take part.
    """

    uses: frozenset[str]
    members: tuple[str, ...]


@dataclass(frozen=True)
class PoolMember:
    """A member of the pool with the channels it may use.

    Attributes:
        table: Its settings.
        channels: Content it may see; None for all.
    """

    table: Mapping[str, Any]
    channels: frozenset[str] | None = None


def plan_ablation(
    tables: MemberTables, content: Content, *, networks: bool = False
) -> tuple[list[AblationArm], dict[str, PoolMember]]:
    """Return the arms, the one with everything first, and the pool of members they need.

    Arms: all; behaviour alone; each modality alone; all but behaviour, and all but each modality. Each channel of user content is a modality of its own, and the
    circumstances of the request are one together. A member that reads several modalities is fitted
    again, on what is left, for every arm that forbids one of them. Where that would take minutes each and is not requested,
    members that cost minutes are in the first arm only, and the second is everything without them.
    """
    modality = {name: e.modality for name, e in content.channels.items()} | {
        name: CONTEXT if encoder == CONTEXT else name for name, encoder in content.user_channels.items()
    }
    present = sorted(set(modality.values()))
    everything = frozenset({BEHAVIOUR, *present})
    sets = [everything, frozenset({BEHAVIOUR})]
    sets += [everything - {m} for m in (BEHAVIOUR, *present)] + [frozenset({m}) for m in present]
    quick = {name: t for name, t in tables.items() if networks or not make_member(name, t).is_costly}
    planned = [(everything, tables)]
    planned += [(uses, quick) for uses in dict.fromkeys(sets) if uses != everything or len(quick) < len(tables)]
    pool: dict[str, PoolMember] = {}
    arms = []
    for uses, taking_part in planned:
        names = []
        for name, table in taking_part.items():
            found = _member_for(name, table, uses, modality, content)
            if found is not None:
                key, member = found
                pool[key] = member
                names.append(key)
        if names:
            arms.append(AblationArm(uses, tuple(names)))
    return arms, pool


def _member_for(
    name: str, table: Mapping[str, Any], uses: frozenset[str], modality: Mapping[str, str], content: Content
) -> tuple[str, PoolMember] | None:
    """Return the member as this arm may have it, None where nothing of it is left."""
    member = make_member(name, table)
    reads = member.channels(content)
    if member.learns_from_behaviour and BEHAVIOUR not in uses:
        return None
    kept = frozenset(channel for channel in reads if modality.get(channel) in uses)
    if reads and not kept and not member.stands_without_content:
        return None
    if member.needs_every_channel and len(kept) < len(reads):
        return None
    if len(kept) == len(reads):
        return name, PoolMember(table)
    return f"{name} [{', '.join(sorted(kept)) or 'no content'}]", PoolMember(_only(table, kept), kept)


def _only(table: Mapping[str, Any], kept: frozenset[str]) -> dict[str, Any]:
    """Narrow a table that names its channels."""
    if not isinstance(table.get("channels"), list):
        return dict(table)
    return {**table, "channels": [c for c in table["channels"] if c in kept]}
