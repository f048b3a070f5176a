"""Candidates, then exact scores: lists of a large catalog without scoring every item.

In: an ensemble whose members can score chosen items. Out: for one history the items that may be in its list, with the scores and contributions
that scoring the whole catalog gives them. Each member names its best items, the most popular and the newest ones join them, and every member
scores the union. The recall against scoring everything is measured before it is used.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
from jaxtyping import Bool, Float32, Int64

from penchant.core.schema import Histories
from penchant.core.seeds import generator
from penchant.fusion.late import MIN_STD
from penchant.models.ensemble import Ensemble, blocked_items, tie_order_of_rows, top_k
from penchant.models.event_log import EventLog
from penchant.models.item_scores import ItemScorer, ItemScores, MakeNearest, distinct
from penchant.models.member import Member
from penchant.recommender.index import VectorIndex

logger = logging.getLogger("penchant.service")
FROM_ITEMS = 200_000
"""A smaller catalog is scored whole: that takes milliseconds."""
MAX_SHARE = 0.05
"""Share of the catalog that is scored for one list at most."""
WANTED_RECALL = 0.99
TESTED = 20
"""Length of the lists by which the recall is measured."""
SAMPLE = 200
"""Users by whom it is measured."""
WIDTHS = (10, 25, 60, 150)
"""A member names so many times the length of the list; tried in order until `WANTED_RECALL` is reached."""
EXTRA = 500
"""The most popular, and as many of the newest items, are candidates of every list."""


@dataclass(frozen=True)
class ChosenScores:
    """The scores of one user, for as many items as are asked for.

    Attributes:
        history: The user.
        weights: Weight of each member for this user.
        members: In the order of the ensemble.
        scores: The scores by each member.
    """

    history: Histories
    weights: tuple[np.float32, ...]
    members: tuple[Member, ...]
    scores: tuple[ItemScores, ...]

    def best(self, k: int) -> Int64[np.ndarray, " union"]:
        """Return the union of the items that the members with a weight name."""
        named = [one.best(k) for weight, one in zip(self.weights, self.scores, strict=True) if weight > 0]
        return distinct(np.concatenate([np.zeros(0, np.int64), *named]))

    def of(self, items: Int64[np.ndarray, " chosen"]) -> Float32[np.ndarray, " chosen"]:
        """Return the scores of some items: those of `Ensemble.score`."""
        total = np.zeros(len(items), np.float32)
        for weight, one, (mean, std) in zip(self.weights, self.scores, self._scales, strict=True):
            if weight:
                total += weight * ((one.of(items) - np.float32(mean)) / np.float32(std))
        return total

    def contributions(self, items: Int64[np.ndarray, " chosen"]) -> Float32[np.ndarray, "members rows chosen"]:
        """Return the summands of some scores: those of `Ensemble.contributions`."""
        parts = []
        for weight, member, (_, std) in zip(self.weights, self.members, self._scales, strict=True):
            (prior, events), means = member.contributions_to(self.history, items)
            rows = np.concatenate([prior[None], events])
            parts.append(weight / np.float32(std) * (rows - (means[:, None] if member.standardised else 0)))
        shape = (len(self.members), self.history.num_events + 1, len(items))
        return np.asarray(parts, np.float32).reshape(shape)

    @cached_property
    def _scales(self) -> tuple[tuple[float, float], ...]:
        """The mean and the spread that a member's z-scores are made with; an infinite spread where all its scores are equal."""
        found = []
        for one, member in zip(self.scores, self.members, strict=True):
            if not member.standardised:
                found.append((0.0, 1.0))
            else:
                found.append((one.mean, np.inf if one.std <= MIN_STD * max(abs(one.mean), 1) else one.std))
        return tuple(found)


@dataclass(frozen=True)
class Candidates:
    """Names and scores the items that may be in a list.

    Attributes:
        ensemble: What scores.
        scorers: Member to what scores chosen items with it.
        always: The most popular and the newest items, in no order.
        num_items: Rows of the catalog.
        width: A member names so many times the length of a list.
        recall: Share of the true first `TESTED` items that were found, on `SAMPLE` users; 1 before it is measured.
        share: Mean share of the catalog that was scored for them.
    """

    ensemble: Ensemble
    scorers: Mapping[str, ItemScorer]
    always: Int64[np.ndarray, " some"]
    num_items: int
    width: int = WIDTHS[0]
    recall: float = 1.0
    share: float = field(default=0.0)

    @classmethod
    def of(cls, ensemble: Ensemble, fitted: Histories, num_items: int, make_nearest: MakeNearest) -> Self | None:
        """Return what serves an ensemble, not yet measured; None where a member cannot score chosen items alone.

        Cost: an index of the vectors of each member that has some, minutes at a million.
        """
        scorers: dict[str, ItemScorer] = {}
        for name, member in ensemble.members.items():
            scorer = member.item_scorer(num_items, make_nearest)
            if scorer is None:
                logger.info("every item is scored for each list: %s cannot score chosen items alone", name)
                return None
            scorers[name] = scorer
        return cls(ensemble, scorers, _always(fitted, num_items), num_items)

    def measured(self, histories: Histories) -> Self | None:
        """Return the same with the smallest width that reaches `WANTED_RECALL` within `MAX_SHARE` of the items; None where none does.

        Args:
            histories: Users, of whom `SAMPLE` are drawn.
        """
        users = np.flatnonzero(histories.lengths() > 0)
        users = np.sort(generator(0, "candidates").choice(users, min(SAMPLE, len(users)), replace=False))
        drawn = [histories.rows(int(user), int(user) + 1) for user in users]
        truth = [self._best_of_all(one) for one in drawn]
        recall = share = 0.0
        for width in WIDTHS:
            tried = replace(self, width=width)
            found = [tried.chosen(one, TESTED) for one in drawn]
            hits = sum(len(np.intersect1d(t, items)) for t, (_, items) in zip(truth, found, strict=True))
            recall = hits / max(sum(map(len, truth)), 1)
            share = float(np.mean([len(items) for _, items in found])) / self.num_items if found else 0.0
            if recall >= WANTED_RECALL or share > MAX_SHARE:
                break
        logger.info(
            "lists of %d items are made from candidates: recall@%d %.3f against scoring every item, on %d users; %.2f %% of the items are scored",
            self.num_items,
            TESTED,
            recall,
            len(drawn),
            100 * share,
        )
        if recall < WANTED_RECALL or share > MAX_SHARE:
            logger.info("every item is scored for each list: candidates find too few of them")
            return None
        return replace(tried, recall=recall, share=share)

    def _best_of_all(self, history: Histories) -> Int64[np.ndarray, " best"]:
        scores = self.ensemble.score(history)
        scores[blocked_items(history)] = -np.inf
        found = top_k(scores, TESTED, history.user_ids).item_index[0]
        return found[found >= 0].astype(np.int64)

    def scores(self, history: Histories) -> ChosenScores:
        """Return the scores of one user."""
        asked = self.ensemble.asked(history)
        weights = self.ensemble.weights
        values = weights.band_values(asked)
        names = list(self.ensemble.members)
        return ChosenScores(
            asked,
            tuple(weights.of(name, values)[0] for name in names),
            tuple(self.ensemble.members.values()),
            tuple(self.scorers[name].of(asked) for name in names),
        )

    def chosen(self, history: Histories, wanted: int) -> tuple[ChosenScores, Int64[np.ndarray, " union"]]:
        """Return the scores of one user, and the candidates of a list of `wanted` items, ascending."""
        scores = self.scores(history)
        return scores, distinct(np.concatenate([scores.best(self.width * wanted), self.always]))

    def for_list(
        self, history: Histories, wanted: int, may_show: Bool[np.ndarray, " items"]
    ) -> tuple[ChosenScores, Int64[np.ndarray, " rows"]] | None:
        """Return the scores of one user, and the items to rank; None where all items must be scored.

        Where the filters leave no more items than may be scored, these are ranked: the list is then exact. Where they leave more, and fewer
        candidates than a member names for the list, the candidates say too little.

        Args:
            history: The user.
            wanted: Length of the list.
            may_show: Items that pass the filters.
        """
        if np.count_nonzero(may_show) <= MAX_SHARE * self.num_items:
            return self.scores(history), np.flatnonzero(may_show)
        scores, union = self.chosen(history, wanted)
        union = union[may_show[union]]
        return (scores, union) if self.width * wanted <= len(union) <= MAX_SHARE * self.num_items else None

    def observed(self, ensemble: Ensemble, make_nearest: MakeNearest) -> Self:
        """Return the same for members that know newer events: those that changed are read anew, and indexes stay."""
        scorers = {}
        for name, member in ensemble.members.items():
            is_same = member is self.ensemble.members[name]
            found = None if is_same else member.item_scorer(self.num_items, make_nearest)
            scorers[name] = self.scorers[name] if found is None else found
        return replace(self, ensemble=ensemble, scorers=scorers)


@dataclass
class _Built:
    """What every version of a model that knows other events shares."""

    is_due: bool
    found: Candidates | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Shortlist:
    """Candidates of one recommender, which `build` makes and measures.

    Args:
        ensemble: What scores.
        fitted: Events that popularity is counted in.
        histories: Users by whom the recall is measured.
        num_items: Rows of the catalog.
        from_items: A smaller catalog is scored whole.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        fitted: Histories,
        histories: Histories,
        num_items: int,
        *,
        from_items: int = FROM_ITEMS,
    ) -> None:
        self._ensemble, self._fitted, self._histories, self._num_items = ensemble, fitted, histories, num_items
        self._built = _Built(num_items > from_items)
        self._own: Candidates | None = None

    @property
    def is_due(self) -> bool:
        """Whether `build` has something to do."""
        return self._built.is_due

    @property
    def found(self) -> Candidates | None:
        """The candidates; None before they were made and measured, and where every item is scored."""
        built = self._built.found
        if built is None or built.ensemble is self._ensemble:
            return built
        if self._own is None:  # two threads may both make it: they are equal
            self._own = built.observed(self._ensemble, VectorIndex)
        return self._own

    def build(self, num_threads: int = 0) -> None:
        """Make and measure the candidates if they are due; lists are made from all items meanwhile.

        Cost at a million items: minutes for a member with vectors, and `SAMPLE` lists from all items.

        Args:
            num_threads: For indexes; 0 takes all cores.
        """

        def make_nearest(rows: Float32[np.ndarray, "items dim"]) -> VectorIndex:
            index = VectorIndex(rows)
            index.build(num_threads)
            return index

        with self._built.lock:
            if not self.is_due:
                return
            found = Candidates.of(self._ensemble, self._fitted, self._num_items, make_nearest)
            self._built.found = None if found is None else found.measured(self._histories)
            self._built.is_due = False

    def observed(self, ensemble: Ensemble) -> Shortlist:
        """Return the same for members that know newer events; what was built and measured is shared."""
        other = copy.copy(self)
        other._ensemble, other._own = ensemble, None
        return other


def _always(fitted: Histories, num_items: int) -> Int64[np.ndarray, " some"]:
    """Return the items with the most events, and those whose first event is the latest, items without events among them."""
    count = np.bincount(fitted.item_index[fitted.weight > 0], minlength=num_items)
    first = EventLog.of(fitted).first_at
    newest = np.lexsort((tie_order_of_rows(num_items), -first))[:EXTRA]
    return np.unique(np.concatenate([np.argsort(-count, kind="stable")[:EXTRA], newest]))
