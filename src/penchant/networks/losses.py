"""What a network is taught by.

In: states, item vectors and what was chosen. Out: one number to make small. All take rows that count equally.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.nn import functional

LossName = Literal["softmax", "sampled_softmax", "bce", "bpr"]


CHUNK_CELLS = 1_000_000
"""Logits held at once by `softmax`: 4 MB, whatever the batch and the catalog, so that they stay in the cache."""
TINY = 1e-30
"""Smallest probability whose logarithm is taken."""


def softmax(states: Float[Tensor, "N D"], items: Float[Tensor, "I D"], chosen: Int[Tensor, "N"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over every item of the catalog.

    Logits are made, used for both gradients and forgotten a chunk at a time, so that memory does not grow with N x I: on a
    CPU most of the plain version's time goes into touching fresh memory. Source: Wijmans et al., Cut your losses, ICLR 2025.
    """
    loss: Tensor = _ChunkedSoftmax.apply(states, items, chosen)  # type: ignore[no-untyped-call]
    return loss


def chances(logits: Float[Tensor, "N I"], sharpness: float) -> Float32[np.ndarray, "N I"]:
    """Return every item's probability under softmax, to a power: what a network that learned by it scores with."""
    return torch.exp(sharpness * torch.log_softmax(logits, dim=1)).cpu().numpy()


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
            total -= right.clamp(min=TINY).log().sum()
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
    log_chance: Float[Tensor, "I"],
) -> Float[Tensor, ""]:
    """Return the cross-entropy against shared negatives, corrected by how likely each was drawn.

    A negative that is the row's own choice does not count. Memory: N x S floats.

    Source: Bengio & Senecal 2008; logQ correction as in Yi et al., RecSys 2019. The choice itself is not drawn, so it is
    corrected by the expected number of times it would stand among S draws, capped at 1.
    """
    expected = log_chance + math.log(len(sampled))
    right = (states * chosen_vectors).sum(-1, keepdim=True)
    wrong = states @ negatives.T - expected[sampled]
    wrong = wrong.masked_fill(chosen[:, None] == sampled[None, :], float("-inf"))
    logits = torch.cat([right - expected[chosen].clamp(max=0)[:, None], wrong], dim=1)
    return functional.cross_entropy(logits, torch.zeros(len(states), dtype=torch.long, device=states.device))


def bce(right: Float[Tensor, "N"], wrong: Float[Tensor, "N S"]) -> Float[Tensor, ""]:
    """Return binary cross-entropy: the chosen item up, S drawn ones down, both sides weighing the same."""
    return functional.softplus(-right).mean() + functional.softplus(wrong).mean()


def bpr(right: Float[Tensor, "N"], wrong: Float[Tensor, "N S"]) -> Float[Tensor, ""]:
    """Return Bayesian personalised ranking (Rendle et al., UAI 2009): the chosen item above each drawn one."""
    return functional.softplus(wrong - right[:, None]).mean()


def info_nce(left: Float[Tensor, "N D"], right: Float[Tensor, "N D"], temperature: float = 0.1) -> Float[Tensor, ""]:
    """Return how badly two views of the same things are told apart from views of others, both ways.

    Source: van den Oord et al. 2018, symmetric as in CLIP (Radford et al. 2021).
    """
    left, right = functional.normalize(left, dim=-1), functional.normalize(right, dim=-1)
    logits = left @ right.T / temperature
    own = torch.arange(len(left), device=left.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
