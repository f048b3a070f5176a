"""Embeddings of sensor signals.

In: multichannel readings at any rate, with gaps. Out: statistics by window and by hour of day; `prepare` returns series a network can train on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import EncoderError
from penchant.data.media.alignment import AlignmentConfig, align
from penchant.data.media.signals import Signal
from penchant.encoders.encoder import Encoder

HOURS = 24


@dataclass(frozen=True)
class RegularSignal:
    """A signal on a regular time axis.

    Attributes:
        values: (steps, channels) float32, NaN where masked.
        hour: (steps,) hours since the midnight before the first reading; -1 where the signal has no dates.
    """

    values: Float32[np.ndarray, "steps channels"]
    hour: Int64[np.ndarray, " steps"]


class SignalStatisticsConfig(Settings):
    """Settings of resampling and windows."""

    channels: list[str] | None = None
    """Channels read, by name; None reads all, which must then be the same in every signal."""
    step_seconds: float = Field(60.0, gt=0)
    """Seconds between two readings after resampling."""
    resample: Literal["window", "interpolate", "nearest", "hold"] = "window"
    """window: mean of the readings in each step, for signals as fast or faster. The others fill in between slower ones."""
    max_gap_seconds: float | None = Field(300.0, gt=0)
    """Longer gaps are masked, shorter ones filled (not for `window`, which fills none)."""
    window_seconds: float = Field(3600.0, gt=0)
    """Length of the windows over which statistics are taken."""
    log: bool = False
    """Take log(1 + x) of channels without negative values first, for counts with rare large ones."""
    max_steps: int = Field(200_000, ge=2)
    """Steps kept of each signal."""


class SignalStatistics(Encoder[SignalStatisticsConfig]):
    """Level, spread, shape and rhythm of each channel over windows, and its course over the day; no weights, milliseconds a signal.

    Statistics of each window come as their mean and spread over the windows. Signals with dates add the mean of each hour and
    the spread over days; missing readings are left out, and their share is no statistic, since it depends on the device.

    Source: Witting et al., Alterations in the circadian rest-activity rhythm, Biol. Psychiatry 1990 (stability, variability).
    """

    modality = "signal"
    licence = "none needed"
    cost = "light"
    batch_size = 16

    config_class = SignalStatisticsConfig

    def weights(self) -> Any:
        return None

    def prepare(self, raw: Signal) -> RegularSignal:
        raw = self._chosen(raw)
        step = self.config.step_seconds
        first = np.floor(raw.stream.at[0] / step) * step
        count = min(self.config.max_steps, int((raw.stream.at[-1] - first) // step) + 1)
        times = first + step * np.arange(count)
        how = AlignmentConfig(method=self.config.resample, max_gap_seconds=self.config.max_gap_seconds)
        values, known = align(raw.stream, times, how)
        if self.config.log:
            positive = np.where(known, values, 0).min(axis=0) >= 0
            values = np.where(positive, np.log1p(np.where(positive, values, 0)), values)
        hour = times // 3600 - first // 86_400 * HOURS if raw.is_dated else np.full(count, -1)
        return RegularSignal(np.where(known, values, np.nan).astype(np.float32), hour.astype(np.int64))

    def _chosen(self, raw: Signal) -> Signal:
        """Return the channels that are read; one that the signal lacks is NaN."""
        names = self.config.channels
        if names is None:
            return raw
        values = np.full((len(raw.stream), len(names)), np.nan, np.float32)
        for place, name in enumerate(names):
            if name in raw.channels:
                values[:, place] = raw.stream.values[:, raw.channels.index(name)]
        return replace(raw, stream=replace(raw.stream, values=values), channels=tuple(names))

    def encode(self, prepared: Sequence[RegularSignal]) -> Float32[np.ndarray, "batch dim"]:
        widths = sorted({series.values.shape[1] for series in prepared})
        if len(widths) > 1:
            raise EncoderError(
                f"Some signals have {widths[0]} channels, some {widths[-1]}.",
                where="SignalStatistics",
                fix='name those to read: options = { channels = ["..."] }',
            )
        size = max(2, round(self.config.window_seconds / self.config.step_seconds))
        return np.stack([np.concatenate([_by_window(s.values, size), _by_day(s)]) for s in prepared])


def _by_window(values: Float32[np.ndarray, "steps channels"], size: int) -> Float32[np.ndarray, " dim"]:
    """Return mean and spread, over windows, of the statistics of each window."""
    padded = np.full((-(-len(values) // size) * size, values.shape[1]), np.nan, np.float32)
    padded[: len(values)] = values
    windows = padded.reshape(-1, size, values.shape[1])  # (W, size, C)
    known = np.isfinite(windows)
    enough = known.sum(1) >= max(2, size // 4)  # (W, C): statistics of a few readings are unreliable
    each = _describe(windows, known)  # (W, C, S)
    kept = np.where(enough[..., None], each, 0.0)
    count = np.maximum(enough.sum(0), 1)[:, None]
    mean = kept.sum(0) / count
    spread = np.sqrt(np.where(enough[..., None], (each - mean) ** 2, 0.0).sum(0) / count)
    return np.concatenate([mean.ravel(), spread.ravel()]).astype(np.float32)


def _describe(
    windows: Float32[np.ndarray, "windows size channels"], known: Bool[np.ndarray, "windows size channels"]
) -> np.ndarray:
    """Return (windows, channels, statistics): level, spread, extremes, skew, rest, roughness and memory."""
    count = np.maximum(known.sum(1), 1)
    values = np.where(known, windows, 0.0).astype(np.float64)
    mean = values.sum(1) / count
    centred = np.where(known, values - mean[:, None], 0.0)
    spread = np.sqrt((centred**2).sum(1) / count)
    scale = np.maximum(spread, 1e-9)
    low = np.where(known, values, np.inf).min(1)
    high = np.where(known, values, -np.inf).max(1)
    low, high = (np.where(np.isfinite(extreme), extreme, 0.0) for extreme in (low, high))
    pairs = known[:, 1:] & known[:, :-1]
    num_pairs = np.maximum(pairs.sum(1), 1)
    rough = (np.abs(np.diff(values, axis=1)) * pairs).sum(1) / num_pairs
    memory = (centred[:, 1:] * centred[:, :-1] * pairs).sum(1) / num_pairs / scale**2
    rest = (known & (np.abs(values) < 1e-9)).sum(1) / count
    skew = (centred**3).sum(1) / count / scale**3
    return np.stack([mean, spread, low, high, skew, rest, rough, np.clip(memory, -1, 1)], axis=-1)


def _by_day(series: RegularSignal) -> Float32[np.ndarray, " dim"]:
    """Return each channel's mean by hour, their spread over days, and the stability and variability of the rhythm; 0 without dates."""
    channels = series.values.shape[1]
    if series.hour[0] < 0:
        return np.zeros((2 * HOURS + 2) * channels, np.float32)
    days = int(series.hour[-1]) // HOURS + 1
    known = np.isfinite(series.values)
    total, count = np.zeros((2, days * HOURS, channels))
    np.add.at(total, series.hour, np.where(known, series.values, 0))
    np.add.at(count, series.hour, known)
    hourly = np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(days, HOURS, channels)
    return _rhythm(hourly)


def _rhythm(hourly: Float32[np.ndarray, "days hours channels"]) -> Float32[np.ndarray, " dim"]:
    known = np.isfinite(hourly)
    count = np.maximum(known.sum(0), 1)
    profile = np.where(known, hourly, 0).sum(0) / count  # (24, C)
    between = np.sqrt(np.where(known, (hourly - profile) ** 2, 0).sum(0) / count)
    flat, is_known = hourly.reshape(-1, hourly.shape[2]), known.reshape(-1, hourly.shape[2])
    number = np.maximum(is_known.sum(0), 1)
    mean = np.where(is_known, flat, 0).sum(0) / number
    variance = np.maximum(np.where(is_known, (flat - mean) ** 2, 0).sum(0) / number, 1e-9)
    stability = ((profile - mean) ** 2).mean(0) / variance
    pairs = is_known[1:] & is_known[:-1]
    change = np.where(pairs, np.diff(flat, axis=0) ** 2, 0).sum(0) / np.maximum(pairs.sum(0), 1) / variance
    return np.concatenate([profile.ravel(), between.ravel(), stability, change]).astype(np.float32)
