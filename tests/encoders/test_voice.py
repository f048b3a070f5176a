"""Pitch and movement of sounds whose pitch is known."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.encoders.audio import RATE
from penchant.encoders.voice import VOICED, Voice, pitch_track


def harmonic(pitch: np.ndarray) -> np.ndarray:
    """Return a sound with harmonics whose pitch follows a curve in hertz, one value a sample."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return (0.3 * sum(np.sin(k * phase) / k for k in range(1, 6))).astype(np.float32)


@pytest.mark.parametrize("hertz", [90, 150, 220, 400])
def test_the_pitch_of_a_steady_sound_is_found(hertz: float) -> None:
    found, strength = pitch_track(harmonic(np.full(RATE, float(hertz))))
    assert np.median(found) == pytest.approx(hertz, rel=0.02)
    assert (np.abs(found / hertz - 1) < 0.03).mean() > 0.95
    assert strength.min() > 0.9


def test_noise_is_not_voiced() -> None:
    _, strength = pitch_track(np.random.default_rng(0).standard_normal(RATE).astype(np.float32))
    assert (strength > VOICED).mean() < 0.05


def test_a_lively_voice_differs_from_a_flat_one_and_length_hardly_matters() -> None:
    voice = Voice()
    times = np.arange(2 * RATE) / RATE
    flat = voice.prepare(harmonic(np.full(2 * RATE, 150.0)))
    lively = voice.prepare(harmonic(150 * 2 ** (0.4 * np.sin(2 * np.pi * 2 * times))))
    longer = voice.prepare(harmonic(np.full(4 * RATE, 150.0)))
    spread, level = -8, -9  # of the pitch, in semitones
    assert lively[spread] > 2 > 0.2 > flat[spread]
    assert flat[level] == pytest.approx(12 * np.log2(1.5), abs=0.3)
    np.testing.assert_allclose(longer[:40], flat[:40], atol=0.05)
    assert np.isfinite(voice.prepare(np.zeros(100, np.float32))).all()
