"""Statistics of a voice or another sound: spectrum, cepstra with their movement, pitch and loudness over time.

In: mono samples at 16 kHz. Out: one vector, a few milliseconds a second of sound, no weights. The plain features that a sound model has to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import Field

from penchant.core.config import Settings
from penchant.encoders.audio import RATE, SILENCE, mel_filters
from penchant.encoders.encoder import Encoder

WINDOW, HOP = 512, 256
PITCH_WINDOW = 1024
LOWEST, HIGHEST = 60.0, 500.0
"""Pitch of voices, in hertz."""
VOICED = 0.45
"""Autocorrelation at the pitch period from which on a frame counts as voiced."""
POINTS = (10, 50, 90)
"""Percentiles over frames."""


class VoiceConfig(Settings):
    """Settings of voice statistics."""

    bands: int = Field(40, ge=1)
    """Mel bands."""
    cepstra: int = Field(20, ge=1)
    """Cepstral coefficients."""


class Voice(Encoder[VoiceConfig]):
    """Log-mel bands, cepstra with first and second differences, pitch, loudness and spectral shape, as statistics over the clip.

    Source: Davis & Mermelstein, TASSP 1980 (cepstra); Furui, TASSP 1986 (differences); Boersma, IFA Proc. 1993 (pitch by autocorrelation);
    Eyben et al., The Geneva minimalistic acoustic parameter set, IEEE Trans. Affective Computing 2016 (which statistics of a voice).
    """

    modality = "audio"
    licence = "none needed"
    cost = "medium"
    decodes_apart = True

    config_class = VoiceConfig

    def weights(self) -> Any:
        return None

    def prepare(self, raw: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, " dim"]:
        return voice_statistics(raw, self.config.bands, self.config.cepstra)

    def encode(self, prepared: Sequence[Float32[np.ndarray, " dim"]]) -> Float32[np.ndarray, "batch dim"]:
        return np.stack(prepared)


def voice_statistics(samples: Float32[np.ndarray, " samples"], bands: int, cepstra: int) -> Float32[np.ndarray, " dim"]:
    """Return the statistics of one clip."""
    from scipy import fft, signal  # slow to import, and a service needs it for sound only

    samples = np.pad(samples, (0, max(0, 4 * PITCH_WINDOW - len(samples))))
    _, _, spectrum = signal.stft(samples, RATE, nperseg=WINDOW, noverlap=WINDOW - HOP, boundary=None, padded=False)
    power = (np.abs(spectrum) ** 2).astype(np.float32)  # (F, T)
    level = np.log10(power.sum(0) + SILENCE)
    mel = np.log10(mel_filters(bands, WINDOW) @ power + SILENCE)
    cepstrum = fft.dct(mel, axis=0, norm="ortho")[:cepstra]
    first = np.diff(cepstrum, axis=1)
    second = np.diff(first, axis=1)
    parts = [block for each in (mel, cepstrum, _shape(power)) for block in (each.mean(1), each.std(1))]
    parts += [np.abs(first).mean(1), first.std(1), second.std(1)]
    parts += [_over_time(level), _pitch(samples)]
    return np.nan_to_num(np.concatenate(parts)).astype(np.float32)


def pitch_track(
    samples: Float32[np.ndarray, " samples"],
) -> tuple[Float64[np.ndarray, " frames"], Float64[np.ndarray, " frames"]]:
    """Return each frame's pitch in hertz, and the autocorrelation there: 1 for a perfect period, near 0 for noise."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, PITCH_WINDOW)[::HOP].astype(np.float64)
    frames = (frames - frames.mean(1, keepdims=True)) * np.hanning(PITCH_WINDOW)
    longest, shortest = int(RATE / LOWEST), int(RATE / HIGHEST)
    found = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * PITCH_WINDOW)) ** 2)[:, : longest + 1]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(PITCH_WINDOW), 2 * PITCH_WINDOW)) ** 2)[: longest + 1]
    found = (
        found / np.maximum(found[:, :1], 1e-12) * (window[0] / window)
    )  # the window itself makes long periods seem weaker
    strength = found[:, shortest:]
    best = strength.max(axis=1)
    period = shortest + np.argmax(
        strength >= 0.9 * best[:, None], axis=1
    )  # the first high place: later ones are its multiples
    place = np.arange(longest + 1)
    is_near = (place >= period[:, None]) & (place <= 1.2 * period[:, None])
    period = np.where(is_near, found, -np.inf).argmax(axis=1)  # the top of that peak
    return RATE / period, best


def _pitch(samples: Float32[np.ndarray, " samples"]) -> Float64[np.ndarray, " 12"]:
    """Return the voiced share, and of the pitch in semitones: level, spread, range, slope, and how much it moves."""
    hertz, strength = pitch_track(samples)
    voiced = strength >= VOICED
    harmonic = np.array([voiced.mean(), strength.mean(), strength.std()])
    if voiced.sum() < 3:
        return np.concatenate([harmonic, np.zeros(9)])
    semitone = 12 * np.log2(hertz[voiced] / 100)
    slope = np.polyfit(np.linspace(0, 1, len(semitone)), semitone, 1)[0]
    move = np.abs(np.diff(semitone))
    return np.concatenate(
        [
            harmonic,
            [semitone.mean(), semitone.std(), *np.percentile(semitone, POINTS), slope],
            [move.mean(), np.median(move), (move > 2).mean()],
        ]
    )


def _over_time(level: Float32[np.ndarray, " frames"]) -> Float64[np.ndarray, " 9"]:
    """Return spread, range, movement and rhythm of the loudness."""
    centred = level - level.mean()
    move = np.diff(level)
    is_peak = (centred[1:-1] > centred[:-2]) & (centred[1:-1] >= centred[2:]) & (centred[1:-1] > 0)
    quiet = (level < np.max(level) - 3).mean()  # 30 dB below the loudest frame
    return np.array(
        [
            level.std(),
            *np.percentile(centred, POINTS),
            np.abs(move).mean(),
            move.std(),
            move.max(),
            is_peak.mean(),
            quiet,
        ]
    )


def _shape(power: Float32[np.ndarray, "bins frames"]) -> Float32[np.ndarray, "6 frames"]:
    """Return centroid, bandwidth, roll-off, flatness, the share above 1 kHz and the slope of the spectrum of each frame."""
    frequency = np.linspace(0, 1, len(power), dtype=np.float32)[:, None]
    total = np.maximum(power.sum(0), SILENCE)
    centroid = (frequency * power).sum(0) / total
    bandwidth = np.sqrt((np.square(frequency - centroid) * power).sum(0) / total)
    rolloff = (np.cumsum(power, 0) < 0.85 * total).mean(0)
    log = np.log10(power + SILENCE)
    flatness = 10 ** log.mean(0) / np.maximum(power.mean(0), SILENCE)
    high = power[len(power) // 8 :].sum(0) / total
    centred = frequency - frequency.mean()
    slope = (centred * log).sum(0) / np.square(centred).sum()
    return np.stack([centroid, bandwidth, rolloff, flatness, high, slope]).astype(np.float32)
