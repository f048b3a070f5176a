"""The member pool: rank under many ensemble weights in one pass.

In: fitted members, histories, and rows of weights. Out: one ranked list for each row and user, and scores of chosen pairs.
Baselines, single members, ablation arms and the ensemble are all rows over one pool, so each member scores each user once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt64

from penchant.core.executor import current_executor, spans
from penchant.core.logs import progress_bar
from penchant.core.schema import Histories, Recommendations
from penchant.core.spacing import evenly_spaced
from penchant.experiment.scoring import (
    MomentBatch,
    Ranking,
    Seconds,
    Summing,
    chosen_items,
    rank_batch,
    score_pairs,
    standardised,
    sum_batch,
)
from penchant.fusion import late
from penchant.fusion.listwise import SampledChoices
from penchant.models.ensemble import batch_users, blocked_items
from penchant.models.event_log import EventLog
from penchant.models.member import Member

Found = TypeVar("Found")


@dataclass
class MemberPool:
    """The pool of fitted members.

    Attributes:
        members: Name to fitted member.
        seconds: Name to the time spent scoring so far.
        fallback: Scores by which a user is ranked to whom a row gives equal scores (`popularity_of`); None ranks in catalog order.
    """

    members: Mapping[str, Member]
    seconds: dict[str, float] = field(default_factory=dict)
    fallback: Float32[np.ndarray, " items"] | None = None

    def observed(self, log: EventLog) -> MemberPool:
        """Return the pool with members that know all these events of everybody; each request reads those before its own time."""
        return replace(self, members={name: member.observed(log) for name, member in self.members.items()})

    def rank(
        self,
        rows: Mapping[str, late.EnsembleWeights],
        histories: Histories,
        k: int,
        *,
        candidates: Bool[np.ndarray, " items"] | None = None,
        tie_order: UInt64[np.ndarray, " items"] | None = None,
    ) -> dict[str, Recommendations]:
        """Rank the catalog for every user under every row of weights.

        Args:
            rows: Row name to the weights of its members.
            histories: The users to rank for; items in the history are left out.
            k: Length of the lists.
            candidates: Rank only among these items; None ranks the whole catalog.
            tie_order: Order of equal scores, as in `top_k`.
        """
        names = tuple(sorted({member for weights in rows.values() for member in weights}))
        job = Ranking(names, rows, k, candidates, tie_order, self.fallback)
        lists: dict[str, list[Recommendations]] = {row: [] for row in rows}
        with progress_bar("rank", len(histories)) as bar:
            batches = spans(len(histories), batch_users(histories.num_items))
            for found in self._each(rank_batch, batches, names, histories, job, title="rank"):
                for row, ranked in found.items():
                    lists[row].append(ranked)
                bar.advance(len(next(iter(found.values())).user_ids))
        return {row: _join(parts) for row, parts in lists.items()}

    def pair_scores(
        self,
        histories: Histories,
        user_index: Int64[np.ndarray, " pairs"],
        item_index: Int64[np.ndarray, " pairs"],
        names: list[str],
    ) -> Float32[np.ndarray, "pairs members"]:
        """Return each member's standardised score of each (user, item) pair, columns in the order of `names`."""
        out = np.zeros((len(user_index), len(names)), np.float32)
        size = batch_users(histories.num_items)
        users, place = np.unique(user_index, return_inverse=True)
        parts = [(start, np.flatnonzero((place >= start) & (place < stop))) for start, stop in _spans(len(users), size)]
        shards = ((users[start : start + size], place[inside] - start, item_index[inside]) for start, inside in parts)
        of = tuple(names)
        for (_, inside), found in zip(
            parts, self._each(score_pairs, shards, of, histories, of, title="score pairs"), strict=True
        ):
            out[inside] = found
        return out

    def moments(
        self,
        names: list[str],
        histories: Histories,
        truth: Histories,
        config: late.EnsembleConfig,
        *,
        candidates: Bool[np.ndarray, " items"] | None = None,
        choices: SampledChoices | None = None,
        gaps: late.BandedMoments | None = None,
    ) -> late.BandedMoments:
        """Sum up what ensemble weights are fitted on, by bands of history length.

        Args:
            names: Members, in the order of the weights.
            histories: Users before validation.
            truth: Choices of the same users in validation.
            config: How many users and bands.
            candidates: As for `rank`.
            choices: Where given, the choices of the same users are added to it.
            gaps: Where given, the same users are added to its bands of gaps.
        """
        users = weighed_users(truth, config)
        lengths = histories.lengths()[users]
        total = late.BandedMoments.zero(len(names), late.band_starts(lengths, config.bands))
        band, gap = late.band_of(lengths, total.starts), late.gaps(histories.take(users))
        fold = np.arange(len(users)) % late.FOLDS
        gap_band = None if gaps is None else late.band_of(gap, gaps.starts)
        size = max(1, batch_users(histories.num_items) // max(len(names), 1))

        def batches() -> Iterator[MomentBatch]:
            for start, stop in _spans(len(users), size):
                part, drawn = slice(start, stop), None
                if choices is not None:
                    blocked = blocked_items(histories.take(users[part]), candidates)
                    drawn = choices.draw(chosen_items(truth.take(users[part])), blocked)
                yield MomentBatch(
                    users[part], fold[part], band[part], None if gap_band is None else gap_band[part], drawn
                )

        job = Summing(tuple(names), total.starts, None if gaps is None else gaps.starts, candidates)
        for found in self._each(sum_batch, batches(), names, histories, truth, job, title="sum up moments"):
            total.include(found.lengths)
            if gaps is not None and found.gaps is not None:
                gaps.include(found.gaps)
            if choices is not None and found.choices is not None:
                choices.extend(found.choices)
        return total

    def standardised(
        self, batch: Histories, names: Sequence[str]
    ) -> Iterator[tuple[str, Float32[np.ndarray, "users items"]]]:
        """Yield each member's scores of one batch on the ensemble's scale (`on_one_scale`)."""
        return standardised(names, [self.members[name] for name in names], batch, self.seconds)

    def _each(
        self,
        function: Callable[..., tuple[Found, Seconds]],
        shards: Iterable[Any],
        names: Sequence[str],
        *shared: Any,
        title: str,
    ) -> Iterator[Found]:
        """Yield the result of each batch, computed on the executor of this context, and add up what the members spent."""
        members = [self.members[name] for name in names]
        for found, seconds in current_executor().map(function, shards, (*shared, *members), title=title):
            for name, spent in seconds.items():
                self.seconds[name] = self.seconds.get(name, 0.0) + spent
            yield found


@dataclass
class RefittedPool(MemberPool):
    """The same members fitted at several moments: a request is answered by those fitted last before it.

    Attributes:
        members: Those fitted last.
        starts: Moments of the fits, ascending, microseconds since 1970; earlier requests are answered by the first.
        pools: One for each moment.
    """

    starts: tuple[int, ...] = ()
    pools: tuple[MemberPool, ...] = ()

    @classmethod
    def of(cls, pools: Mapping[int, MemberPool]) -> RefittedPool:
        """Return the pool of some fits, each with its moment; their seconds are added up."""
        last = pools[max(pools)]
        seconds: dict[str, float] = {}
        for pool in pools.values():
            pool.seconds = seconds
        return cls(last.members, seconds, last.fallback, tuple(sorted(pools)), tuple(pools[at] for at in sorted(pools)))

    def rank(
        self,
        rows: Mapping[str, late.EnsembleWeights],
        histories: Histories,
        k: int,
        *,
        candidates: Bool[np.ndarray, " items"] | None = None,
        tie_order: UInt64[np.ndarray, " items"] | None = None,
    ) -> dict[str, Recommendations]:
        found = [
            (users, pool.rank(rows, histories.take(users), k, candidates=candidates, tie_order=tie_order))
            for users, pool in self._answered_by(histories)
        ]
        order = np.argsort(np.concatenate([users for users, _ in found]), kind="stable")
        joined = {row: _join([lists[row] for _, lists in found]) for row in rows}
        return {
            row: Recommendations(histories.user_ids, lists.item_index[order], lists.score[order])
            for row, lists in joined.items()
        }

    def pair_scores(
        self,
        histories: Histories,
        user_index: Int64[np.ndarray, " pairs"],
        item_index: Int64[np.ndarray, " pairs"],
        names: list[str],
    ) -> Float32[np.ndarray, "pairs members"]:
        out = np.zeros((len(user_index), len(names)), np.float32)
        for users, pool in self._answered_by(histories):
            inside = np.flatnonzero(np.isin(user_index, users))
            out[inside] = pool.pair_scores(histories, user_index[inside], item_index[inside], names)
        return out

    def at(self, moment: int) -> MemberPool:
        """Return the members that answer a request at a moment."""
        return self.pools[max(0, int(np.searchsorted(self.starts, moment, side="right")) - 1)]

    def _answered_by(self, histories: Histories) -> Iterator[tuple[Int64[np.ndarray, " users"], MemberPool]]:
        fit = np.maximum(np.searchsorted(self.starts, histories.requests(), side="right") - 1, 0)
        for number in np.unique(fit):
            yield np.flatnonzero(fit == number), self.pools[number]


def popularity_of(train: Histories) -> Float32[np.ndarray, " items"]:
    """Return the number of positive events of each item: the order in which a user is recommended to of whom nothing is known."""
    return np.bincount(train.item_index[train.weight > 0], minlength=train.num_items).astype(np.float32)


def weighed_users(truth: Histories, config: late.EnsembleConfig) -> Int64[np.ndarray, " chosen"]:
    """Return the users that weights are fitted on: evenly spaced among those with a choice; user n is in fold n modulo `late.FOLDS`."""
    users = np.flatnonzero(truth.lengths() > 0)
    return evenly_spaced(users, config.max_users)


def _spans(length: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _join(parts: list[Recommendations]) -> Recommendations:
    return Recommendations(
        [user for part in parts for user in part.user_ids],
        np.concatenate([part.item_index for part in parts]),
        np.concatenate([part.score for part in parts]),
    )
