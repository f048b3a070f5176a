"""Content channels as members read them.

In: `Content`. Out: one channel by name, centred unit rows, and graphs of nearest items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import numpy as np
from jaxtyping import Bool, Float32
from pydantic import Field
from scipy import sparse
from typing_extensions import TypeVar

from penchant.core.errors import ConfigError, nearest
from penchant.core.schema import Content, Embeddings
from penchant.models.clustered_neighbours import clustered_neighbours
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig
from penchant.models.products import keep_largest, top_k_rows

FUSED = "fused"
"""The name by which a member's settings choose the feature-level fusion of all channels."""

EXACT_ITEMS = 100_000
"""Items up to which each is compared with every other for its nearest ones."""
MIN_GROUPS = 10
"""Groups below which a channel is not one of groups."""
NEAREST = 20
"""Fitted items whose rows a new item takes the mean of, where a member has no map from content."""


def pick(content: Content, name: str, member: str) -> Embeddings:
    """Return one channel, or the fused vectors.

    Raises:
        ConfigError: There is no such channel.
    """
    if name == FUSED and content.fused is not None:
        return content.fused
    if name in content.channels:
        return content.channels[name]
    known = {*content.channels, *([FUSED] if content.fused is not None else [])}
    raise ConfigError(
        f"There is no content channel {name!r}.",
        where=f"members.{member}",
        fix=nearest(name, known) if known else f"add a [content.{name}] table, or leave this member out",
    )


def named(content: Content, chosen: Iterable[str] | None) -> tuple[str, ...]:
    """Return the channels a member reads: all, or those chosen; "fused" stands for all."""
    if chosen is None:
        return tuple(content.channels)
    names = tuple(chosen)
    return tuple(content.channels) if FUSED in names else names


def read(
    content: Content, chosen: Iterable[str] | None, weights: Mapping[str, float], member: str
) -> list[tuple[Embeddings, float]]:
    """Return channels with their weights.

    Args:
        content: Where they are.
        chosen: Channel names; None takes all.
        weights: Name to weight; a channel that is not named weighs 1, one that weighs 0 is left out. A name that is not among
            the chosen has no effect, so that an arm of the ablation may leave channels out.
        member: Name of the member, for the error message.

    Raises:
        ConfigError: A channel is unknown, or none is left.
    """
    names = [n for n in (content.channels if chosen is None else chosen) if weights.get(n, 1.0) > 0]
    if not names:
        raise ConfigError(
            "There is no content channel to read.",
            where=f"members.{member}",
            fix="add a [content.NAME] table, or leave this member out",
        )
    return [(pick(content, name, member), weights.get(name, 1.0)) for name in names]


class ContentMixConfig(ItemToItemConfig):
    """Settings of an item-to-item member that may read content beside behaviour."""

    content_weight: float = Field(0.0, ge=0)
    """Weight of content beside behaviour; 0 leaves content out."""
    channels: list[str] | None = None
    """Channels to read; None reads all, "fused" is their feature-level fusion."""
    weights: dict[str, float] = {}
    """Weight of a channel's similarity; 1 where not named."""
    max_weight: float = Field(1.0, gt=0)
    """Largest weight of one user and item while fitting; above 1 repeats and strong kinds of event count more."""


ContentMixT_co = TypeVar("ContentMixT_co", bound=ContentMixConfig, default=ContentMixConfig, covariant=True)


class ContentMix(ItemToItem[ContentMixT_co]):
    """Base class of item-to-item members that mix content into their matrix where `content_weight` is above 0."""

    config_class = ContentMixConfig

    def channels(self, content: Content) -> tuple[str, ...]:
        return named(content, self.config.channels) if self.config.content_weight > 0 else ()

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which new items stand for their nearest in content, or score 0 where content has no weight."""
        if not self.channels(content):
            return super().add_items(content, new)
        return self._bordered(nearest_fitted(self._read(content), new), new)

    def _read(self, content: Content) -> list[tuple[Embeddings, float]]:
        return read(content, self.config.channels, self.config.weights, self.name)


def centred_unit(
    values: Float32[np.ndarray, "items dim"], usable: Bool[np.ndarray, " items"], fitted: int | None = None
) -> Float32[np.ndarray, "items dim"]:
    """Return unit rows after the mean of the usable rows is taken off; unusable rows are zero.

    With `fitted`, the mean is that of the first `fitted` rows: the catalog before items were added.

    Encoders put all items in a narrow cone; without centring the shared direction hides their differences.
    """
    out = np.zeros_like(values, dtype=np.float32)
    reference = values[:fitted][usable[:fitted]]
    if not len(reference):
        return out
    centred = values[usable] - reference.mean(0)
    out[usable] = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return out


def is_grouped(embeddings: Embeddings) -> bool:
    """Return whether most items have the same vector as 1 to 49 others, as variants of a product have in the channel of its code."""
    sizes = Counter(row.tobytes() for row in embeddings.values[embeddings.present])
    small = [size for size in sizes.values() if 2 <= size <= 50]
    return len(small) >= MIN_GROUPS and sum(small) >= 0.5 * int(embeddings.present.sum())


def neighbour_graph(rows: Float32[np.ndarray, "items dim"], neighbours: int) -> sparse.csr_array:
    """Return (items, items) float32: cosine to each item's nearest others, where it is positive.

    Up to `EXACT_ITEMS` items the neighbours are exact; time: items^2 x dim. In larger catalogs they are sought in the nearest clusters; time:
    items^1.5 x dim. Memory: a few blocks.

    Args:
        rows: Unit rows; a zero row has no neighbours.
        neighbours: Entries kept for each item.
    """
    if len(rows) > EXACT_ITEMS:
        return clustered_neighbours(rows, neighbours)
    return top_k_rows(lambda block: rows[block] @ rows.T, len(rows), len(rows), neighbours)


def nearest_fitted(
    found: Sequence[tuple[Embeddings, float]], new: range, neighbours: int = NEAREST
) -> sparse.csr_array:
    """Return (new, fitted) float32: each new item's nearest fitted items by weighted cosine, rows summing to 1.

    The row of a new item without content, or without a positive cosine, is empty.

    Args:
        found: Channels over the grown catalog with their weights, as `read` returns them.
        new: Catalog rows of the new items, after the fitted ones.
        neighbours: Fitted items kept for each new item.
    """
    similar = np.zeros((len(new), new.start), np.float32)
    for embeddings, weight in found:
        rows = centred_unit(embeddings.values, embeddings.usable, new.start)
        similar += np.float32(weight) * (rows[new.start :] @ rows[: new.start].T)
    return row_normalised(keep_largest(similar, neighbours))


def row_normalised(graph: sparse.csr_array) -> sparse.csr_array:
    """Return the graph with rows that sum to 1; empty rows stay empty."""
    total = np.maximum(np.asarray(graph.sum(1)).ravel(), 1e-12)
    graph.data = (graph.data / np.repeat(total, np.diff(graph.indptr))).astype(np.float32)
    return graph
