"""What in an item's picture, words or sound adds to its score for a user, or makes it like its nearest items.

In: a recommender, an item, perhaps a user. Out: `Heat` for each channel that a frozen encoder reads. Nothing of the model is taken apart: a version of the
content is added as a new item, as an upload would be, and scored by the whole ensemble.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64

from penchant.core.errors import NotFoundError, nearest
from penchant.core.schema import Histories
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig
from penchant.encoders.content import find_content
from penchant.encoders.encoder import Encoder
from penchant.explanation.heat import READABLE, ScoreVectors, encoder_heat
from penchant.models.channels import centred_unit
from penchant.recommender.new_items import NewItem, grow
from penchant.reporting.heat import Heat

if TYPE_CHECKING:
    from penchant.recommender.recommender import Recommender

NEAREST = 10
"""Nearest items whose mean the likeness is measured to, where no user is given."""


def heat_channels(recommender: Recommender) -> dict[str, ChannelConfig]:
    """Return the channels whose content has heat: of frozen encoders of text, pictures, sounds, series, videos and meshes."""
    found = recommender.encoders.of(recommender.facts, recommender.content)
    return {n: c for n, c in found.items() if recommender.content.channels[n].modality in READABLE}


def item_heat(
    recommender: Recommender, item_id: str, channel: str, user: Histories | None, limits: MediaLimits, *, seed: int = 0
) -> Heat:
    """Return the heat over one channel's content of an item.

    Args:
        recommender: With the catalog's files at hand.
        item_id: The item.
        channel: Of a frozen encoder.
        user: Whose score of the item is explained; None explains its likeness to its nearest items in the channel.
        limits: Of media files.
        seed: Of the check's random pieces.

    Raises:
        NotFoundError: There is no such item or channel, or the item has no content of it.
        MediaError: The file cannot be decoded.
    """
    row = recommender.lookup.row(item_id)
    channels = heat_channels(recommender)
    if channel not in channels:
        fix = nearest(channel, channels) if channels else "name a channel of a frozen encoder in [content]"
        raise NotFoundError(f"No heat can be drawn over the channel {channel!r}.", where="channel", fix=fix)
    config = channels[channel]
    encoder = recommender.encoders.load(channel, config)
    raw = _raw(recommender, row, channel, config, encoder, limits)
    score = _likeness(recommender, row, channel) if user is None else _score_of(recommender, row, channel, user)
    return encoder_heat(encoder, channel, raw, score, seed=seed)


def _raw(
    recommender: Recommender, row: int, channel: str, config: ChannelConfig, encoder: Encoder, limits: MediaLimits
) -> object:
    catalog = replace(recommender.catalog, table=recommender.catalog.table[[row]])
    content = find_content(catalog, config.columns, encoder.modality, limits, where=f"content.{channel}")
    if content.keys[0] is None:
        item_id = recommender.lookup.items.ids[row]
        raise NotFoundError(
            f"The item {item_id!r} has no {encoder.modality}.", where=f"content.{channel}", fix="choose another channel"
        )
    return content.load(0)


def _likeness(recommender: Recommender, row: int, channel: str) -> ScoreVectors:
    """Return the cosine to the mean of the nearest items in the channel."""
    e = recommender.content.channels[channel]
    rows = centred_unit(e.values, e.usable)
    mean = e.values[e.usable].mean(0)
    alike = rows @ rows[row]
    alike[row] = -np.inf
    target = rows[np.argsort(-alike, kind="stable")[:NEAREST]].mean(0)
    target /= max(float(np.linalg.norm(target)), 1e-12)

    def score(vectors: Float32[np.ndarray, "variants dim"]) -> Float64[np.ndarray, " variants"]:
        centred = vectors - mean
        unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        return np.asarray(unit @ target, np.float64)

    return score


def _score_of(recommender: Recommender, row: int, channel: str, user: Histories) -> ScoreVectors:
    """Return the ensemble's score of new items that have the item's other content, and these vectors in the channel."""
    content = recommender.content.channels
    others = {name: e.rows(np.array([row]))[0] for name, e in content.items() if name != channel and e.usable[row]}
    columns = {n: v for n, v in recommender.catalog.table.row(row, named=True).items() if n != "item_id"}

    def score(vectors: Float32[np.ndarray, "variants dim"]) -> Float64[np.ndarray, " variants"]:
        items = [NewItem(f"\0variant {n}", columns, {**others, channel: one}) for n, one in enumerate(vectors)]
        grown = grow(recommender, items)
        scores = grown.ensemble.score(replace(user, num_items=len(grown.catalog)))
        return np.asarray(scores[0, -len(items) :], np.float64)

    return score
