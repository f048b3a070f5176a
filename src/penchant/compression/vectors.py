"""Vectors of content as codes, and the members that read them, fitted again on what the codes give.

In: a recommender and a kind of code. Out: the recommender whose channels are codes. Its members know nothing of the vectors as they were, so that what
is measured holds after an erasure or an update, which fit them on the codes.
"""

from __future__ import annotations

from dataclasses import replace

from penchant.core.compact_embeddings import CodeKind, CompactEmbeddings
from penchant.core.logs import logger
from penchant.core.schema import Content, Histories
from penchant.experiment.fit_cache import FitCache
from penchant.fusion.fusion import make_fusion
from penchant.models.event_log import EventLog
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender


def as_codes(content: Content, kind: CodeKind, dim: int, fusion: dict[str, object] | None) -> Content:
    """Return content whose vectors are codes; a channel that would not be smaller stays as it is.

    Args:
        content: Channels and their fusion.
        kind: What a code is.
        dim: Main directions that `pca` keeps.
        fusion: Table of the fusion, which then fuses the coded channels; None codes the fused vectors as they are.
    """
    channels = {name: CompactEmbeddings.of(e, kind, dim) for name, e in content.channels.items()}
    fused = content.fused
    if fused is not None and fusion is not None:
        fused = make_fusion(fusion, where="the bundle's facts").fitted(channels)(channels)
    return replace(content, channels=channels, fused=None if fused is None else CompactEmbeddings.of(fused, kind, dim))


def with_codes(recommender: Recommender, kind: CodeKind, dim: int, events: Histories) -> Recommender:
    """Return the recommender with codes for vectors, and the members that read them fitted again.

    Networks, which take minutes, keep what they learned from the vectors as they were, as they do in an erasure and an update.

    Args:
        recommender: With vectors as they were.
        kind: What a code is.
        dim: Main directions that `pca` keeps.
        events: What its members learned from.
    """
    content = as_codes(recommender.content, kind, dim, recommender.facts.get("fusion"))
    fits, members = FitCache(), dict(recommender.ensemble.members)
    for name, member in members.items():
        if not member.is_costly and set(recommender.ensemble.channels[name]) & set(content.channels):
            members[name], seconds = fits.fit(make_member(name, recommender.tables[name]), events, content)
            logger.info("  fitted %s on %s codes: %.1f s", name, kind, seconds)
    again = replace(recommender, content=content, ensemble=replace(recommender.ensemble, members=members))
    return again.observed(EventLog.of(events))
