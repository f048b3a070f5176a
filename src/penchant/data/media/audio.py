"""Decode untrusted audio.

In: a path and limits. Out: mono samples at one rate, cut at a longest length; or a `MediaError` that names the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from penchant.core.errors import import_optional
from penchant.core.messages import message
from penchant.data.media.limits import MediaLimits, UnusableMediaError, check_file
from penchant.data.media.memory import DECODING

SOUND_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mp3,ogg,wav,w64,flac,aac,avi,asf,mpegts,mpeg,flv,aiff,amr,caf,au,ac3,opus"
)
"""Formats that FFmpeg may open: a playlist (m3u8, concat) in disguise could make it read other files or addresses."""


BYTES_PER_SAMPLE = 20
"""Memory of a returned sample while its sound is read and brought to one loudness."""
BLOCK_VALUES = 1 << 18
"""Samples of all channels read at once."""
FULL_SCALE = 0.999
"""A sample from here on counts as clipped."""


@dataclass(frozen=True)
class AudioClip:
    """Decoded audio, mixed to mono.

    Attributes:
        samples: (samples,) float32, loudness unchanged; cut at `max_seconds`.
        rate: Samples per second.
        seconds: Length of the whole file, before any cut.
    """

    samples: Float32[np.ndarray, " samples"]
    rate: int
    seconds: float


@dataclass(frozen=True)
class AudioLevel:
    """What is heard of a sound as a whole.

    Attributes:
        seconds: Length of the whole file, before any cut.
        power: Mean square of its samples up to the cut, mixed to mono.
        clipped: Share of these samples at full scale.
    """

    seconds: float
    power: float
    clipped: float


def measure_audio(path: Path, limits: MediaLimits) -> AudioLevel:
    """Return the level of a sound, or of the first sound track of a video, read block by block: no more than a block is in memory.

    Raises:
        MediaError: As `decode_audio`.
        MissingExtraError: As `decode_audio`.
    """
    found, seconds = _decoded(path, limits, None, _Level)
    assert isinstance(found, _Level)
    _check_heard(path, limits, found.num_frames, seconds, is_finite=math.isfinite(found.energy))
    return AudioLevel(seconds, found.energy / found.num_frames, found.num_clipped / found.num_frames)


def decode_audio(path: Path, limits: MediaLimits, *, rate: int | None = None) -> AudioClip:
    """Return the samples of a sound file, or of the first sound track of a video.

    Args:
        path: From `resolve`.
        limits: What is refused or cut.
        rate: Samples per second to return, resampled block by block, so that a sound of a high rate is never in memory as a
            whole; None leaves the file's own.

    Raises:
        MediaError: Missing, not sound, empty, too short, beyond the limits, or with values that are not finite.
        MissingExtraError: soundfile, soxr, or PyAV for a format soundfile cannot read, is not installed.
    """
    found, seconds = _decoded(path, limits, rate, _Samples)
    samples = found.joined()
    _check_heard(path, limits, len(samples), seconds, is_finite=bool(np.isfinite(samples).all()))
    return AudioClip(samples, found.out_rate, seconds)


def load_audio(
    path: Path, limits: MediaLimits, *, rate: int = 16000, loudness: float | None = None
) -> Float32[np.ndarray, " samples"]:
    """Return mono samples in [-1, 1] or a little beyond, at one rate, at most `max_seconds` of them.

    Args:
        path: From `resolve`.
        limits: What is refused or cut.
        rate: Samples per second to return.
        loudness: Decibels (0 is full scale) of the result, see `normalise_loudness`; None leaves the loudness unchanged.

    Raises:
        MediaError: As `decode_audio`.
        MissingExtraError: The extra `audio` is not installed.
    """
    with DECODING.reserve(int(limits.max_seconds * rate) * BYTES_PER_SAMPLE):
        samples = decode_audio(path, limits, rate=rate).samples
        return samples if loudness is None else normalise_loudness(samples, rate, target=loudness)


def normalise_loudness(
    samples: Float32[np.ndarray, " samples"], rate: int, *, target: float = -23.0, peak: float = 0.99
) -> Float32[np.ndarray, " samples"]:
    """Return the sound at the target loudness; silence stays unchanged.

    Loudness is the mean power of 0.4 s blocks, leaving out those below -70 dB and those 10 dB below the rest.

    Args:
        samples: (samples,) mono.
        rate: Samples per second.
        target: Decibels, 0 is full scale.
        peak: Largest absolute sample; a sound with high peaks therefore stays quieter than `target`.

    Source:
        The gates of ITU-R BS.1770-4, without its frequency weighting and overlap.
    """
    power = _block_power(samples, max(1, int(0.4 * rate)))
    power = power[power > 1e-7]
    if power.size == 0:
        return samples
    power = power[power >= 0.1 * power.mean()]
    gain = 10 ** (target / 20) / math.sqrt(float(power.mean()))
    gain = min(gain, peak / float(np.abs(samples).max()))
    return np.asarray(samples * np.float32(gain), np.float32)


_SOUND_FIX = "convert it again from its source; until then the item counts as having no sound"


@dataclass
class _Samples:
    """Collects a sound's blocks, mixed to mono and resampled as they come.

    Args:
        path: Of the file, for messages.
        limits: Of rate, channels and samples.
        rate: Of the file.
        channels: Of the file.
        to_rate: To resample to; None leaves the file's own.
    """

    path: Path
    limits: MediaLimits
    rate: int
    channels: int
    to_rate: int | None
    num_frames: int = 0
    blocks: list[np.ndarray] = field(default_factory=list)
    _resampler: Any = None

    def __post_init__(self) -> None:
        rate, channels, limits = self.rate, self.channels, self.limits
        if rate > limits.max_audio_rate:
            most = limits.max_audio_rate
            text = message("The sound has {rate} samples per second, the most is {most}.", rate=rate, most=most)
            raise self._bomb(text, "max_audio_rate")
        if channels > limits.max_audio_channels:
            most = limits.max_audio_channels
            text = message("The sound has {channels} channels, the most is {most}.", channels=channels, most=most)
            raise self._bomb(text, "max_audio_channels")
        if self.rate < 1 or self.channels < 1:
            raise _unreadable(self.path, f"{self.rate} samples per second in {self.channels} channels")
        if self.to_rate not in (None, self.rate):
            soxr = import_optional("soxr", "audio")
            self._resampler = soxr.ResampleStream(self.rate, self.to_rate, 1, dtype="float32")

    @property
    def remaining(self) -> int:
        """Frames to read until the cut."""
        return int(self.limits.max_seconds * self.rate) - self.num_frames

    def expect(self, frames: int) -> None:
        """Refuse a sound of so many frames where that is too many; a wrong number in a header only ends the reading early."""
        count = min(frames, int(self.limits.max_seconds * self.rate)) * self.channels
        if count > self.limits.max_samples:
            most = self.limits.max_samples
            text = message("The sound has {count} samples, the most is {most}.", count=count, most=most)
            raise self._bomb(text, "max_samples")

    def add(self, mono: np.ndarray) -> None:
        self.num_frames += len(mono)
        self.expect(self.num_frames)
        self._keep(mono, last=False)

    def joined(self) -> Float32[np.ndarray, " samples"]:
        """Return all samples; the last call."""
        self._keep(_NONE, last=True)
        return np.concatenate([_NONE, *self.blocks]).astype(np.float32, copy=False)

    @property
    def out_rate(self) -> int:
        return self.to_rate or self.rate

    def _keep(self, mono: np.ndarray, *, last: bool) -> None:
        block = mono if self._resampler is None else self._resampler.resample_chunk(mono, last=last)
        self.blocks.append(np.asarray(block, np.float32))

    def _bomb(self, text: str, setting: str) -> UnusableMediaError:
        fix = f"resample or cut it, or raise `{setting}` if you trust its source"
        return UnusableMediaError(text, path=str(self.path), fix=fix, check="bomb")


@dataclass
class _Level(_Samples):
    """Sums a sound's blocks up and keeps none."""

    energy: float = 0.0
    num_clipped: int = 0

    def _keep(self, mono: np.ndarray, *, last: bool) -> None:
        self.energy += float(np.square(mono, dtype=np.float64).sum())
        self.num_clipped += int((np.abs(mono) >= FULL_SCALE).sum())


def _decoded(path: Path, limits: MediaLimits, to_rate: int | None, kind: type[_Samples]) -> tuple[_Samples, float]:
    """Return what was read of a sound, and the seconds of the whole file."""
    check_file(path, limits.max_audio_bytes, "sound")
    found = _decode_by_soundfile(path, limits, to_rate, kind)
    return _decode_by_ffmpeg(path, limits, to_rate, kind) if found is None else found


def _check_heard(path: Path, limits: MediaLimits, num_samples: int, seconds: float, *, is_finite: bool) -> None:
    """Refuse a sound that is too short, or whose samples are not all finite."""
    if num_samples == 0 or seconds < limits.min_seconds:
        raise UnusableMediaError(
            message(
                "The sound lasts {seconds} s, the least is {least} s.",
                seconds=f"{seconds:.3f}",
                least=limits.min_seconds,
            ),
            path=str(path),
            fix="record it again, or lower `min_seconds`; until then the item counts as having no sound",
            check="short",
        )
    if not is_finite:
        raise UnusableMediaError(
            message("The sound holds values that are not numbers."), path=str(path), fix=_SOUND_FIX, check="unreadable"
        )


def _decode_by_soundfile(
    path: Path, limits: MediaLimits, to_rate: int | None, kind: type[_Samples]
) -> tuple[_Samples, float] | None:
    """Read WAV, FLAC, Ogg, Opus, MP3, AIFF block by block; None when the format is not one of them."""
    soundfile = import_optional("soundfile", "audio")
    try:
        with soundfile.SoundFile(path) as file:
            found = kind(path, limits, int(file.samplerate), int(file.channels), to_rate)
            total = max(0, int(file.frames))
            found.expect(total)
            size = max(1, BLOCK_VALUES // found.channels)
            while found.remaining > 0 and len(
                block := file.read(min(size, found.remaining), dtype="float32", always_2d=True)
            ):
                found.add(block.mean(axis=1, dtype=np.float32))
    except soundfile.LibsndfileError:
        return None
    # A stream of unknown length reports a number near 2**63, or fewer frames than it holds.
    cut = found.remaining <= 0 and found.num_frames < total < 1 << 40
    return found, (total if cut else found.num_frames) / found.rate


def _decode_by_ffmpeg(
    path: Path, limits: MediaLimits, to_rate: int | None, kind: type[_Samples]
) -> tuple[_Samples, float]:
    """Read M4A, WebM and the sound track of videos."""
    av = import_optional("av", "audio")
    try:
        with path.open("rb") as file, av.open(file, options=av_options(limits)) as container:
            if not container.streams.audio:
                raise ValueError("it has no sound track")
            stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
            if stream is None:
                raise ValueError("there is no decoder for its sound")
            rate = int(stream.rate or stream.codec_context.sample_rate)
            found = kind(path, limits, rate, int(stream.codec_context.channels or 1), to_rate)
            seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            seconds = seconds or (container.duration or 0) / 1_000_000
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            for frame in container.decode(stream):
                block = np.concatenate([part.to_ndarray().reshape(-1) for part in resampler.resample(frame)] or [_NONE])
                found.add(block[: found.remaining])
                if found.remaining <= 0:
                    break
    except (av.FFmpegError, ValueError, OSError, IndexError) as error:
        raise _unreadable(path, why_unread(error)) from error
    length = found.num_frames / rate
    return found, max(seconds, length) if found.remaining <= 0 else length


def av_options(limits: MediaLimits) -> dict[str, str]:
    """Return FFmpeg's options: which formats it may open, and which frames it may decode, also to find out what a file holds.

    Twice the limit, so that the size of a frame a little too large can still be named; such a frame is refused once it is known.
    """
    most = max(2 * min(limits.max_pixels, limits.max_frame_pixels), 1 << 20)
    return {"format_whitelist": SOUND_CONTAINERS, "max_pixels": str(most)}


def why_unread(error: Exception) -> str:
    """Return the reason of a decoder without the path of the file, which `where` names as its reader may see it."""
    return getattr(error, "strerror", None) or str(error)


def _unreadable(path: Path, reason: str) -> UnusableMediaError:
    return UnusableMediaError(
        message("The file is not sound in a known format: {error}.", error=reason),
        path=str(path),
        fix=_SOUND_FIX,
        check="unreadable",
    )


_NONE = np.zeros(0, np.float32)


def _block_power(samples: Float32[np.ndarray, " samples"], size: int) -> np.ndarray:
    """Return the mean square of consecutive blocks; the last, shorter one counts as one of its own length."""
    starts = np.arange(0, max(len(samples), 1), size)
    squares = np.add.reduceat(np.square(samples, dtype=np.float64), starts) if len(samples) else np.zeros(1)
    return squares / np.diff(np.append(starts, max(len(samples), 1)))
