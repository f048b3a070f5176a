"""The ensemble: weighted sum of members with exact contributions.

In: fitted members and one non-negative weight each. Out: scores, ranked lists, and the terms every score is the sum of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64

from penchant.core.logs import logger
from penchant.core.schema import BEHAVIOUR, LATEST, Content, Histories, Recommendations
from penchant.fusion.late import EnsembleWeights, standardise
from penchant.models.event_log import EventLog
from penchant.models.member import FittedItems, Member

BATCH_CELLS = 8_000_000
"""Scores held at once for one member: 32 MB; the users of a batch follow from the size of the catalog."""


@dataclass(frozen=True)
class Ensemble:
    """score = sum over members of weight x z-score.

    Attributes:
        members: Name to fitted member.
        weights: Name to weight >= 0, for all users or by length of the history.
        channels: Name to the content it reads.
    """

    members: Mapping[str, Member]
    weights: EnsembleWeights
    channels: Mapping[str, tuple[str, ...]]

    @classmethod
    def build(cls, members: Mapping[str, Member], weights: EnsembleWeights, content: Content) -> Ensemble:
        """Keep the members with a weight above 0."""
        weights = weights.nonzero()
        kept = {name: members[name] for name in members if name in weights}
        channels = {name: member.channels(content) or (BEHAVIOUR,) for name, member in kept.items()}
        return cls(kept, weights, channels)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        """Return one score for every user and item."""
        histories = _asked_now(histories)
        total = np.zeros((len(histories), histories.num_items), np.float32)
        lengths = histories.lengths()
        for name, member in self.members.items():
            total += self.weights.of(name, lengths)[:, None] * standardise(member.score(histories)).values
        return total

    def recommend(
        self, histories: Histories, k: int, *, candidates: Bool[np.ndarray, " items"] | None = None
    ) -> Recommendations:
        """Return the k best items of each user that are not in their history.

        Args:
            histories: The users to recommend to.
            k: Length of the lists.
            candidates: Rank only among these items; None ranks the whole catalog.
        """
        scores = self.score(histories)
        scores[blocked_items(histories, candidates)] = -np.inf
        return top_k(scores, k, histories.user_ids)

    def contributions(
        self, history: Histories, item_index: Int64[np.ndarray, " chosen"]
    ) -> Float32[np.ndarray, "members rows chosen"]:
        """Return the summands of some scores; over members and rows they add up to `score`.

        Row 0 is the prior of a member, row e + 1 is event e; members are in their order.

        Args:
            history: Exactly one user.
            item_index: The items in question.
        """
        parts, history = [], _asked_now(history)
        for name, member in self.members.items():
            prior, events = member.contributions(history)
            rows = np.concatenate([prior[None], events])
            # z = (score - mean) / std, and the mean of a sum is the sum of the means
            scale = self.weights.of(name, history.lengths())[0] / standardise(member.score(history)).std[0, 0]
            parts.append(scale * (rows[:, item_index] - rows.mean(1, keepdims=True, dtype=np.float64)))
        return np.asarray(parts, np.float32).reshape(len(self.members), history.num_events + 1, len(item_index))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything the members learned, as "member/array", for safetensors."""
        return {
            f"{name}/{key}": array for name, member in self.members.items() for key, array in member.arrays().items()
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> Ensemble:
        """Restore what `arrays` returned to members made from the same settings; scores are then equal bit for bit."""
        members = {}
        for name, member in self.members.items():
            start = f"{name}/"
            own = {key.removeprefix(start): a for key, a in arrays.items() if key.startswith(start)}
            members[name] = (FittedItems(member, 0) if FittedItems.SIZE in own else member).restore(own)
        return replace(self, members=members)

    def observed(self, log: EventLog) -> Ensemble:
        """Return the ensemble with members that know these events (`Member.observed`); itself if no member reads them."""
        members = {name: member.observed(log) for name, member in self.members.items()}
        is_same = all(members[name] is member for name, member in self.members.items())
        return self if is_same else replace(self, members=members)

    def add_items(self, content: Content, new: range) -> Ensemble:
        """Return the ensemble over a grown catalog; weights stay as they are.

        A member that cannot add the new items scores them by its mean; the others are not affected.

        Args:
            content: Channels over the grown catalog.
            new: Catalog rows of the new items, after the present ones.
        """
        no_user, members = Histories.empty(new.stop), {}
        for name, member in self.members.items():
            try:
                grown = member.add_items(content, new)
                shape = grown.score(no_user).shape
                if shape != (1, new.stop):
                    raise ValueError(f"scores of shape {shape} for a catalog of {new.stop} items")
            except Exception as error:  # a member may come from another package
                logger.warning("the member %s scores new items by its mean: %s", name, error, exc_info=error)
                grown = FittedItems(member, new.start)
            members[name] = grown
        return replace(self, members=members)


def _asked_now(histories: Histories) -> Histories:
    """Return the histories as they are if they say when the list is asked for, else read for a request after every known event."""
    return histories if histories.requested_at is not None else histories.requested(LATEST)


def batch_users(num_items: int) -> int:
    """Return how many users fit one batch."""
    return max(1, min(4096, BATCH_CELLS // max(num_items, 1)))


def top_k(scores: Float32[np.ndarray, "users items"], k: int, user_ids: list[str]) -> Recommendations:
    """Return the k best items of each row, best first; -inf scores are never recommended.

    Equal scores are ordered by item row, so that a list can be repeated.
    """
    width = min(k, scores.shape[1])
    found = np.argpartition(-scores, width - 1, axis=1)[:, :width]
    _first_of_equals(found, scores)
    found = np.sort(found, axis=1)
    order = np.argsort(-np.take_along_axis(scores, found, 1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, 1).astype(np.int32)
    best = np.take_along_axis(scores, found, 1)
    found[np.isneginf(best)] = -1
    return Recommendations(user_ids, found, best.astype(np.float32))


def _first_of_equals(found: Int64[np.ndarray, "users k"], scores: Float32[np.ndarray, "users items"]) -> None:
    """Replace, in place, the chosen items with the lowest score by the first items of that score: partitioning takes any of them."""
    least = np.take_along_axis(scores, found, 1).min(1, keepdims=True)
    chosen = np.take_along_axis(scores, found, 1) == least
    is_open = (scores == least).sum(1) > chosen.sum(1)
    for row in np.flatnonzero(is_open & ~np.isneginf(least[:, 0])):
        found[row, chosen[row]] = np.flatnonzero(scores[row] == least[row])[: chosen[row].sum()]


def blocked_items(
    histories: Histories, candidates: Bool[np.ndarray, " items"] | None = None
) -> Bool[np.ndarray, "users items"]:
    """Return what must not be recommended: items already touched, and items outside the candidates."""
    blocked = np.zeros((len(histories), histories.num_items), bool)
    if candidates is not None:
        blocked[:, ~candidates] = True
    blocked[histories.user_index(), histories.item_index] = True
    return blocked
