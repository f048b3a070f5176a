"""Generate clips with a transcript and a viewer's reactions whose clocks differ by known offsets.

In: a folder. Out: videos with speech (espeak-ng where it is installed, else bursts of noise), transcript.csv, viewer.csv, reactions.csv, clips.toml;
and the true offsets.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.errors import import_optional
from penchant.core.seeds import generator

RATE, FRAMES_A_SECOND, SIDE = 16_000, 25, 48
VIEWER_RATE = 30
LIKED = (
    "The water of the bay is calm and blue this morning.",
    "We swim out to the island before breakfast.",
    "A small boat brings fresh fish to the harbour.",
    "Children build a castle of sand near the waves.",
)
DISLIKED = (
    "The road is blocked by lorries again.",
    "Everybody sounds the horn and nobody moves.",
    "The fumes of the engines hang between the houses.",
    "It takes an hour to cross the bridge by car.",
)
SETTINGS = """\
# What is said and shown in a clip, and what a viewer thinks of it: three clocks, one row for every two seconds.
task = "classification"
name = "clips"

[data]
text = ["text"]
media = { image = "frame" }
columns = { label = "reaction" }

[data.align]
reference = "clip"                  # its clock is the axis
step_seconds = 2

[data.align.streams.clip]           # frames, and the loudness the other clocks are found by
path = "{recording}.mp4"

[data.align.streams.speech]         # recording, start, end, text: the recorder's clock, found by when somebody speaks
path = "transcript.csv"

[data.align.streams.viewer]         # 30 rows a second: what the viewer's device heard, found by loudness
path = "viewer.csv"
activity = "heard"

[data.align.streams.reactions]      # recording, seconds, reaction: the viewer's clock
path = "reactions.csv"
clock = "viewer"
delay_seconds = 1                   # people need about a second
"""


@dataclass(frozen=True)
class TrueOffsets:
    """Seconds to add to the times of a clip's transcript and of its viewer."""

    speech: float
    viewer: float


def write_clips(folder: str | Path, *, count: int = 6, sentences: int = 14, seed: int = 0) -> dict[str, TrueOffsets]:
    """Write clips, and return the true offsets of each.

    The viewer likes talk of the sea, shown blue, and dislikes talk of traffic, shown grey; a reaction comes about a second after a sentence starts.

    Args:
        folder: Where; made where it does not exist.
        count: Clips.
        sentences: Of each; about four seconds each.
        seed: Of everything drawn.

    Raises:
        MissingExtraError: The extra `audio` is not installed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = generator(seed, "world.clips")
    voices = {text: _spoken(text, rng) for text in (*LIKED, *DISLIKED)}
    offsets: dict[str, TrueOffsets] = {}
    tables: dict[str, list[pl.DataFrame]] = {"transcript": [], "viewer": [], "reactions": []}
    for number in range(count):
        name = f"clip{number}"
        offsets[name] = TrueOffsets(round(rng.uniform(-8, 8), 3), round(rng.uniform(-20, 20), 3))
        for kind, table in _write_clip(folder / f"{name}.mp4", voices, offsets[name], sentences, rng).items():
            tables[kind].append(table.select(pl.lit(name).alias("recording"), pl.all()))
    for kind, parts in tables.items():
        pl.concat(parts).write_csv(folder / f"{kind}.csv", float_precision=4)
    (folder / "clips.toml").write_text(SETTINGS, encoding="utf-8")
    return offsets


def _write_clip(
    path: Path, voices: dict[str, np.ndarray], true: TrueOffsets, sentences: int, rng: np.random.Generator
) -> dict[str, pl.DataFrame]:
    said: list[tuple[float, float, str]] = []
    at = float(rng.uniform(1.0, 2.0))
    for _ in range(sentences):
        text = str(rng.choice(LIKED if rng.random() < 0.5 else DISLIKED))
        length = len(voices[text]) / RATE
        said.append((at, at + length, text))
        at += length + float(rng.uniform(0.4, 2.2))
    sound = np.zeros(int((at + 1.0) * RATE), np.float32)
    for start, _, text in said:
        first = int(start * RATE)
        sound[first : first + len(voices[text])] += voices[text]
    sound += 0.002 * rng.standard_normal(len(sound)).astype(np.float32)
    _write_video(path, sound, said, rng)
    reacts = [(start + 1.0 + float(rng.normal(0, 0.2)), text) for start, _, text in said]
    times = np.arange(int(len(sound) / RATE * VIEWER_RATE)) / VIEWER_RATE
    return {
        "transcript": pl.DataFrame(
            {
                "start": [start - true.speech for start, _, _ in said],
                "end": [end - true.speech for _, end, _ in said],
                "text": [text for _, _, text in said],
            }
        ),
        "viewer": pl.DataFrame({"seconds": times - true.viewer, "heard": _heard(sound, times, rng)}),
        "reactions": pl.DataFrame(
            {
                "seconds": [when - true.viewer for when, _ in reacts],
                "reaction": ["like" if text in LIKED else "dislike" for _, text in reacts],
            }
        ),
    }


def _heard(sound: np.ndarray, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the decibels that a device in the room measures around each time, with noise of the room."""
    size = RATE // VIEWER_RATE
    power = np.concatenate([[0.0], np.cumsum(sound.astype(np.float64) ** 2)])
    middle = (times * RATE).astype(int)
    low, high = np.clip(middle - size // 2, 0, len(sound)), np.clip(middle + size // 2, 0, len(sound))
    mean = (power[high] - power[low]) / np.maximum(high - low, 1)
    return 10 * np.log10(mean + 1e-4) + rng.normal(0, 3.0, len(times))


def _write_video(path: Path, sound: np.ndarray, said: list[tuple[float, float, str]], rng: np.random.Generator) -> None:
    av = import_optional("av", "audio")
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=FRAMES_A_SECOND)
        picture.width, picture.height, picture.pix_fmt = SIDE, SIDE, "yuv420p"
        track = out.add_stream("aac", rate=RATE, layout="mono")
        for number in range(int(len(sound) / RATE * FRAMES_A_SECOND)):
            _write(out, picture, _frame(av, number / FRAMES_A_SECOND, said, rng))
        _write(out, picture, None)
        for first in range(0, len(sound), 1024):
            block = av.AudioFrame.from_ndarray(sound[None, first : first + 1024], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, first, Fraction(1, RATE)
            _write(out, track, block)
        _write(out, track, None)


def _write(out: Any, stream: Any, frame: Any) -> None:
    for packet in stream.encode(frame):
        out.mux(packet)


def _frame(av: Any, at: float, said: list[tuple[float, float, str]], rng: np.random.Generator) -> Any:
    """Return the frame at a time: blue while the sea is talked of, grey during traffic, black before."""
    text = next((text for start, _, text in reversed(said) if start <= at), "")
    colour = (20, 90, 200) if text in LIKED else (120, 120, 120) if text else (0, 0, 0)
    pixels = np.clip(np.array(colour) + rng.integers(-15, 16, (SIDE, SIDE, 3)), 0, 255)
    return av.VideoFrame.from_ndarray(pixels.astype(np.uint8), format="rgb24")


def _spoken(text: str, rng: np.random.Generator) -> np.ndarray:
    """Return a sentence spoken by espeak-ng without the silence around it; without espeak-ng, a burst of noise for each syllable."""
    program = shutil.which("espeak-ng")
    if program is None:
        words = [np.concatenate([rng.standard_normal(2400) * np.hanning(2400), np.zeros(800)]) for _ in text.split()]
        return (0.2 * np.concatenate(words)).astype(np.float32)
    soundfile, soxr = import_optional("soundfile", "audio"), import_optional("soxr", "audio")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "voice.wav"
        subprocess.run([program, "-w", str(file), text], check=True)  # noqa: S603 - a fixed program, and sentences of this file
        samples, rate = soundfile.read(file, dtype="float32")
    spoken = soxr.resample(samples, rate, RATE)
    loud = np.flatnonzero(np.abs(spoken) > 0.02 * np.abs(spoken).max())
    return np.asarray(spoken[loud[0] : loud[-1] + 1], np.float32)
