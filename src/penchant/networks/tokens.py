"""Item vectors of a network.

In: content channels and which items have interactions. Out: one vector per item, fused content plus an id embedding that can be
dropped, so that an item without interactions is scored by its content alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from pydantic import Field
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from torch.nn import functional

from penchant.core.config import Settings
from penchant.core.schema import Embeddings
from penchant.fusion import LAYERS
from penchant.fusion.layers import FusionLayer, drop_modalities
from penchant.networks.losses import alignment, info_nce
from penchant.networks.tensors import tensor_of
from penchant.networks.tuned_encoders import TokenStates, TunedEncoder, padded

REFRESHED_AT_ONCE = 64
"""Items encoded at once by `refresh`."""
MIN_SHARE = 1e-3
"""Directions with a smaller share of the largest singular value are treated as noise and not whitened."""


@dataclass(frozen=True)
class ChannelBasis:
    """PCA basis of one channel, stored with the network so that new items are projected as old ones were.

    Attributes:
        mean: (dim,)
        directions: (dim, width), scaled so that every direction has unit spread.
    """

    mean: Float32[np.ndarray, " dim"]
    directions: Float32[np.ndarray, "dim width"]

    @classmethod
    def of(cls, embeddings: Embeddings, width: int) -> ChannelBasis:
        """Return the whitened principal directions of the items that have the channel (imputed rows excluded)."""
        known = embeddings.values[embeddings.present]
        mean = known.mean(0) if len(known) else np.zeros(embeddings.dim, np.float32)
        width = min(width, embeddings.dim, max(len(known) - 1, 1))
        if len(known) < 2:
            return cls(mean.astype(np.float32), np.zeros((embeddings.dim, width), np.float32))
        _, spread, right = randomized_svd(known - mean, width, random_state=0)
        scale = np.where(spread > MIN_SHARE * spread[0], np.sqrt(len(known)) / np.maximum(spread, 1e-12), 0)
        return cls(mean.astype(np.float32), (right.T * scale).astype(np.float32))

    def __call__(self, embeddings: Embeddings) -> Float32[np.ndarray, "items width"]:
        """Return the rows projected on the directions; rows without content are zero."""
        return ((embeddings.values - self.mean) @ self.directions * embeddings.usable[:, None]).astype(np.float32)

    def change(
        self, trained: Float32[np.ndarray, "items dim"], frozen: Float32[np.ndarray, "items dim"]
    ) -> Float32[np.ndarray, "items width"]:
        """Return what a trained encoder adds to the rows of the frozen one."""
        return (trained - frozen) @ self.even()

    def even(self) -> Float32[np.ndarray, "dim width"]:
        """Return the directions with one scale, that of the main direction.

        What an encoder moves is not whitened: an even change of its weights would be enlarged many times in the minor directions, and the items
        of a step would lie beside others that have not moved yet.
        """
        scale = np.linalg.norm(self.directions, axis=0)
        least = scale[scale > 0].min(initial=np.inf)
        return (self.directions * np.where(scale > 0, least / np.maximum(scale, 1e-12), 0)).astype(np.float32)


def content_rows(
    channels: Mapping[str, Embeddings], bases: Mapping[str, ChannelBasis]
) -> tuple[Float[Tensor, "N W"], Bool[Tensor, "N M"]]:
    """Return the channels in their bases side by side, and which of them each item has; at least one channel is given."""
    content = np.concatenate([bases[name](e) for name, e in channels.items()], axis=1)
    return tensor_of(content), torch.from_numpy(np.stack([e.usable for e in channels.values()], axis=1))


class ItemTokensConfig(Settings):
    """Settings of item vectors made of content and id."""

    channels: list[str] | None = None
    """Content channels of an item vector; None takes all, [] none."""
    channel_dim: int = Field(128, ge=1)
    """Main directions of each channel that are read."""
    fusion: str = "gated"
    """How the channels of one item become one vector: concat, gated (feature level), attention (model level)."""
    use_ids: bool = True
    """Whether an item has an id embedding beside its content."""
    id_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of ids dropped in training, so that items without one (new ones) can be scored."""
    modality_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of channels dropped in training, so that items lacking one can be scored."""
    content_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the directions of an item's content that are blanked in training, other ones each time; the rest is scaled up."""
    content_noise: float = Field(0.0, ge=0)
    """Standard deviation of noise added to the item's content in training; every direction of it has unit spread."""


class TunedChannel(nn.Module):
    """One channel of the items whose encoder is trained with the network.

    Args:
        embeddings: The channel, by the frozen encoder.
        encoder: Its encoder.
        basis: Of the channel.
        states: What enters the trained blocks, of every item.
    """

    has: Tensor
    start: Tensor
    frozen: Tensor
    even: Tensor

    def __init__(self, embeddings: Embeddings, encoder: TunedEncoder, basis: ChannelBasis, states: TokenStates) -> None:
        super().__init__()
        self.name, self.encoder, self.states = embeddings.name, encoder, states
        self.register_buffer("has", torch.from_numpy(states.length > 0), persistent=False)
        self.register_buffer("start", torch.from_numpy(basis(embeddings)), persistent=False)
        self.register_buffer("frozen", tensor_of(embeddings.values), persistent=False)
        self.register_buffer("even", torch.from_numpy(basis.even()), persistent=False)

    def forward(self, rows: Int[Tensor, "N"]) -> Float[Tensor, "N W"]:
        """Return the content of some items in the basis; each of them has the channel."""
        vectors = self.encoder.vectors(*padded(self.states.rows(rows.tolist()), rows.device))
        return self.start[rows] + (vectors - self.frozen[rows]) @ self.even


class ItemTokens(nn.Module):
    """Vectors of all items from content and id.

    Args:
        widths: Channel to the width of its projected vectors, in channel order.
        num_items: Rows of the catalog.
        dim: Width of an item vector.
        config: Fusion, ids and dropout.
    """

    content: Tensor
    present: Tensor
    touched: Tensor

    def __init__(self, widths: Mapping[str, int], num_items: int, dim: int, config: ItemTokensConfig) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.id_dropout, self.modality_dropout = config.id_dropout, config.modality_dropout
        self.content_dropout, self.content_noise = config.content_dropout, config.content_noise
        self.project = nn.ModuleList(nn.Linear(width, dim) for width in widths.values())
        self.fuse: FusionLayer | None = LAYERS.load(config.fusion)(len(widths), dim) if widths else None
        self.scale = nn.Parameter(torch.full((), 0.1))  # near the norm of the ids, so that initial logits are near 0
        self.ids = nn.Embedding(num_items, dim) if config.use_ids else None
        if self.ids is not None:
            nn.init.normal_(self.ids.weight, std=0.02)
        self.tuned = nn.ModuleList()  # of `TunedChannel`, while encoders are trained with the network
        self._is_stale = False
        self._encoded: Tensor | None = None
        self.register_buffer("content", torch.zeros(num_items, sum(widths.values())), persistent=False)
        self.register_buffer("present", torch.zeros(num_items, len(widths), dtype=torch.bool), persistent=False)
        self.register_buffer("touched", torch.ones(num_items, dtype=torch.bool), persistent=False)

    def load(
        self, channels: Mapping[str, Embeddings], bases: Mapping[str, ChannelBasis], touched: Bool[np.ndarray, " items"]
    ) -> None:
        """Set the items' content; items without interactions have no id part."""
        if channels:
            self.content, self.present = content_rows(channels, bases)
        self.touched = torch.from_numpy(touched)

    @property
    def known_content(self) -> Float[Tensor, "items W"]:
        """The content of all items in their bases: inside `encoded`, that of some items by their encoder as it is now."""
        return self.content if self._encoded is None else self._encoded

    @contextmanager
    def encoded(self, rows: Int[Tensor, "N"]) -> Iterator[None]:
        """Encode some items anew within this context, so that the loss reaches the encoders; the others have the vectors they had last."""
        content = self.content.clone()
        for channel in self._tuned_channels():
            has = rows[channel.has[rows]]
            if len(has):
                fresh = channel(has)
                content[has, self.columns(channel.name)] = fresh
                self.content[has, self.columns(channel.name)] = fresh.detach()
                self._is_stale = True
        self._encoded = content
        try:
            yield
        finally:
            self._encoded = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Encode all items with the encoders as they are now."""
        for channel in self._tuned_channels():
            for rows in torch.split(torch.nonzero(channel.has)[:, 0], REFRESHED_AT_ONCE):
                self.content[rows, self.columns(channel.name)] = channel(rows)
        self._is_stale = False

    def refresh_stale(self) -> None:
        """Do what `refresh` does, unless no step has been made since."""
        if self._is_stale:
            self.refresh()

    def hold_tuned(self, channels: Sequence[TunedChannel]) -> None:
        """Set the channels whose encoders are trained with the network; none when training ends."""
        self.tuned, self._is_stale = nn.ModuleList(channels), True

    def _tuned_channels(self) -> list[TunedChannel]:
        return [channel for channel in self.tuned if isinstance(channel, TunedChannel)]

    def columns(self, name: str) -> slice:
        """Return the columns of one channel in `content`."""
        place = list(self.widths).index(name)
        first = sum(list(self.widths.values())[:place])
        return slice(first, first + self.widths[name])

    def forward(self, rows: Tensor | None = None) -> Float[Tensor, "N D"]:
        """Return the vectors of some items; of all if `rows` is None."""
        where = slice(None) if rows is None else rows
        parts: list[Tensor] = []
        if self.fuse is not None:
            parts.append(self.by_content(*self._view(where)))
        if self.ids is not None:
            keep = self.touched[where]
            if self.training and self.id_dropout and self.fuse is not None:
                keep = keep & (torch.rand(keep.shape, device=keep.device) >= self.id_dropout)
            parts.append(self.ids.weight[where] * keep[:, None])
        return torch.stack(parts).sum(0)

    def _view(self, rows: Tensor | slice) -> tuple[Float[Tensor, "N W"], Bool[Tensor, "N M"]]:
        """Return the content of some items and their channels: in training changed at random, as the settings allow."""
        content, present = self.known_content[rows], self.present[rows]
        if not self.training:
            return content, present
        if self.modality_dropout:
            present = drop_modalities(present, self.modality_dropout)
        if self.content_noise:
            content = content + self.content_noise * torch.randn_like(content)
        return functional.dropout(content, self.content_dropout), present

    def agreement(self, rows: Tensor) -> Float[Tensor, ""]:
        """Return InfoNCE between two views of the content of the same items, in training mode.

        Source: Yao et al., Self-supervised learning for large-scale item recommendations, CIKM 2021 (feature masking).
        """
        known = rows[self.present[rows].any(1)]
        if len(known) < 2:
            return self.scale.new_zeros(())
        return info_nce(self.by_content(*self._view(known)), self.by_content(*self._view(known)))

    def by_content(self, content: Float[Tensor, "N W"], present: Bool[Tensor, "N M"]) -> Float[Tensor, "N D"]:
        """Return the vectors of items without an id part, from `content_rows`; at least one channel is read."""
        assert self.fuse is not None
        return self.scale * self.fuse(self.projected(content), present)

    def projected(self, content: Float[Tensor, "N W"]) -> Float[Tensor, "N M D"]:
        """Return each channel projected to the common width."""
        pieces = torch.split(content, list(self.widths.values()), dim=1)
        return torch.stack([project(piece) for project, piece in zip(self.project, pieces, strict=True)], dim=1)

    def alignment(self, rows: Tensor) -> Float[Tensor, ""]:
        """Return InfoNCE summed over all pairs of channels of the same items."""
        return alignment(self.projected(self.known_content[rows]), self.present[rows])
