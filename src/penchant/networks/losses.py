"""Losses of recommendation networks.

In: user states, item vectors and the chosen items. Out: a scalar loss; all rows count equally.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor
from torch.nn import functional

LossName = Literal["softmax", "sampled_softmax", "bce", "bpr"]


CHUNK_CELLS = 1_000_000
"""Logits held at once by `softmax`: 4 MB, independent of batch and catalog, so that they stay in the processor cache."""
MIN_PROBABILITY = 1e-30
"""Lower bound of probabilities before the logarithm."""


def softmax(states: Float[Tensor, "N D"], items: Float[Tensor, "I D"], chosen: Int[Tensor, "N"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over all items of the catalog.

    Logits are computed, used for both gradients and dropped one chunk at a time, so that memory does not grow with N x I; on a
    CPU the plain version spends most of its time on memory allocation. Source: Wijmans et al., Cut your losses, ICLR 2025.
    """
    loss: Tensor = _ChunkedSoftmax.apply(states, items, chosen)  # type: ignore[no-untyped-call]
    return loss


def sharpened_probability(logits: Float[Tensor, "N I"], sharpness: float) -> Float32[np.ndarray, "N I"]:
    """Return softmax probabilities raised to a power: the score of a network trained with softmax."""
    return powered_softmax(logits, sharpness).cpu().numpy()


def powered_softmax(logits: Float[Tensor, "N I"], sharpness: float) -> Float[Tensor, "N I"]:
    """Return softmax probabilities raised to a power, so that logits that differ a little still do.

    Their logarithms are about minus the logarithm of the number of items where logits are small, as after little training: float32 there resolves
    5e-7, and of 1,000 items with logits of spread 1e-3 80 had the score of another one. Differences from the largest logit keep what it has.
    """
    below = logits - logits.amax(dim=1, keepdim=True)
    total = torch.exp(below).sum(dim=1, keepdim=True)
    return torch.exp(sharpness * below) * total**-sharpness


class _ChunkedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, chosen: Tensor) -> Tensor:
        states, items = states.float(), items.float()
        count = max(len(states), 1)
        by_state, by_item = torch.empty_like(states), torch.zeros_like(items)
        total = states.new_zeros(())
        size = max(1, CHUNK_CELLS // max(len(items), 1))
        cells = states.new_empty(min(size, len(states)), len(items))
        for first in range(0, len(states), size):
            rows, own = states[first : first + size], chosen[first : first + size, None]
            share = torch.mm(rows, items.T, out=cells[: len(rows)])
            torch.softmax(share, 1, out=share)
            right = share.gather(1, own)
            total -= right.clamp(min=MIN_PROBABILITY).log().sum()
            share.scatter_add_(1, own, torch.full_like(right, -1.0))
            torch.mm(share, items, out=by_state[first : first + size])
            by_item.addmm_(share.T, rows)
        ctx.save_for_backward(by_state.div_(count), by_item.div_(count))
        return total / count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        by_state, by_item = ctx.saved_tensors
        return by_state * grads[0], by_item * grads[0], None


def sampled_softmax(
    states: Float[Tensor, "N D"],
    chosen_vectors: Float[Tensor, "N D"],
    negatives: Float[Tensor, "S D"],
    chosen: Int[Tensor, "N"],
    sampled: Int[Tensor, "S"],
    log_probability: Float[Tensor, "I"],
) -> Float[Tensor, ""]:
    """Return the cross-entropy against shared negatives, each weighed by how often it was to be drawn (logQ correction).

    The sum over the catalog is estimated without bias: a negative equal to the row's own target is masked, and the target, which is always
    there, is not corrected. Memory: N x S floats.

    Source: Bengio & Senecal 2008; the target uncorrected as in Khrylchenko et al., Correcting the LogQ correction, RecSys 2025.
    """
    expected = log_probability + math.log(len(sampled))
    right = (states * chosen_vectors).sum(-1, keepdim=True)
    wrong = states @ negatives.T - expected[sampled]
    wrong = wrong.masked_fill(chosen[:, None] == sampled[None, :], float("-inf"))
    logits = torch.cat([right, wrong], dim=1)
    return functional.cross_entropy(logits, torch.zeros(len(states), dtype=torch.long, device=states.device))


def bce(right: Float[Tensor, "N"], wrong: Float[Tensor, "N S"]) -> Float[Tensor, ""]:
    """Return binary cross-entropy of the chosen item against S sampled ones; both sides have equal weight."""
    return functional.softplus(-right).mean() + functional.softplus(wrong).mean()


def bpr(right: Float[Tensor, "N"], wrong: Float[Tensor, "N S"]) -> Float[Tensor, ""]:
    """Return Bayesian personalised ranking (Rendle et al., UAI 2009): the chosen item against each sampled one."""
    return functional.softplus(wrong - right[:, None]).mean()


def info_nce(left: Float[Tensor, "N D"], right: Float[Tensor, "N D"], temperature: float = 0.1) -> Float[Tensor, ""]:
    """Return the symmetric InfoNCE loss between two views of the same rows.

    Source: van den Oord et al. 2018, symmetric as in CLIP (Radford et al. 2021).
    """
    left, right = functional.normalize(left, dim=-1), functional.normalize(right, dim=-1)
    logits = left @ right.T / temperature
    own = torch.arange(len(left), device=left.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def alignment(values: Float[Tensor, "N M D"], present: Bool[Tensor, "N M"]) -> Float[Tensor, ""]:
    """Return InfoNCE summed over all pairs of channels of the same rows; pairs without two rows that have both are left out."""
    total = values.new_zeros(())
    for left in range(values.shape[1]):
        for right in range(left):
            both = present[:, left] & present[:, right]
            if int(both.sum()) > 1:
                total = total + info_nce(values[both, left], values[both, right])
    return total
