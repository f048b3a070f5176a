"""Streams of different rates on one time axis.

In: readings with their times (STFT frames, words, video frames, sensors, events). Out: one row for each time of the axis, and which are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding
from penchant.data.findings import found

Method = Literal["interpolate", "window", "nearest", "hold", "count"]
Times: TypeAlias = Float64[np.ndarray, " times"]
Readings: TypeAlias = Float32[np.ndarray, "times channels"]


class Config(Settings):
    """How one stream is brought to the axis."""

    method: Method = "interpolate"
    """interpolate: a line between neighbours (sensors). window: mean of what falls into one step (fast streams made slow).
    nearest: the closest reading (video frames). hold: the last one (words, states). count: how many fall into one step (events)."""
    max_gap_seconds: float | None = Field(None, gt=0)
    """Gaps up to this long are filled, longer ones masked; None fills every gap between two readings."""


@dataclass(frozen=True)
class Stream:
    """Readings in order of time.

    Attributes:
        at: (readings,) seconds on the stream's own clock, rising, no two equal.
        values: (readings, channels); NaN where a channel has no value.
        until: (readings,) where each reading ends (a word is over); None where it holds until the next.
    """

    at: Times
    values: Readings
    until: Times | None = None

    def __len__(self) -> int:
        return len(self.at)

    def shifted(self, seconds: float) -> Stream:
        """Return the stream with `seconds` added to its times."""
        return replace(self, at=self.at + seconds, until=None if self.until is None else self.until + seconds)


@dataclass(frozen=True)
class Offset:
    """How far one clock is behind another.

    Attributes:
        seconds: To be added to the second stream's times (`shifted`) so that it fits the first.
        correlation: At that offset, in [-1, 1].
        runner_up: Highest correlation at any clearly different offset; near `correlation` the answer is a guess.
    """

    seconds: float
    correlation: float
    runner_up: float


def make_stream(at: Times, values: Readings, until: Times | None = None) -> tuple[Stream, list[Finding]]:
    """Put readings in order; several of one instant become their mean, and those without a time are dropped.

    Args:
        at: (readings,) seconds, in any order.
        values: (readings, channels) or (readings,); infinities count as missing.
        until: (readings,) ends, where readings have one.

    Raises:
        DataError: Times and values differ in number, or no reading has a time.
    """
    at = np.asarray(at, np.float64)
    values = np.asarray(values, np.float32).reshape(len(at), -1) if len(at) == len(values) else _unequal(at, values)
    timed = np.isfinite(at)
    if not timed.any():
        raise DataError("No reading has a time.", where="a stream", fix="give seconds for each reading")
    is_backward = bool((np.diff(at[timed]) < 0).any())
    order = np.flatnonzero(timed)[np.argsort(at[timed], kind="stable")]
    values = np.where(np.isfinite(values[order]), values[order], np.float32(np.nan))
    unique, start = np.unique(at[order], return_index=True)
    ends = None if until is None else np.maximum.reduceat(np.asarray(until, np.float64)[order], start)
    stream = Stream(unique, _mean_of_runs(values, start), ends)
    return stream, _notes(len(at), int((~timed).sum()), len(order) - len(unique), is_backward)


def regular(values: Readings, rate: float, *, start: float = 0.0) -> Stream:
    """Return the stream of equally spaced readings (STFT frames, a sensor's samples): `rate` a second from `start` on."""
    values = np.asarray(values, np.float32).reshape(len(values), -1)
    return Stream(start + np.arange(len(values)) / rate, values)


def time_axis(streams: Mapping[str, Stream], rate: float, *, overlap: bool = False) -> Times:
    """Return `rate` times a second over the span of all streams, or of what they share.

    Raises:
        DataError: They share no time.
    """
    starts, ends = [s.at[0] for s in streams.values()], [_end(s) for s in streams.values()]
    first, last = (max(starts), min(ends)) if overlap else (min(starts), max(ends))
    if last < first:
        raise DataError(
            f"The streams share no time: one begins at {first:.3f} s, another ends at {last:.3f} s.",
            where=", ".join(streams),
            fix="estimate their offset and shift one, or take the span of all (overlap=False)",
        )
    return first + np.arange(int((last - first) * rate + 1e-6) + 1) / rate


def align(stream: Stream, times: Times, config: Config) -> tuple[Readings, Bool[np.ndarray, "times channels"]]:
    """Return the stream at the times of an axis, 0 where nothing is known, and where something is.

    Args:
        stream: From `make_stream` or `regular`.
        times: Rising, equally spaced for "window" and "count", whose steps are centred on them.
        config: Method, and how long a gap may be.
    """
    if config.method in ("window", "count"):
        values, known = _windows(stream, times, is_count=config.method == "count")
    else:
        columns = [_at_points(stream, channel, times, config) for channel in range(stream.values.shape[1])]
        values, known = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return np.where(known, values, 0).astype(np.float32), known


def estimate_offset(first: Stream, second: Stream, *, rate: float, max_seconds: float) -> Offset:
    """Find the offset at which two streams of the same happening fit best, by normalised cross-correlation.

    With equal channels the channels are compared pairwise, else how much happens in each (the norm of all channels).
    Finer than one step by a parabola through the peak.

    Args:
        first: Its clock is the reference.
        second: The one to be shifted.
        rate: Steps a second both are brought to; the faster stream's rate loses nothing.
        max_seconds: Larger offsets are not considered, nor those at which less than half of the shorter stream overlaps.

    Raises:
        DataError: A stream does not vary, or no offset leaves enough overlap.
    """
    pairwise = first.values.shape[1] == second.values.shape[1]
    a, b = (_on_grid(stream, rate, pairwise=pairwise) for stream in (first, second))
    lags, score = _correlate(a, b)
    seconds = lags / rate + first.at[0] - second.at[0]
    score[np.abs(seconds) > max_seconds] = -np.inf
    best = int(np.argmax(score))
    if not np.isfinite(score[best]):
        raise DataError(
            f"No offset within {max_seconds:g} s lets the streams overlap by half.",
            where="two streams",
            fix="raise max_seconds, or bring streams of the same time",
        )
    others = np.abs(lags - lags[best]) > _width(score, best)
    runner_up = float(score[others].max(initial=-1.0))
    return Offset(float(seconds[best] + _vertex(score, best) / rate), float(score[best]), runner_up)


def _unequal(at: Times, values: Readings) -> Readings:
    raise DataError(
        f"There are {len(at):,} times and {len(values):,} readings.",
        where="a stream",
        fix="give one time for each reading",
    )


def _notes(total: int, untimed: int, again: int, is_backward: bool) -> list[Finding]:
    return (
        found("signal.no_time", untimed, total, "dropped", examples=(), advice=message("readings without a time"))
        + found(
            "signal.duplicate_time",
            again,
            total,
            "repaired",
            examples=(),
            advice=message("readings of one instant became their mean"),
        )
        + found(
            "signal.unordered",
            int(is_backward),
            1,
            "repaired",
            examples=(),
            advice=message("readings were put in order of time"),
        )
    )


def _mean_of_runs(values: Readings, start: np.ndarray) -> Readings:
    """Average consecutive rows, leaving missing values out."""
    if len(start) == len(values):
        return values
    known = np.isfinite(values)
    total = np.add.reduceat(np.where(known, values, 0).astype(np.float64), start)
    count = np.add.reduceat(known.astype(np.int64), start)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _end(stream: Stream) -> float:
    return float(stream.at[-1] if stream.until is None else stream.until.max())


def _at_points(
    stream: Stream, channel: int, times: Times, config: Config
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
        ends = np.full(len(at), np.inf) if stream.until is None else stream.until[known]
        held = (at[last] <= times + 1e-9) & (times < ends[last]) & (times - at[last] <= limit)
        return values[last], held
    if config.method == "nearest":
        nearest = np.where(times - at[before] <= at[after] - times, before, after)
        nearest = np.where(right == 0, 0, nearest)
        inside = (times >= at[0] - limit) & (times <= at[-1] + limit) if np.isfinite(limit) else True
        return values[nearest], inside & (np.abs(at[nearest] - times) <= limit)
    between = (right > 0) & (right < len(at)) & (at[after] - at[before] <= limit)
    return np.interp(times, at, values), between | exact


def _windows(stream: Stream, times: Times, *, is_count: bool) -> tuple[Readings, Bool[np.ndarray, "times channels"]]:
    """Average, or count, the readings within half a step of each time, by sums over everything before its edges."""
    step = times[1] - times[0] if len(times) > 1 else np.inf
    edges = np.searchsorted(stream.at, np.append(times - step / 2, times[-1] + step / 2))
    known = np.isfinite(stream.values)
    if is_count:
        number = np.diff(edges).astype(np.float32)[:, None]
        return number, np.ones_like(number, bool)
    zero = np.zeros((1, known.shape[1]))
    total = np.concatenate([zero, np.cumsum(np.where(known, stream.values, 0), axis=0, dtype=np.float64)])
    count = np.concatenate([zero, np.cumsum(known, axis=0)])
    inside = count[edges[1:]] - count[edges[:-1]]
    mean = (total[edges[1:]] - total[edges[:-1]]) / np.maximum(inside, 1)
    return mean.astype(np.float32), inside > 0


def _on_grid(
    stream: Stream, rate: float, *, pairwise: bool
) -> tuple[Float64[np.ndarray, "times channels"], np.ndarray]:
    """Return standardised values on a grid, 0 where unknown, and where they are known."""
    values, known = align(stream, time_axis({"": stream}, rate), Config())
    count = np.maximum(known.sum(0), 1)
    centred = np.where(known, values - (values * known).sum(0) / count, 0.0)
    deviation = np.sqrt((centred**2).sum(0) / count)
    if not (deviation > 0).any():
        raise DataError(
            "A stream does not vary, so nothing tells when it happened.",
            where="two streams",
            fix="take another channel",
        )
    scaled = np.where(deviation > 0, centred / np.where(deviation > 0, deviation, 1), 0.0)
    if pairwise:
        return scaled, known
    activity = np.sqrt((scaled**2).sum(1, keepdims=True))
    seen = np.atleast_2d(known.any(1)).T
    return np.where(seen, activity - activity[seen].mean(), 0.0), seen


def _correlate(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, Float64[np.ndarray, " lags"]]:
    """Return lags (steps `b` comes later than it should) and the correlation over what overlaps at each; -inf for too little."""
    from scipy import signal  # slow to import, and no service needs it

    (x, known_x), (y, known_y) = a, b
    known_x, known_y = known_x.astype(np.float64), known_y.astype(np.float64)

    def over_channels(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        each = [signal.correlate(u[:, c], v[:, c], method="fft") for c in range(u.shape[1])]
        return np.sum(each, axis=0)

    power = over_channels(x**2, known_y) * over_channels(known_x, y**2)
    overlap = over_channels(known_x, known_y)
    enough = (overlap >= 0.5 * min(known_x.sum(), known_y.sum())) & (power > 1e-9)
    score = np.where(enough, over_channels(x, y) / np.sqrt(np.maximum(power, 1e-9)), -np.inf)
    return signal.correlation_lags(len(x), len(y)), score


def _width(score: Float64[np.ndarray, " lags"], best: int) -> int:
    """Return how many steps from its peak the correlation first falls below half of it, at least two."""
    for reach in range(2, len(score)):
        beside = score[[max(0, best - reach), min(len(score) - 1, best + reach)]]
        if (beside < 0.5 * score[best]).all():
            return reach
    return len(score)


def _vertex(score: Float64[np.ndarray, " lags"], best: int) -> float:
    """Return how far from the highest step the peak of a parabola through it and its neighbours lies, in steps."""
    if not 0 < best < len(score) - 1 or not np.isfinite(score[best - 1 : best + 2]).all():
        return 0.0
    left, middle, right = score[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0
