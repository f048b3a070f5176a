"""Whether explanations are true: what they say an event adds is compared with what happens when the event is taken away.

In: an ensemble, one user's history, an item. Out: numbers for each check, for `benchmarks/faithfulness.py` and for own data.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import spearmanr

from penchant.core.schema import LATEST, SILENCED, Histories
from penchant.models.ensemble import Ensemble

TOLERANCE = 1e-4
"""Largest difference between the stated sum and the drop of a score, in standard deviations of the member's scores."""


@dataclass(frozen=True)
class Curves:
    """How a score changes with the events that are deleted from a history, or inserted into an empty one.

    Attributes:
        deletion: (m,) drop of the score without the 1, 2, ... m events of largest contribution.
        random_deletion: (m,) the same without random events, mean of several draws.
        insertion: (m,) rise of the score from an empty history to one of these events alone.
        random_insertion: (m,) the same for random events.
    """

    deletion: Float64[np.ndarray, " m"]
    random_deletion: Float64[np.ndarray, " m"]
    insertion: Float64[np.ndarray, " m"]
    random_insertion: Float64[np.ndarray, " m"]


def event_contributions(ensemble: Ensemble, history: Histories, row: int) -> Float64[np.ndarray, " events"]:
    """Return what each event of one user adds to the score of one item."""
    return ensemble.contributions(history, np.array([row])).sum(0, dtype=np.float64)[1:, 0]


def curves(
    ensemble: Ensemble,
    history: Histories,
    row: int,
    order: Int64[np.ndarray, " events"],
    *,
    most: int,
    draws: int,
    rng: np.random.Generator,
) -> Curves:
    """Return the deletion and insertion curves of one score.

    Nothing is held fixed: histories are scored as if the user had only the events that are left, with the ages, z-scores and weights that
    follow from these. The score is that of the ensemble, in which every member has deviation 1 over the catalog.

    Args:
        ensemble: Fitted members and weights.
        history: Exactly one user, with at least `most` events.
        row: The item.
        order: The events, the largest contribution first.
        most: Length of the curves.
        draws: Random orders to compare with.
        rng: Draws them.

    Source: Petsiuk et al., RISE, BMVC 2018; the deleted pixels are events here.
    """
    orders = [order, *(rng.permutation(history.num_events) for _ in range(draws))]
    kept = [np.zeros(history.num_events, bool), np.ones(history.num_events, bool)]
    for one in orders:
        for size in range(1, most + 1):
            chosen = np.isin(np.arange(history.num_events), one[:size])
            kept += [~chosen, chosen]
    scores = ensemble.score(Histories.joined([history.where(keep) for keep in kept]))[:, row].astype(np.float64)
    empty, whole, *others = scores
    by_order = np.array(others).reshape(len(orders), most, 2)
    dropped, risen = whole - by_order[:, :, 0], by_order[:, :, 1] - empty
    return Curves(dropped[0], dropped[1:].mean(0), risen[0], risen[1:].mean(0))


def statement_errors(
    ensemble: Ensemble, history: Histories, row: int, events: Int64[np.ndarray, " chosen"]
) -> dict[str, float]:
    """Return, for each member, how far the drop of its score is from the sum it stated for some events, in deviations.

    Held fixed: the deleted events keep their places with weight 0 and silenced user content, so that ages, the length of the history, the
    shares of a mean and the time of the last event stay, and so does the standard deviation of the member's scores; their mean follows. The
    member's weight is left out. A member passes with at most `TOLERANCE`. One whose `removal` is "increase" does not.

    Args:
        ensemble: Fitted members and weights.
        history: Exactly one user.
        row: The item.
        events: Places of the deleted events in the history.
    """
    asked = history if history.requested_at is not None else history.requested(LATEST)
    both = Histories.joined([asked, _silenced(asked, events)])
    found = {}
    for name, member in ensemble.members.items():
        before, after = member.score(both).astype(np.float64)
        rows = member.contributions(asked)[1][events].astype(np.float64)
        stated, drop, deviation = rows[:, row].sum(), before[row] - after[row], 1.0
        if member.standardised:
            stated -= rows.mean(1).sum()
            drop -= before.mean() - after.mean()
            deviation = before.std() or 1.0
        found[name] = float(abs(stated - drop) / deviation)
    return found


def _silenced(history: Histories, events: Int64[np.ndarray, " chosen"]) -> Histories:
    """Return the history in which some events keep their places, and say nothing."""
    weight, channels = history.weight.copy(), dict(history.user_channels)
    weight[events] = 0
    for name, channel in channels.items():
        if channel.embeddings.of == "events":
            row = channel.row.copy()
            row[events[row[events] >= 0]] = SILENCED
            channels[name] = replace(channel, row=row)
    return replace(history, weight=weight, user_channels=channels)


def with_random_parameters(ensemble: Ensemble, rng: np.random.Generator) -> Ensemble:
    """Return the ensemble with the learned numbers of every member in random order.

    An explanation of what was learned must not look the same afterwards. Numbers that are counts, positions or times stay.

    Source: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018.
    """
    copied = copy.deepcopy(ensemble)
    arrays = {
        name: rng.permutation(array.ravel()).reshape(array.shape) if array.dtype.kind == "f" else array
        for name, array in ensemble.arrays().items()
    }
    return copied.restore(arrays)


def agreement(first: Float64[np.ndarray, " events"], second: Float64[np.ndarray, " events"]) -> float:
    """Return Spearman's rank correlation of two lists of contributions; NaN where one is constant or shorter than 3."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


def share_of_top(first: Float64[np.ndarray, " events"], second: Float64[np.ndarray, " events"], m: int) -> float:
    """Return the share of the m events of largest contribution that both lists have in common."""
    return float(np.isin(np.argsort(-first, kind="stable")[:m], np.argsort(-second, kind="stable")[:m]).mean())
