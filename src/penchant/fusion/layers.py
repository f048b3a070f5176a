"""Fusion layers trained within a network.

In: (items, modalities, dim), each modality already projected to one width, and which are present. Out: one vector an item.
A modality that is missing gets no weight; it is never zeros taken for data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class FusionLayer(nn.Module):
    """The contract.

    Args:
        modalities: How many.
        dim: Width of each, and of the result.
    """

    reads_tokens: ClassVar[bool] = False
    """Whether it can read several tokens of each modality (`fuse_tokens`)."""

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__()
        self.modalities, self.dim = modalities, dim

    def forward(self, values: Float[Tensor, "N M D"], present: Bool[Tensor, "N M"]) -> Float[Tensor, "N D"]:
        """Return one vector an item; zero where no modality is present."""
        raise NotImplementedError


class ConcatLayer(FusionLayer):
    """Feature level: all modalities in a row, mapped to one width; a learned stand-in where one is missing."""

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__(modalities, dim)
        self.missing = nn.Parameter(torch.zeros(modalities, dim))
        self.map = nn.Linear(modalities * dim, dim)

    def forward(self, values: Float[Tensor, "N M D"], present: Bool[Tensor, "N M"]) -> Float[Tensor, "N D"]:
        filled = torch.where(present[..., None], values, self.missing)
        return self.map(filled.flatten(1)) * present.any(1, keepdim=True)


class GatedLayer(FusionLayer):
    """Feature level: a weighted sum whose weights depend on the content of the modalities.

    Source: gated multimodal units (Arevalo et al. 2017), with a softmax over the modalities that are present.
    """

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__(modalities, dim)
        self.gate = nn.Linear(dim, 1)
        self.prior = nn.Parameter(torch.zeros(modalities))

    def forward(self, values: Float[Tensor, "N M D"], present: Bool[Tensor, "N M"]) -> Float[Tensor, "N D"]:
        return (self.weights(values, present)[..., None] * values).sum(1)

    def weights(self, values: Float[Tensor, "N M D"], present: Bool[Tensor, "N M"]) -> Float[Tensor, "N M"]:
        """Return each modality's share; they sum to 1, or are all 0 where none is present."""
        logits = self.gate(torch.tanh(values))[..., 0] + self.prior
        return torch.softmax(logits.masked_fill(~present, -1e9), dim=1) * present


class AttentionLayer(FusionLayer):
    """Model level: modality tokens attend to each other, and a learned query attends to them.

    Source: the fusion token of multimodal bottleneck transformers (Nagrani et al. 2021), one block.
    """

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__(modalities, dim)
        self.kind = nn.Parameter(torch.randn(modalities, dim) * 0.02)
        self.query = nn.Parameter(torch.randn(1, dim) * 0.02)
        self.norm, self.out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, _heads(dim), batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, values: Float[Tensor, "N M D"], present: Bool[Tensor, "N M"]) -> Float[Tensor, "N D"]:
        tokens = torch.cat([self.query.expand(len(values), 1, -1), values + self.kind], dim=1)
        absent = torch.cat([torch.zeros_like(present[:, :1]), ~present], dim=1)
        normed = self.norm(tokens)
        tokens = tokens + self.attend(normed, normed, normed, key_padding_mask=absent, need_weights=False)[0]
        fused = tokens[:, 0]
        return (fused + self.feed(self.out(fused))) * present.any(1, keepdim=True)


class CrossAttentionLayer(FusionLayer):
    """Model level, by tokens: the words of a text attend to the patches of a picture and the patches to the words.

    Each token of a modality attends to all tokens of the other present modalities, and to a learned empty token, so that a modality alone is
    read as it is. The mean over a modality's tokens is its vector; these are joined as in `GatedLayer`. Without tokens, a modality is
    one token. Cost: tokens of a modality x tokens of the others.

    Source: the co-attention of ViLBERT (Lu et al., NeurIPS 2019), one block, with gated vectors instead of a class token.
    """

    reads_tokens = True

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__(modalities, dim)
        self.kind = nn.Parameter(torch.randn(modalities, dim) * 0.02)
        self.empty = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm, self.out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend = nn.MultiheadAttention(dim, _heads(dim), batch_first=True)
        self.feed = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.join = GatedLayer(modalities, dim)

    def forward(self, values: Float[Tensor, "N M D"], present: Bool[Tensor, "N M"]) -> Float[Tensor, "N D"]:
        tokens = [values[:, place, None] for place in range(values.shape[1])]
        return self.fuse_tokens(tokens, [present[:, place, None] for place in range(values.shape[1])], present)

    def fuse_tokens(
        self,
        tokens: Sequence[Float[Tensor, "N _ D"]],
        real: Sequence[Bool[Tensor, "N _"]],
        present: Bool[Tensor, "N M"],
    ) -> Float[Tensor, "N D"]:
        """Return one vector an item; zero where no modality is present.

        Args:
            tokens: Of each modality, padded.
            real: Which of them are no padding.
            present: Which modalities are read at all.
        """
        normed = [self.norm(one) + kind for one, kind in zip(tokens, self.kind, strict=True)]
        there = [mask & present[:, place, None] for place, mask in enumerate(real)]
        empty = self.empty.expand(len(present), 1, -1)
        vectors = []
        for place, one in enumerate(tokens):
            others = [row for row in range(len(tokens)) if row != place]
            keys = torch.cat([empty, *(normed[row] for row in others)], dim=1)
            absent = torch.cat([torch.zeros_like(present[:, :1]), *(~there[row] for row in others)], dim=1)
            read = self.attend(normed[place], keys, keys, key_padding_mask=absent, need_weights=False)[0]
            states = one + read
            states = states + self.feed(self.out(states))
            share = there[place][..., None]
            vectors.append((states * share).sum(1) / share.sum(1).clamp(min=1))
        return self.join(torch.stack(vectors, dim=1), present)


def drop_modalities(present: Bool[Tensor, "N M"], share: float) -> Bool[Tensor, "N M"]:
    """Return the mask with a share of the modalities hidden, at least one kept where there was any.

    What is learned so can do without any of them. Source: ModDrop (Neverova et al. 2016).
    """
    draw = torch.rand(present.shape, device=present.device).masked_fill(~present, -1)
    best = draw == draw.amax(1, keepdim=True)
    return present & ((draw >= share) | best)


def _heads(dim: int) -> int:
    return next(heads for heads in (4, 2, 1) if dim % heads == 0)
