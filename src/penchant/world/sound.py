"""Item sounds: short synthesised melodies.

In: a timbre, a tempo, a random generator. Out: mono samples at 16 kHz.
"""

# ruff: noqa: ARG001 - every instrument takes the same three arguments, needed or not

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from scipy import signal

RATE = 16_000
SECONDS = 2.5
TEMPOS = {"slow": (60, 84), "medium": (96, 126), "fast": (144, 190)}
"""Notes per minute, from and to."""
SCALE = np.array([0, 2, 4, 7, 9, 12, 14, 16])
"""Pentatonic steps in semitones, consonant in any order."""
Samples = Float32[np.ndarray, " samples"]
Instrument = Callable[[float, int, np.random.Generator], Samples]


def play(timbre: str, tempo: str, rng: np.random.Generator) -> Samples:
    """Return `SECONDS` of a melody; key, tune, exact tempo, loudness, room and hiss vary within a timbre."""
    low, high = TEMPOS[tempo]
    beat = round(RATE * 60 / rng.uniform(low, high))
    total = int(RATE * SECONDS)
    out = np.zeros(total + 2 * RATE, np.float32)
    root = 220 * 2 ** (rng.integers(-3, 10) / 12)
    step = int(rng.integers(len(SCALE)))
    for start in range(0, total, beat):
        step = int(np.clip(step + rng.integers(-2, 3), 0, len(SCALE) - 1))
        note = INSTRUMENTS[timbre](float(root * 2 ** (SCALE[step] / 12)), min(2 * beat, 2 * RATE), rng)
        out[start : start + len(note)] += note * np.float32(rng.uniform(0.7, 1.0))
    mixed = _room(out, rng)[:total] + rng.uniform(0.0005, 0.004) * rng.standard_normal(total, np.float32)
    fade = np.minimum(1, np.arange(total, 0, -1) / (0.05 * RATE))
    peak = rng.uniform(0.4, 0.85)
    return np.asarray(mixed * fade * (peak / np.abs(mixed).max()), np.float32)


def _flute(pitch: float, length: int, rng: np.random.Generator) -> Samples:
    """Nearly a sine, with breath noise and vibrato."""
    time = np.arange(length) / RATE
    phase = 2 * np.pi * pitch * (time + 0.0006 * np.sin(2 * np.pi * 5.2 * time))
    breath = 0.05 * signal.lfilter([1.0, -0.95], [1.0], rng.standard_normal(length))
    tone = np.sin(phase) + 0.18 * np.sin(2 * phase) + 0.04 * np.sin(3 * phase) + breath
    return _shaped(tone, attack=0.07, hold=0.55)


def _bell(pitch: float, length: int, rng: np.random.Generator) -> Samples:
    """Inharmonic partials, each with its own decay."""
    time = np.arange(length) / RATE
    tone = np.zeros(length)
    for ratio, loud, decay in ((1, 1.0, 2.0), (2.76, 0.7, 3.2), (5.4, 0.45, 5.0), (8.93, 0.3, 8.0)):
        tone += loud * np.exp(-decay * time) * np.sin(2 * np.pi * 1.6 * pitch * ratio * time)
    return _shaped(tone, attack=0.002, hold=0.9)


def _strings(pitch: float, length: int, rng: np.random.Generator) -> Samples:
    """Three detuned sawtooth voices with a slow attack."""
    time = np.arange(length) / RATE
    tone = np.zeros(length)
    for detune in rng.uniform(-0.004, 0.004, 3):
        vibrato = 0.0009 * np.sin(2 * np.pi * rng.uniform(4.5, 6) * time)
        tone += signal.sawtooth(2 * np.pi * 0.75 * pitch * (1 + detune) * (time + vibrato))
    smooth = signal.lfilter(*signal.butter(2, min(6 * pitch, 5000) / (RATE / 2)), tone)
    return _shaped(smooth, attack=0.16, hold=0.6)


def _harp(pitch: float, length: int, rng: np.random.Generator) -> Samples:
    """A plucked string: bright at first, then dull (Karplus & Strong 1983, as a sum of decaying overtones)."""
    time = np.arange(length) / RATE
    tone = np.zeros(length)
    for overtone in range(1, 9):
        if overtone * pitch < 0.45 * RATE:
            tone += np.exp(-(2.5 + 1.8 * overtone) * time) * np.sin(2 * np.pi * overtone * pitch * time) / overtone
    return _shaped(tone, attack=0.003, hold=0.9)


def _reed(pitch: float, length: int, rng: np.random.Generator) -> Samples:
    """Odd overtones only, as in a clarinet."""
    time = np.arange(length) / RATE
    tone = sum(
        np.sin(2 * np.pi * n * 0.6 * pitch * time) / n**0.7 for n in (1, 3, 5, 7, 9) if n * pitch * 0.6 < 0.45 * RATE
    )
    return _shaped(np.asarray(tone), attack=0.03, hold=0.5)


def _drum(pitch: float, length: int, rng: np.random.Generator) -> Samples:
    """A tone of falling pitch with noise."""
    time = np.arange(length) / RATE
    skin = np.exp(-9 * time) * np.sin(2 * np.pi * (0.35 * pitch * time + 3.0 * (1 - np.exp(-30 * time))))
    rattle = np.exp(-22 * time) * rng.standard_normal(length) * rng.uniform(0.25, 0.6)
    return _shaped(skin + rattle, attack=0.001, hold=0.9)


def _wood(pitch: float, length: int, rng: np.random.Generator) -> Samples:
    """A struck bar: a short tone, its fourth partial and the noise of the mallet."""
    time = np.arange(length) / RATE
    bar = np.exp(-11 * time) * np.sin(2 * np.pi * pitch * time) + 0.5 * np.exp(-24 * time) * np.sin(
        2 * np.pi * 4 * pitch * time
    )
    return _shaped(bar + 0.25 * np.exp(-90 * time) * rng.standard_normal(length), attack=0.001, hold=0.9)


def _organ(pitch: float, length: int, rng: np.random.Generator) -> Samples:
    """Octaves and fifths at constant strength."""
    time = np.arange(length) / RATE
    tone = np.zeros(length)
    for ratio, loud in ((0.5, 0.8), (1, 1.0), (1.5, 0.5), (2, 0.7), (4, 0.5), (6, 0.25)):
        tone += loud * np.sin(2 * np.pi * ratio * pitch * time + rng.uniform(0, 6.3))
    return _shaped(tone, attack=0.02, hold=0.85)


INSTRUMENTS: dict[str, Instrument] = {
    "flute": _flute,
    "bell": _bell,
    "strings": _strings,
    "harp": _harp,
    "reed": _reed,
    "drum": _drum,
    "wood": _wood,
    "organ": _organ,
}


def _shaped(tone: np.ndarray, *, attack: float, hold: float) -> Samples:
    """Apply an envelope: rise for `attack` seconds, hold for the share `hold` of the note, then fall."""
    length = len(tone)
    rise = np.minimum(1, np.arange(length) / (attack * RATE))
    fall = np.clip((length - np.arange(length)) / (length * (1 - hold)), 0, 1)
    return np.asarray(tone * rise * fall, np.float32)


def _room(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add four echoes of a random room size."""
    out = samples.copy()
    for echo in range(1, 5):
        delay = int(RATE * rng.uniform(0.02, 0.06) * echo)
        out[delay:] += np.float32(rng.uniform(0.1, 0.4) / echo) * samples[:-delay]
    return out
