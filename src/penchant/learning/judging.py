"""A version compared with the one that is served, on events that came after the data of both.

In: two recommenders and the events of all users. Out: NDCG of each and of recent popularity request by request, the paired difference with its
interval, and whether the version may be promoted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.schema import Histories
from penchant.data.requests import num_requests, rolling_requests
from penchant.learning.changes import on_rows_of
from penchant.metrics.intervals import POWER, BootstrapMeans, Difference, Interval, IntervalConfig
from penchant.metrics.ranking import hit_matrix, ndcg, relevant
from penchant.models.ensemble import Ensemble, batch_users, blocked_items, top_k
from penchant.models.event_log import EventLog
from penchant.models.member import Member, make_member
from penchant.recommender.recommender import Recommender

POPULARITY = "Recent popularity"
DRAWS_BEYOND = 10
"""Resamples beyond each end of an interval, at least: an end that rests on fewer is too near."""
Verdict = Literal["waiting", "promoted", "rejected"]


class JudgingConfig(Settings):
    """When a version is no worse than the one that is served."""

    cutoff: int = Field(10, ge=1)
    """Length of the lists."""
    margin: float = Field(0.02, ge=0)
    """A version is no worse where the interval of its difference lies above minus this share of the served version's NDCG."""
    first_look: int = Field(200, ge=10)
    """Requests at the first comparison; each later one has twice as many."""
    looks: int = Field(7, ge=1)
    """Comparisons at most; a version that none of them shows to be no worse is not promoted."""
    min_different: int = Field(50, ge=1)
    """Requests on which the NDCG of the two differs, below which nothing is decided: where few lists hold a hit, an interval of less is too narrow."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of the intervals of all looks together: each look has a share of the errors, twice that of the look before."""
    max_requests: int = Field(12_800, ge=10)
    """Requests that are compared at most, evenly spaced."""
    popularity_days: float = Field(7, gt=0)
    """Half-life of the recent popularity that is shown beside both."""


@dataclass(frozen=True)
class Judgement:
    """A comparison of a version with the one that is served.

    Attributes:
        metric: For example "ndcg@10".
        requests: Requests compared.
        since: First moment of them, microseconds since 1970.
        until: The moment after the last.
        scores: "version", "parent" and "popularity" to the mean NDCG with its interval.
        difference: Version minus parent.
        look: Number of the comparison; 0 where there were too few requests for one.
        verdict: What follows.
        needed: Requests that a version exactly as good as the served one would need, at the spread of these gains, to be promoted with a
            probability of 80 %; None where the comparison does not say.
        last_look: Requests of the last comparison, after which a version that is not told apart is dropped.
    """

    metric: str
    requests: int
    since: int
    until: int
    scores: Mapping[str, Interval]
    difference: Difference | None
    look: int
    verdict: Verdict
    needed: int | None = None
    last_look: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a record."""
        return {**asdict(self), "scores": {name: asdict(one) for name, one in self.scores.items()}}


def gains(
    models: Mapping[str, Recommender | Member],
    events: Histories,
    items: list[str],
    start: int,
    stop: int,
    k: int,
    limit: int,
) -> tuple[dict[str, Float64[np.ndarray, " requests"]], list[str]]:
    """Return the NDCG of each model on every request of a stretch of time, and the user of each.

    Each request is answered with all that its user, and everybody, did before its moment.

    Args:
        models: Recommenders, or members over the catalog of `items`.
        events: Of all users.
        items: The catalog's ids in the order of the events' rows.
        start: First moment, microseconds since 1970.
        stop: The moment after the last.
        k: Length of the lists.
        limit: Requests at most, evenly spaced.
    """
    found: dict[str, Float64[np.ndarray, " requests"]] = {}
    users: list[str] = []
    for name, model in models.items():
        own = on_rows_of(events, items, model) if isinstance(model, Recommender) else events
        asked, truth = rolling_requests(own, max(start, 1), stop, limit=limit)
        log = EventLog.of(own)
        scorer: Ensemble | Member = (
            model.ensemble.observed(log) if isinstance(model, Recommender) else model.observed(log)
        )
        parts = []
        for begin in range(0, len(asked), batch_users(own.num_items)):
            batch = asked.rows(begin, begin + batch_users(own.num_items))
            chosen = truth.rows(begin, begin + batch_users(own.num_items))
            scores = scorer.score(batch)
            scores[blocked_items(batch, None)] = -np.inf
            ranked = top_k(scores, k, batch.user_ids)
            parts.append(ndcg(hit_matrix(ranked.item_index, chosen), relevant(chosen).counts(), k))
        found[name] = np.concatenate(parts) if parts else np.zeros(0)
        users = asked.user_ids
    return found, users


def judge(
    version: Recommender,
    parent: Recommender,
    events: Histories,
    items: list[str],
    since: int,
    until: int,
    config: JudgingConfig,
    *,
    looked: int = 0,
) -> Judgement:
    """Compare a version with the served one on the events that came after both.

    The margin is a share of the served NDCG. Looks are at fixed numbers of requests, each twice the one before, and divide the error among them,
    so that looking often does not promote by chance.

    Args:
        version: The candidate.
        parent: The one that is served.
        events: Of all users until now.
        items: The catalog's ids in the order of the events' rows.
        since: The moment after the last event that either learned from.
        until: The moment after the newest event.
        config: When a version is no worse.
        looked: Comparisons made before.
    """
    metric = f"ndcg@{config.cutoff}"
    count = count_requests(events, since, until)
    look = looks_done(count, config)
    if look <= looked:
        return not_yet(config, count, since, until, looked)
    popularity = make_member(POPULARITY, {"model": "recent_popularity", "half_life_days": config.popularity_days})
    before = events.where(events.at < since)
    models: dict[str, Recommender | Member] = {
        "version": version,
        "parent": parent,
        "popularity": popularity.fit(before),
    }
    found, users = gains(models, events, items, since, until, config.cutoff, config.max_requests)
    if len({len(one) for one in found.values()}) > 1:  # an item that one of them does not have
        return Judgement(metric, count, since, until, {}, None, look, "waiting")
    return judged(found, users, since, until, config, look)


def judged(
    found: Mapping[str, Float64[np.ndarray, " requests"]],
    users: Sequence[str],
    since: int,
    until: int,
    config: JudgingConfig,
    look: int,
) -> Judgement:
    """Return what follows from the NDCG of "version", "parent" and "popularity" on the same requests.

    Args:
        found: Model to the NDCG of each request.
        users: The user of each request.
        since: First moment of the requests, microseconds since 1970.
        until: The moment after the last.
        config: When a version is no worse.
        look: Number of the comparison.
    """
    error = error_share(look, config)
    drawn = IntervalConfig(
        confidence=1 - error, resamples=max(IntervalConfig().resamples, math.ceil(2 * DRAWS_BEYOND / error))
    )
    means = BootstrapMeans(np.column_stack(list(found.values())), drawn, users=users)
    scores = {name: means.interval(column) for column, name in enumerate(found)}
    names = list(found)
    gap, base = means.difference(names.index("version"), names.index("parent")), scores["parent"].mean
    return Judgement(
        f"ndcg@{config.cutoff}",
        len(users),
        since,
        until,
        scores,
        gap,
        look,
        verdict_of(gap, base, look, config, len(users), int((found["version"] != found["parent"]).sum())),
        needed_requests(gap, base, len(users), config, look),
        last_look(config),
    )


def error_share(look: int, config: JudgingConfig) -> float:
    """Return the probability of an error that a look has: twice that of the look before, as it has twice the requests; all together have 1 - `confidence`.

    Most of it is for the last looks, at which a version that is better by a few hundredths can be told apart at all. With equal shares such a version needs a
    third more requests.

    Source: Lan and DeMets, 1983, "Discrete sequential boundaries for clinical trials", on spending the error by what is known at a look.

    Args:
        look: Number of the comparison, from 1.
        config: Confidence and looks.
    """
    return (1 - config.confidence) * 2 ** (look - 1) / (2**config.looks - 1)


def needed_requests(
    gap: Difference, base: float, requests: int, config: JudgingConfig, look: int, change: float = 0.0
) -> int | None:
    """Return how many requests a version needs to be promoted with a probability of 80 % at the last look; None where no number is enough or nothing is known.

    Args:
        gap: Of a version on some requests: their spread is that of the ones to come.
        base: NDCG of the parent.
        requests: Requests of `gap`.
        config: The margin.
        look: The comparison that `gap` is from.
        change: By how much the version is better, as a share of `base`; 0 is as good.
    """
    room = (change + config.margin) * base
    if math.isnan(gap.detectable) or room <= 0:
        return None
    normal = NormalDist()
    here, last = (
        normal.inv_cdf(1 - error_share(one, config) / 2) + normal.inv_cdf(POWER) for one in (look, config.looks)
    )
    return math.ceil(requests * (gap.detectable * last / here / room) ** 2)


def last_look(config: JudgingConfig) -> int:
    """Return the requests of the last comparison, after which a version that is not told apart is dropped."""
    return min(config.first_look * 2 ** (config.looks - 1), config.max_requests)


def not_yet(config: JudgingConfig, count: int, since: int, until: int, looked: int) -> Judgement:
    """Return the judgement of a version that too few requests came for since the last look."""
    return Judgement(f"ndcg@{config.cutoff}", count, since, until, {}, None, looked, "waiting")


def verdict_of(
    gap: Difference, base: float, look: int, config: JudgingConfig, requests: int, different: int
) -> Verdict:
    """Return what follows from a difference: no worse within the margin, worse, or not known yet.

    Where the two never differed, the largest loss that such requests leave possible is compared with the margin: if a share of s of all requests lost everything, none
    of n would show it with a probability of (1 - s)^n.

    Args:
        gap: Version minus parent.
        base: NDCG of the parent.
        look: Number of the comparison.
        config: Margin and looks.
        requests: Requests compared.
        different: Those on which the NDCG of the two differs.
    """
    if not different:
        unseen = -math.log(error_share(look, config)) / requests
        is_promoted = unseen <= config.margin * base
    else:
        # the interval is NaN for fewer than ten users
        is_promoted = different >= config.min_different and gap.low > -config.margin * base
    if is_promoted:
        return "promoted"
    if look >= config.looks or (different >= config.min_different and gap.high < 0):
        return "rejected"
    return "waiting"


def count_requests(events: Histories, since: int, until: int) -> int:
    """Return how many requests there are in a stretch of time: those that a comparison is of, without repeats of items that users had."""
    return num_requests(events, max(since, 1), until)


def looks_done(count: int, config: JudgingConfig) -> int:
    """Return the number of the last look that so many requests allow; 0 for too few."""
    if count < config.first_look:
        return 0
    return min(1 + int(math.log2(count / config.first_look)), config.looks)
