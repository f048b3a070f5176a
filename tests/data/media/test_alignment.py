"""Streams whose true times are known: what is read off the axis, what is masked, and how far two clocks are apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from penchant.core.errors import DataError
from penchant.data.media.alignment import Config, Stream, align, estimate_offset, make_stream, regular, time_axis


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
    values, known = align(stream, np.array([-1.0, 0.5, 1.0, 3.0, 6.0]), Config(max_gap_seconds=2))
    np.testing.assert_array_equal(known[:, 0], [False, True, True, False, False])
    np.testing.assert_allclose(values[:, 0], [0, 5, 10, 0, 0])
    values, known = align(stream, np.array([3.0]), Config())
    assert known.all()
    assert values[0, 0] == pytest.approx(30)


def test_interpolate_treats_a_missing_value_as_a_gap_of_its_channel() -> None:
    stream = Stream(np.arange(3.0), np.array([[0, 0], [np.nan, 1], [2, 2]], np.float32))
    _, known = align(stream, np.array([1.0]), Config(max_gap_seconds=1))
    assert known.tolist() == [[False, True]]
    assert align(stream, np.array([1.0]), Config())[0].tolist() == [[1.0, 1.0]]


def test_window_averages_a_fast_stream() -> None:
    stream = regular(np.arange(100.0), 10)  # ten readings a second, value = place
    times = np.array([1.0, 2.0, 30.0])[:2]
    values, known = align(stream, times, Config(method="window"))
    assert known.all()
    np.testing.assert_allclose(values[:, 0], [9.5, 19.5])  # readings 5 to 14, and 15 to 24
    values, known = align(stream, np.array([9.0, 29.0, 49.0]), Config(method="window"))
    assert known[:, 0].tolist() == [True, False, False]


def test_nearest_takes_the_closest_frame_within_reach() -> None:
    frames = Stream(np.array([0.0, 1.0]), np.array([[1.0], [2.0]], np.float32))
    values, known = align(frames, np.array([0.4, 0.6, 3.0]), Config(method="nearest", max_gap_seconds=0.5))
    np.testing.assert_array_equal(values[:, 0], [1, 2, 0])
    np.testing.assert_array_equal(known[:, 0], [True, True, False])


def test_hold_says_a_word_only_while_it_is_spoken() -> None:
    words = Stream(np.array([0.0, 2.0]), np.array([[1.0], [2.0]], np.float32), until=np.array([0.5, 2.5]))
    values, known = align(words, np.array([0.0, 0.4, 0.5, 2.2, 2.6]), Config(method="hold"))
    np.testing.assert_array_equal(known[:, 0], [True, True, False, True, False])
    np.testing.assert_array_equal(values[:, 0], [1, 1, 0, 2, 0])


def test_count_says_how_many_events_fall_into_each_step() -> None:
    clicks = Stream(np.array([0.1, 0.2, 2.0]), np.zeros((3, 1), np.float32))
    values, known = align(clicks, np.array([0.0, 1.0, 2.0]), Config(method="count"))
    assert known.all()
    np.testing.assert_array_equal(values[:, 0], [2, 0, 1])


def test_five_kinds_of_stream_meet_at_one_moment() -> None:
    """A clap at 3 s is found in each stream at the row of 3 s, whatever its rate."""
    rate, moment = 16_000, 3.0
    sound = np.zeros(6 * rate)
    sound[int(moment * rate) : int(moment * rate) + 800] = 1
    _, frame_times, spectrum = signal.stft(sound, rate, nperseg=1024, noverlap=512)
    near = [np.abs(np.arange(0, 6, 1 / r) - moment) < 0.05 for r in (25, 50)]
    streams = {
        "frames": (Stream(frame_times, np.abs(spectrum).sum(0)[:, None].astype(np.float32)), Config(method="window")),
        "video": (regular(near[0], 25), Config(method="nearest")),
        "sensor": (regular(near[1], 50), Config()),
        "words": (
            Stream(np.array([1.0, 2.95]), np.array([[0], [1]], np.float32), np.array([1.5, 3.4])),
            Config(method="hold"),
        ),
        "events": (Stream(np.array([moment]), np.zeros((1, 1), np.float32)), Config(method="count")),
    }
    times = time_axis({name: stream for name, (stream, _) in streams.items()}, 10)
    row = int(np.argmin(np.abs(times - moment)))
    for name, (stream, config) in streams.items():
        values, known = align(stream, times, config)
        assert known[row, 0], name
        assert abs(int(values[:, 0].argmax()) - row) <= 1, name


def test_time_axis_spans_all_or_what_is_shared() -> None:
    streams = {"a": regular(np.zeros(11), 1), "b": regular(np.zeros(11), 1, start=5)}
    assert time_axis(streams, 2)[[0, -1]].tolist() == [0, 15]
    assert time_axis(streams, 2, overlap=True)[[0, -1]].tolist() == [5, 10]
    with pytest.raises(DataError, match=r"share no time: one begins at 20.000 s"):
        time_axis({"a": streams["a"], "b": streams["b"].shifted(15)}, 2, overlap=True)


@pytest.mark.parametrize("true", [-4.37, 0.0, 2.6])
def test_offset_of_two_clocks_is_found_within_a_hundredth(true: float) -> None:
    rng = np.random.default_rng(1)
    fast, slow = np.arange(0, 40, 0.02), np.sort(rng.uniform(3, 35, 900))
    first = Stream(fast, tone(fast)[:, None].astype(np.float32))
    noisy = tone(slow) + 0.3 * rng.standard_normal(len(slow))
    second = Stream(slow, noisy[:, None].astype(np.float32)).shifted(-true)
    found = estimate_offset(first, second, rate=50, max_seconds=8)
    assert found.seconds == pytest.approx(true, abs=0.01)
    assert found.correlation > 0.8 > found.runner_up + 0.1


def test_offset_is_found_across_unlike_channels_and_gaps() -> None:
    """Loudness against movement in three directions: only when something happens is alike."""
    rng = np.random.default_rng(2)
    bursts = np.repeat(rng.random(60) < 0.3, 25).astype(float)
    loud = regular(bursts, 25)
    movement = (bursts[:, None] * rng.standard_normal((1500, 3))).astype(np.float32)
    movement[300:400] = np.nan
    found = estimate_offset(loud, regular(movement, 25).shifted(-1.5), rate=25, max_seconds=10)
    assert found.seconds == pytest.approx(1.5, abs=0.1)
    assert found.correlation > found.runner_up + 0.2


def test_offset_of_unrelated_streams_is_no_better_than_its_runner_up() -> None:
    rng = np.random.default_rng(3)
    noise = [regular(rng.standard_normal(2000), 50) for _ in range(2)]
    found = estimate_offset(*noise, rate=50, max_seconds=10)
    assert found.correlation < 0.2
    assert found.runner_up > 0.6 * found.correlation


def test_offset_refuses_what_does_not_vary_or_overlap() -> None:
    flat, alive = regular(np.ones(100), 10), regular(np.sin(np.arange(100)), 10)
    with pytest.raises(DataError, match="does not vary"):
        estimate_offset(alive, flat, rate=10, max_seconds=3)
    with pytest.raises(DataError, match="No offset within 3 s"):
        estimate_offset(alive, alive.shifted(50), rate=10, max_seconds=3)
