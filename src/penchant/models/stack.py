"""Members that vote: decision-level fusion with exact evidence.

In: fitted members and one non-negative weight each. Out: scores, ranked lists, and the terms every score is the sum of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from penchant.core.schema import BEHAVIOUR, Content, Histories, Recommendations
from penchant.fusion.late import standardise
from penchant.models.member import Member


@dataclass(frozen=True)
class Term:
    """One summand of a score.

    Attributes:
        member: Who says it.
        channels: Content it reads; ("behaviour",) where it reads none.
        event: Position in the history, -1 for what it would say to anyone.
        value: Share of the score.
    """

    member: str
    channels: tuple[str, ...]
    event: int
    value: float


@dataclass(frozen=True)
class Stack:
    """score = sum over members of weight x z-score.

    Attributes:
        members: Name to fitted member.
        weights: Name to weight >= 0.
        channels: Name to the content it reads.
    """

    members: Mapping[str, Member]
    weights: Mapping[str, float]
    channels: Mapping[str, tuple[str, ...]]

    @classmethod
    def build(cls, members: Mapping[str, Member], weights: Mapping[str, float], content: Content) -> Stack:
        """Keep the members that have a say."""
        kept = {name: member for name, member in members.items() if weights.get(name, 0) > 0}
        channels = {name: member.channels(content) or (BEHAVIOUR,) for name, member in kept.items()}
        return cls(kept, {name: float(weights[name]) for name in kept}, channels)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        """Return one score for every user and item."""
        total = np.zeros((len(histories), histories.num_items), np.float32)
        for name, member in self.members.items():
            total += np.float32(self.weights[name]) * standardise(member.score(histories)).values
        return total

    def terms(self, history: Histories, item_index: int) -> list[Term]:
        """Return the summands of one score, prior and events of every member; they add up to `score`.

        Args:
            history: Exactly one user.
            item_index: The item in question.
        """
        found = []
        for name, member in self.members.items():
            prior, events = member.contributions(history)
            scale = self.weights[name] / standardise(member.score(history)).std[0, 0]
            found.append(Term(name, self.channels[name], -1, float(scale * (prior[item_index] - prior.mean()))))
            values = scale * (events[:, item_index] - events.mean(1))
            found += [Term(name, self.channels[name], e, float(v)) for e, v in enumerate(values)]
        return found


def top_k(scores: Float32[np.ndarray, "users items"], k: int, user_ids: list[str]) -> Recommendations:
    """Return the k best items of each row, best first; -inf scores are never recommended.

    Equal scores are ordered by item row, so that a list can be repeated.
    """
    width = min(k, scores.shape[1])
    found = np.sort(np.argpartition(-scores, width - 1, axis=1)[:, :width], axis=1)
    order = np.argsort(-np.take_along_axis(scores, found, 1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, 1).astype(np.int32)
    best = np.take_along_axis(scores, found, 1)
    found[np.isneginf(best)] = -1
    return Recommendations(user_ids, found, best.astype(np.float32))


def blocked_items(
    histories: Histories, candidates: Bool[np.ndarray, " items"] | None = None
) -> Bool[np.ndarray, "users items"]:
    """Return what must not be recommended: items already touched, and items outside the candidates."""
    blocked = np.zeros((len(histories), histories.num_items), bool)
    if candidates is not None:
        blocked[:, ~candidates] = True
    blocked[histories.user_index(), histories.item_index] = True
    return blocked
