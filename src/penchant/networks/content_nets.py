"""Networks that read raw content: words, log-mel frames, sensor series, small pictures, clouds of points.

In: a padded batch of one modality. Out: (batch, dim), one vector an item. What is a sequence goes through `networks.backbones`.
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

NetName = Literal[
    "lstm",
    "gru",
    "rnn",
    "cnn",
    "transformer",
    "mean",
    "picture_cnn",
    "pointnet",
    "resnet",
    "mobilenet",
    "vit",
    "efficientnet",
]
SEQUENCES = ("lstm", "gru", "rnn", "cnn", "transformer", "mean")


class NetConfig(Settings):
    """The size of a content network; what a family has no use for has no effect."""

    dim: int = Field(64, ge=4)
    """Width of the vector it gives."""
    layers: int = Field(1, ge=1)
    """Recurrent layers, blocks of a Transformer or CNN, convolutions of a picture network."""
    heads: int = Field(2, ge=1)
    """Attention heads of a Transformer."""
    kernel: int = Field(3, ge=2)
    """Steps a convolution sees at once."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of activations dropped in training."""
    pooling: Literal["max", "mean", "last", "attention"] = "max"
    """How the states of a sequence become one vector."""
    causal: bool = False
    """Read a sequence from left to right only, as the plain LSTM of a textbook does."""


class SequenceNet(nn.Module):
    """Steps of a sequence through one backbone, pooled.

    Args:
        config: Size.
        net: Which backbone.
        entry: From raw steps to (B, L, dim): a table of words, a linear map of frames.
        max_length: Longest sequence.
    """

    def __init__(self, config: NetConfig, net: str, entry: nn.Module, max_length: int) -> None:
        super().__init__()
        size = BackboneConfig(
            dim=config.dim,
            layers=config.layers,
            heads=config.heads,
            kernel=config.kernel,
            dropout=config.dropout,
            max_length=max_length,
        )
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


class PictureNet(nn.Module):
    """Convolution, normalisation and pooling, halving the picture until little is left of it; then a mean over what is left.

    Source: the small convolutional nets of Simonyan & Zisserman, ICLR 2015, one convolution a stage.
    """

    def __init__(self, config: NetConfig, channels: int = 3) -> None:
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
    """Each point alone through a small net, then the maximum over all: the order of points makes no difference.

    Source: Qi et al., PointNet, CVPR 2017, without its alignment nets; points come with their normals.
    """

    def __init__(self, config: NetConfig, channels: int = 6) -> None:
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


class WordTable(nn.Module):
    """A vector for each word, 0 for padding; perhaps started from word vectors."""

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


class FrozenVector(nn.Module):
    """A frozen vector, standardised, mapped to the width the others have."""

    def __init__(self, config: NetConfig, width: int) -> None:
        super().__init__()
        self.map = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(width, config.dim), nn.GELU())

    def forward(self, values: Float[Tensor, "B W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        mapped: Tensor = self.map(values)
        return mapped
