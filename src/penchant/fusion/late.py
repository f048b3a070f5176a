"""Fusion at the level of decisions: many scores of one item become one.

In: scores of several members for the same users. Out: z-scores on one scale, and non-negative weights fitted on validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.optimize import nnls

from penchant.core.config import Settings

MIN_STD = 1e-9


class Config(Settings):
    """How the weights of the stack are found."""

    max_users: int = 3000
    """Validation users to fit on, evenly spaced; a dozen weights need no more."""
    ridge: float = 1e-6
    """Pull toward zero, as a share of the members' mean square; decides between members that say the same."""
    min_share: float = 0.005
    """Members whose share of all weights would be smaller are left out and cost nothing."""


@dataclass(frozen=True)
class Standardised:
    """Scores on one scale, and what was done to them: `values = (scores - mean) / std`."""

    values: Float32[np.ndarray, "users items"]
    mean: Float32[np.ndarray, "users 1"]
    std: Float32[np.ndarray, "users 1"]


@dataclass
class Moments:
    """All that the weights depend on, summed over users; its size does not grow with them.

    Attributes:
        gram: (members, members) sum of products of members' z-scores over open items.
        target: (members,) sum of z-scores of the chosen items, each user's chosen items counting 1 / sqrt(their number).
    """

    gram: Float64[np.ndarray, "members members"]
    target: Float64[np.ndarray, " members"]

    @classmethod
    def zero(cls, num_members: int) -> Moments:
        """Return the moments of nobody."""
        return cls(np.zeros((num_members, num_members)), np.zeros(num_members))

    def add(
        self,
        values: Float32[np.ndarray, "members users items"],
        chosen: Bool[np.ndarray, "users items"],
        blocked: Bool[np.ndarray, "users items"],
    ) -> None:
        """Add a batch of users; items in `blocked` do not count, `values` there are overwritten with 0."""
        values[:, blocked] = 0
        flat = values.reshape(len(values), -1)
        wish = (chosen & ~blocked).astype(np.float32)
        wish /= np.sqrt(np.maximum(wish.sum(1, keepdims=True), 1))
        self.gram += flat @ flat.T
        self.target += flat @ wish.ravel()

    def only(self, members: list[int]) -> Moments:
        """Return the moments of some members."""
        return Moments(self.gram[np.ix_(members, members)], self.target[members])


def standardise(scores: Float32[np.ndarray, "users items"]) -> Standardised:
    """Return per-user z-scores over all items; a member that says nothing (all scores equal) gives zeros.

    A shift and a scale per user keep a sum of contributions a sum of contributions.
    """
    mean = scores.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    std = scores.std(1, keepdims=True, dtype=np.float64).astype(np.float32)
    flat = std <= MIN_STD * np.maximum(np.abs(mean), 1)
    std[flat] = np.inf
    return Standardised((scores - mean) / std, mean, std)


def fit_weights(moments: Moments, config: Config) -> Float64[np.ndarray, " members"]:
    """Return one weight >= 0 for each member, summing to 1.

    Non-negative least squares of "chosen next" on the members' z-scores. A softmax likelihood was tried and is worse here:
    z-scores have heavy tails, and it spends its weights on taming them (see ARCHITECTURE.md).

    Args:
        moments: Of validation users; never of test users.
        config: Limits.
    """
    gram = moments.gram / max(float(np.trace(moments.gram)) / len(moments.gram), 1e-12)
    target = moments.target / max(float(np.abs(moments.target).max()), 1e-12)
    root = np.linalg.cholesky(gram + (config.ridge + 1e-9) * np.eye(len(gram)))
    weights = _shares(nnls(root.T, np.linalg.solve(root, target))[0])
    small = weights < config.min_share
    if small.any() and not small.all():
        kept = np.flatnonzero(~small)
        again = nnls(root.T[:, kept], np.linalg.solve(root, target))[0]
        weights = np.zeros(len(gram))
        weights[kept] = _shares(again)
    return weights


def _shares(weights: Float64[np.ndarray, " members"]) -> Float64[np.ndarray, " members"]:
    """Scale to a sum of 1; where no member helps, all have the same say."""
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(weights), 1 / len(weights))
