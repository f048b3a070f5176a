"""The member pool: rank under many ensemble weights in one pass.

In: fitted members, histories, and rows of weights. Out: one ranked list for each row and user, and scores of chosen pairs.
Baselines, single members, ablation arms and the ensemble are all rows over one pool, so each member scores each user once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt64

from penchant.core.logs import progress_bar
from penchant.core.schema import Content, Histories, Recommendations
from penchant.fusion import late
from penchant.fusion.late import CACHED_CELLS
from penchant.fusion.listwise import SampledChoices
from penchant.models.ensemble import batch_users, block, blocked_items, on_one_scale, top_k
from penchant.models.event_log import EventLog
from penchant.models.member import Member
from penchant.models.shared import SharedResults, sharing


class FitCache:
    """Fits every member once that differs from another in what scoring reads alone (`Member.reading`), the parts of members included.

    Args:
        max_bytes: Size of the fitted members kept, those not used for longest leaving first; None keeps all.
    """

    def __init__(self, max_bytes: float | None = None) -> None:
        self.max_bytes = max_bytes
        self._fitted: dict[str, tuple[Member, float]] = {}
        self._shared = SharedResults()

    def fit(
        self, member: Member, train: Histories, content: Content, before: Member | None = None
    ) -> tuple[Member, float]:
        """Return the fitted member and the seconds its fit took, here or when it was fitted first.

        Args:
            member: Unfitted.
            train: What it learns from; the same in every call.
            content: What it may read; the same in every call for equal names of channels.
            before: The same member fitted on fewer events, from which it is refitted; None fits it from scratch.
        """
        if not member.reading:
            return self._learned(member, train, content, before)
        config = member.config.model_dump(mode="json", exclude=set(member.reading))
        read = sorted([*content.channels, *content.user_channels]) if member.channels(content) else []
        key = repr((type(member).__qualname__, sorted(config.items()), read))
        if key in self._fitted:
            self._fitted[key] = fitted, seconds = self._fitted.pop(key)  # the last used are kept longest
            return fitted.reread(member), seconds
        self._fitted[key] = found = self._learned(member, train, content, before)
        self._forget()
        return found

    def _learned(
        self, member: Member, train: Histories, content: Content, before: Member | None
    ) -> tuple[Member, float]:
        began = perf_counter()
        earlier = {} if before is None else before.parts()
        parts = {name: self.fit(part, train, content, earlier.get(name))[0] for name, part in member.parts().items()}
        member = member.with_parts(parts)
        with sharing(self._shared):
            fitted = member.fit(train, content) if before is None else member.refit(train, content, before)
        return fitted, perf_counter() - began

    def _forget(self) -> None:
        """Leave out the fits not used for longest above the limit; the newest stays."""
        if self.max_bytes is None:
            return
        sizes = {
            key: sum(array.nbytes for array in member.arrays().values()) for key, (member, _) in self._fitted.items()
        }
        for key in list(self._fitted)[:-1]:
            if sum(sizes[one] for one in self._fitted) <= self.max_bytes:
                break
            del self._fitted[key]


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
        names = sorted({member for weights in rows.values() for member in weights})
        lists: dict[str, list[Recommendations]] = {row: [] for row in rows}
        with progress_bar("rank", len(histories)) as bar:
            for batch in histories.batches(batch_users(histories.num_items)):
                scores = dict(self.standardised(batch, names))
                for row, weights in rows.items():
                    total = weighted_sum(scores, weights, batch)
                    if self.fallback is not None:
                        total[_all_equal(total)] = self.fallback
                    block(total, batch, candidates)
                    lists[row].append(top_k(total, k, batch.user_ids, tie_order))
                bar.advance(len(batch))
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
        for start in range(0, len(users), size):
            chosen = users[start : start + size]
            inside = np.flatnonzero((place >= start) & (place < start + len(chosen)))
            for name, scores in self.standardised(histories.take(chosen), names):
                out[inside, names.index(name)] = scores[place[inside] - start, item_index[inside]]
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
        fold = np.arange(len(users)) % late.FOLDS
        band, gap = late.band_of(lengths, total.starts), late.gaps(histories.take(users))
        size = max(1, batch_users(histories.num_items) // max(len(names), 1))
        for start in range(0, len(users), size):
            part = slice(start, start + size)
            chosen = users[part]
            batch = histories.take(chosen)
            values = np.stack([scores for _, scores in self.standardised(batch, names)])
            positive, blocked = _positive(truth.take(chosen)), blocked_items(batch, candidates)
            if choices is not None:
                choices.add(values, positive, blocked, fold[part])
            total.add(values, positive, blocked, band[part], fold[part])
            if gaps is not None:
                gaps.add(values, positive, blocked, late.band_of(gap[part], gaps.starts), fold[part])
        return total

    def standardised(
        self, batch: Histories, names: list[str]
    ) -> Iterator[tuple[str, Float32[np.ndarray, "users items"]]]:
        """Yield each member's scores of one batch on the ensemble's scale (`on_one_scale`)."""
        for name in names:
            began = perf_counter()
            scores = on_one_scale(self.members[name], batch).values
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - began
            yield name, scores


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
    return users[np.linspace(0, len(users) - 1, min(config.max_users, len(users))).astype(np.int64)]


def weighted_sum(
    scores: Mapping[str, Float32[np.ndarray, "users items"]], weights: late.EnsembleWeights, histories: Histories
) -> Float32[np.ndarray, "users items"]:
    """Return the sum of the members' scores, each times its weight for each user."""
    total = np.zeros_like(next(iter(scores.values())))
    values = weights.band_values(histories)
    parts = [(weights.of(name, values)[:, None], scores[name]) for name in weights]
    size = max(1, CACHED_CELLS // max(total.shape[1], 1))
    for start in range(0, len(total), size):
        rows = slice(start, start + size)
        for place, (weight, values_of_member) in enumerate(parts):
            if place:
                total[rows] += weight[rows] * values_of_member[rows]
            else:
                np.multiply(weight[rows], values_of_member[rows], out=total[rows])
    return total


def _all_equal(scores: Float32[np.ndarray, "users items"]) -> Int64[np.ndarray, " rows"]:
    """Return the rows whose scores are all the same."""
    rows = np.flatnonzero((scores[:, :2] == scores[:, :1]).all(1) & (scores[:, -1] == scores[:, 0]))
    return rows[scores[rows].max(1) == scores[rows].min(1)]


def _positive(truth: Histories) -> Bool[np.ndarray, "users items"]:
    out = np.zeros((len(truth), truth.num_items), bool)
    liked = truth.weight > 0
    out[truth.user_index()[liked], truth.item_index[liked]] = True
    return out


def _join(parts: list[Recommendations]) -> Recommendations:
    return Recommendations(
        [user for part in parts for user in part.user_ids],
        np.concatenate([part.item_index for part in parts]),
        np.concatenate([part.score for part in parts]),
    )
