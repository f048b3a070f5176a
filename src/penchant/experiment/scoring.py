"""What the members of a pool say about a batch of users: lists, moments of the weights, scores of chosen pairs.

In: a batch, and the members. Out: the result of the batch, and the seconds that each member took. A batch needs no other, so that it may be computed on
any node; results are put together in the order of the batches (`pool.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt64

from penchant.core.schema import Histories, Recommendations
from penchant.fusion import late
from penchant.fusion.late import CACHED_CELLS
from penchant.fusion.listwise import DrawnItems, SampledChoices
from penchant.models.ensemble import block, blocked_items, on_one_scale, top_k
from penchant.models.member import Member

Seconds = dict[str, float]
"""Member to the time it spent scoring."""
Scores = Float32[np.ndarray, "users items"]


@dataclass(frozen=True)
class Ranking:
    """How users are ranked for.

    Attributes:
        names: Of the members, in the order in which they are given.
        rows: Row name to the weights of its members.
        k: Length of the lists.
        candidates: Rank only among these items; None ranks the whole catalog.
        tie_order: Order of equal scores, as in `top_k`.
        fallback: Scores by which a user is ranked to whom a row gives equal scores.
    """

    names: tuple[str, ...]
    rows: Mapping[str, late.EnsembleWeights]
    k: int
    candidates: Bool[np.ndarray, " items"] | None
    tie_order: UInt64[np.ndarray, " items"] | None
    fallback: Float32[np.ndarray, " items"] | None


@dataclass(frozen=True)
class Summing:
    """What moments are summed up by.

    Attributes:
        names: Of the members, in the order in which they are given.
        starts: Of the bands of history length.
        gap_starts: Of the bands of gaps; None sums up none.
        candidates: As of a ranking.
    """

    names: tuple[str, ...]
    starts: tuple[int, ...]
    gap_starts: tuple[int, ...] | None
    candidates: Bool[np.ndarray, " items"] | None


@dataclass(frozen=True)
class MomentBatch:
    """Some of the users that weights are fitted on.

    Attributes:
        users: Their rows.
        fold: Their parts of the validation users.
        band: Their bands of history length.
        gap_band: Their bands of gaps; None without such.
        drawn: The items that are looked at for the likelihood; None looks at none.
    """

    users: Int64[np.ndarray, " users"]
    fold: Int64[np.ndarray, " users"]
    band: Int64[np.ndarray, " users"]
    gap_band: Int64[np.ndarray, " users"] | None
    drawn: Sequence[DrawnItems] | None


@dataclass(frozen=True)
class BatchMoments:
    """The moments and choices of one batch; None where they are not asked for."""

    lengths: late.BandedMoments
    gaps: late.BandedMoments | None
    choices: SampledChoices | None


def rank_batch(
    users: tuple[int, int], histories: Histories, job: Ranking, *members: Member
) -> tuple[dict[str, Recommendations], Seconds]:
    """Return one list for each row and user, of the users between two rows."""
    seconds: Seconds = {}
    batch = histories.rows(*users)
    scores = dict(standardised(job.names, members, batch, seconds))
    found = {}
    for row, weights in job.rows.items():
        total = weighted_sum(scores, weights, batch)
        if job.fallback is not None:
            total[_all_equal(total)] = job.fallback
        block(total, batch, job.candidates)
        found[row] = top_k(total, job.k, batch.user_ids, job.tie_order)
    return found, seconds


def sum_batch(
    part: MomentBatch, histories: Histories, truth: Histories, job: Summing, *members: Member
) -> tuple[BatchMoments, Seconds]:
    """Return the moments of the users of one batch."""
    seconds: Seconds = {}
    batch = histories.take(part.users)
    values = np.stack([scores for _, scores in standardised(job.names, members, batch, seconds)])
    positive, blocked = chosen_items(truth.take(part.users)), blocked_items(batch, job.candidates)
    choices = None if part.drawn is None else SampledChoices(len(job.names))
    if choices is not None and part.drawn is not None:
        choices.take(values, part.drawn, part.fold)
    total = late.BandedMoments.zero(len(job.names), job.starts)
    total.add(values, positive, blocked, part.band, part.fold)
    gaps = None
    if job.gap_starts is not None and part.gap_band is not None:
        gaps = late.BandedMoments.zero(len(job.names), job.gap_starts, "gap")
        gaps.add(values, positive, blocked, part.gap_band, part.fold)
    return BatchMoments(total, gaps, choices), seconds


def score_pairs(
    pairs: tuple[Int64[np.ndarray, " users"], Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]],
    histories: Histories,
    names: tuple[str, ...],
    *members: Member,
) -> tuple[Float32[np.ndarray, "pairs members"], Seconds]:
    """Return each member's standardised score of some pairs.

    Args:
        pairs: Rows of the users; of each pair the place of its user among them, and its item.
        histories: Where the users are.
        names: Of the members.
        members: The columns.
    """
    seconds: Seconds = {}
    users, place, item_index = pairs
    out = np.zeros((len(place), len(names)), np.float32)
    for column, (_, scores) in enumerate(standardised(names, members, histories.take(users), seconds)):
        out[:, column] = scores[place, item_index]
    return out, seconds


def standardised(
    names: Sequence[str], members: Sequence[Member], batch: Histories, seconds: Seconds
) -> Iterator[tuple[str, Scores]]:
    """Yield each member's scores of one batch on the ensemble's scale (`on_one_scale`), and add to its seconds."""
    for name, member in zip(names, members, strict=True):
        began = perf_counter()
        scores = on_one_scale(member, batch).values
        seconds[name] = seconds.get(name, 0.0) + perf_counter() - began
        yield name, scores


def weighted_sum(scores: Mapping[str, Scores], weights: late.EnsembleWeights, histories: Histories) -> Scores:
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


def chosen_items(truth: Histories) -> Bool[np.ndarray, "users items"]:
    """Return which items each user chose and liked."""
    out = np.zeros((len(truth), truth.num_items), bool)
    liked = truth.weight > 0
    out[truth.user_index()[liked], truth.item_index[liked]] = True
    return out
