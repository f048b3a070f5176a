"""Ensemble weights by the likelihood of each choice among sampled items.

In: z-scores of what validation users chose and of a sample of the items that they could have chosen. Out: non-negative weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from penchant.fusion.late import EnsembleConfig, shares

SAMPLED_ITEMS = 250
"""Items drawn for each user among those that the user could have chosen and did not."""
PENALTY = 1e-3
"""Of the sum of squared weights: keeps them finite where one member explains every choice."""
STEPS = 60
START = 0.1


@dataclass(frozen=True)
class DrawnItems:
    """The items of one user that are looked at.

    Attributes:
        user: Row in the batch.
        targets: Chosen items.
        drawn: Items drawn among the others.
        scale: Open items that each drawn item stands for.
    """

    user: int
    targets: Int64[np.ndarray, " choices"]
    drawn: Int64[np.ndarray, " drawn"]
    scale: float


@dataclass
class SampledChoices:
    """z-scores of chosen items and of sampled ones; memory: 4 bytes x members x (users x 250 + choices).

    Users without an item to choose are left out.

    Attributes:
        members: Number of members.
        sampled: (users) of (members, items) z-scores of the items drawn; fewer than 250 where fewer were open.
        chosen: (users) of (members, choices) z-scores of the chosen items.
        scale: (users) open items that each drawn item stands for.
        fold: (users) part of the validation users.
    """

    members: int
    sampled: list[Float32[np.ndarray, "members _"]] = field(default_factory=list)
    chosen: list[Float32[np.ndarray, "members _"]] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)
    fold: list[int] = field(default_factory=list)
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def add(
        self,
        values: Float32[np.ndarray, "members users items"],
        chosen: Bool[np.ndarray, "users items"],
        blocked: Bool[np.ndarray, "users items"],
        folds: Int64[np.ndarray, " users"],
    ) -> None:
        """Add a batch of users; the draw depends on the users before, not on the size of the batches."""
        self.take(values, self.draw(chosen, blocked), folds)

    def draw(
        self, chosen: Bool[np.ndarray, "users items"], blocked: Bool[np.ndarray, "users items"]
    ) -> list[DrawnItems]:
        """Return what is looked at of each user of a batch who has something to choose; the draw depends on the users before."""
        found = []
        for user in range(len(chosen)):
            targets = np.flatnonzero(chosen[user] & ~blocked[user])
            others = np.flatnonzero(~chosen[user] & ~blocked[user])
            if not len(targets) or not len(others):
                continue
            drawn = others
            if len(others) > SAMPLED_ITEMS:
                drawn = self._random.choice(others, SAMPLED_ITEMS, replace=False, shuffle=False)
            found.append(DrawnItems(user, targets, drawn, len(others) / len(drawn)))
        return found

    def take(
        self,
        values: Float32[np.ndarray, "members users items"],
        drawn: Sequence[DrawnItems],
        folds: Int64[np.ndarray, " users"],
    ) -> None:
        """Add the z-scores of what was drawn of a batch."""
        for one in drawn:
            self.sampled.append(values[:, one.user, one.drawn])
            self.chosen.append(values[:, one.user, one.targets])
            self.scale.append(one.scale)
            self.fold.append(int(folds[one.user]))

    def extend(self, later: SampledChoices) -> None:
        """Add the choices of later users."""
        self.sampled += later.sampled
        self.chosen += later.chosen
        self.scale += later.scale
        self.fold += later.fold

    def only(self, members: Sequence[int]) -> SampledChoices:
        """Return the choices as some members score them."""
        chosen = [one[list(members)] for one in self.chosen]
        sampled = [one[list(members)] for one in self.sampled]
        return SampledChoices(len(members), sampled, chosen, self.scale, self.fold)

    def folds(self, *numbers: int) -> SampledChoices:
        """Return the choices of some parts of the users; arrays are shared."""
        kept = [user for user, fold in enumerate(self.fold) if fold in numbers]
        return SampledChoices(
            self.members,
            [self.sampled[user] for user in kept],
            [self.chosen[user] for user in kept],
            [self.scale[user] for user in kept],
            [self.fold[user] for user in kept],
        )


def fit_listwise(choices: SampledChoices, config: EnsembleConfig) -> Float64[np.ndarray, " members"]:
    """Return one weight >= 0 for each member, summing to 1.

    Members whose share would be below `min_share` are left out and the others fitted again.

    Args:
        choices: Of validation users; never of test users.
        config: Limits.
    """
    weights = shares(strengths(choices))
    small = weights < config.min_share
    if small.any() and not small.all():
        kept = np.flatnonzero(~small)
        again = shares(strengths(choices.only(kept.tolist())))
        weights = np.zeros(choices.members)
        weights[kept] = again
    return weights


def strengths(choices: SampledChoices) -> Float64[np.ndarray, " members"]:
    """Return weights >= 0 that make the choices likeliest; their scale is that of a conditional logit.

    The loss of a choice i with s = sum of weight x z-score is -log(e^s_i / (e^s_i + scale x sum of e^s over the drawn items)); the
    choices of one user count 1 together. The squares of the weights are penalised.

    Source: conditional logit with sampled alternatives, McFadden, Modelling the choice of residential location, 1978.
    """
    from scipy.optimize import minimize  # slow to import, and no service needs it

    if not choices.chosen:
        return np.zeros(choices.members)
    arrays = _Arrays.of(choices)
    found = minimize(
        arrays.loss,
        np.full(choices.members, START),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * choices.members,
        options={"maxiter": STEPS},
    )
    return np.asarray(found.x, np.float64)


@dataclass(frozen=True)
class _Arrays:
    """The choices of all users side by side; drawn items of users who have fewer are filled with items of likelihood 0."""

    sampled: Float32[np.ndarray, "members cells"]
    log_scale: Float32[np.ndarray, "users drawn"]
    chosen: Float32[np.ndarray, "members choices"]
    user: Int64[np.ndarray, " choices"]
    share: Float64[np.ndarray, " choices"]

    @classmethod
    def of(cls, choices: SampledChoices) -> _Arrays:
        users, width = len(choices.sampled), max(one.shape[1] for one in choices.sampled)
        sampled = np.zeros((choices.members, users, width), np.float32)
        log_scale = np.full((users, width), -np.inf, np.float32)
        for user, (one, scale) in enumerate(zip(choices.sampled, choices.scale, strict=True)):
            sampled[:, user, : one.shape[1]] = one
            log_scale[user, : one.shape[1]] = np.log(scale)
        counts = np.array([one.shape[1] for one in choices.chosen])
        return cls(
            sampled.reshape(choices.members, -1),
            log_scale,
            np.concatenate(choices.chosen, axis=1),
            np.repeat(np.arange(users), counts),
            np.repeat(1 / (counts * users), counts),
        )

    def loss(self, weights: Float64[np.ndarray, " members"]) -> tuple[float, Float64[np.ndarray, " members"]]:
        """Return the mean loss over users, and its gradient."""
        narrow = weights.astype(np.float32)
        others = (narrow @ self.sampled).reshape(self.log_scale.shape) + self.log_scale
        highest = others.max(1, keepdims=True)
        others = np.exp(others - highest)
        total = others.sum(1, dtype=np.float64)
        others /= total[:, None].astype(np.float32)
        rest = (np.log(total) + highest[:, 0])[self.user]
        own = weights @ self.chosen
        whole = np.logaddexp(own, rest)
        missed = np.exp(rest - whole) * self.share
        by_user = np.bincount(self.user, missed, len(others))
        others *= by_user[:, None].astype(np.float32)
        gradient = self.sampled @ others.ravel() - self.chosen @ missed + 2 * PENALTY * weights
        return float((whole - own) @ self.share + PENALTY * weights @ weights), gradient
