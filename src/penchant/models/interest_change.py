"""A sudden change of a user's interest, by the topics of what they choose: what they did before it counts less.

In: histories and the topic of every item. Out: the same histories, in which events before a change have smaller weights; those of a user without a change stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from jaxtyping import Float32, Float64, Int
from scipy.special import gammaln

from penchant.core.schema import Histories

NOTICED = 0.9
"""Probability from which a change is noticed; below it all events count as they did."""
PRIOR_EVENTS = 8.0
"""Events that the shares of the catalog's topics count for, before and after a change."""
MAX_EVENTS = 200
"""Newest events of a user that are read; older ones count as the oldest of these."""


@dataclass(frozen=True)
class InterestChange:
    """Notices that a user's interest changed.

    Before and after a change, choices are draws from shares of topics that are not known (a Dirichlet prior around the catalog's shares). The probability of a
    change before each event follows in closed form from counts, and an event counts by the probability that nothing changed since.

    Source: Adams and MacKay, Bayesian online changepoint detection, 2007; here with one change at most, of which all places are compared.

    Attributes:
        topics: (items,) topic of each item, -1 without one.
        probability: That the interest changes before any one event, 0 to 1.
    """

    topics: Int[np.ndarray, " items"]
    probability: float

    def faded(self, histories: Histories) -> Histories:
        """Return the histories as members read them; the same object where no interest changed."""
        kept = np.ones(histories.num_events, np.float32)
        topics = np.where(histories.weight > 0, self._places[histories.item_index], -1)
        for first, last in zip(histories.offsets[:-1], histories.offsets[1:], strict=True):
            kept[first:last] = self.unchanged(topics[first:last])
        return histories if (kept == 1).all() else histories.weighted(histories.weight * kept)

    def unchanged(self, topics: Int[np.ndarray, " events"]) -> Float32[np.ndarray, " events"]:
        """Return the probability that the interest did not change since each event, 0 to 1; 1 for all where no change is noticed.

        Args:
            topics: Topic of each event, oldest first; -1 of a dislike, which says nothing.
        """
        kept, newest = np.ones(len(topics), np.float32), topics[-MAX_EVENTS:]
        if len(newest) < 2:
            return kept
        counts = np.cumsum(newest[:, None] == np.arange(len(self._prior)), 0)
        before, every = counts[:-1], counts[-1]
        evidence = self._evidence(before) + self._evidence(every - before) - self._evidence(every)
        odds = np.exp(np.minimum(evidence, 600)) * self.probability  # against no change at all
        no_change = 1 / (1 + odds.sum())
        if no_change >= 1 - NOTICED:
            return kept
        later = np.cumsum(odds[::-1])[::-1] * no_change
        kept[-len(newest) : -1] = np.maximum(1 - later, 0)
        kept[: -len(newest)] = kept[-len(newest)]
        return kept

    def over(self, topics: Int[np.ndarray, " items"]) -> Self:
        """Return the same over a catalog with these topics."""
        return replace(self, topics=topics)

    def _evidence(self, counts: Int[np.ndarray, "*events topics"]) -> Float64[np.ndarray, "*events"]:
        """Return the log-probability of draws of these counts, the shares integrated out."""
        prior = self._prior
        of_topics = (gammaln(prior + counts) - gammaln(prior)).sum(-1)
        return np.asarray(of_topics - gammaln(PRIOR_EVENTS + counts.sum(-1)) + gammaln(PRIOR_EVENTS))

    @cached_property
    def _places(self) -> Int[np.ndarray, " items"]:
        """(items,) topic of each item; items without one share the last."""
        return np.where(self.topics < 0, self.topics.max(initial=-1) + 1, self.topics)

    @cached_property
    def _prior(self) -> Float64[np.ndarray, " topics"]:
        """Events that the prior counts for each topic: `PRIOR_EVENTS` by the shares of the catalog, each topic as if it had one item more."""
        sizes = np.bincount(self._places, minlength=2) + 1.0
        return np.asarray(PRIOR_EVENTS * sizes / sizes.sum())
