from __future__ import annotations

import struct
import threading
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from penchant.core import errors
from penchant.core.errors import MediaError, MissingExtraError
from penchant.data.media import (
    MediaLimits,
    UnusableMediaError,
    decode_audio,
    load_audio,
    load_image,
    measure_audio,
    normalise_loudness,
    resolve,
)
from penchant.data.media.images import quiet_decoders

LIMITS = MediaLimits()


def refused(call, *arguments, check: str, text: str) -> None:
    with pytest.raises(UnusableMediaError, match=text) as caught:
        call(*arguments)
    assert caught.value.check == check
    assert caught.value.fix


def png_header(width: int, height: int) -> bytes:
    """A PNG that only claims its size: a bomb costs its sender nothing."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def noise(height: int = 60, width: int = 80) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "x/../../a.png",
        "/etc/passwd",
        "a\0.png",
        "..\\a.png",
        "C:/a.png",
        "https://x.org/a.png",
        "",
        "  ",
        ".",
        "loop",
    ],
)
def test_resolve_outside_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "media"
    root.mkdir()
    (tmp_path / "a.png").touch()
    (root / "loop").symlink_to(root / "loop")
    refused(resolve, root, name, check="outside", text="plain path|leads out")


def test_resolve_link_out_of_the_folder_names_the_link(tmp_path: Path) -> None:
    root = tmp_path / "media"
    root.mkdir()
    (tmp_path / "a.png").touch()
    (root / "photos").symlink_to(tmp_path)
    refused(resolve, root, "photos/a.png", check="link", text=f"'photos' is a link to {tmp_path}")
    refused(resolve, root, "photos/../../a.png", check="outside", text="leads out of the media folder")


def test_resolve_inside_is_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    assert resolve(tmp_path, "real/海报 1.png") == tmp_path.resolve() / "real/海报 1.png"
    assert resolve(tmp_path / "linked", "x/../b.png") == tmp_path.resolve() / "real/b.png"


def test_load_picture_missing_text_folder_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("<html>404 not found</html>")
    refused(load_image, text, LIMITS, check="unreadable", text="not a picture")
    refused(load_image, tmp_path / "none.png", LIMITS, check="missing", text="no file 'none.png'")
    refused(load_image, tmp_path, LIMITS, check="missing", text="no file")


def test_load_picture_postscript_is_never_started(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    refused(load_image, path, LIMITS, check="unreadable", text="not a picture")


@pytest.mark.parametrize("size", [(10_000, 10_000), (10_001, 9_999), (60_000, 60_000)])
def test_load_picture_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    refused(load_image, path, LIMITS, check="bomb", text="pixels, the most is 50000000")


def test_load_picture_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    noise().save(path)
    refused(load_image, path, MediaLimits(max_bytes=100), check="bomb", text="the most is 100")


def test_load_picture_one_pixel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    Image.new("RGB", (1, 1)).save(path)
    refused(load_image, path, LIMITS, check="small", text="only 1 x 1")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.tiff"])
@pytest.mark.parametrize("max_side", [None, 16])
def test_load_picture_truncated_is_refused(tmp_path: Path, name: str, max_side: int | None) -> None:
    path = tmp_path / name
    noise().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(MediaError, match=r"cut short|not a picture") as caught:
        load_image(path, LIMITS, max_side=max_side)
    assert str(path) in str(caught.value)


def test_load_picture_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture = Image.new("RGB", (80, 40), "black")
    picture.paste("white", (0, 0, 80, 20))
    exif = picture.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees to the right
    picture.save(path, exif=exif, quality=95)
    upright = load_image(path, LIMITS)
    assert upright.size == (40, 80)
    assert upright.getpixel((35, 40)) == (255, 255, 255)
    assert upright.getpixel((5, 40)) == (0, 0, 0)
    assert not upright.getexif()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_load_picture_alpha_stands_on_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 4, 8))
    picture.convert(mode).save(tmp_path / "a.png")
    flat = load_image(tmp_path / "a.png", LIMITS)
    assert flat.mode == "RGB"
    assert (flat.getpixel((1, 1)), flat.getpixel((6, 6))) == ((0, 0, 0), (255, 255, 255))


def test_load_picture_other_modes_become_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    red.quantize(4).save(tmp_path / "palette.gif")
    Image.new("1", (16, 16), 1).save(tmp_path / "bits.png")
    assert np.abs(np.asarray(load_image(tmp_path / "cmyk.jpg", LIMITS), int) - [200, 30, 30]).max() < 12
    assert np.abs(np.asarray(load_image(tmp_path / "palette.gif", LIMITS), int) - [200, 30, 30]).max() < 30
    assert np.asarray(load_image(tmp_path / "bits.png", LIMITS)).min() == 255


def test_load_picture_sixteen_bits_keep_their_greys(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 32768, np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(load_image(tmp_path / "a.png", LIMITS)).mean() == pytest.approx(128, abs=1)


def test_load_picture_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif", LIMITS).getpixel((4, 4)) == (0, 255, 0)


def test_load_picture_colour_profile_is_applied_and_a_broken_one_passed_over(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ").replace(b"?XYZ", b"gXYZ")  # its red is green
    picture = Image.new("RGB", (8, 8), (200, 30, 60))
    for name, profile in (("swapped", swapped), ("srgb", srgb), ("broken", b"nothing of the sort")):
        picture.save(tmp_path / f"{name}.png", icc_profile=profile)
    found = {path.stem: np.asarray(load_image(path, LIMITS), int)[0, 0] for path in tmp_path.iterdir()}
    assert np.abs(found["swapped"] - [30, 200, 60]).max() <= 3
    assert np.abs(found["srgb"] - [200, 30, 60]).max() <= 1
    assert found["broken"].tolist() == [200, 30, 60]


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_load_picture_max_side_shrinks_and_never_enlarges(tmp_path: Path, name: str) -> None:
    noise(300, 900).save(tmp_path / name)
    assert load_image(tmp_path / name, LIMITS, max_side=90).size == (90, 30)
    assert load_image(tmp_path / name, LIMITS, max_side=5000).size == (900, 300)


def test_quiet_decoders_restores_the_filters_of_overlapping_threads() -> None:
    before = list(warnings.filters)
    inside = threading.Barrier(4)

    def work() -> None:
        with quiet_decoders():
            inside.wait(5)
            warnings.warn("odd metadata", UserWarning, stacklevel=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def tone(rate: int, seconds: float = 1.0, frequency: float = 440.0, gain: float = 0.5) -> np.ndarray:
    return (gain * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.fixture
def write_sound(tmp_path: Path):
    soundfile = pytest.importorskip("soundfile")

    def write(name: str, samples: np.ndarray, rate: int = 16000, **settings: str) -> Path:
        soundfile.write(tmp_path / name, samples, rate, **settings)
        return tmp_path / name

    return write


def loudest(samples: np.ndarray, rate: int) -> float:
    """The frequency that holds most of the energy."""
    return float(np.fft.rfftfreq(len(samples), 1 / rate)[np.abs(np.fft.rfft(samples)).argmax()])


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_load_sound_stereo_becomes_mono_at_one_rate(write_sound, name: str) -> None:
    path = write_sound(name, np.stack([tone(44100), tone(44100)], axis=1), 44100)
    samples = load_audio(path, LIMITS)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == pytest.approx(16000, abs=1500)
    assert loudest(samples, 16000) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.mp4", "aac"), ("a.webm", "libopus"), ("a.mkv", "aac")]
)
def test_load_sound_ffmpeg_reads_what_soundfile_cannot(tmp_path: Path, name: str, codec: str) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / name
    rate = 48000
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(rate, 2.0)[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    samples = load_audio(path, LIMITS)
    assert len(samples) == pytest.approx(32000, abs=1500)
    assert loudest(samples, 16000) == pytest.approx(440, abs=3)
    cut = decode_audio(path, MediaLimits(max_seconds=0.5))
    assert (len(cut.samples), round(cut.seconds)) == (rate // 2, 2)


def test_load_sound_playlist_in_disguise_opens_nothing(tmp_path: Path, write_sound) -> None:
    pytest.importorskip("av")
    secret = write_sound("secret.mp3", tone(16000))
    playlist = tmp_path / "a.m4a"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n")
    refused(load_audio, playlist, LIMITS, check="unreadable", text="not sound in a known format")


def test_load_sound_zero_samples_not_numbers_text_are_refused(tmp_path: Path, write_sound) -> None:
    pytest.importorskip("av")
    refused(load_audio, write_sound("zero.wav", np.zeros(0, np.float32)), LIMITS, check="short", text="lasts 0.000 s")
    refused(load_audio, write_sound("click.wav", tone(16000, 0.05)), LIMITS, check="short", text="lasts 0.050 s")
    broken = tone(16000)
    broken[5] = np.nan
    nan = write_sound("nan.wav", broken, subtype="FLOAT")
    refused(load_audio, nan, LIMITS, check="unreadable", text="not numbers")
    (tmp_path / "text.wav").write_text("not a sound at all")
    refused(load_audio, tmp_path / "text.wav", LIMITS, check="unreadable", text="not sound")
    refused(load_audio, tmp_path / "none.wav", LIMITS, check="missing", text="no file")
    refused(load_audio, nan, MediaLimits(max_audio_bytes=10), check="bomb", text="the most is 10")


def test_decode_sound_long_is_cut_and_its_length_told(write_sound) -> None:
    sound = decode_audio(write_sound("a.wav", tone(16000, 3.0)), MediaLimits(max_seconds=1.0))
    assert (len(sound.samples), sound.seconds) == (16000, 3.0)


@pytest.mark.parametrize("seconds", [60.0, 20.0])
def test_a_sound_is_measured_block_by_block(write_sound, seconds: float) -> None:
    samples = np.stack([np.tile([0.5, 1.0, -0.25, 0.0], 48000 * 15)] * 2, axis=1).astype(np.float32)
    path, limits = write_sound("a.wav", samples, 48000, subtype="FLOAT"), MediaLimits(max_seconds=seconds)
    measure_audio(path, limits)  # what is imported is not counted
    tracemalloc.start()
    level = measure_audio(path, limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (level.seconds, level.clipped) == (60.0, 0.25)
    assert level.power == pytest.approx((0.25 + 1 + 0.0625) / 4)
    assert peak < 6_000_000  # the samples are 23 MB


def test_a_sound_that_cannot_be_decoded_is_not_measured(write_sound) -> None:
    refused(
        measure_audio, write_sound("zero.wav", np.zeros(0, np.float32)), LIMITS, check="short", text="lasts 0.000 s"
    )
    broken = tone(16000)
    broken[5] = np.inf
    path = write_sound("inf.wav", broken, subtype="FLOAT")
    refused(measure_audio, path, LIMITS, check="unreadable", text="not numbers")


def test_load_sound_without_the_extra_says_how_to_install_it(monkeypatch, write_sound) -> None:
    path = write_sound("a.wav", tone(16000))

    def missing(name: str):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(errors.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'penchant\[audio\]'"):
        load_audio(path, LIMITS)


def test_normalise_loudness_brings_quiet_and_loud_together() -> None:
    for gain in (0.001, 0.1, 0.9):
        samples = normalise_loudness(tone(16000, gain=gain), 16000, target=-23.0)
        assert 20 * np.log10(np.sqrt(np.mean(samples**2))) == pytest.approx(-23, abs=0.1)


def test_normalise_loudness_pauses_do_not_count_and_peaks_hold() -> None:
    spoken = np.concatenate([tone(16000, 2.0, gain=0.1), np.zeros(64000, np.float32)])
    loud = normalise_loudness(spoken, 16000, target=-23.0)[:32000]
    assert 20 * np.log10(np.sqrt(np.mean(loud**2))) == pytest.approx(-23, abs=0.1)
    spiky = np.zeros(16000, np.float32)
    spiky[::4000] = 0.5
    assert np.abs(normalise_loudness(spiky, 16000, target=-3.0)).max() == pytest.approx(0.99, abs=1e-6)
    silence = np.zeros(16000, np.float32)
    assert normalise_loudness(silence, 16000) is silence
    assert len(normalise_loudness(silence[:0], 16000)) == 0


def test_real_posters_and_clips_load(shared_data: Path) -> None:
    posters = sorted((shared_data / "ml1m_mm" / "images").glob("*.jpg"))[:50]
    assert {load_image(path, LIMITS, max_side=96).mode for path in posters} == {"RGB"}
    pytest.importorskip("soundfile")
    clip = load_audio(shared_data / "emotify_audio" / "audio" / "001.ogg", LIMITS, loudness=-23.0)
    assert len(clip) == 15 * 16000
