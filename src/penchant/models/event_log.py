"""Counts of events as of a moment: what a shop knows at the time of a request.

In: the events of all users, without the users. Out: for each moment, how often each item was chosen before it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from penchant.core.schema import LATEST, Histories

MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class EventLog:
    """The positive events of all users in time order; it holds no user.

    A count as of a moment reads the events before the moment only: one at the very moment does not count, so that with times to the day the
    day of the request is left out. A moment after the last event is read as directly after it.

    Attributes:
        item_index: (events,) row of the catalog.
        at: (events,) microseconds since 1970, UTC, ascending.
        num_items: Number of rows of the catalog.
    """

    item_index: Int32[np.ndarray, " events"]
    at: Int64[np.ndarray, " events"]
    num_items: int
    _at_end: dict[Hashable, Float32[np.ndarray, " items"]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, histories: Histories) -> Self:
        """Return the log of some histories; dislikes and events without a time are left out."""
        kept = np.flatnonzero((histories.weight > 0) & (histories.at > 0))
        order = kept[np.argsort(histories.at[kept], kind="stable")]
        return cls(histories.item_index[order], histories.at[order], histories.num_items)

    def moments(self, histories: Histories) -> Int64[np.ndarray, " users"]:
        """Return the moment of each user: that of the request, else of the last event, else the end of the log."""
        asked = histories.requests()
        return np.where((asked == 0) | (asked == LATEST), self.end, np.minimum(asked, self.end))

    @property
    def end(self) -> int:
        """The moment directly after the last event."""
        return int(self.at[-1]) + 1 if len(self.at) else 1

    def as_of(
        self,
        moments: Int64[np.ndarray, " moments"],
        compute: Callable[[Int64[np.ndarray, " some"]], Float32[np.ndarray, "some items"]],
        key: Hashable,
    ) -> Float32[np.ndarray, "moments items"]:
        """Return what is computed from this log as of each moment; the values at its end, which all that is served reads, are computed once.

        Args:
            moments: From `moments`.
            compute: Moments to a row each.
            key: Names everything that the values depend on, beside the log.
        """
        is_end = moments == self.end
        if not is_end.any():
            return compute(moments)
        if key not in self._at_end:  # two threads may both compute it: the values are equal
            self._at_end[key] = compute(np.array([self.end]))[0]
        out = np.repeat(self._at_end[key][None], len(moments), axis=0)
        if not is_end.all():
            out[~is_end] = compute(moments[~is_end])
        return out

    def windowed(self, moments: Int64[np.ndarray, " moments"], days: float) -> Float32[np.ndarray, "moments items"]:
        """Return the number of events of each item in the days before each moment.

        Cost: the events between the first window's start and the last moment, and moments x items.
        """
        first = np.searchsorted(self.at, moments - round(days * MICROSECONDS_PER_DAY), "left")
        end = np.searchsorted(self.at, moments, "left")
        counts, left, right = np.zeros(self.num_items, np.float32), 0, 0

        def advance(position: int) -> np.ndarray:
            nonlocal left, right
            _add(counts, self.item_index[right : end[position]], 1)
            _add(counts, self.item_index[left : first[position]], -1)
            left, right = first[position], end[position]
            return counts

        if len(moments):  # the first window starts where it starts, not at the beginning of the log
            left = right = int(first[np.argmin(moments)])
        return self._each(moments, advance)

    def decayed(
        self, moments: Int64[np.ndarray, " moments"], half_life_days: float
    ) -> Float32[np.ndarray, "moments items"]:
        """Return the events of each item before each moment, an event `half_life_days` before it counting half.

        Cost: the events before the last moment, and moments x items.
        """
        half_life = half_life_days * MICROSECONDS_PER_DAY
        end = np.searchsorted(self.at, moments, "left")
        counts, right, before = np.zeros(self.num_items, np.float64), 0, 0

        def advance(position: int) -> np.ndarray:
            nonlocal right, before, counts
            counts *= np.exp2((before - moments[position]) / half_life)
            new = slice(right, end[position])
            _add(counts, self.item_index[new], np.exp2((self.at[new] - moments[position]) / half_life))
            right, before = end[position], int(moments[position])
            return counts

        return self._each(moments, advance)

    @property
    def span_days(self) -> float:
        """Days from the first event to the last, rounded up: a window that holds every event."""
        return float(np.ceil((self.at[-1] - self.at[0]) / MICROSECONDS_PER_DAY)) + 1 if len(self.at) else 1.0

    @cached_property
    def first_at(self) -> Int64[np.ndarray, " items"]:
        """The time of the first event of each item; `LATEST` where there is none."""
        first = np.full(self.num_items, LATEST)
        np.minimum.at(first, self.item_index, self.at)
        return first

    def grown(self, num_items: int) -> EventLog:
        """Return the same log over a larger catalog."""
        return EventLog(self.item_index, self.at, num_items)

    def within(self, num_items: int) -> EventLog:
        """Return the events of the first items of the catalog alone."""
        if num_items >= self.num_items:
            return self
        kept = self.item_index < num_items
        return EventLog(self.item_index[kept], self.at[kept], num_items)

    def extended(self, more: Histories | EventLog) -> EventLog:
        """Return the log with further events; this one stays as it is.

        Cost: sorting the further events if they are histories, and one pass over the log.

        Args:
            more: Events that are not in the log, over the same catalog or a larger one; of histories, dislikes and events without a time are
                left out.
        """
        new = more if isinstance(more, EventLog) else EventLog.of(more)
        place = np.searchsorted(
            self.at, new.at, "right"
        )  # of equal times the earlier events stay first, as in the log of all
        return EventLog(
            np.insert(self.item_index, place, new.item_index),
            np.insert(self.at, place, new.at),
            max(self.num_items, new.num_items),
        )

    def exchanged(self, gone: EventLog, come: EventLog) -> EventLog:
        """Return the log with some of its events exchanged for others; those in both stay, and the log itself if all do.

        Cost: sorting the exchanged events, and one pass over the log.

        Args:
            gone: Events of the log, in any order; one that is there several times goes as often as it is named.
            come: Events in any order.
        """
        pairs = np.stack([np.concatenate([gone.at, come.at]), np.concatenate([gone.item_index, come.item_index])], 1)
        found, place = np.unique(pairs, axis=0, return_inverse=True)
        change = np.bincount(place.ravel(), np.repeat([-1, 1], [len(gone.at), len(come.at)])).astype(np.int64)
        if not change.any():
            return self
        removed: list[int] = []
        for row in np.flatnonzero(change < 0):
            start, stop = (
                np.searchsorted(self.at, found[row, 0], "left"),
                np.searchsorted(self.at, found[row, 0], "right"),
            )
            places = start + np.flatnonzero(self.item_index[start:stop] == found[row, 1])
            removed += places[: -change[row]].tolist()
        kept = EventLog(np.delete(self.item_index, removed), np.delete(self.at, removed), self.num_items)
        at, item = np.repeat(found, np.maximum(change, 0), axis=0).T  # sorted by time
        return kept.extended(EventLog(item.astype(np.int32), at, max(self.num_items, come.num_items)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the log by name, for safetensors."""
        return {"log_item": self.item_index, "log_at": self.at, "log_items": np.array([self.num_items])}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Return the log that `arrays` described."""
        return cls(arrays["log_item"], arrays["log_at"], int(arrays["log_items"][0]))

    def _each(
        self,
        moments: Int64[np.ndarray, " moments"],
        advance: Callable[[int], Float32[np.ndarray, " items"] | Float64[np.ndarray, " items"]],
    ) -> Float32[np.ndarray, "moments items"]:
        """Return the counts as of each moment; `advance` moves them to a later moment and is called in the order of time."""
        out = np.empty((len(moments), self.num_items), np.float32)
        previous = -1
        for position in np.argsort(moments, kind="stable"):
            is_same = previous >= 0 and moments[position] == moments[previous]
            out[position] = out[previous] if is_same else advance(int(position))
            previous = int(position)
        return out


def _add(counts: np.ndarray, item_index: Int32[np.ndarray, " events"], values: np.ndarray | int) -> None:
    """Add a value for each event to its item, in place."""
    if len(item_index) * 4 < len(counts):
        np.add.at(counts, item_index, values)
    else:  # faster for many events
        weights = None if isinstance(values, int) else values
        sums = np.bincount(item_index, weights, minlength=len(counts))
        np.add(counts, sums * values if isinstance(values, int) else sums, out=counts, casting="unsafe")


EMPTY = EventLog(np.zeros(0, np.int32), np.zeros(0, np.int64), 0)
"""The log of a member that is not fitted."""
