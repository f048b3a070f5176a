"""Augmentation of training samples; validation and test are never augmented.

In: one sample's words, picture, spectrogram or signal, or a batch, and a generator. Out: the same, changed as the settings allow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from PIL import Image, ImageEnhance, ImageOps
from pydantic import Field

from penchant.core.config import Settings


class TextAugmentationConfig(Settings):
    """Text augmentation."""

    deletion: float = Field(0.1, ge=0, lt=1)
    """Probability that a word is left out; one word always stays."""
    synonym: float = Field(0.0, ge=0, lt=1)
    """Probability that a word is replaced by one of the words that the training texts use most like it (needs the extra `words`)."""


class ImageAugmentationConfig(Settings):
    """Image augmentation."""

    min_area: float = Field(0.6, gt=0, le=1)
    """Smallest share of the picture's area in a crop."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a horizontal flip; 0 for pictures with text."""
    operations: int = Field(2, ge=0)
    """Number of colour or shape operations drawn for each picture."""
    strength: float = Field(0.3, ge=0, le=1)
    """Maximum strength of the operations."""


class AudioAugmentationConfig(Settings):
    """Spectrogram augmentation."""

    masks: int = Field(2, ge=0)
    """Number of frequency masks, and of time masks, in a spectrogram."""
    mask_share: float = Field(0.15, ge=0, le=1)
    """Maximum width of a mask, as a share of the axis."""
    speed: float = Field(0.1, ge=0, lt=1)
    """Maximum relative change of speed: the frames move closer together or apart in time; the pitch stays."""


class SignalAugmentationConfig(Settings):
    """Signal augmentation."""

    jitter: float = Field(0.05, ge=0)
    """Noise, in standard deviations of each channel."""
    scale: float = Field(0.1, ge=0)
    """Standard deviation, about 1, of the factor of each channel."""
    warp: float = Field(0.2, ge=0, lt=1)
    """Maximum relative change of speed in time warping."""


def augment_image(picture: Image.Image, config: ImageAugmentationConfig, rng: np.random.Generator) -> Image.Image:
    """Return a picture of the same size: a crop, flipped at random, with some operations of RandAugment.

    Source: Cubuk et al., RandAugment, NeurIPS 2020; strengths are drawn up to the setting instead of fixed.
    """
    width, height = picture.size
    side = np.sqrt(rng.uniform(config.min_area, 1.0))
    left, top = rng.random(2) * (1 - side) * (width, height)
    box = (left, top, left + side * width, top + side * height)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
    if rng.random() < config.flip:
        picture = ImageOps.mirror(picture)
    for choice in rng.choice(len(OPERATIONS), config.operations, replace=config.operations > len(OPERATIONS)):
        picture = OPERATIONS[choice](picture, float(rng.uniform(-1, 1)) * config.strength)
    return picture


def mask_spectrogram(
    mel: Float32[np.ndarray, "bands frames"], config: AudioAugmentationConfig, rng: np.random.Generator
) -> Float32[np.ndarray, "bands frames"]:
    """Return the spectrogram with frequency and time masks set to its mean.

    Source: Park et al., SpecAugment, Interspeech 2019, without time warping.
    """
    out, mean = mel.copy(), mel.mean()
    for axis, size in enumerate(mel.shape):
        for _ in range(config.masks):
            width = int(rng.integers(0, int(config.mask_share * size) + 1))
            start = int(rng.integers(0, size - width + 1))
            out[(slice(None),) * axis + (slice(start, start + width),)] = mean
    return out


def change_speed(
    mel: Float32[np.ndarray, "bands frames"], config: AudioAugmentationConfig, rng: np.random.Generator
) -> Float32[np.ndarray, "bands new_frames"]:
    """Return the spectrogram of the same sound, faster or slower by a factor drawn evenly from 1 - speed to 1 + speed; at least one frame.

    Source: Ko et al., Audio augmentation for speech recognition, Interspeech 2015; frames are interpolated, so that the pitch stays.
    """
    frames = mel.shape[1]
    if config.speed == 0 or frames < 2:
        return mel
    count = max(1, round(frames / rng.uniform(1 - config.speed, 1 + config.speed)))
    place = np.linspace(0, frames - 1, count)
    low = np.clip(place.astype(np.int64), 0, frames - 2)
    share = (place - low).astype(np.float32)
    return (mel[:, low] * (1 - share) + mel[:, low + 1] * share).astype(np.float32)


def replace_words(
    rows: Int64[np.ndarray, " words"],
    alike: Int64[np.ndarray, "vocabulary choices"],
    config: TextAugmentationConfig,
    rng: np.random.Generator,
) -> Int64[np.ndarray, " words"]:
    """Return the words with some replaced by another that is used alike.

    Args:
        rows: Of the words in the vocabulary.
        alike: Rows of the words that are used most like each one, -1 where there are fewer; a word with none stays.
        config: The probability.
        rng: Draws words and their replacements.

    Source: Zhang et al., Character-level convolutional networks, NIPS 2015, with nearest word vectors instead of a thesaurus.
    """
    new = alike[rows, rng.integers(alike.shape[1], size=len(rows))]
    return np.where((new >= 0) & (rng.random(len(rows)) < config.synonym), new, rows)


def augment_signal(
    values: Float32[np.ndarray, "times channels"], config: SignalAugmentationConfig, rng: np.random.Generator
) -> Float32[np.ndarray, "times channels"]:
    """Return readings with noise, scaled amplitudes and warped time; missing ones (NaN) stay missing.

    Source: Um et al., Data augmentation of wearable sensor data, ICMI 2017.
    """
    count = np.maximum(np.isfinite(values).sum(0), 1)
    centred = values - np.nansum(values, axis=0) / count
    spread = np.sqrt(np.nansum(centred**2, axis=0) / count)
    noisy = values + config.jitter * spread * rng.standard_normal(values.shape)
    scaled = noisy * (1 + config.scale * rng.standard_normal(values.shape[1]))
    return _warp(scaled.astype(np.float32), config.warp, rng)


def drop_modalities(
    present: Bool[np.ndarray, "batch modalities"], probability: float, rng: np.random.Generator
) -> Bool[np.ndarray, "batch modalities"]:
    """Return presence with some modalities hidden; every sample keeps at least one.

    Source: Neverova et al., ModDrop, TPAMI 2016.
    """
    draw = np.where(present, rng.random(present.shape), -1.0)
    kept = present & (draw >= probability)
    kept[np.arange(len(present)), draw.argmax(1)] = present.any(1)
    return kept


def draw_mixup(
    count: int, alpha: float, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " batch"], Float32[np.ndarray, " batch"]]:
    """Return each sample's partner and its own share, at least a half, for `mix`.

    Source: Zhang et al., mixup, ICLR 2018.
    """
    share = rng.beta(alpha, alpha, count) if alpha > 0 else np.ones(count)
    return rng.permutation(count), np.maximum(share, 1 - share).astype(np.float32)


def mix(
    values: Float32[np.ndarray, "batch *dims"],
    partner: Int64[np.ndarray, " batch"],
    share: Float32[np.ndarray, " batch"],
) -> Float32[np.ndarray, "batch *dims"]:
    """Return each row mixed with its partner's: of inputs, of embeddings, of one-hot labels."""
    own = share.reshape(-1, *([1] * (values.ndim - 1)))
    return (own * values + (1 - own) * values[partner]).astype(np.float32)


def _warp(
    values: Float32[np.ndarray, "times channels"], warp: float, rng: np.random.Generator
) -> Float32[np.ndarray, "times channels"]:
    """Interpolate the signal at warped times; a missing reading makes those beside it missing."""
    length = len(values)
    if warp == 0 or length < 2:
        return values
    knots = np.linspace(0, length - 1, 6)
    speed = np.interp(np.arange(length), knots, 1 + warp * rng.uniform(-1, 1, len(knots)))
    position = np.concatenate([[0.0], np.cumsum(speed[:-1])])
    position *= (length - 1) / position[-1]
    low = np.clip(position.astype(np.int64), 0, length - 2)
    share = (position - low)[:, None].astype(np.float32)
    return np.where(share > 0, values[low] * (1 - share) + values[low + 1] * share, values[low])


Operation = Callable[[Image.Image, float], Image.Image]


def _enhanced(kind: Any) -> Operation:
    return lambda picture, strength: kind(picture).enhance(1 + strength)


def _sheared(picture: Image.Image, strength: float) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, (1, 0.5 * strength, 0, 0, 1, 0), Image.Resampling.BILINEAR
    )


OPERATIONS: tuple[Operation, ...] = (
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
    lambda picture, strength: Image.blend(picture, ImageOps.autocontrast(picture), abs(strength)),
    lambda picture, strength: Image.blend(picture, ImageOps.equalize(picture), abs(strength)),
    lambda picture, strength: ImageOps.posterize(picture, 8 - round(4 * abs(strength))),
    lambda picture, strength: ImageOps.solarize(picture, 256 - round(128 * abs(strength))),
    lambda picture, strength: picture.rotate(30 * strength, Image.Resampling.BILINEAR),
    _sheared,
)
"""Each takes a picture and a strength in [-1, 1]; 0 leaves the picture as it is."""
