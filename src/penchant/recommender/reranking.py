"""Lists chosen one item at a time: high scores, unlike items, and the mix of kinds that the user's history has.

In: scores of a pool of candidates for some users, how alike the candidates are, and what kinds they are of. Out: the places of the chosen ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

SMOOTHING = 0.01
"""Share of the wanted mix in that of a list, so that a kind which the list lacks is no division by zero. Source: Steck 2018, equation 4."""


@dataclass(frozen=True)
class Pool:
    """Candidates of some users.

    Attributes:
        scores: (users, pool); -inf where there is no candidate.
        similarity: (users, pool, pool) 0 to 1; None where diversity is not asked for.
        kinds: (users, pool, kinds) the part of each kind in an item; rows sum to 1, or to 0 for an item without a kind. None without calibration.
        wanted: (users, kinds) mix of the history; rows of zeros for users without one.
    """

    scores: np.ndarray
    similarity: np.ndarray | None = None
    kinds: np.ndarray | None = None
    wanted: np.ndarray | None = None


def reranked(pool: Pool, k: int, *, diversity: float = 0.0, calibration: float = 0.0) -> Int64[np.ndarray, "users k"]:
    """Return the columns of the chosen candidates, best first; -1 where a user has fewer.

    Each step takes the candidate with the largest (1 - calibration) x ((1 - diversity) x score - diversity x likeness to the nearest chosen one)
    - calibration x divergence of the list's kinds from the wanted mix, scores scaled to 0..1 within the pool.

    Source: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998); calibrated recommendations (Steck, RecSys 2018), greedily.

    Args:
        pool: Candidates.
        k: How many to choose.
        diversity: 0 ranks by score, 1 avoids similar items above all.
        calibration: 0 ranks by score, 1 follows the mix of the history above all.
    """
    left = ~np.isneginf(pool.scores)
    users, size = left.shape
    known = np.where(left, pool.scores, np.nan)
    low = np.nanmin(np.where(left.any(1, keepdims=True), known, 0), axis=1, keepdims=True)
    span = np.nanmax(np.where(left.any(1, keepdims=True), known, 0), axis=1, keepdims=True) - low
    relevance = np.where(left, (pool.scores - low) / np.maximum(span, 1e-9), 0.0)
    nearest = np.zeros((users, size))
    kinds = np.zeros((users, size, 0)) if pool.kinds is None else pool.kinds
    counts = np.zeros((users, kinds.shape[2]))
    rows, chosen = np.arange(users), np.full((users, min(k, size)), -1)
    for place in range(chosen.shape[1]):
        gain = (1 - diversity) * relevance - diversity * nearest
        if calibration and pool.wanted is not None:
            mix = counts[:, None] + kinds
            gain = (1 - calibration) * gain - calibration * divergence(pool.wanted[:, None], mix)
        best = np.argmax(np.where(left, gain, -np.inf), axis=1)
        is_one = left[rows, best]
        chosen[is_one, place] = best[is_one]
        left[rows, best] = False
        counts += kinds[rows, best] * is_one[:, None]
        if diversity and pool.similarity is not None:
            nearest = np.maximum(nearest, pool.similarity[rows, best])
    return chosen


def divergence(wanted: np.ndarray, mix: np.ndarray) -> np.ndarray:
    """Return the Kullback-Leibler divergence of the mix of lists from the wanted one, in nats; 0 where nothing is wanted.

    Args:
        wanted: (..., kinds) shares.
        mix: (..., kinds) counts of the list's kinds, in any unit.
    """
    share = mix / np.maximum(mix.sum(-1, keepdims=True), 1e-12)
    smoothed = (1 - SMOOTHING) * share + SMOOTHING * wanted
    ratio = np.divide(
        wanted, smoothed, out=np.ones(np.broadcast_shapes(wanted.shape, smoothed.shape)), where=wanted > 0
    )
    return np.asarray((wanted * np.log(ratio)).sum(-1))


def mix_of(
    kinds: Float32[np.ndarray, "items kinds"], item_index: np.ndarray, weight: np.ndarray
) -> Float32[np.ndarray, " kinds"]:
    """Return the mix of kinds of a history: of its liked events, each by its weight; zeros where there are none."""
    liked = np.maximum(weight, 0.0)
    total = liked @ kinds[item_index]
    return (total / max(float(total.sum()), 1e-12)).astype(np.float32)
