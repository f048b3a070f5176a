"""Networks over raw content: words, log-mel frames, sensor series, small images, point clouds.

In: a padded batch of one modality. Out: (batch, dim), one vector per item. Sequences go through `networks.backbones`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from penchant.core.config import Settings
from penchant.networks import BACKBONES
from penchant.networks.backbones import Backbone, BackboneConfig, last_state

SEQUENCES = ("lstm", "gru", "rnn", "cnn", "transformer", "mean")


class ContentNetConfig(Settings):
    """Size of a content network; settings that a family does not use have no effect."""

    dim: int = Field(64, ge=4)
    """Width of the output vector."""
    layers: int = Field(1, ge=1)
    """Recurrent layers, blocks of a Transformer or CNN, convolutions of an image network."""
    heads: int = Field(2, ge=1)
    """Attention heads of a Transformer."""
    kernel: int = Field(3, ge=2)
    """Kernel width of a convolution in steps."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Dropout probability."""
    pooling: Literal["max", "mean", "last", "attention"] = "max"
    """How the states of a sequence are pooled into one vector."""
    causal: bool = False
    """Read a sequence from left to right only."""


class SequenceEncoder(nn.Module):
    """A sequence backbone with pooling.

    Args:
        config: Size.
        net: Name of the backbone.
        entry: Maps raw steps to (B, L, dim): a word embedding, a linear map of frames.
        max_length: Longest sequence.
    """

    def __init__(self, config: ContentNetConfig, net: str, entry: nn.Module, max_length: int) -> None:
        super().__init__()
        size = BackboneConfig(max_length=max_length, **config.model_dump(exclude={"pooling", "causal"}))
        self.entry, self.pooling = entry, config.pooling
        self.backbone: Backbone = BACKBONES.load(net)(size, causal=config.causal)
        self.drop, self.attend = nn.Dropout(config.dropout), nn.Linear(config.dim, 1)

    def forward(self, steps: Tensor, lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        states = self.backbone(self.drop(self.entry(steps)), lengths)  # (B, L, D)
        if self.pooling == "last":
            return last_state(states, lengths)
        real = (torch.arange(states.shape[1], device=states.device) < lengths[:, None])[..., None]
        if self.pooling == "mean":
            return (states * real).sum(1) / lengths.clamp(min=1)[:, None]
        if self.pooling == "attention":
            share = torch.softmax(self.attend(states).masked_fill(~real, -1e9), dim=1)
            return (states * share).sum(1)
        return states.masked_fill(~real, -1e9).amax(1) * (lengths > 0)[:, None]


class SmallImageNet(nn.Module):
    """A small convolutional network for images: convolution, normalisation and pooling, repeated; then a spatial mean.

    Source: the small convolutional networks of Simonyan & Zisserman, ICLR 2015, one convolution a stage.
    """

    def __init__(self, config: ContentNetConfig, channels: int = 3) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        width = channels
        for stage in range(config.layers + 2):
            wider = min(config.dim, 16 * 2**stage)
            stages += [nn.Conv2d(width, wider, 3, padding=1), nn.BatchNorm2d(wider), nn.ReLU(), nn.MaxPool2d(2)]
            width = wider
        self.stages = nn.Sequential(*stages)
        self.out = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, config.dim))

    def forward(self, pixels: Float[Tensor, "B C H W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        return self.out(self.stages(pixels).mean(dim=(2, 3)))


class PointNet(nn.Module):
    """PointNet: a small network per point, then the maximum over all points; invariant to their order.

    Source: Qi et al., PointNet, CVPR 2017, without its alignment networks; points come with their normals.
    """

    def __init__(self, config: ContentNetConfig, channels: int = 6) -> None:
        super().__init__()
        wide = 2 * config.dim
        self.each = nn.Sequential(
            nn.Linear(channels, config.dim), nn.ReLU(), nn.Linear(config.dim, wide), nn.ReLU(), nn.Linear(wide, wide)
        )
        self.out = nn.Sequential(
            nn.LayerNorm(wide), nn.Linear(wide, config.dim), nn.ReLU(), nn.Dropout(config.dropout),
            nn.Linear(config.dim, config.dim),
        )  # fmt: skip

    def forward(self, points: Float[Tensor, "B P C"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        return self.out(self.each(points).amax(1))


class WordEmbedding(nn.Module):
    """Word embedding with 0 as padding, optionally initialised from word vectors."""

    def __init__(self, num_words: int, dim: int, start: Any = None) -> None:
        super().__init__()
        width = dim if start is None else int(start.shape[1])
        self.table = nn.Embedding(num_words, width, padding_idx=0)
        if start is not None:
            with torch.no_grad():
                self.table.weight.copy_(torch.as_tensor(start))
        self.map = nn.Identity() if width == dim else nn.Linear(width, dim)

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        mapped: Tensor = self.map(self.table(tokens))
        return mapped


class FrozenVectorNet(nn.Module):
    """Maps a standardised frozen embedding to the common width."""

    def __init__(self, config: ContentNetConfig, width: int) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, config.dim), nn.GELU())

    def forward(self, values: Float[Tensor, "B W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        mapped: Tensor = self.map(values)
        return mapped
