"""Resample readings of any rate to a regular time axis.

In: readings with their times. Out: one row for each time of the axis, and a mask of known values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, make_findings

Method = Literal["window", "interpolate", "nearest", "hold"]
Times: TypeAlias = Float64[np.ndarray, " times"]
Readings: TypeAlias = Float32[np.ndarray, "times channels"]


class AlignmentConfig(Settings):
    """Settings of the resampling of one stream."""

    method: Method = "interpolate"
    """interpolate: a line between neighbours (sensors). window: mean of what falls into one step (fast streams made slow).
    nearest: the closest reading (video frames). hold: the last one (states)."""
    max_gap_seconds: float | None = Field(None, gt=0)
    """Gaps up to this long are filled, longer ones masked; None fills every gap between two readings."""


@dataclass(frozen=True)
class Stream:
    """Readings in order of time.

    Attributes:
        at: (readings,) seconds on the stream's own clock, rising, no two equal.
        values: (readings, channels); NaN where a channel has no value.
    """

    at: Times
    values: Readings

    def __len__(self) -> int:
        return len(self.at)


def make_stream(at: Times, values: Readings) -> tuple[Stream, list[Finding]]:
    """Put readings in order; several of one instant become their mean, and those without a time are dropped.

    Args:
        at: (readings,) seconds, in any order.
        values: (readings, channels) or (readings,); infinities count as missing.

    Raises:
        DataError: Times and values differ in number, or no reading has a time.
    """
    at = np.asarray(at, np.float64)
    if len(at) != len(values):
        raise DataError(
            f"There are {len(at):,} times and {len(values):,} readings.",
            where="a stream",
            fix="give one time for each reading",
        )
    values = np.asarray(values, np.float32).reshape(len(at), -1)
    timed = np.isfinite(at)
    if not timed.any():
        raise DataError("No reading has a time.", where="a stream", fix="give seconds for each reading")
    is_backward = bool((np.diff(at[timed]) < 0).any())
    order = np.flatnonzero(timed)[np.argsort(at[timed], kind="stable")]
    values = np.where(np.isfinite(values[order]), values[order], np.float32(np.nan))
    unique, start = np.unique(at[order], return_index=True)
    stream = Stream(unique, _mean_of_runs(values, start))
    counted = (
        ("no_time", int((~timed).sum()), len(at), "dropped", message("readings without a time")),
        (
            "duplicate_time",
            len(order) - len(unique),
            len(at),
            "repaired",
            message("readings of one instant became their mean"),
        ),
        ("unordered", int(is_backward), 1, "repaired", message("readings were put in order of time")),
    )
    notes = [
        make_findings(f"signal.{name}", count, of, action, advice=text) for name, count, of, action, text in counted
    ]
    return stream, list(chain.from_iterable(notes))


def regular(values: Readings, rate: float, *, start: float = 0.0) -> Stream:
    """Return the stream of equally spaced readings (STFT frames, a sensor's samples): `rate` a second from `start` on."""
    values = np.asarray(values, np.float32).reshape(len(values), -1)
    return Stream(start + np.arange(len(values)) / rate, values)


def align(stream: Stream, times: Times, config: AlignmentConfig) -> tuple[Readings, Bool[np.ndarray, "times channels"]]:
    """Return the stream at the times of an axis, 0 where nothing is known, and where something is.

    Args:
        stream: From `make_stream` or `regular`.
        times: Rising, equally spaced for "window", whose steps are centred on them.
        config: Method, and how long a gap may be.
    """
    if config.method == "window":
        values, known = _windows(stream, times)
    else:
        columns = [_at_points(stream, channel, times, config) for channel in range(stream.values.shape[1])]
        values, known = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return np.where(known, values, 0).astype(np.float32), known


def _mean_of_runs(values: Readings, start: np.ndarray) -> Readings:
    """Average consecutive rows, leaving missing values out."""
    if len(start) == len(values):
        return values
    known = np.isfinite(values)
    total = np.add.reduceat(np.where(known, values, 0).astype(np.float64), start)
    count = np.add.reduceat(known.astype(np.int64), start)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _at_points(
    stream: Stream, channel: int, times: Times, config: AlignmentConfig
) -> tuple[Float64[np.ndarray, " times"], Bool[np.ndarray, " times"]]:
    """Read one channel at points of time; its missing values are gaps like any other."""
    known = np.isfinite(stream.values[:, channel])
    if not known.any():
        return np.zeros(len(times)), np.zeros(len(times), bool)
    at, values = stream.at[known], stream.values[known, channel].astype(np.float64)
    limit = np.inf if config.max_gap_seconds is None else config.max_gap_seconds
    right = np.searchsorted(at, times)
    before, after = np.clip(right - 1, 0, None), np.clip(right, None, len(at) - 1)
    exact = np.isclose(at[after], times, rtol=0, atol=1e-9)
    if config.method == "hold":
        last = np.clip(np.searchsorted(at, times + 1e-9, side="right") - 1, 0, None)
        held = (at[last] <= times + 1e-9) & (times - at[last] <= limit)
        return values[last], held
    if config.method == "nearest":
        nearest = np.where(times - at[before] <= at[after] - times, before, after)
        nearest = np.where(right == 0, 0, nearest)
        inside = (times >= at[0] - limit) & (times <= at[-1] + limit) if np.isfinite(limit) else True
        return values[nearest], inside & (np.abs(at[nearest] - times) <= limit)
    between = (right > 0) & (right < len(at)) & (at[after] - at[before] <= limit)
    return np.interp(times, at, values), between | exact


def _windows(stream: Stream, times: Times) -> tuple[Readings, Bool[np.ndarray, "times channels"]]:
    """Average the readings within half a step of each time, by sums over everything before its edges."""
    step = times[1] - times[0] if len(times) > 1 else np.inf
    edges = np.searchsorted(stream.at, np.append(times - step / 2, times[-1] + step / 2))
    known = np.isfinite(stream.values)
    zero = np.zeros((1, known.shape[1]))
    total = np.concatenate([zero, np.cumsum(np.where(known, stream.values, 0), axis=0, dtype=np.float64)])
    count = np.concatenate([zero, np.cumsum(known, axis=0)])
    inside = count[edges[1:]] - count[edges[:-1]]
    mean = (total[edges[1:]] - total[edges[:-1]]) / np.maximum(inside, 1)
    return mean.astype(np.float32), inside > 0
