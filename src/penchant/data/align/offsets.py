"""Estimate the offset, and on request the drift, between two clocks from what was recorded by both.

In: the activity of two streams on one grid. Out: the offset with its 95 % interval, its correlation, how often chance correlates as much, and
whether it can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64
from pydantic import Field
from scipy.signal import correlate

from penchant.core.config import Settings
from penchant.core.messages import message
from penchant.core.seeds import generator

BLOCKS = 20
"""Blocks of the reference that are drawn again for the interval: one of a few seconds holds whole utterances."""
DRAWS = 300
SURROGATES = 99
"""Series of random phases that the correlation is compared with; the least p-value is 1 in 100."""
TRUSTED_P = 0.01
DRIFT_STEP_SECONDS = 0.1
"""Candidate drifts differ by so much at the ends of the recording: less than the width of a syllable, so that no peak is stepped over."""
NEAR_SECONDS = 1.0
"""The interval with drift is drawn among offsets this near to the best."""
SUMS = 6
"""Count, sums, squares and products of two series."""


class OffsetConfig(Settings):
    """Settings of the estimation of an offset."""

    max_offset_seconds: float = Field(30.0, gt=0, le=86_400)
    """Offsets up to this are tried, in both directions."""
    activity_rate: float = Field(50.0, gt=0, le=1000)
    """Values of activity a second that are compared."""
    min_overlap: float = Field(0.5, gt=0, le=1)
    """Share of the shorter recording that must overlap the other at an offset."""
    max_drift: float = Field(0.001, gt=0, le=0.05)
    """Largest difference of the clocks' speeds that is tried where a stream has `drift = true`; 0.001 is 3.6 seconds an hour."""
    max_uncertainty_seconds: float | None = Field(None, gt=0)
    """Half the 95 % interval of a trusted offset is at most this; None takes half a step of the axis."""


@dataclass(frozen=True)
class Activity:
    """How much happens in each cell of a grid that starts at 0 on the stream's own clock.

    Attributes:
        values: (cells,) NaN where it is not known.
        first: Number of the first cell: cell i lasts from i to i + 1, in units of 1 / rate seconds.
    """

    values: Float64[np.ndarray, " cells"]
    first: int


@dataclass(frozen=True)
class Offset:
    """How one clock becomes another: time there = seconds + (1 + drift) x time here.

    Attributes:
        seconds: The offset.
        low: Lower end of its 95 % interval, by drawing blocks of the recording again.
        high: Upper end.
        drift: Difference of the clocks' speeds; 0 where it was not estimated.
        correlation: Of the activities at this offset.
        chance: Share of series with the same spectrum and random phases that correlate as much at their best offset; at least 0.01.
        doubt: Why it cannot be trusted; empty where it can.
    """

    seconds: float
    low: float = float("nan")
    high: float = float("nan")
    drift: float = 0.0
    correlation: float = float("nan")
    chance: float = float("nan")
    doubt: str = ""

    @property
    def is_estimated(self) -> bool:
        """Whether it was estimated, and not given."""
        return bool(np.isfinite(self.correlation)) or bool(self.doubt)

    def there(self, here: Float64[np.ndarray, " times"]) -> Float64[np.ndarray, " times"]:
        """Return times on the other clock."""
        return self.seconds + (1.0 + self.drift) * here

    def here(self, there: Float64[np.ndarray, " times"]) -> Float64[np.ndarray, " times"]:
        """Return times on this clock."""
        return (there - self.seconds) / (1.0 + self.drift)


def estimate_offset(
    reference: Activity, other: Activity, config: OffsetConfig, *, drifts: bool, most: float, seed: int
) -> Offset:
    """Return the offset from the other clock to the reference's at which the activities correlate most.

    Pearson's correlation over the overlap of each offset; a parabola through the best three. Only a positive correlation counts.

    Args:
        reference: Activity on the clock that becomes the axis.
        other: Activity on the other clock.
        config: Settings.
        drifts: Whether to try drifts too.
        most: Half the interval of an offset that is trusted, in seconds.
        seed: Of the draws.

    Source: Theiler et al., Testing for nonlinearity in time series: the method of surrogate data, Physica D 1992 (random phases);
        Künsch, The jackknife and the bootstrap for general stationary observations, Annals of Statistics 1989 (blocks).
    """
    rate, reach = config.activity_rate, int(np.ceil(config.max_offset_seconds * config.activity_rate))
    fewest = max(3, int(config.min_overlap * min(_known(reference), _known(other))))
    if min(_known(reference), _known(other)) < 3 or not (_varies(reference) and _varies(other)):
        return Offset(0.0, doubt=message("the activity of a stream is constant, or shorter than three values"))
    if drifts:
        drift, sums = _best_drift(reference, other, config, reach, fewest)
    else:
        drift, sums = 0.0, _sums(reference, other, reach)
    curve = _correlation(sums.sum(axis=0), fewest)
    if not np.isfinite(curve).any():
        return Offset(0.0, doubt=message("the recordings overlap too little at every offset tried"))
    place = _peak(curve[None])[0]
    rng = generator(seed, "align.offset")
    draws = _drawn(reference, other, sums, drift, place, config, reach, fewest, drifts, rng)
    low, high = np.quantile(draws, (0.025, 0.975))
    # a value of activity is a mean over its cell: half a cell is the least that can be told
    low, high = min(low, place - 0.5), max(high, place + 0.5)
    best = float(np.nanmax(curve))
    chance = _chance(reference, _stretched(other, drift), reach, fewest, best, rng)
    seconds, low, high = ((value - reach) / rate for value in (place, low, high))
    return Offset(
        float(seconds),
        float(low),
        float(high),
        drift,
        best,
        chance,
        _doubt(float(high - low) / 2, most, chance, best, int(np.nanargmax(curve)) in (0, 2 * reach)),
    )


def _doubt(half: float, most: float, chance: float, best: float, at_edge: bool) -> str:
    """Return why an offset is not trusted; empty where it is."""
    if best <= 0 or chance > TRUSTED_P:
        return message(
            "the correlation {value} is not above that of chance (p = {chance})",
            value=f"{best:.2f}",
            chance=f"{chance:.2f}",
        )
    if at_edge:
        return message("the best offset is the largest tried: raise max_offset_seconds")
    if half > most:
        return message("its interval, ±{half} s, is wider than ±{most} s", half=f"{half:.3f}", most=f"{most:.3f}")
    return ""


def _known(activity: Activity) -> int:
    return int(np.isfinite(activity.values).sum())


def _varies(activity: Activity) -> bool:
    return bool(np.nanstd(activity.values) > 1e-9 * max(1.0, float(np.nanmax(np.abs(activity.values)))))


def _stretched(other: Activity, drift: float) -> Activity:
    """Return the activity on a clock that runs faster by `drift`: what happened at t happens at (1 + drift) t."""
    if drift == 0:
        return other
    middle = other.first + np.arange(len(other.values)) + 0.5
    first, last = int(np.floor(middle[0] * (1 + drift))), int(np.ceil(middle[-1] * (1 + drift)))
    wanted = (np.arange(first, last + 1) + 0.5) / (1 + drift)
    inside = (wanted >= middle[0] - 0.5) & (wanted <= middle[-1] + 0.5)
    return Activity(np.where(inside, np.interp(wanted, middle, other.values), np.nan), first)


def _series(activity: Activity) -> Float64[np.ndarray, "3 cells"]:
    """Return what is known (1 or 0), the standardised values, and their squares; 0 where nothing is known."""
    known = np.isfinite(activity.values)
    mean, spread = np.nanmean(activity.values), np.nanstd(activity.values) or 1.0
    values = np.where(known, (activity.values - mean) / spread, 0.0)
    return np.stack([known.astype(np.float64), values, values**2])


def _sums(
    reference: Activity, other: Activity, reach: int, blocks: int = BLOCKS
) -> Float64[np.ndarray, "blocks 6 offsets"]:
    """Return, for blocks of the reference and every offset from -reach to reach cells: count, sums, squares and products over the overlap."""
    x, y = _series(reference), _series(other)
    edges = np.unique(np.linspace(0, x.shape[1], blocks + 1).round().astype(int))
    found = np.zeros((len(edges) - 1, SUMS, 2 * reach + 1))
    for number, (start, end) in enumerate(pairwise(edges)):
        begin = reference.first + start - reach - other.first  # cell of the other at the largest offset
        part = np.zeros((3, end - start + 2 * reach))
        low, high = max(0, begin), min(y.shape[1], begin + part.shape[1])
        if low < high:
            part[:, low - begin : high - begin] = y[:, low:high]
        pairs = ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2), (1, 1))
        for place, (a, b) in enumerate(pairs):
            found[number, place] = correlate(part[b], x[a, start:end], mode="valid", method="fft")[::-1]
    return found


def _correlation(sums: Float64[np.ndarray, "*draws 6 offsets"], fewest: int) -> Float64[np.ndarray, "*draws offsets"]:
    """Return Pearson's correlation at each offset, NaN where fewer cells overlap."""
    n, sx, sxx, sy, syy, sxy = np.moveaxis(sums, -2, 0)
    enough = n > fewest - 0.5
    n = np.where(enough, n, 1.0)
    vx, vy = sxx - sx**2 / n, syy - sy**2 / n
    usable = enough & (vx > 1e-6 * n) & (vy > 1e-6 * n)
    return np.where(usable, (sxy - sx * sy / n) / np.sqrt(np.where(usable, vx * vy, 1.0)), np.nan)


def _peak(curves: Float64[np.ndarray, "draws offsets"]) -> Float64[np.ndarray, " draws"]:
    """Return the place of each highest value, between the offsets by a parabola."""
    filled = np.where(np.isfinite(curves), curves, -2.0)
    top = filled.argmax(axis=1)
    inner = np.clip(top, 1, max(1, curves.shape[1] - 2))
    rows = np.arange(len(curves))
    left, middle, right = (filled[rows, np.minimum(inner + step, curves.shape[1] - 1)] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(
        (bend < 0) & (np.minimum(left, right) > -2.0), (left - right) / (2 * np.where(bend < 0, bend, 1)), 0
    )
    return np.where(inner == top, top + np.clip(shift, -0.5, 0.5), top).astype(np.float64)


def _drifts(length: float, config: OffsetConfig) -> Float64[np.ndarray, " drifts"]:
    """Return the drifts tried over a recording of so many seconds."""
    half = int(np.ceil(config.max_drift * length / 2 / DRIFT_STEP_SECONDS))
    return np.linspace(-config.max_drift, config.max_drift, 2 * max(1, half) + 1)


def _best_drift(
    reference: Activity,
    other: Activity,
    config: OffsetConfig,
    reach: int,
    fewest: int,
) -> tuple[float, Float64[np.ndarray, "blocks 6 offsets"]]:
    """Return the drift of the highest correlation, by a coarse and then finer steps, and its sums."""

    def tried(drift: float) -> float:
        curve = _correlation(_sums(reference, _stretched(other, drift), reach, 1).sum(axis=0), fewest)
        return float(np.nanmax(curve)) if np.isfinite(curve).any() else -2.0

    grid = _drifts(len(other.values) / config.activity_rate, config)
    step, best = grid[1] - grid[0], float(grid[int(np.argmax([tried(d) for d in grid]))])
    for _ in range(4):
        step /= 4
        near = best + step * np.arange(-4, 5)
        best = float(near[int(np.argmax([tried(d) for d in near]))])
    return best, _sums(reference, _stretched(other, best), reach)


def _drawn(
    reference: Activity,
    other: Activity,
    sums: Float64[np.ndarray, "blocks 6 offsets"],
    drift: float,
    place: float,
    config: OffsetConfig,
    reach: int,
    fewest: int,
    drifts: bool,
    rng: np.random.Generator,
) -> Float64[np.ndarray, " draws"]:
    """Return the best offset, in cells from the first, of blocks drawn again; with drift the best of both."""
    counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS).astype(np.float64)
    if not drifts:
        return _peak(_correlation(np.tensordot(counts, sums, 1), fewest))
    near = int(NEAR_SECONDS * config.activity_rate)
    low, high = max(0, int(place) - near), min(sums.shape[2], int(place) + near + 1)
    step = _drifts(len(other.values) / config.activity_rate, config)
    best, found = np.full(DRAWS, -2.0), np.full(DRAWS, place)
    for one in drift + (step[1] - step[0]) * np.linspace(-1, 1, 17):
        part = _sums(reference, _stretched(other, one), reach)[..., low:high]
        curves = _correlation(np.tensordot(counts, part, 1), fewest)
        top = np.where(np.isfinite(curves), curves, -2.0).max(axis=1)
        found, best = np.where(top > best, low + _peak(curves), found), np.maximum(best, top)
    return found


def _chance(
    reference: Activity, other: Activity, reach: int, fewest: int, best: float, rng: np.random.Generator
) -> float:
    """Return how often a series of the other's spectrum and random phases correlates as much at its best offset."""
    known = np.isfinite(other.values)
    values = np.where(known, other.values - np.nanmean(other.values), 0.0)
    size = np.abs(np.fft.rfft(values))
    higher = 0
    for _ in range(SURROGATES):
        phases = np.exp(2j * np.pi * rng.random(len(size)))
        series = np.where(known, np.fft.irfft(size * phases, len(values)), np.nan)
        curve = _correlation(_sums(reference, Activity(series, other.first), reach, 1).sum(axis=0), fewest)
        higher += bool(np.isfinite(curve).any()) and float(np.nanmax(curve)) >= best
    return (1 + higher) / (1 + SURROGATES)
