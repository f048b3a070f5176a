"""Splits, requests, lists, metrics and intervals worked out a second time: plain loops, and not a line of the library.

In: events as tuples. Out: what the library must give, to the last digits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor, log2
from typing import NamedTuple

HOUR = 3600


class Event(NamedTuple):
    """One event; `at` in seconds since 1970, None where it is not known, and then older than all others."""

    user: str
    item: str
    at: int | None
    weight: float = 1.0


class Request(NamedTuple):
    """One question: the items known of a user, oldest first, and what is right."""

    user: str
    at: int
    known: tuple[str, ...]
    wanted: frozenset[str]


Parts = dict[str, list[Event]]


def time_of(event: Event) -> int:
    return 0 if event.at is None else event.at


def by_user(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=time_of):
        found[event.user].append(event)
    return dict(found)


def half_up(value: float) -> int:
    return floor(value + 0.5)


def user_time(events: Sequence[Event], share: float = 0.1, fewest: int = 3) -> Parts:
    """The last share of each user's events, and the share before it."""
    parts: Parts = {"train": [], "validation": [], "test": []}
    for own in by_user(events).values():
        count = max(1, round(len(own) * share)) if len(own) >= fewest else 0  # of .5, to the even number
        for place, event in enumerate(own):
            left = len(own) - place
            parts["test" if left <= count else "validation" if left <= 2 * count else "train"].append(event)
    return parts


def last_out(events: Sequence[Event], gap_hours: float = 0, fewest: int = 3) -> Parts:
    """The last event of each user (that came so long after the one before it), and the one before it that is like it."""
    parts: Parts = {"train": [], "validation": [], "test": [], "between": [], "after": []}
    for own in by_user(events).values():
        late = [
            n
            for n in range(1 if gap_hours else 0, len(own))
            if not gap_hours
            or (own[n - 1].at is not None and time_of(own[n]) - time_of(own[n - 1]) >= gap_hours * HOUR)
        ]
        test = late[-1] if late and len(own) >= fewest else None
        held = late[-2] if test is not None and len(late) > 1 else None
        for place, event in enumerate(own):
            if test is None:
                parts["train"].append(event)
            elif place >= test:
                parts["test" if place == test else "after"].append(event)
            elif held is not None and place >= held:
                parts["validation" if place == held else "between"].append(event)
            else:
                parts["train"].append(event)
    return parts


def global_time(events: Sequence[Event], share: float = 0.1) -> Parts:
    """Everything after the instant up to which there are so many events."""
    times = sorted(event.at for event in events if event.at is not None)
    cuts = [times[half_up((len(times) - 1) * (1 - held))] for held in (2 * share, share)]
    parts: Parts = {"train": [], "validation": [], "test": []}
    for event in events:
        place = sum(time_of(event) > cut for cut in cuts)
        parts[("train", "validation", "test")[place]].append(event)
    return parts


def cold_items(events: Sequence[Event], drawn: Mapping[str, str]) -> Parts:
    """All events of the items drawn; the draw itself is given."""
    parts: Parts = {"train": [], "validation": [], "test": []}
    for event in events:
        parts[drawn.get(event.item, "train")].append(event)
    return parts


def held_out(known: Sequence[Event], asked: Sequence[Event]) -> list[Request]:
    """One request for each user with something to find."""
    before = by_user(known)
    found = []
    for user, own in sorted(by_user(asked).items()):
        wanted = frozenset(event.item for event in own if event.weight > 0)
        if wanted:
            found.append(Request(user, time_of(own[0]), tuple(event.item for event in before.get(user, [])), wanted))
    return found


def rolling(known: Sequence[Event], asked: Sequence[Event]) -> list[Request]:
    """One request for each user and instant with an item that is new to the user."""
    found = []
    for user, own in by_user([*known, *asked]).items():
        for at in sorted({time_of(event) for event in asked if event.user == user}):
            before = tuple(event.item for event in own if time_of(event) < at)
            fresh = {e.item for e in own if time_of(e) == at and e.weight > 0} - set(before)
            if fresh:
                found.append(Request(user, at, before, frozenset(fresh)))
    return sorted(found, key=lambda request: (request.at, request.user))


def ranked(
    scores: Mapping[str, float],
    items: Sequence[str],
    known: Iterable[str],
    k: int,
    allowed: Iterable[str] | None = None,
) -> list[str]:
    """The best items that are not known and are allowed; of equal scores, the first in the catalog."""
    hidden = set(known)
    pool = set(items if allowed is None else allowed)
    place = {item: n for n, item in enumerate(items)}
    return sorted((i for i in items if i not in hidden and i in pool), key=lambda i: (-scores[i], place[i]))[:k]


def popularity(
    known: Iterable[Event], items: Sequence[str], before: int | None = None, seconds: float = 0
) -> dict[str, float]:
    """Positive events of each item; before a moment, within so many seconds of it."""
    counts = dict.fromkeys(items, 0.0)
    for event in known:
        if event.weight > 0 and (before is None or (event.at is not None and before - seconds <= event.at < before)):
            counts[event.item] += 1
    return counts


def recall(hits: Sequence[bool], wanted: int, k: int) -> float:
    return sum(hits[:k]) / wanted


def precision(hits: Sequence[bool], wanted: int, k: int) -> float:
    return sum(hits[:k]) / k


def hit_rate(hits: Sequence[bool], wanted: int, k: int) -> float:
    return float(any(hits[:k]))


def ndcg(hits: Sequence[bool], wanted: int, k: int) -> float:
    gain = sum(1 / log2(rank + 1) for rank, hit in enumerate(hits[:k], start=1) if hit)
    return gain / sum(1 / log2(rank + 1) for rank in range(1, min(wanted, k) + 1))


def mrr(hits: Sequence[bool], wanted: int, k: int) -> float:
    return next((1 / rank for rank, hit in enumerate(hits[:k], start=1) if hit), 0.0)


def average_precision(hits: Sequence[bool], wanted: int, k: int) -> float:
    return sum(sum(hits[:rank]) / rank for rank, hit in enumerate(hits[:k], start=1) if hit) / wanted


METRICS: dict[str, Callable[[Sequence[bool], int, int], float]] = {
    "recall": recall,
    "precision": precision,
    "hit_rate": hit_rate,
    "ndcg": ndcg,
    "mrr": mrr,
    "map": average_precision,
}


def auc(label: Sequence[bool], score: Sequence[float]) -> float:
    """Share of pairs of yes and no in the right order; equal scores count half."""
    yes = [s for s, y in zip(score, label, strict=True) if y]
    no = [s for s, y in zip(score, label, strict=True) if not y]
    return sum((a > b) + (a == b) / 2 for a in yes for b in no) / (len(yes) * len(no))


def step_precision(label: Sequence[bool], score: Sequence[float]) -> float:
    """Area under the precision-recall curve as a step function over the distinct scores."""
    area, last = 0.0, 0.0
    for cut in sorted(set(score), reverse=True):
        above = [y for s, y in zip(score, label, strict=True) if s >= cut]
        now = sum(above) / sum(label)
        area += (now - last) * sum(above) / len(above)
        last = now
    return area


def answers(label: Sequence[bool], score: Sequence[float], cut: float) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of answering yes from a score on."""
    said = [s >= cut for s in score]
    right = sum(a and y for a, y in zip(said, label, strict=True))
    found = {
        "accuracy": sum(a == y for a, y in zip(said, label, strict=True)) / len(label),
        "precision": right / sum(said) if any(said) else 0.0,
        "recall": right / sum(label),
    }
    total = found["precision"] + found["recall"]
    return {**found, "f1": 2 * found["precision"] * found["recall"] / total if total else 0.0}


def drawn_means(values: Sequence[float], users: Sequence[str], draws: Iterable[Sequence[int]]) -> list[float]:
    """The mean over rows of each draw, in which a user (numbered by name) stands with all rows as often as drawn."""
    rows: dict[str, list[float]] = defaultdict(list)
    for value, user in zip(values, users, strict=True):
        rows[user].append(value)
    names = sorted(rows)
    means = []
    for draw in draws:
        total, count = 0.0, 0
        for number in draw:
            total += sum(rows[names[number]])
            count += len(rows[names[number]])
        means.append(total / count)
    return means


def quantile(values: Iterable[float], q: float) -> float:
    """The quantile between two neighbours, in proportion."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def look_ahead(known: Sequence[Event], requests: Sequence[Request]) -> float:
    """The mean share of the known events that are later than a request."""
    times = sorted(time_of(event) for event in known)
    return sum((len(times) - bisect_left(times, request.at + 1)) / len(times) for request in requests) / len(requests)
