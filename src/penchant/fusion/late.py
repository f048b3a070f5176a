"""Fusion at the level of decisions: many scores of one item become one.

In: scores of several members for the same users. Out: z-scores on one scale, and non-negative weights fitted on validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy.optimize import minimize

from penchant.core.config import Settings

MIN_STD = 1e-9


class Config(Settings):
    """How the weights of the stack are found."""

    objective: Literal["likelihood", "ndcg"] = "ndcg"
    """likelihood: weights under which the true items are most probable (softmax). ndcg: from there, step by step while NDCG rises."""
    at: int = 20
    """Length of the lists whose NDCG is raised."""
    max_users: int = 1500
    """Validation users to fit on, drawn at random; a dozen weights need no more."""
    max_cells: int = 40_000_000
    """Scores held at once (users x candidates x members, 4 bytes each); above it candidates are sampled."""
    ridge: float = 1e-3
    """Pull of the weights toward zero."""
    min_gain: float = 1e-4
    """A step is kept only if NDCG rises by this much, so that noise adds no member."""


@dataclass(frozen=True)
class Standardised:
    """Scores on one scale, and what was done to them: `values = (scores - mean) / std`."""

    values: Float32[np.ndarray, "users items"]
    mean: Float32[np.ndarray, "users 1"]
    std: Float32[np.ndarray, "users 1"]


@dataclass(frozen=True)
class Evidence:
    """What the weights are fitted on: members' z-scores of some users and candidates.

    Attributes:
        values: (users, candidates, members).
        positive: The user did choose this candidate.
        blocked: The candidate is in the user's history, and cannot be recommended.
    """

    values: Float32[np.ndarray, "users candidates members"]
    positive: Bool[np.ndarray, "users candidates"]
    blocked: Bool[np.ndarray, "users candidates"]


def standardise(scores: Float32[np.ndarray, "users items"]) -> Standardised:
    """Return per-user z-scores over all items; a member that says nothing (all scores equal) gives zeros.

    A shift and a scale per user keep a sum of contributions a sum of contributions.
    """
    mean = scores.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    std = scores.std(1, keepdims=True, dtype=np.float64).astype(np.float32)
    flat = std <= MIN_STD * np.maximum(np.abs(mean), 1)
    std[flat] = np.inf
    return Standardised((scores - mean) / std, mean, std)


def fit_weights(
    evidence: Evidence, config: Config, *, start: Float64[np.ndarray, " members"] | None = None
) -> Float64[np.ndarray, " members"]:
    """Return one weight >= 0 for each member.

    Every user counts the same, however many items they chose. Deterministic.

    Args:
        evidence: Validation users; never test users.
        config: Objective and limits.
        start: Weights to begin from.
    """
    weights = _most_likely(evidence, config.ridge, start)
    if config.objective == "ndcg":
        weights = _climb_ndcg(evidence, weights, config)
    return weights


def _most_likely(
    evidence: Evidence, ridge: float, start: Float64[np.ndarray, " members"] | None
) -> Float64[np.ndarray, " members"]:
    """Maximise the mean log-probability of the chosen items under softmax(values @ weights)."""
    values, positive = evidence.values, evidence.positive
    chosen = positive & ~evidence.blocked
    rows = np.flatnonzero(chosen.any(1))
    num_members = values.shape[2]
    share = chosen[rows] / chosen[rows].sum(1, keepdims=True)
    target = np.einsum("uc,ucm->um", share.astype(np.float32), values[rows])

    def loss(weights: Float64[np.ndarray, " members"]) -> tuple[float, Float64[np.ndarray, " members"]]:
        logits = values[rows] @ weights.astype(np.float32)
        logits[evidence.blocked[rows]] = -np.inf
        top = logits.max(1, keepdims=True)
        probability = np.exp(logits - top)
        total = probability.sum(1, keepdims=True)
        probability /= total
        expected = np.matmul(probability[:, None, :], values[rows])[:, 0, :]
        nll = float(np.mean(np.log(total[:, 0]) + top[:, 0] - target @ weights))
        gradient = (expected - target).mean(0).astype(np.float64)
        return nll + ridge * float(weights @ weights), gradient + 2 * ridge * weights

    first = np.full(num_members, 1.0 / num_members) if start is None else start
    found = minimize(
        loss, first, jac=True, method="L-BFGS-B", bounds=[(0, None)] * num_members, options={"maxiter": 60}
    )
    return np.asarray(found.x)


def _climb_ndcg(
    evidence: Evidence, weights: Float64[np.ndarray, " members"], config: Config
) -> Float64[np.ndarray, " members"]:
    """Change one weight at a time while NDCG rises; `total` is kept so that a trial costs one addition."""
    weights = weights.copy()
    scale = max(float(weights.max()), 1e-6)
    total = evidence.values @ weights.astype(np.float32)
    best = ndcg(total, evidence, config.at)
    for _ in range(3):
        before = best
        for member in range(len(weights)):
            old = weights[member]
            column = evidence.values[:, :, member]
            trials = {old * f for f in (0.0, 0.5, 0.75, 1.33, 2.0)} | {old + scale * s for s in (0.1, 0.3)}
            for trial in sorted(trials - {old}):
                value = ndcg(total + np.float32(trial - weights[member]) * column, evidence, config.at)
                if value > best + config.min_gain:
                    best = value
                    total = total + np.float32(trial - weights[member]) * column
                    weights[member] = trial
        if best - before < config.min_gain:
            break
    return weights


def ndcg(total: Float32[np.ndarray, "users candidates"], evidence: Evidence, at: int) -> float:
    """Return the mean NDCG of a ranking by `total`, over users with something to find; ties count against us."""
    chosen = evidence.positive & ~evidence.blocked
    rows = np.flatnonzero(chosen.any(1))
    open_total = np.where(evidence.blocked[rows], -np.inf, total[rows])
    k = min(at, open_total.shape[1])
    top = np.argpartition(-open_total, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(open_total, top, 1), axis=1, kind="stable")
    hits = np.take_along_axis(chosen[rows], np.take_along_axis(top, order, 1), 1)
    discount = 1 / np.log2(np.arange(k) + 2)
    ideal = np.cumsum(discount)[np.minimum(chosen[rows].sum(1), k) - 1]
    return float(np.mean(hits @ discount / ideal))
