"""Clips made here: frames at the right moments, sound where there is some, and what is absent said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest
from PIL import Image

from penchant.core.errors import ConfigError
from penchant.data.clean.inspection import InspectionConfig, Inspector, inspect_column
from penchant.data.media import MediaLimits, UnusableMediaError, decode_audio, open_video
from penchant.encoders.encoder import encode_one
from penchant.encoders.video import FramesAndSound, FramesAndSoundConfig

LIMITS = MediaLimits()


def write(path: Path, *, frames: int = 0, pitch: int = 0, rate: int = 10) -> Path:
    """Write a clip whose frames grow from black to white, and two seconds of a tone."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=rate) if frames else None
        sound = out.add_stream("aac", rate=16_000, layout="mono") if pitch else None
        if picture is not None:
            picture.codec_context.thread_count = 1
            picture.width, picture.height, picture.pix_fmt, picture.bit_rate = 64, 48, "yuv420p", 2_000_000
            for number in range(frames):
                pixels = np.full((48, 64, 3), round(255 * number / (frames - 1)), np.uint8)
                out.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            out.mux(picture.encode(None))
        if sound is not None:
            tone = (np.sin(2 * np.pi * pitch * np.arange(32_000) / 16_000) * 8000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            for part in av.AudioResampler(format="fltp", layout="mono", rate=16_000, frame_size=1024).resample(frame):
                out.mux(sound.encode(part))
            out.mux(sound.encode(None))
    return path


def grey(picture: Image.Image) -> float:
    return float(np.asarray(picture, float).mean())


def test_frames_are_evenly_spaced(tmp_path: Path) -> None:
    video = open_video(write(tmp_path / "a.mp4", frames=40), LIMITS)
    assert video.seconds == pytest.approx(4, abs=0.1)
    frames = video.frames(4, max_side=32)
    assert [grey(f) for f in frames] == pytest.approx([255 * at / 39 for at in (5, 15, 25, 35)], abs=6)
    assert frames[0].size == (32, 24)
    assert video.sound(16_000, None) is None
    assert video.notes() == ("no sound",)


@pytest.mark.parametrize(("pictures", "sound"), [(b"V_M", b"A_X"), (b"V_X", b"A_A"), (b"V_X", b"A_X")])
def test_a_track_without_a_decoder_counts_as_missing(tmp_path: Path, pictures: bytes, sound: bytes) -> None:
    raw = write(tmp_path / "a.mkv", frames=20, pitch=440).read_bytes()
    for codec, other in ((b"V_MPEG4", pictures + b"PEG4"), (b"A_AAC", sound + b"AC")):
        assert raw.count(codec) == 1
        raw = raw.replace(codec, other)
    (tmp_path / "odd.mkv").write_bytes(raw)
    if (pictures, sound) == (b"V_X", b"A_X"):
        with pytest.raises(UnusableMediaError, match="it holds neither picture nor sound"):
            open_video(tmp_path / "odd.mkv", LIMITS)
        return
    video = open_video(tmp_path / "odd.mkv", LIMITS)
    assert video.notes() == (("no sound",) if sound == b"A_X" else ("no picture",))
    assert len(video.frames(2, max_side=32)) == (2 if video.has_picture else 0)
    assert (video.sound(16_000, None) is not None) == video.has_sound
    if not video.has_sound:
        with pytest.raises(UnusableMediaError, match="there is no decoder for its sound") as caught:
            decode_audio(tmp_path / "odd.mkv", LIMITS)
        assert caught.value.check == "unreadable"


def test_frames_far_apart_are_jumped_to(tmp_path: Path) -> None:
    video = open_video(write(tmp_path / "long.mp4", frames=240, rate=2), LIMITS)
    assert video.seconds == pytest.approx(120, abs=1)
    found = [grey(f) for f in video.frames(4, max_side=32)]
    assert found == pytest.approx([255 * at / 239 for at in (30, 90, 150, 210)], abs=6)


def test_more_frames_asked_for_than_there_are(tmp_path: Path) -> None:
    assert 1 <= len(open_video(write(tmp_path / "a.mp4", frames=3), LIMITS).frames(16, max_side=32)) <= 3


def test_time_beyond_the_limit_is_not_looked_at(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", frames=40)
    frames = open_video(path, MediaLimits(max_seconds=1.0)).frames(2, max_side=32)
    assert max(grey(f) for f in frames) < 255 * 12 / 39


def test_sound_alone_and_both_together(tmp_path: Path) -> None:
    sound = open_video(write(tmp_path / "s.mp4", pitch=440), LIMITS)
    assert sound.frames(4, max_side=32) == []
    assert sound.notes() == ("no picture",)
    both = open_video(write(tmp_path / "b.mp4", frames=20, pitch=440), LIMITS)
    assert both.notes() == ()
    samples = both.sound(16_000, None)
    assert samples is not None
    assert np.abs(np.fft.rfft(samples[4000:20_000])).argmax() == pytest.approx(440, abs=2)


def test_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    for name in ("a.mp4", "list.mp4"):
        with pytest.raises(UnusableMediaError, match="not a video in a known format"):
            open_video(tmp_path / name, LIMITS)
    with pytest.raises(UnusableMediaError, match=r"There is no file 'gone.mp4'"):
        open_video(tmp_path / "gone.mp4", LIMITS)
    with pytest.raises(UnusableMediaError, match="64 x 48 pixels, the most is 100"):
        open_video(write(tmp_path / "b.mp4", frames=3), MediaLimits(max_pixels=100))


def test_frames_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", frames=40)
    with pytest.raises(UnusableMediaError, match="64 x 48 pixels, the most is 3000"):
        open_video(path, MediaLimits(max_frame_pixels=3000))
    assert len(open_video(path, MediaLimits(max_frames=8)).frames(4, max_side=32)) == 1
    assert len(open_video(path, LIMITS).frames(4, max_side=32)) == 4


def test_frames_of_unknown_length_are_not_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penchant.data.media.video.UNKNOWN_SECONDS", 0.1)
    shrunk: list[object] = []
    monkeypatch.setattr("penchant.data.media.video._shrunk", lambda frame, _side: shrunk.append(frame) or frame.pts)
    video = replace(open_video(write(tmp_path / "a.mp4", frames=40), LIMITS), seconds=0.0)
    found = video.frames(4, max_side=32)
    assert len(found) == len(shrunk) == 4
    assert found == sorted(found)


def test_cut_file_gives_what_is_there_or_says_so(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.mkv", frames=40).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(raw[: len(raw) // 2])
    frames = open_video(tmp_path / "cut.mkv", LIMITS).frames(4, max_side=32)
    assert 1 <= len(frames) <= 4


def test_inspection_notes_what_is_absent(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", frames=5)
    write(tmp_path / "s.mp4", pitch=440)
    cells = pl.Series("video", ["a.mp4", "s.mp4", "gone.mp4"])
    kept, findings = inspect_column(cells, str, "video", tmp_path, Inspector(LIMITS, InspectionConfig()))
    assert kept.to_list() == ["a.mp4", "s.mp4", None]
    assert {f.check: f.count for f in findings} == {
        "video.missing": 1,
        "video.no_sound": 1,
        "video.no_picture": 1,
    }


def test_vector_says_what_was_there(tmp_path: Path) -> None:
    encoder = FramesAndSound(FramesAndSoundConfig(frames=3))
    encoder.load()
    names = {"both": (20, 440), "silent": (20, 0), "unseen": (0, 440)}
    clips = [open_video(write(tmp_path / f"{n}.mp4", frames=f, pitch=p), LIMITS) for n, (f, p) in names.items()]
    found = encoder.encode([encoder.prepare(clip) for clip in clips])
    assert found[:, -2:].tolist() == [[1, 1], [1, 0], [0, 1]]
    looks, sounds = found[:, : 2 * 1280], found[:, 2 * 1280 : -2]
    assert not looks[2].any()
    assert not sounds[1].any()
    assert np.linalg.norm(looks[0, :1280]) == pytest.approx(1, rel=1e-3)
    np.testing.assert_allclose(looks[0], looks[1], rtol=1e-2, atol=1e-2)
    assert looks[0, 1280:].any()  # the frames differ
    np.testing.assert_allclose(encode_one(encoder, clips[0]), found[0], rtol=1e-3, atol=1e-4)


def test_part_of_another_modality_is_refused() -> None:
    with pytest.raises(ConfigError, match="'mel' reads audio; a video needs an encoder of image here"):
        FramesAndSound(FramesAndSoundConfig(picture="mel")).load()
