"""The operations page: load, latency, drift.

In: the service's own counters, and the latest events of some people. Out: totals, times by route, and the drift of what people choose.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from penchant.recommender.recommender import Recommender
from penchant.service.service import Service
from penchant.service.telemetry import Metrics

PEOPLE, EVENTS_EACH = 300, 50
"""How many people are read for the drift, and how many of their latest events."""
DRIFT_SECONDS = 30.0
"""A measured drift is shown for so long before it is measured again."""


@dataclass
class RouteLatency:
    """How long one route took: requests, and how many were answered within each bound."""

    count: float = 0
    seconds: float = 0
    within: dict[float, float] = field(default_factory=lambda: defaultdict(float))

    def quantile(self, share: float) -> float | None:
        """Return the time within which a share of the requests was answered, evenly between two bounds; None for no request."""
        wanted, low, below = share * self.count, 0.0, 0.0
        for bound, count in sorted(self.within.items()):
            if count >= wanted and count > below:
                if math.isinf(bound):
                    return low
                return low + (bound - low) * (wanted - below) / (count - below)
            low, below = bound, count
        return None


@dataclass(frozen=True)
class ServiceCounters:
    """What was counted since the start, by all workers together."""

    at: float
    events: float
    duplicates: float
    erasures: float
    hot_people: float
    user_cache_bytes: float
    routes: dict[str, RouteLatency]
    errors: float

    @property
    def requests(self) -> float:
        return sum(times.count for times in self.routes.values())


def count(service: Service, metrics: Metrics) -> ServiceCounters:
    """Return the counters now; the page's own looking is left out."""
    metrics.hot.set(len(service.hot))
    metrics.user_cache_bytes.set(service.hot.num_bytes)
    totals: dict[str, float] = defaultdict(float)
    routes: dict[str, RouteLatency] = defaultdict(RouteLatency)
    errors = 0.0
    for family in text_string_to_metric_families(metrics.text().decode()):
        for name, labels, value, *_ in family.samples:
            route = labels.get("route")
            if route is None:
                totals[name] += value
            elif not route.startswith("/studio/static") and route not in _OWN:
                errors += _add(routes[f"{labels['method']} {route}"], name, labels, value)
    return ServiceCounters(
        time.time(),
        totals["penchant_events_total"],
        totals["penchant_duplicate_events_total"],
        totals["penchant_erasures_total"],
        totals["penchant_hot_people"],
        totals["penchant_hot_bytes"],
        dict(sorted(routes.items(), key=lambda pair: -pair[1].count)),
        errors,
    )


_OWN = (
    "/studio/operations",
    "/studio/now",
    "/studio/picture",
    "/studio/sound",
    "/metrics",
    "/healthz",
    "/readyz",
    "unknown",
)
"""Looking at the service is no use of it."""


def _add(times: RouteLatency, name: str, labels: dict[str, str], value: float) -> float:
    """Add one sample; return how many failed requests it stands for."""
    if name.endswith("_bucket"):
        times.within[float(labels["le"])] += value
    elif name.endswith("_sum"):
        times.seconds += value
    elif name.endswith("_count"):
        times.count += value
        return value if labels.get("status", "").startswith("5") else 0.0
    return 0.0


@dataclass(frozen=True)
class Drift:
    """Distance between recent events and the training events.

    Attributes:
        stability: Population stability index over the topics; 0 is no change.
        by_chance: What it would be about if nothing had changed, from so few events.
        num_events: Events read.
        num_people: Of how many people.
        rows: Topic, when, share.
    """

    stability: float
    by_chance: float
    num_events: int
    num_people: int
    rows: tuple[tuple[str, float, float], ...]

    @property
    def verdict(self) -> str:
        """Return "steady" unless the change is both large and beyond chance."""
        if self.stability < 2 * self.by_chance or self.stability < 0.1:
            return "steady"
        return "moving" if self.stability < 0.25 else "moved"


class DriftMonitor:
    """Measures drift periodically."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: tuple[float, Recommender | None, Drift | None] = (-math.inf, None, None)

    def drift(self, service: Service) -> Drift | None:
        """Return the drift, at most `DRIFT_SECONDS` old; None where there is nothing to compare."""
        with self._lock:
            at, recommender, drift = self._seen
            if recommender is not service.now.recommender or time.monotonic() - at > DRIFT_SECONDS:
                recommender = service.now.recommender
                self._seen = (time.monotonic(), recommender, drift := measure(service, recommender))
            return drift


def measure(service: Service, recommender: Recommender) -> Drift | None:
    """Compare the items of the latest events with those of the bundle's histories, by topic."""
    topics = recommender.topics
    people = service.store.user_ids()
    chosen = people[:: max(1, -(-len(people) // PEOPLE))]
    rows = [
        recommender.lookup.items.index(event.item_id)
        for user in chosen
        for event in service.store.events(user, limit=EVENTS_EACH)
        if event.item_id in recommender.lookup.items
    ]
    if not rows or not topics.names:
        return None
    histories = recommender.histories
    before = _shares(topics.labels[histories.item_index], len(topics.names))
    after = _shares(topics.labels[np.array(rows)], len(topics.names))
    if before is None or after is None:
        return None
    (p, n), (q, m) = before, after
    by_chance = (len(p) - 1) * (1 / n + 1 / m)
    order = np.argsort(-p, kind="stable")
    shown = tuple((topics.names[t], float(p[t]), float(q[t])) for t in order)
    return Drift(float(((q - p) * np.log(q / p)).sum()), by_chance, len(rows), len(chosen), shown)


def _shares(labels: np.ndarray, num_topics: int) -> tuple[np.ndarray, int] | None:
    """Return the share of each topic, half an event added to each so that none is 0, and the number of events."""
    counts = np.bincount(labels[labels >= 0], minlength=num_topics).astype(float)
    total = int(counts.sum())
    return ((counts + 0.5) / (total + 0.5 * num_topics), total) if total else None


def as_tiles(figures: ServiceCounters) -> dict[str, Any]:
    """Return what the live chart needs to draw its next point."""
    return {"at": round(figures.at * 1000), "events": figures.events, "requests": figures.requests}
