"""Fairness of lists: who is shown how much, whether the popular becomes more popular, whether lists keep a user's mix of interests.

In: ranked item rows, labels of items (a provider, a genre), what users had. Out: shares by group, and one number for each user, from which
`metrics/intervals.py` makes means with intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32, Int64

from penchant.metrics.beyond_accuracy import gini
from penchant.metrics.slices import GroupLabels

SMOOTHING = 0.01
"""Part of the history's mix that is added to that of the list, so that a missing value has a finite cost."""


@dataclass(frozen=True)
class GroupExposure:
    """What the lists show of each group of items, such as those of one provider.

    Attributes:
        names: Groups.
        catalog: Share of the items.
        events: Share of what users chose.
        exposure: Share of the attention of all lists, in which a place counts 1 / log2(place + 1).
        gini: Inequality of attention over the groups: 0 is even, 1 is all on one.
        gini_events: The same of what users chose.
    """

    names: tuple[str, ...]
    catalog: Float64[np.ndarray, " groups"]
    events: Float64[np.ndarray, " groups"]
    exposure: Float64[np.ndarray, " groups"]
    gini: float
    gini_events: float

    def ratio(self) -> Float64[np.ndarray, " groups"]:
        """Return attention over what users chose: 1 is in proportion, NaN of a group that nobody chose."""
        return np.where(self.events > 0, self.exposure / np.maximum(self.events, 1e-12), np.nan)


def group_exposure(
    ranked: Int32[np.ndarray, "users K"], labels: GroupLabels, events: Int64[np.ndarray, " items"]
) -> GroupExposure:
    """Return what the lists show of each group.

    Args:
        ranked: Best first, -1 where a list is shorter.
        labels: Of the items; an item without a group does not count.
        events: How often each item was chosen.

    Source: Singh & Joachims, Fairness of exposure in rankings, KDD 2018 (attention by place, in proportion to merit).
    """
    attention = np.zeros(len(labels.code))
    weight = np.broadcast_to(1 / np.log2(np.arange(ranked.shape[1]) + 2), ranked.shape)
    np.add.at(attention, ranked[ranked >= 0], weight[ranked >= 0])
    known, count = labels.code >= 0, len(labels.names)

    def total(weights: np.ndarray) -> Float64[np.ndarray, " groups"]:
        return np.bincount(labels.code[known], weights[known], count).astype(np.float64)

    def share(totals: Float64[np.ndarray, " groups"]) -> Float64[np.ndarray, " groups"]:
        return totals / max(float(totals.sum()), 1e-12)

    shown, chosen = total(attention), total(events.astype(np.float64))
    return GroupExposure(
        labels.names, share(total(np.ones(len(labels.code)))), share(chosen), share(shown), gini(shown), gini(chosen)
    )


def popularity_lift(
    ranked: Int32[np.ndarray, "users K"],
    user: Int64[np.ndarray, " events"],
    item: Int32[np.ndarray, " events"],
    popularity: Float64[np.ndarray, " items"],
) -> Float64[np.ndarray, " users"]:
    """Return how much more popular a user's list is than what they chose themselves: 0 is as popular, 1 twice; NaN without events or list.

    Args:
        ranked: Best first, -1 where a list is shorter.
        user: Row of `ranked` of each event.
        item: Of each event.
        popularity: Of each item, for example the share of users who have it.

    Source: Abdollahpouri et al., The unfairness of popularity bias in recommendation, RMSE at RecSys 2019 (group average popularity, for each user).
    """
    users = len(ranked)
    own = _mean(np.bincount(user, popularity[item], users), np.bincount(user, minlength=users))
    shown = np.where(ranked >= 0, popularity[np.maximum(ranked, 0)], 0).sum(1)
    listed = _mean(shown, (ranked >= 0).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(own > 0, listed / own - 1, np.nan)


def miscalibration(
    ranked: Int32[np.ndarray, "users K"],
    user: Int64[np.ndarray, " events"],
    item: Int32[np.ndarray, " events"],
    mix: Float64[np.ndarray, "items values"],
) -> Float64[np.ndarray, " users"]:
    """Return the Kullback-Leibler divergence of a list's mix of values from the history's, in nats: 0 where they agree; NaN without either.

    Args:
        ranked: Best first, -1 where a list is shorter.
        user: Row of `ranked` of each event.
        item: Of each event.
        mix: Share of each value, such as a genre, of each item; a row sums to 1, or is zero for an item without a value.

    Source: Steck, Calibrated recommendations, RecSys 2018, equation 6.
    """
    own = np.zeros((len(ranked), mix.shape[1]))
    np.add.at(own, user, mix[item])
    shown = (mix[np.maximum(ranked, 0)] * (ranked >= 0)[..., None]).sum(1)
    totals = own.sum(1), shown.sum(1)
    wanted, found = (part / np.maximum(total, 1e-12)[:, None] for part, total in zip((own, shown), totals, strict=True))
    smoothed = (1 - SMOOTHING) * found + SMOOTHING * wanted
    with np.errstate(invalid="ignore", divide="ignore"):
        cost = np.where(wanted > 0, wanted * np.log(wanted / smoothed), 0).sum(1)
    return np.where((totals[0] > 0) & (totals[1] > 0), cost, np.nan)


def _mean(total: np.ndarray, count: np.ndarray) -> Float64[np.ndarray, " users"]:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
