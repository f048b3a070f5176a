"""The operations page: load, latency, drift.

In: the service's own counters, and the latest events of a sample of users. Out: totals, latencies by route, and the drift of the topics users choose.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from penchant.core.messages import Message
from penchant.recommender.recommender import Recommender
from penchant.service.alarms import Alarm
from penchant.service.service import Service
from penchant.service.telemetry import Metrics
from penchant.service.times import iso_time
from penchant.service.watching import TOPIC
from penchant.studio.page_context import PageContext

MAX_USERS, MAX_EVENTS = 300, 50
"""Users that are read for the drift, and latest events of each."""
MOVING, MOVED = 0.1, 0.25
"""Population stability index from which choices begin to drift, and have drifted."""
FEWEST = {0.5: 5, 0.99: 100}
"""Requests from which a share of them says something: of one request, 99 % is that request."""
DRIFT_SECONDS = 30.0
"""Time after which the drift is measured again."""


@dataclass
class RouteLatency:
    """Latency of one route: requests, and how many were answered within each bound."""

    count: float = 0
    seconds: float = 0
    within: dict[float, float] = field(default_factory=lambda: defaultdict(float))

    def quantile(self, share: float) -> float | None:
        """Return the time within which a share of the requests was answered, evenly between two bounds; None for too few requests."""
        if self.count < FEWEST.get(share, 1):
            return None
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
    """Counters since the start, summed over all workers."""

    at: float
    events: float
    duplicates: float
    erasures: float
    cached_users: float
    user_cache_bytes: float
    routes: dict[str, RouteLatency]
    errors: float

    @property
    def requests(self) -> float:
        return sum(times.count for times in self.routes.values())


def count(service: Service, metrics: Metrics) -> ServiceCounters:
    """Return the counters now; the page's own requests are left out."""
    totals: dict[str, float] = defaultdict(float)
    routes: dict[str, RouteLatency] = defaultdict(RouteLatency)
    errors = 0.0
    for family in text_string_to_metric_families(metrics.text(service.user_cache).decode()):
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
        totals["penchant_cached_users"],
        totals["penchant_user_cache_bytes"],
        dict(sorted(routes.items(), key=lambda pair: -pair[1].count)),
        errors,
    )


_OWN = (
    "/studio/operations",
    "/studio/snapshot",
    "/studio/picture",
    "/studio/sound",
    "/metrics",
    "/healthz",
    "/readyz",
    "unknown",
)
"""Requests of monitoring, which are not counted."""


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
        expected: Its approximate value without any change, from so few events.
        num_events: Events read.
        num_users: Their users.
        rows: Topic, when, share.
    """

    stability: float
    expected: float
    num_events: int
    num_users: int
    rows: tuple[tuple[str, float, float], ...]

    @property
    def level(self) -> str:
        """Return "early" while chance alone reaches the bound; "steady" unless the change is both large and above its expected value."""
        if 2 * self.expected >= MOVING and self.stability < max(MOVED, 4 * self.expected):
            return "early"
        if self.stability < 2 * self.expected or self.stability < MOVING:
            return "steady"
        return "moving" if self.stability < MOVED else "moved"

    @property
    def needed(self) -> int:
        """About how many events are needed before the index says something."""
        return math.ceil(self.num_events * 2 * self.expected / MOVING / 50) * 50


class DriftMonitor:
    """Measures drift periodically."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: tuple[float, Recommender | None, Drift | None] = (-math.inf, None, None)

    def drift(self, service: Service) -> Drift | None:
        """Return the drift, at most `DRIFT_SECONDS` old; None where there is nothing to compare."""
        with self._lock:
            at, recommender, drift = self._seen
            if recommender is not service.snapshot.recommender or time.monotonic() - at > DRIFT_SECONDS:
                recommender = service.snapshot.recommender
                self._seen = (time.monotonic(), recommender, drift := measure(service, recommender))
            return drift


def measure(service: Service, recommender: Recommender) -> Drift | None:
    """Compare the items of the latest events with those of the bundle's histories, by topic."""
    topics = recommender.topics
    users = service.store.user_ids()
    sample = users[:: max(1, -(-len(users) // MAX_USERS))]
    rows = [
        recommender.lookup.items.index(event.item_id)
        for user in sample
        for event in service.store.events(user, limit=MAX_EVENTS)
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
    expected = (len(p) - 1) * (1 / n + 1 / m)
    order = np.argsort(-p, kind="stable")
    shown = tuple((topics.names[t], float(p[t]), float(q[t])) for t in order)
    return Drift(float(((q - p) * np.log(q / p)).sum()), expected, len(rows), len(sample), shown)


def _shares(labels: np.ndarray, num_topics: int) -> tuple[np.ndarray, int] | None:
    """Return the share of each topic, half an event added to each so that none is 0, and the number of events."""
    counts = np.bincount(labels[labels >= 0], minlength=num_topics).astype(float)
    total = int(counts.sum())
    return ((counts + 0.5) / (total + 0.5 * num_topics), total) if total else None


def as_tiles(figures: ServiceCounters) -> dict[str, Any]:
    """Return what the live chart needs to draw its next point."""
    return {"at": round(figures.at * 1000), "events": figures.events, "requests": figures.requests}


def shown_alarms(context: PageContext, alarms: Sequence[Alarm]) -> list[tuple[str, list[str]]]:
    """Return when each alarm was, and its lines in the reader's language; a topic has its name in it."""
    found = []
    for alarm in alarms:
        lines = []
        for line, moved in zip(alarm.lines, alarm.moved, strict=True):
            if isinstance(line, Message) and moved["signal"] == TOPIC:
                line = Message(line.msgid, {**line.values, "name": context.value_of(TOPIC, moved["name"])})
            lines.append(context.translate.said(line))
        found.append((iso_time(alarm.at)[:16].replace("T", " "), lines))
    return found
