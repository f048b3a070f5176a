"""Files that are small on disk and large in memory are refused from their headers, or decoded piece by piece."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from penchant.core.errors import MediaError
from penchant.data.media import MediaLimits, UnusableMediaError, decode_audio, load_audio, load_image, load_signal
from penchant.data.media.memory import MemoryBudget
from service import hostile_media as hostile

SERVED = MediaLimits(max_decoding_bytes=400_000_000, max_samples=120_000_000)


def written(folder: Path, raw: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flac_655_kilohertz_600_seconds", "655350 samples per second, the most is 384000"),
        ("flac_384_kilohertz_600_seconds", "230400000 samples, the most is 120000000"),
        ("flac_8_channels_600_seconds", "921600000 samples, the most is 120000000"),
        ("wav_1000_channels", "1000 channels, the most is 32"),
        ("wav_0_hertz", "not sound in a known format"),
        ("wav_4_gigahertz", "not sound in a known format"),
        ("wav_not_numbers", "values that are not numbers"),
        ("wav_no_samples", "lasts 0.000 s"),
        ("playlist", "not sound in a known format"),
        ("one_byte", "not sound in a known format"),
    ],
)
def test_hostile_sound_is_refused_with_its_reason(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UnusableMediaError, match=message):
        load_audio(written(tmp_path, hostile.sounds()[name]()), SERVED)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("wav_header_of_2_gigabytes", 0.5),
        ("wav_1_hertz", 600),
        ("flac_48_kilohertz_2_hours", 600),
        ("polyglot_wav_and_html", 0.5),
    ],
)
def test_odd_sound_is_read_as_far_as_the_limit(tmp_path: Path, name: str, seconds: float) -> None:
    samples = load_audio(written(tmp_path, hostile.sounds()[name]()), SERVED, rate=8000)
    assert len(samples) == pytest.approx(8000 * seconds, rel=0.01)


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 96_000])
@pytest.mark.parametrize("ending", ["wav", "m4a"])
def test_resampling_by_block_gives_the_numbers_of_the_whole(tmp_path: Path, rate: int, ending: str) -> None:
    import soxr

    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 7 * rate).astype(np.float32)
    path = tmp_path / f"a.{ending}"
    if ending == "wav":
        soundfile.write(path, wave, rate)
    else:
        write_m4a(path, wave, rate)
    whole = decode_audio(path, SERVED)
    assert whole.rate == rate
    expected = soxr.resample(whole.samples, rate, 16_000)
    np.testing.assert_array_equal(load_audio(path, SERVED, rate=16_000), expected)


def write_m4a(path: Path, wave: np.ndarray, rate: int) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=rate, layout="mono")
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("mode", "pixels", "message"),
    [
        ("RGB", 9_000_000, "54000000 bytes of memory, the most is 50000000"),
        ("RGBA", 4_000_000, "56000000 bytes"),
        ("P", 4_000_000, "56000000 bytes"),
        ("RGB", 4_000_000, None),
        ("RGBA", 2_250_000, None),
    ],
)
def test_picture_is_refused_by_the_memory_it_takes(tmp_path: Path, mode: str, pixels: int, message: str | None) -> None:
    side = int(pixels**0.5)
    path = written(tmp_path, hostile.flat_png(side, side, mode))
    limits = MediaLimits(max_decoding_bytes=50_000_000)
    if message is None:
        assert load_image(path, limits, max_side=64).size == (64, 64)
        return
    with pytest.raises(UnusableMediaError, match=message) as error:
        load_image(path, limits, max_side=64)
    assert error.value.check == "bomb"


def test_progressive_jpeg_counts_all_of_its_pixels_and_a_plain_one_a_fraction(tmp_path: Path) -> None:
    limits = MediaLimits(max_decoding_bytes=20_000_000)
    picture = Image.new("RGB", (2000, 2000))
    picture.save(tmp_path / "plain.jpg")
    picture.save(tmp_path / "progressive.jpg", progressive=True)
    assert load_image(tmp_path / "plain.jpg", limits, max_side=64).size == (64, 64)
    with pytest.raises(UnusableMediaError, match="40000000 bytes"):
        load_image(tmp_path / "progressive.jpg", limits, max_side=64)


def test_sixteen_bits_are_converted_strip_by_strip_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penchant.data.media.images.STRIP_PIXELS", 700)
    rng = np.random.default_rng(0)
    deep, floats = rng.integers(0, 65536, (61, 67), np.uint16), rng.standard_normal((61, 67)).astype(np.float32)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(floats).save(tmp_path / "floats.tiff")
    found = np.asarray(load_image(tmp_path / "deep.png", SERVED))[..., 0]
    np.testing.assert_array_equal(found, np.uint8(deep / 65535 * 255))
    span = floats.astype(np.float64) - floats.min()
    found = np.asarray(load_image(tmp_path / "floats.tiff", SERVED))[..., 0]
    np.testing.assert_array_equal(found, np.uint8(span / span.max() * 255))


PEAK = """
import resource, sys
from pathlib import Path
import soxr, scipy.signal, soundfile
from penchant.data.media import MediaLimits, load_audio, load_image
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
if sys.argv[1] == "sound":
    assert len(load_audio(Path(sys.argv[2]), MediaLimits())) == 150 * 16_000
else:
    assert load_image(Path(sys.argv[2]), MediaLimits(), max_side=512).size == (512, 512)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the peak in other units")
@pytest.mark.parametrize(("kind", "most"), [("sound", 60_000_000), ("picture", 100_000_000)])
def test_peak_of_memory_is_that_of_the_result_not_of_the_file(tmp_path: Path, kind: str, most: int) -> None:
    raw = hostile.silent_flac(384_000, 150) if kind == "sound" else hostile.flat_png(4000, 4000, "I;16")
    command = [sys.executable, "-c", PEAK, kind, str(written(tmp_path, raw))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < most, "230 and 430 MB when decoded as a whole"


def test_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(8, np.float64))
    raw = (tmp_path / "a.npy").read_bytes().replace(b"(8,), }            ", b"(9999999999999,), }")
    (tmp_path / "a.npy").write_bytes(raw)
    with pytest.raises(MediaError, match="The signal cannot be read"):
        load_signal(tmp_path / "a.npy", None, SERVED)


def test_budget_lets_in_what_fits_and_a_larger_one_alone() -> None:
    budget = MemoryBudget(10)
    inside: list[int] = []
    peaks: list[int] = []
    lock = threading.Lock()

    def work(size: int) -> None:
        for _ in range(50):
            with budget.reserve(size):
                with lock:
                    inside.append(size)
                    peaks.append(sum(inside))
                    alone = len(inside) == 1
                assert size <= 10 or alone
                with lock:
                    inside.remove(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in (3, 4, 5, 6, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(peaks) == 250
    assert max(peak for peak in peaks if peak != 25) <= 10


def test_limits_of_two_refuse_what_either_refuses_and_keep_the_cuts() -> None:
    ours = MediaLimits(max_pixels=10, max_bytes=100, max_seconds=60, max_readings=7)
    found = ours.within(MediaLimits(max_pixels=20, max_bytes=50, max_seconds=5, max_readings=5))
    assert (found.max_pixels, found.max_bytes, found.max_seconds, found.max_readings) == (10, 50, 60, 7)
