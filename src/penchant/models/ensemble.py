"""The ensemble: weighted sum of members with exact contributions.

In: fitted members and one non-negative weight each. Out: scores, ranked lists, and the terms every score is the sum of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt64

from penchant.core.logs import logger
from penchant.core.schema import BEHAVIOUR, LATEST, Content, Histories, Recommendations
from penchant.fusion.late import EnsembleWeights, StandardisedScores, standardise
from penchant.models.event_log import EventLog
from penchant.models.interest_change import InterestChange
from penchant.models.member import FittedItems, Member, restored

BATCH_CELLS = 8_000_000
"""Scores held at once for one member: 32 MB; the users of a batch follow from the size of the catalog."""


@dataclass(frozen=True)
class UserScores:
    """One user's scores of every item, and the scales they were summed on: with these an explanation need not score again.

    Attributes:
        values: Of every item.
        spread: What each member's scores were divided by, in the order of the members.
    """

    values: Float32[np.ndarray, " items"]
    spread: Float32[np.ndarray, " members"]

    @property
    def num_bytes(self) -> int:
        return self.values.nbytes + self.spread.nbytes

    def copy(self) -> UserScores:
        """Return the same in arrays of its own: a row that is kept would keep the scores of its whole batch in memory."""
        return UserScores(self.values.copy(), self.spread.copy())


@dataclass(frozen=True)
class EnsembleScores:
    """Scores of several users, and the scales they were summed on.

    Attributes:
        values: Of every item.
        spread: What each member's scores were divided by, in the order of the members.
    """

    values: Float32[np.ndarray, "users items"]
    spread: Float32[np.ndarray, "users members"]

    def each(self) -> Iterator[UserScores]:
        """Yield the scores of one user after the other, as views."""
        return map(UserScores, self.values, self.spread)


@dataclass(frozen=True)
class Ensemble:
    """score = sum over members of weight x z-score.

    Attributes:
        members: Name to fitted member.
        weights: Name to weight >= 0, for all users, by length of the history, or by the gap before the request.
        channels: Name to the content it reads.
        change: Lets events before a sudden change of interest count less, for every member; None lets them count as they do.
    """

    members: Mapping[str, Member]
    weights: EnsembleWeights
    channels: Mapping[str, tuple[str, ...]]
    change: InterestChange | None = None

    @classmethod
    def build(
        cls,
        members: Mapping[str, Member],
        weights: EnsembleWeights,
        content: Content,
        change: InterestChange | None = None,
    ) -> Ensemble:
        """Keep the members with a weight above 0."""
        weights = weights.nonzero()
        kept = {name: members[name] for name in members if name in weights}
        channels = {name: member.channels(content) or (BEHAVIOUR,) for name, member in kept.items()}
        return cls(kept, weights, channels, change)

    def asked(self, histories: Histories) -> Histories:
        """Return the histories as members read them: for a request after every known event unless they say another moment, and with
        smaller weights before a change of interest.
        """
        asked = histories if histories.requested_at is not None else histories.requested(LATEST)
        return asked if self.change is None else self.change.faded(asked)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        """Return one score for every user and item."""
        return self.scored(histories).values

    def scored(self, histories: Histories) -> EnsembleScores:
        """Return one score for every user and item, and what `contributions` can take over of their computation."""
        histories = self.asked(histories)
        total = np.zeros((len(histories), histories.num_items), np.float32)
        spread = np.ones((len(histories), len(self.members)), np.float32)
        values = self.weights.band_values(histories)
        for place, (name, member) in enumerate(self.members.items()):
            scores = on_one_scale(member, histories)
            total += self.weights.of(name, values)[:, None] * scores.values
            spread[:, place] = scores.std[:, 0]
        return EnsembleScores(total, spread)

    def parts(
        self, history: Histories, item_index: Int64[np.ndarray, " chosen"]
    ) -> Float32[np.ndarray, "members chosen"]:
        """Return what each member adds to some scores of one user; over members they add up to `score`."""
        history = self.asked(history)
        values = self.weights.band_values(history)
        parts = [
            self.weights.of(name, values)[0] * on_one_scale(member, history).values[0, item_index]
            for name, member in self.members.items()
        ]
        return np.asarray(parts, np.float32).reshape(len(self.members), len(item_index))

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
        block(scores, histories, candidates)
        return top_k(scores, k, histories.user_ids)

    def contributions(
        self,
        history: Histories,
        item_index: Int64[np.ndarray, " chosen"],
        scores: UserScores | None = None,
    ) -> Float32[np.ndarray, "members rows chosen"]:
        """Return the summands of some scores; over members and rows they add up to `score`.

        Row 0 is the prior of a member, row e + 1 is event e; members are in their order.

        Args:
            history: Exactly one user.
            item_index: The items in question.
            scores: Of this history, by `scored`; None scores the whole catalog for it.
        """
        parts, history = [], self.asked(history)
        values = self.weights.band_values(history)
        for place, (name, member) in enumerate(self.members.items()):
            weight = self.weights.of(name, values)[0]
            if not weight:
                parts.append(np.zeros((history.num_events + 1, len(item_index))))
                continue
            (prior, events), means = member.contributions_to(history, item_index)
            # z = (score - mean) / std, and the mean of a sum is the sum of the means
            rows = np.concatenate([prior[None], events]) - (means[:, None] if member.standardised else 0)
            scale = on_one_scale(member, history).std[0, 0] if scores is None else scores.spread[place]
            parts.append(weight / scale * rows)
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
            members[name] = restored(member, own)
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
        change = self.change
        if change is not None:
            unknown = np.full(new.stop - len(change.topics), -1, change.topics.dtype)
            change = change.over(np.concatenate([change.topics, unknown]))
        return replace(self, members=members, change=change)


def on_one_scale(member: Member, histories: Histories) -> StandardisedScores:
    """Return a member's scores as the ensemble sums them: per-user z-scores, or as they are where the member is not standardised."""
    scores = member.score(histories)
    if member.standardised:
        return standardise(scores)
    zero = np.zeros((len(scores), 1), np.float32)
    return StandardisedScores(scores, zero, zero + 1)


def batch_users(num_items: int) -> int:
    """Return how many users fit one batch."""
    return max(1, min(4096, BATCH_CELLS // max(num_items, 1)))


def top_k(
    scores: Float32[np.ndarray, "users items"],
    k: int,
    user_ids: list[str],
    tie_order: UInt64[np.ndarray, " items"] | None = None,
) -> Recommendations:
    """Return the k best items of each row, best first; -inf scores are never recommended.

    Args:
        scores: One row for each user.
        k: Length of the lists.
        user_ids: Of the rows.
        tie_order: Of equal scores the item with the smaller number comes first, at the end of a list too. None takes a random number for
            each row of the catalog, always the same: the catalog's order may follow popularity or time.
    """
    tie_order = tie_order_of_rows(scores.shape[1]) if tie_order is None else tie_order
    width = min(k, scores.shape[1])
    found = _best_of_few(scores, width, tie_order)
    rows = np.flatnonzero(found[:, 0] < 0)
    found[rows] = _best_of_all(scores[rows] if len(rows) < len(scores) else scores, width, tie_order)
    best = np.take_along_axis(scores, found, 1)
    found[np.isneginf(best)] = -1
    return Recommendations(user_ids, found.astype(np.int32), best.astype(np.float32))


STRIPES = 16
"""Stripes of a row whose maxima bound its best scores from below."""


def _best_of_few(
    scores: Float32[np.ndarray, "users items"], width: int, tie_order: UInt64[np.ndarray, " items"]
) -> Int64[np.ndarray, "users width"]:
    """Return the best items of each row, best first, found among the few that a bound leaves; -1 where it leaves too many or the row is short.

    Of the maxima of items that lie a stripe apart, the width-th largest is not above the width-th best score.
    """
    users, items = scores.shape
    found = np.full((users, width), -1)
    stripe = items // STRIPES
    if stripe < 2 * width:
        return found
    maxima = scores[:, :stripe].copy()
    for start in range(stripe, stripe * STRIPES, stripe):
        np.maximum(maxima, scores[:, start : start + stripe], out=maxima)
    bound = np.partition(maxima, stripe - width, axis=1)[:, stripe - width]
    bound[np.isneginf(bound)] = np.inf  # so few items are open that the bound says nothing
    above = np.flatnonzero(scores >= bound[:, None])
    ends = np.searchsorted(above, np.arange(users + 1) * items)
    counts = np.diff(ends)
    few = (counts >= width) & (counts <= STRIPES * width)
    if not few.all():
        above = above[np.repeat(few, counts)]
    user, item = np.divmod(above, items)
    order = np.lexsort((tie_order[item], -scores[user, item], user))
    starts = np.cumsum(counts[few]) - counts[few]
    found[few] = item[order[starts[:, None] + np.arange(width)]]
    return found


def _best_of_all(
    scores: Float32[np.ndarray, "users items"], width: int, tie_order: UInt64[np.ndarray, " items"]
) -> Int64[np.ndarray, "users width"]:
    """Return the best items of each row, best first."""
    found = np.argpartition(-scores, width - 1, axis=1)[:, :width]
    best = np.take_along_axis(scores, found, 1)
    last = best.min(1, keepdims=True)
    cut = ((scores == last).sum(1) > (best == last).sum(1)) & ~np.isneginf(last[:, 0])
    for row in np.flatnonzero(cut):  # the list ends among equal scores
        above, equal = np.flatnonzero(scores[row] > last[row]), np.flatnonzero(scores[row] == last[row])
        room = width - len(above)
        found[row] = [*above, *equal[np.argpartition(tie_order[equal], room - 1)[:room]]]
    order = np.lexsort((tie_order[found], -np.take_along_axis(scores, found, 1)), axis=1)
    return np.take_along_axis(found, order, 1)


@lru_cache(maxsize=8)
def tie_order_of_rows(num_items: int) -> UInt64[np.ndarray, " items"]:
    """Return a random number for each row of a catalog; those of present rows stay when the catalog grows.

    Source: SplitMix64, Steele et al., Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    state = (np.arange(1, num_items + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found = state ^ (state >> np.uint64(31))
    found.setflags(write=False)
    return found


def block(
    scores: Float32[np.ndarray, "users items"],
    histories: Histories,
    candidates: Bool[np.ndarray, " items"] | None = None,
) -> None:
    """Give -inf, in place, to what must not be recommended (`blocked_items`)."""
    if candidates is not None:
        scores[:, ~candidates] = -np.inf
    scores[histories.user_index(), histories.item_index] = -np.inf


def blocked_items(
    histories: Histories, candidates: Bool[np.ndarray, " items"] | None = None
) -> Bool[np.ndarray, "users items"]:
    """Return what must not be recommended: items already touched, and items outside the candidates."""
    blocked = np.zeros((len(histories), histories.num_items), bool)
    if candidates is not None:
        blocked[:, ~candidates] = True
    blocked[histories.user_index(), histories.item_index] = True
    return blocked
