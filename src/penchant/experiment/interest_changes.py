"""Whether events before a sudden change of interest count less, as validation says.

In: fitted recommenders and the topic of every item. Out: the same recommenders, which notice changes unless that ranks validation worse; and lists of entries that do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int, Int64

from penchant.core.logs import logger
from penchant.core.schema import Histories, Recommendations
from penchant.core.spacing import evenly_spaced
from penchant.experiment.fit import OURS, FittedRecommenders, HoldOut
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.ranking import hit_matrix, ndcg, relevant
from penchant.models.interest_change import InterestChange

CLEAR = 1.96
"""Standard errors below 0 at which a loss is clear: the end of a 95 % interval."""
MAX_USERS = 20_000
"""Validation users, evenly spaced, who say whether there is one: with as many, the standard error of NDCG is some hundred-thousandths."""


def noticing_changes(
    trained: FittedRecommenders, validation: HoldOut, topics: Int[np.ndarray, " items"], probability: float, cutoff: int
) -> FittedRecommenders:
    """Return the recommenders with what lets events before a change of interest count less.

    Without it they come back where there is one topic at most, where lists rank new items alone, and where the lists of the validation users get clearly
    worse by it: the 95 % interval of the change of their mean NDCG lies below 0. Validation seldom holds a true change, so a smaller loss is no reason.

    Args:
        trained: Fitted and weighed.
        validation: What their settings were chosen on.
        topics: Topic of each item, -1 without one.
        probability: That an interest changes before any one event; 0 never.
        cutoff: Length of the lists whose NDCG decides.
    """
    if not probability or len(np.unique(topics)) < 2:
        return trained
    change = InterestChange(topics, probability)
    users = np.unique(validation.truth.user_index())
    users = evenly_spaced(users, MAX_USERS)
    histories = validation.histories.take(users)
    faded = change.faded(histories)
    rows = changed(histories, faded)
    if len(rows):
        weights, truth = {OURS: trained.ours.weights}, validation.truth.take(users[rows])
        found = [
            trained.before.rank(
                weights, one.take(rows), cutoff, candidates=validation.candidates, tie_order=validation.tie_order
            )
            for one in (histories, faded)
        ]
        before, after = (
            ndcg(hit_matrix(lists[OURS].item_index, truth), relevant(truth).counts(), cutoff) for lists in found
        )
        # 0 for those in whom no change is noticed: one user alone has no standard error
        gain = np.zeros(len(users))
        gain[: len(rows)] = after - before
        error = gain.std() / np.sqrt(len(gain))
        logger.info(
            "  a change of interest is noticed in %d of %d validation users: NDCG %+.5f over all, standard error %.5f",
            len(rows),
            len(gain),
            gain.mean(),
            error,
        )
        if gain.mean() < -CLEAR * error:
            return trained
    return replace(trained, change=change)


def rank_noticing(
    pool: MemberPool,
    change: InterestChange | None,
    notices: Collection[str],
    rows: Mapping[str, EnsembleWeights],
    histories: Histories,
    k: int,
    **how: Any,
) -> dict[str, Recommendations]:
    """Return the lists of `MemberPool.rank`; of the entries `notices`, users with a change of interest are ranked for with what is left of their events.

    Args:
        pool: The members.
        change: What notices changes; None notices none.
        notices: Names of the entries that do.
        rows: Entry to weights.
        histories: The users.
        k: Length of the lists.
        how: Further arguments of `MemberPool.rank`.
    """
    lists = pool.rank(rows, histories, k, **how)
    if change is None:
        return lists
    faded = change.faded(histories)
    users = changed(histories, faded)
    noticing = {name: weights for name, weights in rows.items() if name in notices}
    if not len(users) or not noticing:
        return lists
    for name, found in pool.rank(noticing, faded.take(users), k, **how).items():
        items, score = lists[name].item_index.copy(), lists[name].score.copy()
        items[users], score[users] = found.item_index, found.score
        lists[name] = Recommendations(histories.user_ids, items, score)
    return lists


def changed(before: Histories, after: Histories) -> Int64[np.ndarray, " users"]:
    """Return the rows of the users whose events have other weights."""
    differs = np.bincount(before.user_index(), before.weight != after.weight, len(before))
    return np.flatnonzero(differs > 0)
