"""What is watched of the stream of events: whether users still choose as they did, and whether lists are still as good.

In: events one by one, and the ranks of what users chose. Out: the signals that moved, each with its value before and after.

Each signal is a number between 0 and 1 for each event: whether its item is of a topic, its place among the items by popularity, its place along the
main directions of the item vectors, whether it has a channel, whether the event is of a kind. Events of one user follow each other and are alike, so of
each run of `BLOCK` counted events a user counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penchant.core.errors import import_optional
from penchant.core.messages import CHANNELS, Message, message
from penchant.recommender.recommender import Recommender

BLOCK = 50
"""Counted events in which a user counts once."""
DELTA = 2e-4
"""Probability of a false alarm for which the detectors of all signals together are set; see benchmarks/drift.py for what they do."""
GROUPED = 500
"""Counted events after a signal moved within which others belong to the same alarm, and during which none begins anew."""
FIRST = 300
"""Counted events before which nothing is told."""
MAX_TOPICS, MIN_SHARE = 15, 0.02
"""Topics with a signal of their own, of at least this share of the bundle's events."""
MAX_KINDS = 8
DIRECTIONS = 3
"""Directions of the item vectors, those of largest variance among the chosen items."""
SMALLEST = 0.05
"""Change of a mean that is too small to tell anybody."""
SMALLEST_LEAD = 0.005
"""The same of the lead in quality, which counts half: .01 of NDCG."""
SLACK, TOTAL = 0.04, 120.0
"""Of the fall of a lead: what is taken off each choice, and the sum that is told, in standard deviations; see benchmarks/quality_alarms.py for what they do."""
LIST = 10
"""Length of the lists whose quality is watched."""
TOPIC, KIND, POPULARITY, DIRECTION, COVERAGE, UNKNOWN, QUALITY = (
    "topic",
    "kind",
    "popularity",
    "direction",
    "coverage",
    "unknown",
    "quality",
)


@dataclass(frozen=True)
class Moved:
    """A signal that moved.

    Attributes:
        signal: "topic", "kind", "popularity", "direction", "coverage", "unknown" or "quality".
        name: Which topic, kind, direction or channel; "popularity" or "frozen" of quality; "" where there is one only.
        before: Mean before.
        after: Mean since.
        items: Of a direction: titles of typical items, those with a high value.
    """

    signal: str
    name: str
    before: float
    after: float
    items: tuple[str, ...] = ()

    def text(self) -> Message:
        """Return the change in plain words."""
        if self.signal == QUALITY:
            return self._quality()
        if self.signal in (POPULARITY, DIRECTION):
            return self._direction()
        before, after = f"{self.before:.0%}", f"{self.after:.0%}"
        if self.signal == UNKNOWN:
            return message(
                "Items that the model does not know: {after} of the events, {before} before. Add them with PUT /v1/items.",
                before=before,
                after=after,
            )
        if self.signal == COVERAGE:
            return message(
                "Items with {channel}: {after} of what users choose, {before} before. The feed may have lost or gained content.",
                channel=CHANNELS.get(self.name, self.name),
                before=before,
                after=after,
            )
        if self.signal == KIND:
            return message(
                "Events of the kind “{name}”: {after} of all, {before} before.",
                name=self.name,
                before=before,
                after=after,
            )
        return message(
            "The topic “{name}”: {after} of what users choose, {before} before.",
            name=self.name,
            before=before,
            after=after,
        )

    def _direction(self) -> Message:
        is_more = self.after > self.before
        if self.signal == DIRECTION:
            like = ", ".join(self.items)
            if is_more:
                return message("Users choose more items like these than before: {items}.", items=like)
            return message("Users choose fewer items like these than before: {items}.", items=like)
        places = {"before": f"{self.before:.0%}", "after": f"{self.after:.0%}"}
        if is_more:
            return message(
                "Users choose more popular items than before: on average above {after} of the catalog, {before} before.",
                **places,
            )
        return message(
            "Users choose less popular items than before: on average above {after} of the catalog, {before} before.",
            **places,
        )

    def _quality(self) -> Message:
        lead, now = f"{2 * self.before - 1:+.3f}", f"{2 * self.after - 1:+.3f}"
        if self.name == "frozen":
            return message(
                "The lead of the lists over those of the model at the start changed from {before} to {after} NDCG@{k}.",
                before=lead,
                after=now,
                k=LIST,
            )
        return message(
            "The lead of the lists over popularity changed from {before} to {after} NDCG@{k}: users choose otherwise than the model expects.",
            before=lead,
            after=now,
            k=LIST,
        )


@dataclass
class _Falling:
    """Finds that a mean fell, whatever the spread of the values.

    A lead over a model that is much the same hardly varies, one over popularity varies a lot: limits in standard deviations let each tell what it can. River's
    Page-Hinkley test has limits in the units of the values.

    Source: Page, Continuous inspection schemes, Biometrika 1954 (the one-sided cumulative sum, here of values standardised by all before them).
    """

    drift_detected: bool = False
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    total: float = 0.0

    def update(self, value: float) -> None:
        """Add a value."""
        if self.drift_detected:
            self.drift_detected, self.count, self.mean, self.squares, self.total = False, 0, 0.0, 0.0, 0.0
        spread = (self.squares / self.count) ** 0.5 if self.count >= FIRST else 0.0
        if spread:
            self.total = max(0.0, self.total + (self.mean - value) / spread - SLACK)
            self.drift_detected = self.total > TOTAL
        self.count += 1
        change = value - self.mean
        self.mean += change / self.count
        self.squares += change * (value - self.mean)


@dataclass
class _Watched:
    """One signal with its detectors and means."""

    signal: str
    name: str
    detectors: list[Any]
    items: tuple[str, ...] = ()
    old: float = 0.0
    recent: list[float] = field(default_factory=list)
    count: int = 0
    left: int = 0

    def add(self, value: float) -> None:
        """Add a value."""
        for detector in self.detectors:
            detector.update(value)
        self.recent.append(value)
        if len(self.recent) > GROUPED:
            left = self.recent.pop(0)
            self.count += 1
            self.old += (left - self.old) / self.count
        self.left -= 1
        if any(detector.drift_detected for detector in self.detectors):
            self.left = GROUPED

    @property
    def before(self) -> float:
        """Mean of the values before the newest `GROUPED`; of the first half of them where there are none."""
        return self.old if self.count else float(np.mean(self.recent[: max(1, len(self.recent) // 2)]))

    @property
    def after(self) -> float:
        """Mean of what the adaptive window holds: the values since the change."""
        adaptive = self.detectors[0]
        return (
            float(adaptive.estimation) if adaptive.width < self.count else float(np.mean(self.recent[-GROUPED // 2 :]))
        )

    @property
    def has_moved(self) -> bool:
        """Whether a detector found a change lately that is large enough to tell."""
        least = SMALLEST_LEAD if self.signal == QUALITY else SMALLEST
        return self.left > 0 and abs(self.after - self.before) >= least

    def moved(self) -> Moved:
        """Return the change, and begin anew."""
        found = Moved(self.signal, self.name, self.before, self.after, self.items)
        self.old, self.count, self.recent, self.left = 0.0, 0, [], 0
        return found


class EventWatcher:
    """Watches events of a stream.

    Args:
        reference: Whose topics, popularity and vectors give the signals.

    Raises:
        MissingExtraError: `river` is not installed.
    """

    def __init__(self, reference: Recommender) -> None:
        self._drift = import_optional("river.drift", "learn")
        self._reference = reference
        self._values, self._names = _item_signals(reference)
        self.num_signals = len(self._names) + MAX_KINDS + 3
        self._watched = {key: self._make(*key, items) for key, items in self._names.items()}
        self._seen: set[str] = set()
        self._counted = self._quiet_until = 0
        self._pending: dict[tuple[str, str], Moved] = {}
        self._since = 0

    @property
    def counted(self) -> int:
        """Events that counted until now."""
        return self._counted

    def _make(self, signal: str, name: str, items: tuple[str, ...] = ()) -> _Watched:
        delta = DELTA / self.num_signals
        if signal == QUALITY:
            return _Watched(signal, name, [self._drift.ADWIN(delta=delta), _Falling()], items)
        return _Watched(signal, name, [self._drift.ADWIN(delta=delta)], items)

    def event(self, user_id: str, item_id: str, kind: str) -> list[Moved]:
        """Add an event; return the signals of an alarm that is complete now, mostly none."""
        if user_id in self._seen:
            return []
        self._seen.add(user_id)
        if len(self._seen) >= BLOCK:
            self._seen.clear()
        self._counted += 1
        for key, value in self._signals(item_id, kind):
            if key not in self._watched:
                if sum(signal == KIND for signal, _ in self._watched) >= MAX_KINDS and key[0] == KIND:
                    continue
                self._watched[key] = self._make(*key)
            self._add(key, value)
        return self._complete()

    def quality(self, ndcg: float, popular: float, frozen: float | None) -> list[Moved]:
        """Add how well a list held what its user chose next, beside popularity and the model at the start; each 0 to 1."""
        self._add_quality("popularity", ndcg - popular)
        if frozen is not None:
            self._add_quality("frozen", ndcg - frozen)
        return self._complete()

    def _add_quality(self, name: str, lead: float) -> None:
        key = (QUALITY, name)
        if key not in self._watched:
            self._watched[key] = self._make(*key)
        self._add(key, (lead + 1) / 2)

    def _add(self, key: tuple[str, str], value: float) -> None:
        watched = self._watched[key]
        watched.add(value)
        if (
            self._counted > FIRST
            and self._counted >= self._quiet_until
            and watched.has_moved
            and key not in self._pending
        ):
            self._since = self._since if self._pending else self._counted
            self._pending[key] = watched.moved()

    def _complete(self) -> list[Moved]:
        """Return what moved together, a while after the first signal did."""
        if not self._pending or self._counted < self._since + BLOCK:
            return []
        found = sorted(self._pending.values(), key=lambda one: -abs(one.after - one.before))
        self._pending = {}
        self._quiet_until = self._counted + GROUPED
        return found

    def _signals(self, item_id: str, kind: str) -> Iterator[tuple[tuple[str, str], float]]:
        items = self._reference.lookup.items
        is_known = item_id in items
        yield (UNKNOWN, ""), float(not is_known)
        kinds = {name for signal, name in self._watched if signal == KIND} | {kind}
        for name in kinds:
            yield (KIND, name), float(name == kind)
        if is_known and items.index(item_id) < len(self._values):
            yield from zip(self._names, self._values[items.index(item_id)].tolist(), strict=True)


def _item_signals(reference: Recommender) -> tuple[np.ndarray, dict[tuple[str, str], tuple[str, ...]]]:
    """Return the value of every signal for each item, (items, signals), and the signals' names with typical items."""
    histories, topics = reference.histories, reference.topics
    num_items = len(reference.catalog)
    counts = np.bincount(histories.item_index, minlength=num_items).astype(float)
    columns: dict[tuple[str, str], np.ndarray] = {}
    typical: dict[tuple[str, str], tuple[str, ...]] = {}
    labels = topics.labels
    of_topics = np.bincount(labels[labels >= 0], weights=counts[labels >= 0], minlength=len(topics.names))
    shares = of_topics / max(float(of_topics.sum()), 1.0)
    for topic in np.argsort(-shares, kind="stable")[:MAX_TOPICS]:
        if shares[topic] >= MIN_SHARE:
            columns[TOPIC, topics.names[topic]] = (labels == topic).astype(float)
    order = np.argsort(counts, kind="stable")
    place = np.empty(num_items)
    place[order] = np.linspace(0, 1, num_items)
    columns[POPULARITY, ""] = place
    for name, channel in reference.content.channels.items():
        present = channel.present.astype(float)
        if 0 < present.mean() < 1:
            columns[COVERAGE, name] = present
    titles = reference.lookup.titles
    for number, values in enumerate(_directions(reference, counts)):
        key = (DIRECTION, str(number + 1))
        columns[key] = values
        liked = np.argsort(-values * (counts > 0), kind="stable")[:3]
        typical[key] = tuple(titles[row] for row in liked)
    values = np.column_stack(list(columns.values())) if columns else np.zeros((num_items, 0))
    return values, {key: typical.get(key, ()) for key in columns}


def _directions(reference: Recommender, counts: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the place of every item along the main directions of the chosen items' vectors, 0 to 1."""
    fused = reference.content.fused
    if fused is None or not counts.sum():
        return
    vectors = fused.values.astype(np.float64)
    mean = counts @ vectors / counts.sum()
    centred = vectors - mean
    covariance = (centred * counts[:, None]).T @ centred / counts.sum()
    values, directions = np.linalg.eigh(covariance)
    for column in np.argsort(-values)[:DIRECTIONS]:
        along = centred @ directions[:, column]
        chosen = np.repeat(along, np.minimum(counts, 50).astype(int))
        low, high = np.quantile(chosen, [0.01, 0.99]) if len(chosen) else (0.0, 1.0)
        yield np.clip((along - low) / max(high - low, 1e-9), 0, 1)


def describe(found: list[Moved]) -> list[Message]:
    """Return an alarm's lines, the largest change first."""
    return [one.text() for one in found]


def as_values(found: Moved) -> Mapping[str, Any]:
    """Return plain values for JSON."""
    return {"signal": found.signal, "name": found.name, "before": found.before, "after": found.after}
