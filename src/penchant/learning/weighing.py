"""Ensemble weights fitted again on the newest requests.

In: a bundle, and requests that its members have not learned from. Out: its weights, moved as far as these requests say something.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.schema import Histories
from penchant.data.requests import rolling_requests
from penchant.experiment.pool import MemberPool
from penchant.fusion import late
from penchant.models.ensemble import Ensemble, batch_users, blocked_items
from penchant.models.event_log import EventLog


class WeighingConfig(Settings):
    """How ensemble weights follow the newest requests."""

    requests: int = Field(400, ge=0)
    """Newest requests that are read; 0 leaves the weights as they are."""
    prior_requests: float = Field(2000, ge=0)
    """Requests that the present weights count for: as many new ones move them half of the way."""


def reweighed(
    ensemble: Ensemble, events: Histories, since: int, until: int, config: WeighingConfig
) -> late.EnsembleWeights:
    """Return the weights of an ensemble after the newest requests.

    The mean of the present weights, which count for `prior_requests`, and of those that least squares of "chosen next" finds on the new requests
    (`fusion/late.py`), which count for their number. Each band has its own. A member whose scores are taken as they are keeps its weight.

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
    if not config.requests or len(names) < 2 or not len(newest):
        return weights
    if len(newest) > config.requests:  # the newest of them
        since = int(np.partition(newest, -config.requests)[-config.requests])
    asked, truth = rolling_requests(events, since, until, limit=config.requests)
    pool = MemberPool(ensemble.members).observed(EventLog.of(events))
    bands = [late.Moments.zero(len(names)) for _ in range(len(weights.bands) or 1)]
    counts = np.zeros(len(bands))
    size = max(1, batch_users(events.num_items) // len(names))
    for start in range(0, len(asked), size):
        batch, chosen = asked.rows(start, start + size), truth.rows(start, start + size)
        values = np.stack([scores for _, scores in pool.standardised(batch, names)])
        positive = np.zeros((len(batch), events.num_items), bool)
        liked = chosen.weight > 0
        positive[chosen.user_index()[liked], chosen.item_index[liked]] = True
        blocked = blocked_items(batch)
        band = late.band_of(weights.band_values(batch), weights.starts) if weights.bands else np.zeros(len(batch), int)
        for number in np.unique(band):
            rows = np.flatnonzero(band == number)
            bands[number].add(values[:, rows], positive[rows], blocked[rows])
            counts[number] += len(rows)
    total = sum(bands[1:], bands[0])
    moved = [
        _moved(one, count, of_band, names, config.prior_requests)
        for one, count, of_band in zip(bands, counts, weights.bands, strict=False)
    ]
    overall = _moved(total, counts.sum(), weights.overall, names, config.prior_requests)
    return late.EnsembleWeights(overall, weights.starts, tuple(moved), weights.by)


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
