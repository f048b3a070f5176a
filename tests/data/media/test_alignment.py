"""Streams whose true times are known: what is read off the axis, what is masked, and how far two clocks are apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from penchant.core.errors import DataError
from penchant.data.media.alignment import AlignmentConfig, Stream, align, make_stream, regular


def tone(at: np.ndarray) -> np.ndarray:
    """Something that never repeats: a chirp with a swell."""
    return np.sin(0.4 * at**1.5) * (1 + 0.5 * np.sin(at))


def test_make_stream_sorts_and_merges_with_counts() -> None:
    at = np.array([2.0, 0.0, 1.0, 1.0, np.nan])
    stream, findings = make_stream(at, np.array([20.0, 0.0, 10.0, 30.0, 99.0]))
    np.testing.assert_array_equal(stream.at, [0, 1, 2])
    np.testing.assert_array_equal(stream.values[:, 0], [0, 20, 20])
    assert {f.check: f.count for f in findings} == {
        "signal.no_time": 1,
        "signal.duplicate_time": 1,
        "signal.unordered": 1,
    }


def test_make_stream_leaves_missing_values_out_of_a_mean() -> None:
    stream, _ = make_stream(np.array([0.0, 0.0, 1.0]), np.array([[1, np.nan], [3, np.inf], [5, 6]], np.float32))
    np.testing.assert_array_equal(stream.values, [[2, np.nan], [5, 6]])


def test_make_stream_refuses_unequal_lengths_and_no_times() -> None:
    with pytest.raises(DataError, match="There are 2 times and 3 readings"):
        make_stream(np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="No reading has a time"):
        make_stream(np.full(2, np.nan), np.zeros(2))


def test_interpolate_reads_between_and_masks_long_gaps() -> None:
    stream = Stream(np.array([0.0, 1.0, 5.0]), np.array([[0.0], [10.0], [50.0]], np.float32))
    values, known = align(stream, np.array([-1.0, 0.5, 1.0, 3.0, 6.0]), AlignmentConfig(max_gap_seconds=2))
    np.testing.assert_array_equal(known[:, 0], [False, True, True, False, False])
    np.testing.assert_allclose(values[:, 0], [0, 5, 10, 0, 0])
    values, known = align(stream, np.array([3.0]), AlignmentConfig())
    assert known.all()
    assert values[0, 0] == pytest.approx(30)


def test_interpolate_treats_a_missing_value_as_a_gap_of_its_channel() -> None:
    stream = Stream(np.arange(3.0), np.array([[0, 0], [np.nan, 1], [2, 2]], np.float32))
    _, known = align(stream, np.array([1.0]), AlignmentConfig(max_gap_seconds=1))
    assert known.tolist() == [[False, True]]
    assert align(stream, np.array([1.0]), AlignmentConfig())[0].tolist() == [[1.0, 1.0]]


def test_window_averages_a_fast_stream() -> None:
    stream = regular(np.arange(100.0), 10)  # ten readings a second, value = place
    times = np.array([1.0, 2.0, 30.0])[:2]
    values, known = align(stream, times, AlignmentConfig(method="window"))
    assert known.all()
    np.testing.assert_allclose(values[:, 0], [9.5, 19.5])  # readings 5 to 14, and 15 to 24
    values, known = align(stream, np.array([9.0, 29.0, 49.0]), AlignmentConfig(method="window"))
    assert known[:, 0].tolist() == [True, False, False]


def test_nearest_takes_the_closest_frame_within_reach() -> None:
    frames = Stream(np.array([0.0, 1.0]), np.array([[1.0], [2.0]], np.float32))
    values, known = align(frames, np.array([0.4, 0.6, 3.0]), AlignmentConfig(method="nearest", max_gap_seconds=0.5))
    np.testing.assert_array_equal(values[:, 0], [1, 2, 0])
    np.testing.assert_array_equal(known[:, 0], [True, True, False])


def test_four_kinds_of_stream_meet_at_one_moment() -> None:
    """A clap at 3 s is found in each stream at the row of 3 s, whatever its rate."""
    rate, moment = 16_000, 3.0
    sound = np.zeros(6 * rate)
    sound[int(moment * rate) : int(moment * rate) + 800] = 1
    _, frame_times, spectrum = signal.stft(sound, rate, nperseg=1024, noverlap=512)
    near = [np.abs(np.arange(0, 6, 1 / r) - moment) < 0.05 for r in (25, 50)]
    streams = {
        "frames": (
            Stream(frame_times, np.abs(spectrum).sum(0)[:, None].astype(np.float32)),
            AlignmentConfig(method="window"),
        ),
        "video": (regular(near[0], 25), AlignmentConfig(method="nearest")),
        "sensor": (regular(near[1], 50), AlignmentConfig()),
        "states": (
            Stream(np.array([0.0, 2.95, 3.4]), np.array([[0], [1], [0]], np.float32)),
            AlignmentConfig(method="hold"),
        ),
    }
    times = np.arange(60) / 10
    row = int(np.argmin(np.abs(times - moment)))
    for name, (stream, config) in streams.items():
        values, known = align(stream, times, config)
        assert known[row, 0], name
        assert abs(int(values[:, 0].argmax()) - row) <= 1, name
