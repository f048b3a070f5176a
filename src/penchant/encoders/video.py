"""Video embeddings.

In: a video file. Out: mean and spread of its frames' image embeddings, and the embedding of its sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.errors import ConfigError
from penchant.core.logs import logger
from penchant.data.media.images import PICTURE_SIDE
from penchant.data.media.video import Video
from penchant.encoders.audio import RATE
from penchant.encoders.content import LOUDNESS
from penchant.encoders.encoder import Encoder


@dataclass(frozen=True)
class VideoClip:
    """A video's frames and sound, each prepared by its own encoder; either may be missing."""

    frames: list[Any]
    sound: Any | None


class FramesAndSoundConfig(Settings):
    """Encoders of frames and sound, and number of frames."""

    picture: str = "efficientnet"
    """Encoder of frames (`penchant list encoders`)."""
    picture_options: dict[str, Any] = {}
    """Its settings."""
    sound: str = "mel"
    """Encoder of the sound track."""
    sound_options: dict[str, Any] = {}
    """Its settings."""
    frames: int = Field(8, ge=1)
    """Number of frames, evenly spaced."""


class FramesAndSound(Encoder[FramesAndSoundConfig]):
    """Mean and spread of its frames' vectors, and its sound's vector, each of length 1; two numbers state which of them exist.

    A video without sound, or without picture, has zeros in that place.
    """

    modality = "video"
    licence = "its two encoders' own"
    cost = "heavy"
    batch_size = 4

    config_class = FramesAndSoundConfig

    @property
    def decodes_apart(self) -> bool:  # type: ignore[override]
        """Whether both parts can be prepared in another process."""
        return self._picture.decodes_apart and self._sound.decodes_apart

    @cached_property
    def _picture(self) -> Encoder:
        return _part(self.config.picture, self.config.picture_options, "image", "picture")

    @cached_property
    def _sound(self) -> Encoder:
        return _part(self.config.sound, self.config.sound_options, "audio", "sound")

    @cached_property
    def _widths(self) -> tuple[int, int]:
        """Return the width of each part; where an encoder has no `dim`, of the embedding of a test input."""
        from PIL import Image

        picture_dim = (
            self._picture.dim or self._picture.encode([self._picture.prepare(Image.new("RGB", (64, 64)))]).shape[1]
        )
        sound_dim = self._sound.dim or self._sound.encode([self._sound.prepare(np.zeros(RATE, np.float32))]).shape[1]
        return picture_dim, sound_dim

    def weights(self) -> Any:
        return [self._picture.weights(), self._sound.weights()]

    def fingerprint(self) -> str:
        parts = [self._picture.fingerprint(), self._sound.fingerprint()]
        return fingerprint(type(self).__name__, self.version, self.config.frames, parts)

    def load(self) -> None:
        self._picture.load()
        self._sound.load()
        _ = self._widths

    def prepare(self, raw: Video) -> VideoClip:
        for note in raw.notes():
            logger.info("%s: %s", raw.path.name, note)
        sound = raw.sound(RATE, LOUDNESS)
        frames = raw.frames(self.config.frames, max_side=PICTURE_SIDE)
        return VideoClip(
            [self._picture.prepare(f) for f in frames], None if sound is None else self._sound.prepare(sound)
        )

    def encode(self, prepared: Sequence[VideoClip]) -> Float32[np.ndarray, "batch dim"]:
        picture_dim, sound_dim = self._widths
        out = np.zeros((len(prepared), 2 * picture_dim + sound_dim + 2), np.float32)
        counts = [len(clip.frames) for clip in prepared]
        frames = [frame for clip in prepared for frame in clip.frames]
        size = self._picture.batch_size
        encoded = [self._picture.encode(frames[start : start + size]) for start in range(0, len(frames), size)]
        all_frames = np.concatenate(encoded) if encoded else np.zeros((0, picture_dim))
        with_sound = [row for row, clip in enumerate(prepared) if clip.sound is not None]
        for row, vectors in enumerate(np.split(all_frames, np.cumsum(counts)[:-1])):
            if len(vectors):
                mean, scale = vectors.mean(0), max(float(np.linalg.norm(vectors.mean(0))), 1e-12)
                out[row, : 2 * picture_dim] = np.concatenate([mean, vectors.std(0)]) / scale
                out[row, -2] = 1
        if with_sound:
            vectors = self._sound.encode([prepared[row].sound for row in with_sound])
            norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            out[with_sound, 2 * picture_dim : 2 * picture_dim + sound_dim] = vectors / norms
            out[with_sound, -1] = 1
        return out


def _part(name: str, options: dict[str, Any], modality: str, setting: str) -> Encoder:
    from penchant.encoders import ENCODERS

    cls = ENCODERS.load(name)
    if cls.modality != modality or cls.whole_catalog:
        raise ConfigError(
            f"{name!r} reads {cls.modality}; a video needs an encoder of {modality} here.",
            where=f"the video encoder's {setting}",
            fix="choose another: `penchant list encoders`",
        )
    encoder: Encoder = cls(cls.config_class.read(options, where=f"{setting}_options"))
    return encoder
