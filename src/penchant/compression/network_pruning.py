"""Networks with fewer attention heads and feed-forward units: those that matter least are taken out, and the rest is trained on.

In: a Transformer over histories (also LiGR blocks), and a share. Out: a network whose matrices are smaller, with the settings that make its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from penchant.core.logs import logger
from penchant.core.schema import Content, Histories
from penchant.models.member import Member, make_member
from penchant.recommender.recommender import Recommender

BACKBONES = ("transformer", "ligr")
START = "network.backbone."
"""Of the names of a backbone's arrays."""


def prunable(recommender: Recommender) -> list[str]:
    """Return the names of the networks that can be pruned: those over histories whose blocks are heads and units."""
    found = [name for name in recommender.ensemble.members if recommender.tables[name].get("model") == "sequence"]
    configs: dict[str, Any] = {name: recommender.ensemble.members[name].config for name in found}
    return [name for name in found if configs[name].backbone in BACKBONES]


def with_pruned_networks(recommender: Recommender, share: float, events: Histories) -> Recommender:
    """Return the recommender with smaller networks.

    Args:
        recommender: With networks as they were.
        share: Of the heads and units that is taken out; one of each stays.
        events: What its members learned from; the smaller networks are trained on them for `refit_epochs`.
    """
    members, tables = dict(recommender.ensemble.members), dict(recommender.tables)
    for name in prunable(recommender):
        members[name], tables[name] = pruned(members[name], tables[name], share, events, recommender.content)
        logger.info("  pruned %s", name)
    return replace(recommender, ensemble=replace(recommender.ensemble, members=members), tables=tables)


def pruned(
    member: Member, table: Mapping[str, Any], share: float, events: Histories, content: Content
) -> tuple[Member, dict[str, Any]]:
    """Return a smaller network, trained on, and its settings; arguments as in `with_pruned_networks`."""
    arrays, settings = without_least(member, share)
    smaller = {**table, **settings}
    cut = make_member(member.name, smaller).restore(arrays)
    return make_member(member.name, smaller).refit(events, content, cut), smaller


def without_least(member: Member, share: float) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return the arrays of a network without its least heads and units, and the settings of its new shape.

    A unit matters as much as the length of its weights times that of what it adds; of a head, which has one distance bias for all blocks, the sum over
    blocks of the same for its values. Source: magnitudes of whole structures as in Li et al., Pruning filters for efficient ConvNets, ICLR 2017.

    Args:
        member: A network with a Transformer or LiGR blocks.
        share: Of the heads and units that is left out; one of each stays.
    """
    arrays, config = dict(member.arrays()), member.config
    heads: int = config.heads  # type: ignore[attr-defined]
    dim: int = config.dim  # type: ignore[attr-defined]
    head_dim: int = config.head_dim or dim // heads  # type: ignore[attr-defined]
    units: int = config.feed_units or 4 * dim  # type: ignore[attr-defined]
    blocks = [f"{START}blocks.{number}." for number in range(config.layers)]  # type: ignore[attr-defined]
    weight = np.zeros(heads)
    for block in blocks:
        value = arrays[f"{block}mix.weight"].reshape(3, heads, head_dim, dim)[2]
        added = arrays[f"{block}join.weight"].reshape(dim, heads, head_dim)
        weight += np.sqrt((value**2).sum((1, 2))) * np.sqrt((added**2).sum((0, 2)))
    kept = _largest(weight, share)
    arrays[f"{START}distance"] = arrays[f"{START}distance"][kept]
    for block in blocks:
        for name in ("weight", "bias"):
            mix = arrays[f"{block}mix.{name}"]
            parts = mix.reshape(3, heads, head_dim, *mix.shape[1:])[:, kept]
            arrays[f"{block}mix.{name}"] = parts.reshape(-1, *mix.shape[1:])
        join = arrays[f"{block}join.weight"].reshape(dim, heads, head_dim)[:, kept]
        arrays[f"{block}join.weight"] = join.reshape(dim, -1)
        _fewer_units(arrays, f"{block}feed.", units, share)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    smaller = len(_largest(np.zeros(units), share))
    return arrays, {"heads": len(kept), "head_dim": head_dim, "feed_units": smaller}


def _fewer_units(arrays: dict[str, np.ndarray], start: str, units: int, share: float) -> None:
    """Take units out of one feed-forward network, in place."""
    is_gated = f"{start}rise.weight" in arrays
    rise, fall = (f"{start}{name}.weight" for name in (("rise", "fall") if is_gated else ("0", "2")))
    into = arrays[rise].reshape(-1, units, arrays[rise].shape[1])  # (2, units, dim) with gates
    kept = _largest(np.sqrt((into**2).sum((0, 2))) * np.linalg.norm(arrays[fall], axis=0), share)
    arrays[rise] = into[:, kept].reshape(-1, into.shape[2])
    arrays[fall] = arrays[fall][:, kept]
    if not is_gated:
        arrays[f"{start}0.bias"] = arrays[f"{start}0.bias"][kept]


def _largest(weight: Float32[np.ndarray, " parts"], share: float) -> Int64[np.ndarray, " kept"]:
    """Return the places of the parts that stay, in order."""
    count = max(1, round((1 - share) * len(weight)))
    return np.sort(np.argsort(-weight, kind="stable")[:count])
