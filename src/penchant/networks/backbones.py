"""Sequence backbones: Transformer, LiGR, GRU, LSTM, RNN, CNN, mean.

In: (batch, length, dim) and the length of each row. Out: one state per step that depends on earlier steps only (`causal`), or on
both sides. Padding is at the end of a row.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from penchant.core.config import Settings


class BackboneConfig(Settings):
    """Size of a backbone; settings that a family does not use have no effect."""

    dim: int = Field(64, ge=1)
    """Width of every state."""
    layers: int = Field(2, ge=1)
    """Number of blocks."""
    heads: int = Field(2, ge=1)
    """Attention heads (transformer, ligr); must divide `dim` where `head_dim` is not set."""
    head_dim: int | None = Field(None, ge=1)
    """Width of an attention head (transformer, ligr); None takes dim / heads. A pruned network has fewer heads of the width they had."""
    feed_units: int | None = Field(None, ge=1)
    """Units between the two layers of a block's feed-forward network (transformer, ligr); None takes 4 x dim."""
    kernel: int = Field(3, ge=2)
    """Kernel width of a convolution in steps (cnn); block b reaches kernel x 2^b steps back."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout probability."""
    max_length: int = Field(100, ge=1)
    """Maximum number of steps."""


class Backbone(nn.Module):
    """Base class: returns states of the same shape as the input.

    Args:
        config: Size.
        causal: Whether a state depends only on its own and earlier steps.
    """

    def __init__(self, config: BackboneConfig, *, causal: bool = True) -> None:
        super().__init__()
        self.config = config
        self.causal = causal

    def forward(self, steps: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B L D"]:
        """Return a state for each step; states beyond a row's length are undefined."""
        raise NotImplementedError

    @classmethod
    def products(cls, config: BackboneConfig, length: float) -> float:
        """Return about how many multiplications a step takes in the forward pass, in a row of `length` steps: what a search predicts time from.

        Of a backbone that does not say, those of a Transformer.
        """
        return config.layers * (12 * config.dim**2 + 2 * length * config.dim)


class _AttentionBlock(nn.Module):
    """Self-attention and a feed-forward network, each added to what enters it."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_attend, self.norm_feed = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.head_dim = config.dim // config.heads if config.head_dim is None else config.head_dim
        width = self.heads * self.head_dim
        self.mix = nn.Linear(config.dim, 3 * width)
        self.join = nn.Linear(width, config.dim)
        self.feed = self._feed(config.dim, config.feed_units or 4 * config.dim)
        self.drop = nn.Dropout(config.dropout)

    def _feed(self, dim: int, units: int) -> nn.Module:
        return nn.Sequential(nn.Linear(dim, units), nn.GELU(), nn.Linear(units, dim))

    def forward(self, steps: Tensor, bias: Tensor) -> Tensor:
        steps = steps + self.drop(self.attended(steps, bias))
        return steps + self.drop(self.feed(self.norm_feed(steps)))

    def attended(self, steps: Tensor, bias: Tensor) -> Tensor:
        query, key, value = self._mixed(steps)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        joined: Tensor = self.join(attended.transpose(1, 2).flatten(2))
        return joined

    def weights(self, steps: Tensor, bias: Tensor) -> Float[Tensor, "B L L"]:
        """Return how much each step attends to every other, mean over the heads."""
        query, key, _ = self._mixed(steps)
        return torch.softmax(query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + bias, dim=-1).mean(1)

    def _mixed(self, steps: Tensor) -> Float[Tensor, "3 B H L D_by_H"]:
        """Return queries, keys and values."""
        rows, length, _ = steps.shape
        mixed = self.mix(self.norm_attend(steps)).view(rows, length, 3, self.heads, self.head_dim)
        return mixed.permute(2, 0, 3, 1, 4)


class _GatedBlock(_AttentionBlock):
    """The same with SwiGLU in the feed-forward network; a gate that the state itself opens decides how much of each is added."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        self.gate_attend, self.gate_feed = (nn.Linear(config.dim, config.dim) for _ in range(2))

    def _feed(self, dim: int, units: int) -> nn.Module:
        return _SwiGLU(dim, units)

    def forward(self, steps: Tensor, bias: Tensor) -> Tensor:
        steps = steps + torch.sigmoid(self.gate_attend(steps)) * self.drop(self.attended(steps, bias))
        return steps + torch.sigmoid(self.gate_feed(steps)) * self.drop(self.feed(self.norm_feed(steps)))


class _SwiGLU(nn.Module):
    """Feed-forward network whose inner states are multiplied by a gate. Source: Shazeer 2020, without biases."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.rise = nn.Linear(dim, 2 * inner, bias=False)  # values and their gates in one product
        self.fall = nn.Linear(inner, dim, bias=False)

    def forward(self, steps: Tensor) -> Tensor:
        value, gate = self.rise(steps).chunk(2, dim=-1)
        fallen: Tensor = self.fall(functional.silu(gate) * value)
        return fallen


class Transformer(Backbone):
    """Pre-norm self-attention with a learned bias for the distance between two steps.

    Cost: length^2 x dim per row. Source: Vaswani et al. 2017 in the pre-norm form; the distance bias as in T5, unbucketed.
    """

    block: ClassVar[type[_AttentionBlock]] = _AttentionBlock

    def __init__(self, config: BackboneConfig, *, causal: bool = True) -> None:
        super().__init__(config, causal=causal)
        self.blocks = nn.ModuleList(self.block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        reach = config.max_length + 1
        self.distance = nn.Parameter(torch.zeros(config.heads, 2 * reach + 1))

    def forward(self, steps: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B L D"]:
        bias = self._bias(steps.shape[1], lengths)
        for block in self.blocks:
            steps = block(steps, bias)
        return self.norm(steps)

    def attention(self, steps: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B blocks L"]:
        """Return how much the last step of each row attends to every step, by block, mean over the heads; each sums to 1."""
        bias, found = self._bias(steps.shape[1], lengths), []
        for block in self.blocks:
            assert isinstance(block, _AttentionBlock)
            found.append(block.weights(steps, bias)[torch.arange(len(steps)), lengths - 1])
            steps = block(steps, bias)
        return torch.stack(found, dim=1)

    def _bias(self, length: int, lengths: Int[Tensor, "B"]) -> Float[Tensor, "B_or_1 H L L"]:
        place = torch.arange(length, device=lengths.device)
        apart = place[:, None] - place[None, :]
        reach = (self.distance.shape[1] - 1) // 2
        bias = self.distance[:, apart.clamp(-reach, reach) + reach]  # (H, L, L)
        if self.causal:  # padding comes last, so no real step attends to it
            return bias.masked_fill(apart < 0, float("-inf"))[None]
        real = place < lengths[:, None]
        return bias.masked_fill(~real[:, None, None, :], float("-inf"))


class LiGR(Transformer):
    """Transformer of gated blocks, as in eSASRec: SwiGLU, and what a block adds passes a gate of the state that entered.

    Cost: half more than the Transformer's besides attention. Source: Borisyuk et al., From features to Transformers: redefining ranking for
    scalable impact, 2025 (LiGR); in sequential recommendation Tikhonovich et al., eSASRec, RecSys 2025. Our distance bias instead of positions.
    """

    block = _GatedBlock

    @classmethod
    def products(cls, config: BackboneConfig, length: float) -> float:
        return config.layers * (18 * config.dim**2 + 2 * length * config.dim)


class _Recurrent(Backbone):
    """A recurrent network with a residual connection from its input."""

    cell: type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]
    gates: ClassVar[int]
    """Products of state and input with a square matrix each, a step and layer."""

    def __init__(self, config: BackboneConfig, *, causal: bool = True) -> None:
        super().__init__(config, causal=causal)
        between = config.dropout if config.layers > 1 else 0.0
        self.net = self.cell(
            config.dim, config.dim, config.layers, batch_first=True, dropout=between, bidirectional=not causal
        )
        self.out = nn.Linear(config.dim if causal else 2 * config.dim, config.dim)
        self.drop, self.norm = nn.Dropout(config.dropout), nn.LayerNorm(config.dim)

    def forward(self, steps: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B L D"]:
        if self.causal:
            states, _ = self.net(steps)
        else:  # the backward direction must start at the last real step
            packed = pack_padded_sequence(steps, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(self.net(packed)[0], batch_first=True, total_length=steps.shape[1])
        return self.norm(steps + self.drop(self.out(states)))

    @classmethod
    def products(cls, config: BackboneConfig, length: float) -> float:  # noqa: ARG003
        return (2 * cls.gates * config.layers + 1) * config.dim**2


class RNN(_Recurrent):
    """Plain recurrent network (Elman 1990)."""

    cell = nn.RNN
    gates = 1


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014), as GRU4Rec uses them."""

    cell = nn.GRU
    gates = 3


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997)."""

    cell = nn.LSTM
    gates = 4


class CNN(Backbone):
    """Dilated causal convolutions with residual connections; the dilation doubles with each block.

    Source: Yuan et al., A simple convolutional generative network for next item recommendation, WSDM 2019.
    """

    def __init__(self, config: BackboneConfig, *, causal: bool = True) -> None:
        super().__init__(config, causal=causal)
        self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in range(config.layers))
        self.reach = nn.ModuleList(
            nn.Conv1d(config.dim, config.dim, config.kernel, dilation=2**b) for b in range(config.layers)
        )
        self.mix = nn.ModuleList(nn.Linear(config.dim, config.dim) for _ in range(config.layers))
        self.drop, self.norm = nn.Dropout(config.dropout), nn.LayerNorm(config.dim)

    def forward(self, steps: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B L D"]:
        real = (torch.arange(steps.shape[1], device=steps.device) < lengths[:, None])[..., None]
        for b, (norm, reach, mix) in enumerate(zip(self.norms, self.reach, self.mix, strict=True)):
            wide = (self.config.kernel - 1) * 2**b
            sides = (wide, 0) if self.causal else (wide // 2, wide - wide // 2)
            seen = functional.pad((norm(steps) * real).transpose(1, 2), sides)
            steps = steps + self.drop(mix(functional.gelu(reach(seen).transpose(1, 2))))
        return self.norm(steps)

    @classmethod
    def products(cls, config: BackboneConfig, length: float) -> float:  # noqa: ARG003
        return config.layers * (config.kernel + 1) * config.dim**2


class Mean(Backbone):
    """Mean of the steps so far through a small network: the user tower of a two-tower model; ignores order.

    Source: Covington et al., Deep neural networks for YouTube recommendations, RecSys 2016.
    """

    def __init__(self, config: BackboneConfig, *, causal: bool = True) -> None:
        super().__init__(config, causal=causal)
        self.net = nn.Sequential(
            nn.LayerNorm(config.dim),
            nn.Linear(config.dim, 4 * config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * config.dim, config.dim),
        )
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, steps: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B L D"]:
        place = torch.arange(1, steps.shape[1] + 1, device=steps.device)
        if self.causal:
            mean = steps.cumsum(1) / place[:, None]
        else:
            real = (place <= lengths[:, None])[..., None]
            mean = ((steps * real).sum(1, keepdim=True) / lengths.clamp(min=1)[:, None, None]).expand_as(steps)
        return self.norm(mean + self.net(mean))

    @classmethod
    def products(cls, config: BackboneConfig, length: float) -> float:  # noqa: ARG003
        return 8 * config.dim**2


def last_state(states: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
    """Return the state of each row's last real step."""
    return states[torch.arange(states.shape[0], device=states.device), (lengths - 1).clamp(min=0)]
