"""The lift of items that are added after the fit, learned on validation.

In: weights of an ensemble, and a way to fit its members on fewer events. Out: how much a new item is given beside its members' scores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

from penchant.core.logs import logger
from penchant.core.schema import Histories
from penchant.experiment.pool import MemberPool, weighted_sum
from penchant.fusion.late import EnsembleWeights
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
    """Return the lift with the highest NDCG on validation when a tenth of the items is new.

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
    users = users[np.linspace(0, len(users) - 1, min(MAX_USERS, len(users))).astype(np.int64)]
    seen = histories.where(~drawn[histories.item_index])
    pool = fit_pool(train.where(~drawn[train.item_index]))
    found = np.zeros(len(LIFTS))
    size = batch_users(train.num_items)
    for start in range(0, len(users), size):
        chosen = users[start : start + size]
        batch, wanted = seen.take(chosen), truth.take(chosen)
        total = weighted_sum(dict(pool.standardised(batch, list(weights))), weights, batch)
        found += _gains(total, blocked_items(histories.take(chosen)), drawn, wanted, cutoff)
    best = int(np.argmax(found))
    logger.info(
        "  lift of new items %s (validation NDCG %.4f, %.4f without)", LIFTS[best], *found[[best, 0]] / len(users)
    )
    return LIFTS[best]


def draw_items(train: Histories, seed: int = 0) -> Bool[np.ndarray, " items"]:
    """Return which items are hidden: a seeded draw among those with enough events."""
    often = np.flatnonzero(np.bincount(train.item_index, minlength=train.num_items) >= MIN_EVENTS)
    drawn = np.zeros(train.num_items, bool)
    drawn[np.random.default_rng(seed).permutation(often)[: round(SHARE * len(often))]] = True
    return drawn


def _gains(
    total: np.ndarray, blocked: np.ndarray, drawn: Bool[np.ndarray, " items"], truth: Histories, cutoff: int
) -> Float64[np.ndarray, " lifts"]:
    """Return the sum of NDCG over users for each lift."""
    counts = relevant(truth).counts()
    out = []
    for lift in LIFTS:
        scores = total + np.float32(lift) * drawn
        scores[blocked] = -np.inf
        ranked = top_k(scores, cutoff, truth.user_ids)
        out.append(float(ndcg(hit_matrix(ranked.item_index, truth), counts, cutoff).sum()))
    return np.array(out)
