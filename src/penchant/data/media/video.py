"""Open untrusted videos.

In: a path and limits. Out: some of its frames as images, and its sound; either may be absent, which is a note and no error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from penchant.core.errors import import_optional
from penchant.core.messages import message
from penchant.data.media.audio import av_options, load_audio, why_unread
from penchant.data.media.limits import MediaLimits, UnusableMediaError, check_file
from penchant.data.media.memory import DECODING

SEEK_SECONDS = 10.0
"""A frame this much later is reached by seeking; nearer ones by decoding, which costs less than going back to a key frame."""
UNKNOWN_SECONDS = 1.0
"""Seconds between frames of a file of unknown length."""
DECODING_BYTES = 190_000_000
"""Memory reserved for a decoder with the frames it keeps; two of them fit into the budget of a process."""


@dataclass(frozen=True)
class Video:
    """A video file that can be opened; not decoded yet.

    Attributes:
        path: The file.
        limits: Frames beyond `max_pixels` are refused, time beyond `max_seconds` is ignored.
        seconds: Length of the picture track, else of the whole; 0 where unknown.
        has_picture: It has a picture track that is not empty.
        has_sound: It has a sound track, and there is a decoder for it.
    """

    path: Path
    limits: MediaLimits
    seconds: float
    has_picture: bool
    has_sound: bool

    def frames(self, count: int, *, max_side: int) -> list[Image.Image]:
        """Return at most `count` frames, evenly spaced, in order, upright, RGB; none where there is no picture.

        Raises:
            MediaError: Frames are larger than `max_pixels`, or the track is damaged before its first frame.
        """
        if not self.has_picture:
            return []
        times = self._times(count)
        with DECODING.reserve(DECODING_BYTES):
            if len(times) > count:  # of unknown length: read once to count, so that no more than `count` are ever kept
                num_frames = sum(1 for _ in _read(self, times))
                wanted = set(np.linspace(0, num_frames - 1, min(count, num_frames)).round().astype(int).tolist())
                return [_shrunk(frame, max_side) for n, frame in enumerate(_read(self, times)) if n in wanted]
            return [_shrunk(frame, max_side) for frame in _read(self, times)]

    def frames_at(self, times: Sequence[float], *, max_side: int) -> Iterator[tuple[int, Image.Image]]:
        """Yield the number of each time and the first frame at or after it, upright, RGB; nothing for times after the last frame.

        Args:
            times: Rising, in seconds from the start.
            max_side: Longer side of a frame, pixels.

        Raises:
            MediaError: As `frames`.
        """
        if not self.has_picture or not times:
            return
        served = 0
        with DECODING.reserve(DECODING_BYTES):
            for at, frame in _read_timed(self, list(times)):
                until = next((n for n in range(served, len(times)) if times[n] > at + 1e-6), len(times))
                picture = _shrunk(frame, max_side)
                for number in range(served, until):
                    yield number, picture
                served = until

    def sound(self, rate: int, loudness: float | None) -> Float32[np.ndarray, " samples"] | None:
        """Return mono samples as `load_audio` does; None where there is no sound, or less than counts as one."""
        if not self.has_sound:
            return None
        try:
            return load_audio(self.path, self.limits, rate=rate, loudness=loudness)
        except UnusableMediaError:
            return None

    def notes(self) -> tuple[str, ...]:
        """Return the missing tracks: "no picture", "no sound"."""
        lacks = {"no picture": not self.has_picture, "no sound": not self.has_sound}
        return tuple(note for note, is_true in lacks.items() if is_true)

    def _times(self, count: int) -> list[float]:
        seconds = min(self.seconds, self.limits.max_seconds)
        if seconds <= 0:
            return [UNKNOWN_SECONDS * n for n in range(int(self.limits.max_seconds / UNKNOWN_SECONDS) + 1)]
        return [seconds * (n + 0.5) / count for n in range(count)]


def open_video(path: Path, limits: MediaLimits) -> Video:
    """Read the header of a video.

    Raises:
        MediaError: Missing, no video in a known container, or neither picture nor sound in it.
        MissingExtraError: PyAV is not installed.
    """
    check_file(path, limits.max_audio_bytes, "video")
    av = import_optional("av", "audio")
    try:
        with path.open("rb") as file, av.open(file, options=av_options(limits)) as container:
            pictures = _pictures(container)
            if pictures:
                _check_size(pictures[0].codec_context.width, pictures[0].codec_context.height, path, limits)
            has_sound = any(s.codec_context is not None for s in container.streams.audio)
            video = Video(path, limits, _length(container), bool(pictures), has_sound)
    except (av.FFmpegError, ValueError, OSError, IndexError) as error:
        raise _unreadable(path, why_unread(error)) from error
    if not (video.has_picture or video.has_sound):
        raise _unreadable(path, "it holds neither picture nor sound")
    return video


def _read(video: Video, times: list[float]) -> Iterator[Any]:
    """Yield the first frame at or after each time; nothing past the end."""
    return (frame for _, frame in _read_timed(video, times))


def _read_timed(video: Video, times: list[float]) -> Iterator[tuple[float, Any]]:
    """Yield the same frames, each with its seconds from the start."""
    av = import_optional("av", "audio")
    served = decoded = 0
    try:
        with video.path.open("rb") as file, av.open(file, options=av_options(video.limits)) as container:
            stream = _pictures(container)[0]
            # freeing a decoder that has threads may wait indefinitely for Python's lock (PyAV issue 909)
            stream.codec_context.thread_count = 1
            start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
            while served < len(times):
                before = served
                for frame in container.decode(stream):
                    decoded += 1
                    if decoded > video.limits.max_frames:
                        return
                    at = (frame.time or 0.0) - start
                    if at + 1e-6 < times[served]:
                        if times[served] - at > SEEK_SECONDS and served > before:
                            break
                        continue
                    _check_size(frame.width, frame.height, video.path, video.limits)
                    yield at, frame
                    served = next((n for n in range(served + 1, len(times)) if times[n] > at), len(times))
                    if served == len(times):
                        return
                if served == before:
                    return
                container.seek(int((times[served] + start) / stream.time_base), stream=stream)
    except (av.FFmpegError, ValueError, OSError) as error:
        if served == 0:
            raise _unreadable(video.path, why_unread(error)) from error


def _pictures(container: Any) -> list[Any]:
    """Return the picture tracks that are not empty; one without a decoder here has no codec."""
    return [s for s in container.streams.video if s.codec_context is not None and s.codec_context.width]


def _length(container: Any) -> float:
    """Return the seconds of the picture track, else of the whole; 0 where unknown."""
    for stream in container.streams.video:
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1_000_000


def _shrunk(frame: Any, max_side: int) -> Image.Image:
    """Return a frame as an upright image."""
    picture: Image.Image = frame.to_image()
    picture.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
    turn = int(getattr(frame, "rotation", 0) or 0)
    return picture.rotate(turn, expand=True) if turn % 360 else picture


def _check_size(width: int, height: int, path: Path, limits: MediaLimits) -> None:
    most = min(limits.max_pixels, limits.max_frame_pixels)
    if width * height > most:
        raise UnusableMediaError(
            message(
                "The video's frames have {pixels} pixels, the most is {most}.",
                pixels=f"{width} x {height}",
                most=most,
            ),
            path=str(path),
            fix="make it smaller, or raise `max_frame_pixels` and `max_pixels` if you trust its source",
            check="bomb",
        )


def _unreadable(path: Path, reason: str) -> UnusableMediaError:
    return UnusableMediaError(
        message("The file is not a video in a known format: {error}.", error=reason.rstrip(".")),
        path=str(path),
        fix="convert it to MP4 or WebM; until then the item counts as having no video",
        check="unreadable",
    )
