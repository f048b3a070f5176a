"""Sounds whose pitch, pace and colour are known."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from penchant.encoders.audio import RATE, _windows, mel_filters, sound_statistics

TIMES = np.arange(3 * RATE) / RATE


def tone(frequency: float) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * frequency * TIMES)).astype(np.float32)


def statistics(samples: np.ndarray) -> np.ndarray:
    return sound_statistics(samples, 64, 20)


def test_chroma_finds_the_note() -> None:
    chroma = statistics(tone(440))[2 * 64 + 2 * 20 :][:12]
    assert chroma.argmax() == 0  # A
    assert statistics(tone(261.63))[168:180].argmax() == 3  # C is three semitones above A


def test_octaves_share_chroma_but_not_mel() -> None:
    low, high = statistics(tone(440)), statistics(tone(880))
    assert low[168:180].argmax() == high[168:180].argmax()
    assert low[:64].argmax() < high[:64].argmax()


def test_tempo_finds_the_beat() -> None:
    clicks = np.zeros(10 * RATE, np.float32)
    clicks[:: 16 * 512] = 0.9  # a whole number of frames, so that no multiple of the beat fits better
    period, strength = statistics(clicks)[-2:]
    assert period == pytest.approx(0.512, abs=0.001)
    assert strength > 0.5


@pytest.mark.slow
def test_mel_filters_equal_librosa() -> None:
    expected = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=64, htk=True, norm=None)
    np.testing.assert_allclose(mel_filters(64, 1024).toarray(), expected, atol=1e-5)


@pytest.mark.parametrize("samples", [np.zeros(RATE, np.float32), np.zeros(1, np.float32), tone(440)[:100]])
def test_silence_and_clicks_give_numbers(samples: np.ndarray) -> None:
    assert np.isfinite(statistics(samples)).all()


def test_windows_are_equal_and_short_enough() -> None:
    assert _windows(np.arange(10.0), None).shape == (1, 10)
    assert _windows(np.arange(10.0), 10).shape == (1, 10)
    assert _windows(np.arange(11.0), 10).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert _windows(np.arange(25.0), 10).shape == (3, 8)
