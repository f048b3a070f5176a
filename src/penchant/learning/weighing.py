"""Ensemble weights fitted again on the newest requests.

In: a bundle, and requests that its members have not learned from. Out: its weights, moved as far as these requests say something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float32, Float64, Int64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.schema import Histories
from penchant.data.requests import rolling_requests
from penchant.experiment.pool import MemberPool
from penchant.fusion import late
from penchant.metrics.ranking import hit_matrix, ndcg, relevant
from penchant.models.ensemble import Ensemble, blocked_items, top_k
from penchant.models.event_log import EventLog

CUTOFF = 10
"""Length of the lists whose NDCG decides."""
MIN_REQUESTS = 40
"""Requests below which weights stay: halves of fewer say nothing."""


class WeighingConfig(Settings):
    """How ensemble weights follow the newest requests."""

    requests: int = Field(400, ge=0)
    """Newest requests that are read; 0 leaves the weights as they are."""
    prior_requests: float = Field(2000, ge=0)
    """Requests that the present weights count for: as many new ones move them half of the way."""


def reweighed(
    ensemble: Ensemble, events: Histories, since: int, until: int, config: WeighingConfig
) -> late.EnsembleWeights:
    """Return the weights of an ensemble after the newest requests, or its own where others are not clearly better.

    The mean of the present weights, which count for `prior_requests`, and of those that least squares of "chosen next" finds on the new requests
    (`fusion/late.py`), which count for their number; each band has its own, and a member whose scores are taken as they are keeps its weight.
    Such weights are found on either half of the requests first: they are taken only if, on the other half, their NDCG is higher than
    that of the present ones by more than its standard error. The run may have found its weights by another rule, which squares do not beat.

    Args:
        ensemble: Its members have learned from nothing that came from `since` on.
        events: Of all users.
        since: First moment of the requests, microseconds since 1970.
        until: The moment after the last.
        config: How many requests, and how much the present weights count.
    """
    weights = ensemble.weights
    names = [name for name in weights if ensemble.members[name].standardised]
    newest = events.at[(events.at >= max(since, 1)) & (events.at < until)]
    if not config.requests or len(names) < 2 or len(newest) < MIN_REQUESTS:
        return weights
    if len(newest) > config.requests:
        since = int(np.partition(newest, -config.requests)[-config.requests])
    asked, truth = rolling_requests(events, since, until, limit=config.requests)
    if len(asked) < MIN_REQUESTS:
        return weights
    scored = _Scored.of(ensemble, events, asked, truth, names)
    even = np.arange(len(asked)) % 2 == 0
    gains = np.zeros((2, len(asked)))
    for half in (even, ~even):
        found = scored.weights(np.flatnonzero(half), config.prior_requests)
        gains[0, ~half], gains[1, ~half] = (scored.ndcg(one, np.flatnonzero(~half)) for one in (weights, found))
    gain = gains[1] - gains[0]
    if gain.mean() <= gain.std() / np.sqrt(len(gain)):
        return weights
    return scored.weights(np.arange(len(asked)), config.prior_requests)


@dataclass(frozen=True)
class _Scored:
    """What the members say to some requests.

    Attributes:
        ensemble: Of these members.
        names: Those whose weights are fitted.
        values: (members, requests, items) scores on one scale.
        rest: (requests, items) sum of the scores of the other members, each times its weight.
        asked: The requests.
        truth: What was chosen.
    """

    ensemble: Ensemble
    names: list[str]
    values: Float32[np.ndarray, "members requests items"]
    rest: Float32[np.ndarray, "requests items"]
    asked: Histories
    truth: Histories

    @classmethod
    def of(cls, ensemble: Ensemble, events: Histories, asked: Histories, truth: Histories, names: list[str]) -> Self:
        """Return the scores of requests, each as of its moment."""
        pool = MemberPool(ensemble.members).observed(EventLog.of(events))
        every = dict(pool.standardised(asked, list(ensemble.weights)))
        rest = np.zeros((len(asked), asked.num_items), np.float32)
        for name in set(every) - set(names):
            rest += np.float32(ensemble.weights[name]) * every[name]
        return cls(ensemble, names, np.stack([every[name] for name in names]), rest, asked, truth)

    def weights(self, rows: Int64[np.ndarray, " rows"], prior: float) -> late.EnsembleWeights:
        """Return the weights that some of the requests lead to."""
        weights, asked, truth = self.ensemble.weights, self.asked.take(rows), self.truth.take(rows)
        chosen = np.zeros((len(rows), asked.num_items), bool)
        liked = truth.weight > 0
        chosen[truth.user_index()[liked], truth.item_index[liked]] = True
        blocked = blocked_items(asked)
        band = late.band_of(weights.band_values(asked), weights.starts) if weights.bands else np.zeros(len(rows), int)
        moments = [late.Moments.zero(len(self.names)) for _ in range(len(weights.bands) or 1)]
        for number in np.unique(band):
            own = np.flatnonzero(band == number)
            moments[number].add(self.values[:, rows[own]], chosen[own], blocked[own])
        counts = np.bincount(band, minlength=len(moments))
        bands = [
            _moved(one, count, of_band, self.names, prior)
            for one, count, of_band in zip(moments, counts, weights.bands, strict=False)
        ]
        overall = _moved(sum(moments[1:], moments[0]), len(rows), weights.overall, self.names, prior)
        return late.EnsembleWeights(overall, weights.starts, tuple(bands), weights.by)

    def ndcg(self, weights: late.EnsembleWeights, rows: Int64[np.ndarray, " rows"]) -> Float64[np.ndarray, " rows"]:
        """Return the NDCG of some requests under some weights."""
        asked, truth = self.asked.take(rows), self.truth.take(rows)
        band, total = weights.band_values(asked), self.rest[rows].copy()
        for place, name in enumerate(self.names):
            total += weights.of(name, band)[:, None] * self.values[place, rows]
        total[blocked_items(asked)] = -np.inf
        ranked = top_k(total, CUTOFF, asked.user_ids)
        return ndcg(hit_matrix(ranked.item_index, truth), relevant(truth).counts(), CUTOFF)


def _moved(
    new: late.Moments, count: float, present: Mapping[str, float], names: list[str], prior: float
) -> dict[str, float]:
    """Return the mean of the present weights and those of the new moments, each counting for its requests; others than `names` stay."""
    held = dict(present)
    before = np.array([held.get(name, 0.0) for name in names])
    if not count or not before.sum() or new.target.max() <= 0:
        return held
    found = late.fit_weights(new, late.EnsembleConfig()) * before.sum()
    moved = (count * found + prior * before) / (count + prior)
    return held | {name: float(value) for name, value in zip(names, moved, strict=True)}
