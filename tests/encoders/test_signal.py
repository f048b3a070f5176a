"""Readings whose rhythm is known: what the numbers say of it, and that gaps say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.core.errors import EncoderError
from penchant.data.media import Signal
from penchant.data.media.alignment import make_stream
from penchant.encoders.signal import HOURS, SignalStatistics, SignalStatisticsConfig

DAY = 86_400.0
START = 19_700 * DAY  # a midnight


def made(values: np.ndarray, at: np.ndarray | None = None, *, is_dated: bool = True) -> Signal:
    at = START + 60.0 * np.arange(len(values)) if at is None else at
    stream, _ = make_stream(at, values)
    return Signal(stream, tuple(f"c{n}" for n in range(stream.values.shape[1])), is_dated)


def encode(signal: Signal, **options: object) -> np.ndarray:
    encoder = SignalStatistics(SignalStatisticsConfig(**options))
    return encoder.encode([encoder.prepare(signal)])[0]


def rhythm(vector: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the profile by hour, stability and variability of a signal of one channel."""
    tail = vector[-(2 * HOURS + 2) :]
    return tail[:HOURS], float(tail[-2]), float(tail[-1])


def test_profile_is_the_mean_of_each_hour() -> None:
    hour = np.arange(5 * 1440) // 60 % HOURS
    profile, stability, _ = rhythm(encode(made(hour.astype(float))))
    np.testing.assert_allclose(profile, np.arange(HOURS), atol=1e-4)
    assert stability == pytest.approx(1, abs=1e-4)


def test_profile_begins_at_midnight_whenever_the_signal_does() -> None:
    at = START + 9.5 * 3600 + 60.0 * np.arange(3 * 1440)
    profile, _, _ = rhythm(encode(made((at % DAY) // 3600, at)))
    np.testing.assert_allclose(profile, np.arange(HOURS), atol=1e-4)


def test_rhythm_of_noise_is_unstable() -> None:
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.random(10 * HOURS), 60)
    regular = np.tile(np.repeat(rng.random(HOURS), 60), 10)
    assert rhythm(encode(made(noise)))[1] < 0.3
    assert rhythm(encode(made(regular)))[1] > 0.99
    smooth = np.sin(2 * np.pi * np.arange(14_400) / 1440)
    assert rhythm(encode(made(smooth)))[2] < 0.2 < rhythm(encode(made(noise)))[2]


def test_gaps_change_little_and_are_masked_in_what_is_prepared() -> None:
    rng = np.random.default_rng(1)
    values = np.tile(50 + 40 * np.sin(2 * np.pi * np.arange(1440) / 1440), 6) + rng.standard_normal(8640)
    holes = values.copy()
    holes[1000:1400] = np.nan
    at = START + 60.0 * np.arange(8640)
    kept = np.delete(np.arange(8640), np.s_[1000:1400])
    whole, missing, absent = encode(made(values)), encode(made(holes)), encode(made(values[kept], at[kept]))
    np.testing.assert_allclose(missing, absent, rtol=1e-5, atol=1e-5)
    assert np.linalg.norm(whole - missing) < 0.1 * np.linalg.norm(whole)
    prepared = SignalStatistics().prepare(made(holes))
    assert np.isnan(prepared.values).sum() == 400
    assert prepared.values.shape == (8640, 1)


def test_faster_readings_are_brought_to_one_rate() -> None:
    at = START + np.arange(0, 7200, 2.0)
    prepared = SignalStatistics().prepare(made(np.sin(at), at))
    assert len(prepared.values) == 120
    slow = START + np.arange(0, 7200, 300.0)
    config = SignalStatisticsConfig(resample="interpolate", max_gap_seconds=600)
    filled = SignalStatistics(config).prepare(made(slow - START, slow))
    np.testing.assert_allclose(filled.values[:, 0], 60 * np.arange(len(filled.values)))


def test_undated_signal_has_no_profile() -> None:
    at = np.arange(0, 60, 0.02)
    signal = made(np.stack([np.sin(at), np.cos(at)], 1), at, is_dated=False)
    vector = encode(signal, step_seconds=0.02, window_seconds=2.0)
    assert not vector[-2 * (2 * HOURS + 2) :].any()
    assert np.isfinite(vector).all()
    assert vector[2 * 1] != 0


def test_level_and_roughness_are_where_they_belong() -> None:
    statistics = encode(made(np.tile([0.0, 4.0], 3000)))[:8]
    mean, spread, low, high, skew, rest, rough, memory = statistics
    assert (mean, spread, low, high, rough) == pytest.approx((2, 2, 0, 4, 4), abs=1e-4)
    assert skew == pytest.approx(0, abs=1e-4)
    assert rest == pytest.approx(0.5, abs=1e-4)
    assert memory == pytest.approx(-1, abs=1e-4)


def test_log_tames_counts_and_leaves_what_is_negative() -> None:
    prepared = SignalStatistics(SignalStatisticsConfig(log=True)).prepare(made(np.array([[0, -1], [np.e - 1, 1]])))
    np.testing.assert_allclose(prepared.values, [[0, -1], [1, 1]], atol=1e-6)


def test_channels_are_chosen_by_name_and_unequal_ones_refused() -> None:
    one, two = made(np.ones(300)), made(np.ones((300, 2)))
    encoder = SignalStatistics()
    with pytest.raises(EncoderError, match="Some signals have 1 channels, some 2"):
        encoder.encode([encoder.prepare(one), encoder.prepare(two)])
    named = SignalStatistics(SignalStatisticsConfig(channels=["c1", "c0"]))
    found = [named.prepare(signal) for signal in (one, two)]
    assert named.encode(found).shape[0] == 2
    assert np.isnan(found[0].values[:, 0]).all()
    assert np.isfinite(found[0].values[:, 1]).all()


def test_signal_of_one_reading_or_none_known_has_a_vector() -> None:
    assert np.isfinite(encode(made(np.array([3.0])))).all()
    assert np.isfinite(encode(made(np.full(100, np.nan)))).all()
