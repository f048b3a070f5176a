"""Read the streams of `[data.align]`: tables of readings, events or spans, sounds and videos.

In: settings and a folder. Out: one `RecordedStream` for each recording, with times on its own clock, and its activity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float32, Float64
from pydantic import Field, model_validator
from scipy.ndimage import gaussian_filter1d

from penchant.core.config import Settings
from penchant.core.errors import DataError, MediaError, nearest
from penchant.data.align.offsets import Activity, OffsetConfig
from penchant.data.media.alignment import AlignmentConfig, align, make_stream
from penchant.data.media.audio import decode_audio
from penchant.data.media.limits import MEDIA_ENDINGS, MediaLimits, resolve
from penchant.data.media.signals import TIME_NAMES, seconds_of
from penchant.data.media.video import Video, open_video
from penchant.data.read.columns import rename, require
from penchant.data.read.tables import RawTable, read_table

RECORDING = "recording"
"""Column of recordings, and its place in the path of a media file."""
RECORDING_NAMES = (RECORDING, "clip", "session", "sample_id", "subject", "patient")
START_NAMES = ("start", "begin", "onset", *TIME_NAMES)
END_NAMES = ("end", "stop", "until")
LOUDNESS, FRAME = "loudness", "frame"
"""Columns of a sound and of a video."""
SOUND_RATE = 8000
"""Samples a second that loudness is taken from."""
QUIETEST = -60.0
"""Decibels below the loudest cell; silence counts as this."""
EVENT_SECONDS = 0.25
"""Standard deviation by which instants are spread to be compared: people and loggers are no more precise."""

How = Literal["interpolate", "window", "nearest", "hold", "words", "most"]


class StreamConfig(Settings):
    """One stream: a table of readings, events or spans, or a sound or video."""

    path: str
    """Table, sound or video below `path` of [data]. `{recording}` in the name of a sound or video stands for the recording: "clips/{recording}.mp4"."""
    columns: dict[str, str] = {}
    """Standard names to those of the table: recording, start (or time), end."""
    values: list[str] | None = None
    """Columns that come into the aligned table; None takes all but the recording and the times. A sound has `loudness` (decibels), a video
    `frame` (a picture) too."""
    rate: float | None = Field(None, gt=0)
    """Rows a second of a table without times."""
    clock: str | None = None
    """Stream with the same clock, whose offset is taken."""
    offset_seconds: float | None = None
    """Known offset, added to the stream's times; None estimates it."""
    drift: bool = False
    """Estimate the difference of the clocks' speeds too; it takes recordings of many minutes to be worth it."""
    activity: str | None = None
    """Column of numbers that is compared; None takes loudness of a sound, speech of spans, density of events, or the only column of numbers."""
    against: str | None = None
    """What it is compared with: a stream that has the reference's clock, or "STREAM.COLUMN" of it; None takes the reference."""
    how: How | None = None
    """interpolate, window, nearest, hold: numbers, and texts by the last two. words: the words of a span spread evenly over it, those in a step
    joined. most: the value most frequent in a step. None: interpolate numbers, words for texts with an end, most for those without."""
    max_gap_seconds: float | None = Field(None, gt=0)
    """Longer gaps between readings are not filled, and no value is held longer; None fills every gap."""
    delay_seconds: float = Field(0.0, ge=0)
    """How much later its rows come than what they answer to, such as the time people take to react; they are moved back by it."""
    missing: str | None = None
    """Text where a step has none, such as "none" for steps without a reaction."""


class AlignConfig(Settings):
    """Streams of different clocks and rates on one axis: a row for each step."""

    reference: str
    """Stream whose clock is the axis."""
    step_seconds: float = Field(1.0, gt=0)
    """Length of one row."""
    streams: dict[str, StreamConfig] = Field(min_length=1)
    """Streams by name."""
    offset: OffsetConfig = OffsetConfig()
    """Estimation of offsets."""
    untrusted: Literal["drop", "use"] = "drop"
    """What is done with a stream of a recording whose offset cannot be trusted: its cells stay empty, or it is used at that offset all the same."""
    max_seconds: float = Field(3600.0, gt=0)
    """Longer sounds and videos are cut here."""
    frames_folder: str = "aligned-frames"
    """Folder for the frames of videos, below the folder of media."""
    seed: int = 0
    """Of the draws behind intervals."""

    @model_validator(mode="after")
    def _names_exist(self) -> AlignConfig:
        owners = {"reference": self.reference}
        owners |= {f"streams.{name}.clock": s.clock for name, s in self.streams.items() if s.clock is not None}
        owners |= {
            f"streams.{name}.against": s.against.partition(".")[0]
            for name, s in self.streams.items()
            if s.against is not None
        }
        for setting, owner in owners.items():
            if owner not in self.streams:
                raise ValueError(f"{setting} names the stream {owner!r}. {nearest(owner, self.streams)}")
        for name in self.streams:
            self.clock_of(name)
        return self

    def clock_of(self, name: str) -> str:
        """Return the stream whose offset a stream has: itself, or at the end of `clock`.

        Raises:
            ValueError: Streams name each other in a circle.
        """
        seen = [name]
        while (after := self.streams[seen[-1]].clock) is not None:
            if after in seen:
                raise ValueError(f"streams.{name}.clock leads in a circle: {' -> '.join([*seen, after])}")
            seen.append(after)
        return seen[-1]


@dataclass(frozen=True)
class RecordedStream:
    """One stream of one recording.

    Attributes:
        name: Of the stream.
        recording: Its id; empty where there is one only.
        config: Settings.
        start: (rows,) seconds on its own clock.
        end: (rows,) ends of spans; None for readings and events.
        numbers: Column to (rows,) numbers, NaN where there is none.
        texts: Column to (rows,) words.
        is_dated: Its times are seconds since 1970.
        sound: Samples at `SOUND_RATE`, of a sound or of a video with sound.
        video: Of a video with pictures.
        seconds: Length of a sound or video, else 0.
    """

    name: str
    recording: str
    config: StreamConfig
    start: Float64[np.ndarray, " rows"] = field(default_factory=lambda: np.zeros(0))
    end: Float64[np.ndarray, " rows"] | None = None
    numbers: Mapping[str, Float64[np.ndarray, " rows"]] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    is_dated: bool = False
    sound: Float32[np.ndarray, " samples"] | None = None
    video: Video | None = None
    seconds: float = 0.0

    @property
    def columns(self) -> list[str]:
        """Columns that come into the aligned table."""
        every = [*self.numbers, *self.texts]
        every += [LOUDNESS] if self.sound is not None else []
        every += [FRAME] if self.video is not None else []
        return every if self.config.values is None else [name for name in self.config.values if name in every]

    @property
    def last(self) -> float:
        """When it ends, on its own clock."""
        ends = self.start if self.end is None else self.end
        return max(self.seconds, float(ends.max(initial=0.0)))

    @cached_property
    def decibels(self) -> Float64[np.ndarray, " hundredths"]:
        """Loudness of each hundredth of a second, at least `QUIETEST` below the loudest."""
        assert self.sound is not None
        size = SOUND_RATE // 100
        count = max(1, len(self.sound) // size)
        blocks = np.resize(self.sound[: count * size], (count, size)).astype(np.float64)
        power = (blocks**2).mean(axis=1)
        loudest = max(float(power.max()), 1e-12)
        return 10 * np.log10(np.maximum(power, loudest * 10 ** (QUIETEST / 10)))

    def activity(self, column: str | None, rate: float) -> Activity:
        """Return how much happens in each cell.

        Args:
            column: Of numbers; None takes the sound, else the spans or events, else the only column of numbers.
            rate: Cells a second.

        Raises:
            DataError: There is no such column of numbers, or several and none is named.
        """
        if self.sound is not None and column in (None, LOUDNESS):
            middle = (np.arange(len(self.decibels)) + 0.5) / 100
            return _on_grid(middle, self.decibels, rate)
        if column is None and not self.texts and len(self.numbers) == 1:
            column = next(iter(self.numbers))
        if column is not None:
            if column not in self.numbers:
                raise DataError(
                    f"The stream {self.name!r} has no column of numbers {column!r} to compare.",
                    where=f"data.align.streams.{self.name}.activity",
                    fix=nearest(column, self.numbers)
                    if self.numbers
                    else "name a stream with a sound, spans or events",
                )
            return _on_grid(self.start, self.numbers[column], rate)
        if not self.texts and len(self.numbers) != 1 and self.end is None and len(self.numbers) > 1:
            raise DataError(
                f"The stream {self.name!r} has several columns of numbers and none is named to compare.",
                where=f"data.align.streams.{self.name}.activity",
                fix=f"set it to one of {', '.join(self.numbers)}",
            )
        if len(self.start) == 0:
            raise DataError(
                f"The stream {self.name!r} has nothing to compare{f' in {self.recording!r}' if self.recording else ''}.",
                where=f"data.align.streams.{self.name}",
                fix="set offset_seconds, or clock = a stream with the same clock",
            )
        return _covered(self.start, self.end, rate) if self.end is not None else _density(self.start, rate)


def read_stream(name: str, config: StreamConfig, root: Path, max_seconds: float) -> dict[str, RecordedStream]:
    """Return one stream, by recording; the id is empty where the stream knows one recording only.

    Raises:
        DataError: The table or a column of it is missing, or it has no times.
        MediaError: The sound or video cannot be read.
    """
    if config.path.lower().endswith((*MEDIA_ENDINGS["audio"], *MEDIA_ENDINGS["video"])):
        return _read_media(name, config, root, max_seconds)
    return _read_rows(name, config, root)


def _read_media(name: str, config: StreamConfig, root: Path, max_seconds: float) -> dict[str, RecordedStream]:
    limits = MediaLimits(max_seconds=max_seconds)
    mark = f"{{{RECORDING}}}"
    before, is_marked, after = config.path.partition(mark)
    found = {"": resolve(root, config.path)}
    if is_marked:
        files = sorted(root.glob(f"{before}*{after}"))
        found = {p.relative_to(root).as_posix()[len(before) : -len(after) or None]: p for p in files}
        found = {key: resolve(root, f"{before}{key}{after}") for key in found}
    if not found:
        raise DataError(
            f"There is no file {config.path!r}.", where=f"data.align.streams.{name}.path", fix=f"add it below {root}"
        )
    return {key: _open(name, key, config, path, limits) for key, path in found.items()}


def _open(name: str, key: str, config: StreamConfig, path: Path, limits: MediaLimits) -> RecordedStream:
    is_video = path.name.lower().endswith(MEDIA_ENDINGS["video"])
    video = open_video(path, limits) if is_video else None
    clip = decode_audio(path, limits, rate=SOUND_RATE) if video is None or video.has_sound else None
    seconds = max(0.0 if clip is None else clip.seconds, 0.0 if video is None else video.seconds)
    shown = video if video is not None and video.has_picture else None
    stream = RecordedStream(
        name,
        key,
        config,
        sound=None if clip is None else clip.samples,
        video=shown,
        seconds=min(seconds, limits.max_seconds),
    )
    for column in config.values or ():
        if column not in stream.columns:
            raise MediaError(
                f"There is no {column!r} in {path.name}.",
                where=f"data.align.streams.{name}.values",
                fix=f"it has {', '.join(stream.columns)}",
            )
    return stream


def _read_rows(name: str, config: StreamConfig, root: Path) -> dict[str, RecordedStream]:
    where = f"data.align.streams.{name}"
    raw = rename(read_table(root / config.path), config.columns, (), f"{where}.columns")
    key = _named(raw, RECORDING_NAMES)
    start, end = _named(raw, START_NAMES), _named(raw, END_NAMES)
    for column in config.values or ():
        require(raw, column, f"{where}.values")
    if start is None and config.rate is None:
        raise DataError(
            f"The stream {name!r} has no column of times.",
            where=f"{where}: {raw.name}",
            fix=f'name it, columns = {{ start = "..." }}, or give rate = rows a second. {nearest("start", raw.table.columns)}',
        )
    whole = [("", raw)]
    if key is not None:
        ids = raw.table[key].cast(pl.String).str.strip_chars()
        parts = raw.table.with_columns(ids.alias(key)).drop_nulls(key).partition_by(key, as_dict=True)
        whole = [(str(one[0]), raw.having(part.drop(key))) for one, part in sorted(parts.items())]
    return {one: _rows(name, one, config, part, start, end) for one, part in whole}


def _rows(
    name: str, recording: str, config: StreamConfig, raw: RawTable, start: str | None, end: str | None
) -> RecordedStream:
    if start is None:
        at, is_dated = np.arange(raw.table.height) / (config.rate or 1.0), False
    else:
        at, is_dated = seconds_of(raw, start)
    until = None if end is None else seconds_of(raw, end)[0]
    known = np.isfinite(at) if until is None else np.isfinite(at) & np.isfinite(until) & (until >= at)
    if not known.any():
        raise DataError(
            f"No row of the stream {name!r} has a time{', or it ends before it starts' if end else ''}.",
            where=f"data.align.streams.{name}: {raw.name}{f', recording {recording}' if recording else ''}",
            fix="check the columns of times",
        )
    order = np.flatnonzero(known)[np.argsort(at[known], kind="stable")]
    wanted = config.values or [column for column in raw.table.columns if column not in (start, end)]
    wanted += [config.activity] if config.activity is not None and config.activity not in wanted else []
    numbers: dict[str, np.ndarray] = {}
    texts: dict[str, Sequence[str | None]] = {}
    for column in wanted:
        values = raw.table[column] if column in raw.table.columns else pl.Series([None] * raw.table.height)
        as_number = values.cast(pl.Float64, strict=False)
        if values.dtype.is_numeric() or (as_number.count() and 2 * as_number.count() >= values.count()):
            numbers[column] = as_number.fill_null(np.nan).to_numpy()[order]
        else:
            said = values.cast(pl.String).str.strip_chars()
            texts[column] = said.set(said == "", None)[order.tolist()].to_list()
    return RecordedStream(
        name, recording, config, at[order], None if until is None else until[order], numbers, texts, is_dated
    )


def _named(raw: RawTable, names: tuple[str, ...]) -> str | None:
    """Return the first column that has one of the names, in the order of the names."""
    known = {column.strip().lower(): column for column in reversed(raw.table.columns)}
    return next((known[name] for name in names if name in known), None)


def _cells(first: float, last: float, rate: float) -> tuple[int, int]:
    """Return the first cell and the number of cells between two times."""
    start = int(np.floor(first * rate))
    return start, max(1, int(np.ceil(last * rate)) - start)


def _on_grid(at: np.ndarray, values: np.ndarray, rate: float) -> Activity:
    """Return readings as means of the cells, or where they are slower as a line between them."""
    stream, _ = make_stream(at, values.astype(np.float32))
    first, count = _cells(float(stream.at[0]), float(stream.at[-1]), rate)
    usual = float(np.median(np.diff(stream.at))) if len(stream) > 1 else 1.0
    how = AlignmentConfig(
        method="window" if usual < 0.75 / rate else "interpolate", max_gap_seconds=max(1.0, 5 * usual)
    )
    found, known = align(stream, (first + np.arange(count) + 0.5) / rate, how)
    return Activity(np.where(known[:, 0], found[:, 0].astype(np.float64), np.nan), first)


def _covered(start: np.ndarray, end: np.ndarray, rate: float) -> Activity:
    """Return the share of each cell that some span covers."""
    first, count = _cells(float(start.min()), float(end.max()), rate)
    edges = (first + np.arange(count + 1)) / rate
    merged: list[list[float]] = []
    for begin, stop in zip(start.tolist(), end.tolist(), strict=True):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([begin, stop])
    points = np.array([point for span in merged for point in span])
    lengths = np.array([b - a if n % 2 == 0 else 0.0 for n, (a, b) in enumerate(pairwise(points))])
    before = np.concatenate([[0.0], np.cumsum(lengths)])
    return Activity(np.diff(np.interp(edges, points, before)) * rate, first)


def _density(at: np.ndarray, rate: float) -> Activity:
    """Return events a cell, each spread by `EVENT_SECONDS`."""
    first, count = _cells(float(at.min()) - 1, float(at.max()) + 1, rate)
    counts = np.bincount(np.clip((at * rate - first).astype(int), 0, count - 1), minlength=count).astype(np.float64)
    return Activity(gaussian_filter1d(counts, EVENT_SECONDS * rate, mode="constant"), first)
