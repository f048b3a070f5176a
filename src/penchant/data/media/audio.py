"""Decode untrusted audio.

In: a path and limits. Out: mono samples at one rate, cut at a longest length; or a `MediaError` that names the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from penchant.core.errors import import_optional
from penchant.core.messages import message
from penchant.data.media.limits import MediaLimits, UnusableMediaError, check_file

SOUND_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mp3,ogg,wav,w64,flac,aac,avi,asf,mpegts,mpeg,flv,aiff,amr,caf,au,ac3,opus"
)
"""Formats that FFmpeg may open: a playlist (m3u8, concat) in disguise could make it read other files or addresses."""


@dataclass(frozen=True)
class AudioClip:
    """Decoded audio, mixed to mono at its own rate.

    Attributes:
        samples: (samples,) float32, as stored: not resampled, loudness unchanged; cut at `max_seconds`.
        rate: Samples per second.
        seconds: Length of the whole file, before any cut.
    """

    samples: Float32[np.ndarray, " samples"]
    rate: int
    seconds: float


def decode_audio(path: Path, limits: MediaLimits) -> AudioClip:
    """Return the samples of a sound file, or of the first sound track of a video.

    Raises:
        MediaError: Missing, not sound, empty, too short, or with values that are not finite.
        MissingExtraError: soundfile, or PyAV for a format soundfile cannot read, is not installed.
    """
    check_file(path, limits.max_audio_bytes, "sound")
    sound = _decode_by_soundfile(path, limits.max_seconds)
    if sound is None:
        sound = _decode_by_ffmpeg(path, limits.max_seconds)
    if sound.samples.size == 0 or sound.seconds < limits.min_seconds:
        raise UnusableMediaError(
            message(
                "The sound lasts {seconds} s, the least is {least} s.",
                seconds=f"{sound.seconds:.3f}",
                least=limits.min_seconds,
            ),
            path=str(path),
            fix="record it again, or lower `min_seconds`; until then the item counts as having no sound",
            check="short",
        )
    if not np.isfinite(sound.samples).all():
        raise UnusableMediaError(
            message("The sound holds values that are not numbers."), path=str(path), fix=_SOUND_FIX, check="unreadable"
        )
    return sound


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
    sound = decode_audio(path, limits)
    samples = sound.samples
    if sound.rate != rate:
        samples = np.asarray(import_optional("soxr", "audio").resample(samples, sound.rate, rate), np.float32)
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


def _decode_by_soundfile(path: Path, max_seconds: float) -> AudioClip | None:
    """Read WAV, FLAC, Ogg, Opus, MP3, AIFF block by block; None when the format is not one of them."""
    soundfile = import_optional("soundfile", "audio")
    blocks: list[np.ndarray] = []
    try:
        with soundfile.SoundFile(path) as file:
            rate, remaining = int(file.samplerate), int(max_seconds * file.samplerate)
            total = max(0, int(file.frames))
            while remaining > 0 and len(block := file.read(min(1 << 16, remaining), dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1, dtype=np.float32))
                remaining -= len(block)
    except soundfile.LibsndfileError:
        return None
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    # A stream of unknown length reports a number near 2**63, or fewer frames than it holds.
    cut = remaining <= 0 and len(samples) < total < 1 << 40
    return AudioClip(samples, rate, (total if cut else len(samples)) / rate)


def _decode_by_ffmpeg(path: Path, max_seconds: float) -> AudioClip:
    """Read M4A, WebM and the sound track of videos."""
    av = import_optional("av", "audio")
    blocks: list[np.ndarray] = []
    try:
        with path.open("rb") as file, av.open(file, options={"format_whitelist": SOUND_CONTAINERS}) as container:
            if not container.streams.audio:
                raise ValueError("it has no sound track")
            stream = container.streams.audio[0]
            rate = int(stream.rate or stream.codec_context.sample_rate)
            seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            seconds = seconds or (container.duration or 0) / 1_000_000
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            remaining = int(max_seconds * rate)
            for frame in container.decode(stream):
                block = np.concatenate([part.to_ndarray().reshape(-1) for part in resampler.resample(frame)] or [_NONE])
                blocks.append(block[:remaining])
                remaining -= len(block)
                if remaining <= 0:
                    break
    except (av.FFmpegError, ValueError, OSError, IndexError) as error:
        raise UnusableMediaError(
            message("The file is not sound in a known format: {error}.", error=str(error)),
            path=str(path),
            fix=_SOUND_FIX,
            check="unreadable",
        ) from error
    samples = np.concatenate([_NONE, *blocks]).astype(np.float32)
    return AudioClip(samples, rate, max(seconds, len(samples) / rate) if remaining <= 0 else len(samples) / rate)


_NONE = np.zeros(0, np.float32)


def _block_power(samples: Float32[np.ndarray, " samples"], size: int) -> np.ndarray:
    """Return the mean square of consecutive blocks; the last, shorter one counts as one of its own length."""
    starts = np.arange(0, max(len(samples), 1), size)
    squares = np.add.reduceat(np.square(samples, dtype=np.float64), starts) if len(samples) else np.zeros(1)
    return squares / np.diff(np.append(starts, max(len(samples), 1)))
