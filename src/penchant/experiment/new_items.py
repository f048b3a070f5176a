"""The lift of items that are added after the fit, learned on validation.

In: weights of an ensemble, and a way to fit its members on fewer events. Out: how much a new item is given beside its members' scores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

from penchant.core.logs import logger
from penchant.core.schema import Histories
from penchant.core.spacing import evenly_spaced
from penchant.experiment.pool import MemberPool
from penchant.experiment.scoring import weighted_sum
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.intervals import BETTER, BootstrapMeans
from penchant.metrics.ranking import hit_matrix, ndcg, relevant
from penchant.models.ensemble import batch_users, blocked_items, top_k

NEW_ITEMS = "new_items"
"""Name of the member that holds the lift."""
LIFTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Values that are tried, in units of the ensemble's score."""
SHARE, MIN_EVENTS = 0.1, 5
"""Of the items with so many events: hidden from the members as if they were new."""
MIN_ITEMS = 20
"""Hidden items below which no lift is learned."""
MAX_USERS = 1000


def learn_lift(
    weights: EnsembleWeights,
    fit_pool: Callable[[Histories], MemberPool],
    train: Histories,
    histories: Histories,
    truth: Histories,
    cutoff: int,
) -> float:
    """Return the lift that does best on validation when a tenth of the items is new; 0 where it is not a clear gain (`clear_lift`).

    The drawn items' events are taken from the histories, so that behaviour says nothing about them; what users chose next, drawn or
    not, is to be found. A user is not recommended what they had chosen before, as in service.

    Args:
        weights: Of the ensemble.
        fit_pool: Fits the members of these weights.
        train: What members are fitted on.
        histories: Events of each user before validation.
        truth: What the same users chose next.
        cutoff: Length of the lists.
    """
    drawn = draw_items(train)
    users = np.flatnonzero(truth.lengths() > 0)
    if drawn.sum() < MIN_ITEMS or not len(users):
        return 0.0
    users = evenly_spaced(users, MAX_USERS)
    seen = histories.where(~drawn[histories.item_index])
    pool = fit_pool(train.where(~drawn[train.item_index]))
    found = []
    size = batch_users(train.num_items)
    for start in range(0, len(users), size):
        chosen = users[start : start + size]
        batch, wanted = seen.take(chosen), truth.take(chosen)
        total = weighted_sum(dict(pool.standardised(batch, list(weights))), weights, batch)
        found.append(_gains(total, blocked_items(histories.take(chosen)), drawn, wanted, cutoff))
    gains = np.concatenate(found)
    lift = clear_lift(gains)
    mean = gains.mean(0)
    logger.info(
        "  lift of new items %s (validation NDCG %.4f, %.4f without, %.4f at best)",
        lift,
        *mean[[LIFTS.index(lift), 0]],
        mean.max(),
    )
    return lift


def clear_lift(gains: Float64[np.ndarray, "users lifts"]) -> float:
    """Return the smallest lift within one standard error of the best; 0 unless lifts chosen so on each half of the users gain on the other half,
    and the gain over both has an interval above 0.

    Args:
        gains: NDCG of each validation user under each of `LIFTS`, the first of which is none.

    Source: Breiman et al., Classification and regression trees, 1984, section 3.4.3 (one standard error).
    """
    half = np.arange(len(gains)) % 2 == 0
    left_out = np.zeros(len(gains))
    for own in (half, ~half):
        left_out[~own] = gains[~own, _smallest_near_best(gains[own])] - gains[~own, 0]
    if min(left_out[half].sum(), left_out[~half].sum()) <= 0:
        return 0.0
    is_clear = BootstrapMeans(np.stack([left_out, np.zeros(len(gains))], 1)).difference(0, 1).outcome == BETTER
    return LIFTS[_smallest_near_best(gains)] if is_clear else 0.0


def _smallest_near_best(gains: Float64[np.ndarray, "users lifts"]) -> int:
    """Return the first column whose paired deficit to the best one is at most its standard error."""
    deficit = gains[:, [int(np.argmax(gains.mean(0)))]] - gains
    error = deficit.std(0) / np.sqrt(max(len(gains), 1))
    return int(np.argmax(deficit.mean(0) <= error))


def draw_items(train: Histories, seed: int = 0) -> Bool[np.ndarray, " items"]:
    """Return which items are hidden: a seeded draw among those with enough events."""
    often = np.flatnonzero(np.bincount(train.item_index, minlength=train.num_items) >= MIN_EVENTS)
    drawn = np.zeros(train.num_items, bool)
    drawn[np.random.default_rng(seed).permutation(often)[: round(SHARE * len(often))]] = True
    return drawn


def _gains(
    total: np.ndarray, blocked: np.ndarray, drawn: Bool[np.ndarray, " items"], truth: Histories, cutoff: int
) -> Float64[np.ndarray, "users lifts"]:
    """Return the NDCG of each user for each lift."""
    counts = relevant(truth).counts()
    out = []
    for lift in LIFTS:
        scores = total + np.float32(lift) * drawn
        scores[blocked] = -np.inf
        ranked = top_k(scores, cutoff, truth.user_ids)
        out.append(ndcg(hit_matrix(ranked.item_index, truth), counts, cutoff))
    return np.stack(out, 1)
