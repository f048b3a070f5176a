"""Windows of histories as training batches.

In: `Histories`. Out: padded windows of events with the next item as target, in batches of about equal cost, cut again each epoch.
Memory: one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from pydantic import Field
from torch import Tensor

from penchant.core.config import Settings
from penchant.core.schema import Histories

GAP_BUCKETS = 16
"""Buckets of the time since the previous event, in powers of four of a second: 0, under 4 s, under 16 s, ..., over 8 years."""
MICROSECONDS = 1_000_000


class AugmentationConfig(Settings):
    """Augmentation of training histories; scored histories are never changed."""

    mask: float = Field(0.0, ge=0, lt=1)
    """Share of past events that are masked."""
    reorder: float = Field(0.0, ge=0, le=1)
    """Share of windows in which a short run of events is shuffled."""
    crop: bool = True
    """Cut long histories at random places, different each epoch; false cuts at fixed places counted from the end."""


@dataclass(frozen=True)
class WindowBatch:
    """A batch of windows.

    Attributes:
        items: (B, L) item_index of past events; 0 where padded.
        weight: (B, L) event weights, 0 where masked or padded.
        gap: (B, L) bucket of the time since the previous event.
        lengths: (B,) number of events that are not padding.
        target: (B, L + 1) item_index that followed after 0, 1, ... events; -1 where there is none or it is no target.
    """

    items: Int[Tensor, "B L"]
    weight: Float[Tensor, "B L"]
    gap: Int[Tensor, "B L"]
    lengths: Int[Tensor, "B"]
    target: Int[Tensor, "B L_plus_1"]

    def to(self, device: torch.device) -> WindowBatch:
        """Return the batch on another device."""
        moved = (
            t.to(device, non_blocking=True) for t in (self.items, self.weight, self.gap, self.lengths, self.target)
        )
        return WindowBatch(*moved)

    def split(self, count: int) -> list[tuple[WindowBatch, float]]:
        """Return at most so many parts, each with its share of the targets; windows are dealt in turn, so that parts have about equal cost."""
        parts = []
        for first in range(count):
            rows = slice(first, None, count)
            length = int(self.lengths[rows].max()) if len(self.lengths[rows]) else 0
            part = WindowBatch(
                self.items[rows, :length],
                self.weight[rows, :length],
                self.gap[rows, :length],
                self.lengths[rows],
                self.target[rows, : length + 1],
            )
            if num_targets := int((part.target >= 0).sum()):
                parts.append((part, num_targets / int((self.target >= 0).sum())))
        return parts


def recent_windows(histories: Histories, users: Int64[np.ndarray, " chosen"], max_length: int) -> WindowBatch:
    """Return the most recent events of some users as one batch without targets."""
    stop = histories.offsets[users + 1]
    start = np.maximum(histories.offsets[users], stop - max_length)
    return _gather(histories, gaps(histories), start, stop, None)


class Windows:
    """Windows of training histories, in batches of about `batch_events` events.

    Args:
        histories: Training histories; only events with weight above 0 are targets.
        max_length: Events in a window.
        batch_events: Events in a batch; windows of similar length share a batch, so that little is padding.
    """

    def __init__(
        self, histories: Histories, max_length: int, batch_events: int, augmentation: AugmentationConfig
    ) -> None:
        self.histories, self.max_length, self.batch_events = histories, max_length, batch_events
        self.augmentation = augmentation
        self.gap = gaps(histories)

    def epoch(self, rng: np.random.Generator) -> Iterator[WindowBatch]:
        """Yield every positive event as a target once, in batches of random order."""
        start, stop = self._cut(rng)
        order = np.argsort(stop - start + rng.random(len(start)), kind="stable")
        groups = _groups((stop - start)[order], self.batch_events)
        for place in rng.permutation(len(groups)):
            first, last = groups[place]
            rows = order[first:last]
            batch = _gather(self.histories, self.gap, start[rows], stop[rows], rng, self.augmentation)
            if (batch.target >= 0).any():  # windows of dislikes alone have no target
                yield batch

    def num_batches(self) -> int:
        """Return about how many batches an epoch has."""
        return max(1, round(self.histories.num_events / self.batch_events))

    def _cut(self, rng: np.random.Generator) -> tuple[Int64[np.ndarray, " w"], Int64[np.ndarray, " w"]]:
        """Cut every history into consecutive windows; the end of the first one is random."""
        lengths = self.histories.lengths()
        longer = lengths > self.max_length
        shift = np.zeros(len(lengths), np.int64)
        if self.augmentation.crop:
            shift[longer] = rng.integers(0, self.max_length, int(longer.sum()))
        # counted from the end, the last window is `max_length - shift` long and all others but the first are full
        after_last = np.maximum(lengths - (self.max_length - shift), 0)
        count = np.where(longer, 1 + -(-after_last // self.max_length), 1)
        count[lengths == 0] = 0
        user = np.repeat(np.arange(len(lengths)), count)
        nth = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)  # 0 is the last window
        end = self.histories.offsets[1:][user]
        stop = np.where(nth == 0, end, end - (self.max_length - shift[user]) - (nth - 1) * self.max_length)
        start = np.where(nth == 0, end - (self.max_length - shift[user]), stop - self.max_length)
        return np.maximum(start, self.histories.offsets[:-1][user]), stop


def gaps(histories: Histories) -> Int64[np.ndarray, " events"]:
    """Return the time bucket of each event; a user's first event is in the last bucket."""
    if histories.num_events == 0:
        return np.zeros(0, np.int64)
    seconds = np.diff(histories.at, prepend=histories.at[:1]) / MICROSECONDS
    bucket = np.zeros(len(seconds), np.int64)
    later = seconds > 0
    bucket[later] = 1 + np.clip(np.log2(np.maximum(seconds[later], 1)) / 2, 0, GAP_BUCKETS - 3).astype(np.int64)
    first = histories.offsets[:-1][histories.lengths() > 0]
    bucket[first] = GAP_BUCKETS - 1
    return bucket


def _gather(
    histories: Histories,
    gap: Int64[np.ndarray, " events"],
    start: Int64[np.ndarray, " B"],
    stop: Int64[np.ndarray, " B"],
    rng: np.random.Generator | None,
    augmentation: AugmentationConfig | None = None,
) -> WindowBatch:
    lengths = stop - start
    length = int(lengths.max(initial=0))
    place = np.arange(length)
    real = place < lengths[:, None]
    event = np.where(real, start[:, None] + place, 0)
    if histories.num_events == 0:
        real, event = real[:, :0], event[:, :0]
    target = np.full((len(start), length + 1), -1, np.int64)
    if rng is not None:  # target[:, t] follows t events
        target[:, :length] = np.where(real & (histories.weight[event] > 0), histories.item_index[event], -1)
    if rng is not None and augmentation is not None and augmentation.reorder:
        event = _reordered(event, lengths, rng, augmentation.reorder)
    weight = np.where(real, histories.weight[event], 0)
    if rng is not None and augmentation is not None and augmentation.mask:
        weight = np.where(rng.random(weight.shape) < augmentation.mask, 0, weight)
    return WindowBatch(
        torch.from_numpy(np.where(real, histories.item_index[event], 0).astype(np.int64)),
        torch.from_numpy(weight.astype(np.float32)),
        torch.from_numpy(np.where(real, gap[event], 0)),
        torch.from_numpy(lengths),
        torch.from_numpy(target),
    )


def _reordered(
    event: Int64[np.ndarray, "B L"], lengths: Int64[np.ndarray, " B"], rng: np.random.Generator, share: float
) -> Int64[np.ndarray, "B L"]:
    """Shuffle one run of up to a fifth of the events in some windows; targets do not change."""
    out = event.copy()
    for row in np.flatnonzero((rng.random(len(event)) < share) & (lengths > 3)):
        run = max(2, int(lengths[row]) // 5)
        first = rng.integers(0, lengths[row] - run + 1)
        out[row, first : first + run] = rng.permutation(event[row, first : first + run])
    return out


def _groups(sorted_lengths: Int64[np.ndarray, " w"], batch_events: int) -> list[tuple[int, int]]:
    """Cut windows sorted by length into runs of at most `batch_events` padded events."""
    groups, first = [], 0
    for row, length in enumerate(sorted_lengths):
        if row > first and (row - first + 1) * (length + 1) > batch_events:
            groups.append((first, row))
            first = row
    if first < len(sorted_lengths):
        groups.append((first, len(sorted_lengths)))
    return groups


def hold_out(
    histories: Histories, max_users: int, rng: np.random.Generator
) -> tuple[Histories, Histories, Int64[np.ndarray, " users"]]:
    """Hold out the last positive event of some users, for early stopping.

    Returns:
        The histories without those events; the chosen users' histories before the event; the item_index of the events.
    """
    lengths = histories.lengths()
    last = histories.offsets[1:] - 1
    able = np.flatnonzero(lengths > 2)
    able = able[histories.weight[last[able]] > 0]
    users = np.sort(rng.choice(able, min(max_users, len(able) // 4), replace=False)) if len(able) >= 4 else able[:0]
    keep: Bool[np.ndarray, " events"] = np.ones(histories.num_events, bool)
    keep[last[users]] = False
    shorter = lengths.copy()
    shorter[users] -= 1
    left = Histories(
        histories.user_ids,
        np.concatenate([[0], np.cumsum(shorter)]).astype(np.int64),
        histories.item_index[keep],
        histories.at[keep],
        histories.weight[keep],
        histories.num_items,
    )
    return left, left.take(users), histories.item_index[last[users]].astype(np.int64)
