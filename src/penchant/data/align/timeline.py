"""Align the streams of `[data.align]`: one row for each step of the reference's time.

In: settings and a folder. Out: `Aligned`: a table with the content of every stream in each step, the offsets with their intervals, and findings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float64

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, make_findings
from penchant.core.scripts import HAN_CHARACTERS
from penchant.data.align.offsets import Offset, estimate_offset
from penchant.data.align.streams import FRAME, LOUDNESS, AlignConfig, RecordedStream, StreamConfig, read_stream
from penchant.data.media.alignment import AlignmentConfig, align, make_stream
from penchant.data.media.limits import resolve

ID, GROUP, SECONDS = "sample_id", "group", "seconds"
"""Columns of the aligned table before those of the streams: id of the step, recording, start of the step."""
MAX_STEPS = 10_000_000
FRAME_SIDE = 480
"""Longer side of a frame's picture, pixels."""
WORD = re.compile(rf"[{HAN_CHARACTERS}぀-ヿ가-힯]|[^\s{HAN_CHARACTERS}぀-ヿ가-힯]+")
"""One character of a script without spaces, or what stands between spaces."""
UNSPACED = re.compile(rf"(?<=[{HAN_CHARACTERS}぀-ヿ]) (?=[{HAN_CHARACTERS}぀-ヿ])")


class EstimatedOffset(NamedTuple):
    """The offset of one stream in one recording."""

    recording: str
    stream: str
    offset: Offset


@dataclass(frozen=True)
class Aligned:
    """Streams on one axis.

    Attributes:
        table: `sample_id`, `group` where there are several recordings, `seconds` (start of the step), then the columns of the streams.
        offsets: Of every stream that has a clock of its own, by recording.
        findings: Estimated offsets, and those that cannot be trusted.
    """

    table: pl.DataFrame
    offsets: tuple[EstimatedOffset, ...]
    findings: tuple[Finding, ...]


def align_streams(config: AlignConfig, path: Path, media_folder: str = "") -> Aligned:
    """Return the streams on the axis of the reference.

    Args:
        config: Settings.
        path: Folder of the streams.
        media_folder: Folder of media below it, which the paths of frames start from.

    Raises:
        PenchantError: A stream cannot be read, or lacks a column or a recording.
    """
    streams = {name: read_stream(name, one, path, config.max_seconds) for name, one in config.streams.items()}
    recordings = [key for key, one in streams[config.reference].items() if one.last > 0]
    if not recordings:
        raise DataError(
            f"The reference {config.reference!r} lasts 0 seconds.",
            where="data.align.reference",
            fix="name a stream with a sound, a video, or times",
        )
    taken, axis = _column_names(streams), config.clock_of(config.reference)
    offsets, parts = [], []
    for recording in recordings:
        own = {name: _of_recording(found, recording, recordings) for name, found in streams.items()}
        here = {name: one for name, one in own.items() if one is not None}
        here, known = _offsets(config, here)
        offsets += [
            EstimatedOffset(recording, n, o) for n, o in known.items() if n in own and config.clock_of(n) == n != axis
        ]
        parts.append(_rows(config, recording, here, known, taken, path / media_folder))
    table = pl.concat(parts, how="vertical_relaxed")
    if len(recordings) == 1:
        table = table.drop(GROUP)
    lacking = [
        f"{name}: {recording}"
        for name, found in streams.items()
        for recording in recordings
        if _of_recording(found, recording, recordings) is None
    ]
    return Aligned(table, tuple(offsets), tuple(_findings(config, offsets, lacking, len(recordings) * len(streams))))


def problems_of(config: AlignConfig, path: Path) -> Iterator[Callable[[], object]]:
    """Yield the reading of each stream, so that every one that fails is told at once."""
    for name, one in config.streams.items():
        yield partial(read_stream, name, one, path, config.max_seconds)


def offset_lines(offsets: Sequence[EstimatedOffset]) -> list[str]:
    """Return each offset as a line of text."""
    return [_offset_line(one) for one in offsets]


def _offset_line(found: EstimatedOffset) -> str:
    offset, name = found.offset, f"{found.recording} {found.stream}".strip()
    if not offset.is_estimated:
        return message("{name}: offset {seconds} s, given", name=name, seconds=f"{offset.seconds:+.3f}")
    if not np.isfinite(offset.correlation):
        return message("{name}: no offset found: {doubt}", name=name, doubt=offset.doubt)
    drift = f", drift {offset.drift:+.6f}" if offset.drift else ""
    return message(
        "{name}: offset {seconds} s [{low}, {high}]{drift}, correlation {value}, p = {chance}{doubt}",
        name=name,
        seconds=f"{offset.seconds:+.3f}",
        low=f"{offset.low:.3f}",
        high=f"{offset.high:.3f}",
        drift=drift,
        value=f"{offset.correlation:.2f}",
        chance=f"{offset.chance:.2f}",
        doubt=f"; {offset.doubt}" if offset.doubt else "",
    )


def _of_recording(
    found: Mapping[str, RecordedStream], recording: str, recordings: Sequence[str]
) -> RecordedStream | None:
    """Return a stream's part of a recording; a stream that knows one recording only belongs to the only one of the reference."""
    if recording in found:
        return found[recording]
    alone = len(recordings) == 1 and len(found) == 1 and (recording == "" or "" in found)
    return next(iter(found.values())) if alone else None


def _column_names(streams: Mapping[str, Mapping[str, RecordedStream]]) -> dict[tuple[str, str], str]:
    """Return the name in the aligned table of each column of a stream: its own, behind the stream's name where several have it."""
    every = {
        name: list(dict.fromkeys(c for one in found.values() for c in one.columns)) for name, found in streams.items()
    }
    count = Counter(column for columns in every.values() for column in columns)
    reserved = {ID, GROUP, SECONDS}
    return {
        (name, column): f"{name}.{column}" if count[column] > 1 or column in reserved else column
        for name, columns in every.items()
        for column in columns
    }


def _offsets(
    config: AlignConfig, streams: Mapping[str, RecordedStream]
) -> tuple[dict[str, RecordedStream], dict[str, Offset]]:
    """Return the streams with times from the start of the recording, and the offset of each; every stream of a clock has that of its owner."""
    reference = streams[config.reference]
    base = float(reference.start.min()) if reference.is_dated else None
    moved: dict[str, RecordedStream] = {}
    for name, one in streams.items():
        owner = streams.get(config.clock_of(name), one)
        if one.is_dated:
            start = base if base is not None else float(owner.start.min()) if owner.is_dated else float(one.start.min())
            one = replace(one, start=one.start - start, end=None if one.end is None else one.end - start)
        moved[name] = one
    known = {config.clock_of(config.reference): Offset(0.0)}
    for name, one in moved.items():
        if config.clock_of(name) == name and name not in known:
            known[name] = _offset_of(config, one, moved)
    return moved, {name: known.get(config.clock_of(name), Offset(0.0)) for name in moved}


def _offset_of(config: AlignConfig, one: RecordedStream, streams: Mapping[str, RecordedStream]) -> Offset:
    own = one.config
    if own.offset_seconds is not None:
        return Offset(own.offset_seconds)
    against, _, column = (own.against or config.reference).partition(".")
    rate = config.offset.activity_rate
    if config.clock_of(against) != config.clock_of(config.reference):
        raise DataError(
            f"The stream {one.name!r} is compared with {against!r}, which has another clock than the reference.",
            where=f"data.align.streams.{one.name}.against",
            fix=f"compare it with {config.reference!r}, or a stream with clock = {config.reference!r}",
        )
    if against not in streams:
        return Offset(0.0, doubt=message("the recording lacks {stream}", stream=against))
    reference = streams[against].activity(column or streams[against].config.activity, rate)
    most = config.offset.max_uncertainty_seconds or config.step_seconds / 2
    return estimate_offset(
        reference, one.activity(own.activity, rate), config.offset, drifts=own.drift, most=most, seed=config.seed
    )


def _rows(
    config: AlignConfig,
    recording: str,
    streams: Mapping[str, RecordedStream],
    offsets: Mapping[str, Offset],
    names: Mapping[tuple[str, str], str],
    root: Path,
) -> pl.DataFrame:
    """Return the steps of one recording."""
    step = config.step_seconds
    length = streams[config.reference].last
    count = max(1, int(np.ceil(length / step - 1e-9)))
    if count > MAX_STEPS:
        raise DataError(
            f"The recording {recording or 1!r} has {count:,} steps, the most is {MAX_STEPS:,}.",
            where="data.align.step_seconds",
            fix="take longer steps, or check the unit of the times",
        )
    edges = step * np.arange(count + 1)
    prefix = f"{recording}-" if recording else ""
    columns: dict[str, pl.Series] = {
        ID: pl.Series([f"{prefix}{n}" for n in range(count)]),
        GROUP: pl.Series([recording] * count),
        SECONDS: pl.Series(edges[:-1]),
    }
    for (name, column), into in names.items():
        one = streams.get(name)
        offset = offsets.get(name)
        usable = one is not None and offset is not None and (not offset.doubt or config.untrusted == "use")
        if one is None or offset is None or not usable or column not in one.columns:
            columns[into] = _empty(streams, name, column, count, config.streams[name])
            continue
        own = offset.here(edges + one.config.delay_seconds)
        columns[into] = _column(one, column, own, root, f"{config.frames_folder}/{name}/{recording or 'frames'}")
    return pl.DataFrame(columns)


def _empty(
    streams: Mapping[str, RecordedStream], name: str, column: str, count: int, config: StreamConfig
) -> pl.Series:
    """Return a column without values: an offset that is not trusted says nothing, not even that a step has none."""
    one = streams.get(name)
    is_text = config.how in ("words", "most") or (one is not None and (column in one.texts or column == FRAME))
    return pl.Series([None] * count, dtype=pl.String if is_text else pl.Float64)


def _column(
    one: RecordedStream, column: str, edges: Float64[np.ndarray, " edges"], root: Path, folder: str
) -> pl.Series:
    """Return what a stream has in each step; edges are on its own clock."""
    how = one.config.how
    if column == FRAME and one.video is not None:
        return pl.Series(_frames(one, (edges[:-1] + edges[1:]) / 2, root, folder), dtype=pl.String)
    if column == LOUDNESS and one.sound is not None:
        middle = (np.arange(len(one.decibels)) + 0.5) / 100
        return _numbers(middle, one.decibels, edges, "window", None)
    if column in one.numbers and how not in ("words", "most"):
        at = one.start if one.end is None else (one.start + one.end) / 2
        return _numbers(at, one.numbers[column], edges, how or "interpolate", one.config.max_gap_seconds)
    values = one.texts.get(column) or [None if np.isnan(v) else f"{v:g}" for v in one.numbers[column].tolist()]
    found = _texts(one, values, edges)
    return pl.Series([one.config.missing if text is None else text for text in found], dtype=pl.String)


def _numbers(at: np.ndarray, values: np.ndarray, edges: np.ndarray, how: str, max_gap: float | None) -> pl.Series:
    stream, _ = make_stream(at, values.astype(np.float32))
    settings = AlignmentConfig.read({"method": how, "max_gap_seconds": max_gap}, where="data.align.streams")
    found, known = align(stream, (edges[:-1] + edges[1:]) / 2, settings)
    return pl.Series(np.where(known[:, 0], found[:, 0].astype(np.float64), np.nan)).fill_nan(None)


def _texts(one: RecordedStream, values: Sequence[str | None], edges: np.ndarray) -> list[str | None]:
    """Return the text of each step."""
    how = one.config.how or ("words" if one.end is not None else "most")
    count = len(edges) - 1
    if how in ("nearest", "hold"):
        limit = np.inf if one.config.max_gap_seconds is None else one.config.max_gap_seconds
        middle = (edges[:-1] + edges[1:]) / 2
        after = np.searchsorted(one.start, middle, side="right")
        row = np.clip(after - 1, 0, None)
        if how == "nearest":
            later = np.clip(after, None, len(one.start) - 1)
            row = np.where(np.abs(one.start[later] - middle) < np.abs(one.start[row] - middle), later, row)
        fits = (np.abs(middle - one.start[row]) <= limit) & ((after > 0) | (how == "nearest"))
        return [values[r] if is_near else None for r, is_near in zip(row.tolist(), fits.tolist(), strict=True)]
    at, said = (one.start, list(values)) if how != "words" else _spread(one, values)
    step = np.searchsorted(edges, at, side="right") - 1
    inside: list[list[str]] = [[] for _ in range(count)]
    for place, text in zip(step.tolist(), said, strict=True):
        if 0 <= place < count and text is not None:
            inside[place].append(text)
    if how == "words":
        return [UNSPACED.sub("", " ".join(words)) or None for words in inside]
    return [Counter(texts).most_common(1)[0][0] if texts else None for texts in inside]


def _spread(one: RecordedStream, values: Sequence[str | None]) -> tuple[np.ndarray, list[str | None]]:
    """Return the middle of each word, were the words of a span equally long, and the word."""
    at: list[float] = []
    said: list[str | None] = []
    ends = one.start if one.end is None else one.end
    for start, end, text in zip(one.start.tolist(), ends.tolist(), values, strict=True):
        words = WORD.findall(text or "")
        at += [start + (n + 0.5) / len(words) * (end - start) for n in range(len(words))]
        said += words
    return np.array(at), said


def _frames(one: RecordedStream, times: np.ndarray, root: Path, folder: str) -> list[str | None]:
    """Write the frame shown at each time as a picture, and return its path; a picture newer than the video is kept."""
    assert one.video is not None
    paths: list[str | None] = [None] * len(times)
    changed = one.video.path.stat().st_mtime_ns
    wanted = {
        n: resolve(root, f"{folder}/{n:06d}-{round(1000 * t)}.jpg") for n, t in enumerate(times.tolist()) if t >= 0
    }
    missing = {n: file for n, file in wanted.items() if not file.is_file() or file.stat().st_mtime_ns < changed}
    order = sorted(missing)
    for place, picture in one.video.frames_at([float(times[n]) for n in order], max_side=FRAME_SIDE) if order else ():
        file = missing[order[place]]
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.convert("RGB").save(file, quality=90)
    for n, file in wanted.items():
        paths[n] = file.relative_to(root.resolve()).as_posix() if file.is_file() else None
    return paths


def _findings(
    config: AlignConfig, offsets: Sequence[EstimatedOffset], lacking: Sequence[str], total: int
) -> Iterator[Finding]:
    estimated = [one for one in offsets if one.offset.is_estimated]
    trusted = [one for one in estimated if not one.offset.doubt]
    doubted = [one for one in estimated if one.offset.doubt]
    yield from make_findings(
        "align.offset",
        len(trusted),
        len(estimated),
        "repaired",
        examples=offset_lines(trusted),
        advice=message("times of these streams were moved by an offset estimated from what both recorded"),
    )
    yield from make_findings(
        "align.untrusted",
        len(doubted),
        len(estimated),
        "dropped" if config.untrusted == "drop" else "kept",
        examples=offset_lines(doubted),
        advice=message(
            "the offset of these streams cannot be trusted; give offset_seconds, name other columns with activity and against, or record "
            "something that both hear or see"
        ),
        severity="warning",
    )
    yield from make_findings(
        "align.missing",
        len(lacking),
        total,
        "kept",
        examples=lacking,
        advice=message("the stream has no rows of this recording, so its columns are empty there"),
        severity="warning",
    )
