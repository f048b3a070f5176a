"""Heat over content: which places of a picture, words of a text, times and pitches of a sound, stretches of a series add to a score.

In: raw content, what scores content, and where the encoder allows it what scores vectors. Out: `Heat`, with the check of this very heat: the score must
fall further without its hottest fifth than without as many random pieces.

Occlusion covers one piece at a time. For EfficientNet, whose vector is the mean over places, Grad-CAM needs one pass of the network: the gradient of the
score along each place's features is taken from the vector, whatever reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64
from PIL import Image, ImageFilter

from penchant.core.errors import ConfigError
from penchant.encoders.audio import RATE, mel_filters
from penchant.encoders.encoder import Encoder
from penchant.encoders.image import EfficientNet
from penchant.reporting.heat import Heat

ScoreContent = Callable[[Sequence[Any]], Float64[np.ndarray, " variants"]]
"""A score of each version of one content."""
ScoreVectors = Callable[[Float32[np.ndarray, "variants dim"]], Float64[np.ndarray, " variants"]]
"""A score of each version of one content's vector."""
GRID = 7
"""Rows and columns of a picture's places: those of EfficientNet's last layer at 224 pixels."""
BANDS, FRAMES = 8, 16
"""Pieces of a sound: bands of pitch and stretches of time."""
STRETCHES = 24
"""Stretches of a series."""
MAX_WORDS = 200
"""Words that are left out in turn; the later words of a longer text get no heat."""
STEP = 0.125
"""Part of the way from the vector to the features of one place, along which the gradient is taken."""
COVERED, DRAWS = 0.2, 8
"""Share of the pieces that the check covers, and its random draws."""
READABLE = ("text", "image", "audio", "signal", "video", "mesh")


@dataclass(frozen=True)
class Pieces:
    """Content cut into pieces that can be covered.

    Attributes:
        shape: Of the pieces.
        cover: The content without some pieces, given by a mask of this shape.
        heat: What draws the heat; its values are filled in.
    """

    shape: tuple[int, ...]
    cover: Callable[[Bool[np.ndarray, "..."]], Any]
    heat: Heat


def content_heat(modality: str, name: str, raw: Any, score: ScoreContent, *, seed: int = 0) -> Heat:
    """Return the heat of one content by occlusion: what the score loses without each piece.

    Cost: one score for each piece, and nine for the check.

    Args:
        modality: text, image, audio, signal, video or mesh.
        name: Channel or input, for the file and the page.
        raw: As `encoders/content.py` loads it: a string, a picture, samples at 16 kHz, a `Signal`; of a video the prepared `VideoClip`.
        score: Of versions of the content.
        seed: Of the check's random pieces.

    Raises:
        ConfigError: There is no heat over this modality.

    Source: Zeiler & Fergus, ECCV 2014; Petsiuk et al., RISE, BMVC 2018 (the check).
    """
    pieces = cut(modality, name, raw)
    count = int(np.prod(pieces.shape))
    if not count:
        return pieces.heat
    masks = np.eye(count, dtype=bool).reshape(count, *pieces.shape)
    found = score([raw, *(pieces.cover(mask) for mask in masks)])
    values = (found[0] - found[1:]).reshape(pieces.shape)
    return _with_check(replace(pieces.heat, values=values, method="occlusion"), pieces, raw, score, seed)


def grad_cam(
    encoder: EfficientNet,
    name: str,
    raw: Image.Image,
    score: ScoreContent,
    score_vectors: ScoreVectors,
    *,
    seed: int = 0,
) -> Heat:
    """Return the heat of one picture by Grad-CAM: the gradient of the score along the features of each place.

    The vector is the mean of the places' features, so the weights of Grad-CAM are the gradient of the score by the vector, and the map at a place is its
    derivative towards the features of that place, up to a constant. Places that lower the score are below 0.

    Cost: one pass of the network, a score of 50 vectors, and nine passes for the check.

    Args:
        encoder: Loaded.
        name: Of the channel.
        raw: RGB picture.
        score: Of pictures.
        score_vectors: Of their vectors.
        seed: Of the check's random pieces.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017.
    """
    places = encoder.places(raw)  # (rows, columns, D)
    rows, columns, dim = places.shape
    vector = places.mean((0, 1))
    towards = vector + STEP * (places.reshape(-1, dim) - vector)
    found = score_vectors(np.concatenate([vector[None], towards]).astype(np.float32))
    values = ((found[1:] - found[0]) / STEP).reshape(rows, columns)
    pieces = _picture(name, raw, (rows, columns))
    return _with_check(replace(pieces.heat, values=values, method="grad_cam"), pieces, raw, score, seed)


def encoder_heat(encoder: Encoder, name: str, raw: Any, score_vectors: ScoreVectors, *, seed: int = 0) -> Heat:
    """Return the heat of one content by what reads its vector: Grad-CAM where the encoder has places, else occlusion.

    Args:
        encoder: Loaded.
        name: Of the channel.
        raw: As `content_heat` takes it.
        score_vectors: Of vectors of the encoder.
        seed: Of the check's random pieces.

    Raises:
        ConfigError: There is no heat over this modality.
    """
    is_video = encoder.modality == "video"

    def score(versions: Sequence[Any]) -> Float64[np.ndarray, " versions"]:
        found = []
        for start in range(0, len(versions), encoder.batch_size):
            batch = versions[start : start + encoder.batch_size]
            found.append(encoder.encode([one if is_video else encoder.prepare(one) for one in batch]))
        return score_vectors(np.concatenate(found))

    if isinstance(encoder, EfficientNet):
        return grad_cam(encoder, name, raw, score, score_vectors, seed=seed)
    return content_heat(encoder.modality, name, encoder.prepare(raw) if is_video else raw, score, seed=seed)


def _with_check(heat: Heat, pieces: Pieces, raw: Any, score: ScoreContent, seed: int) -> Heat:
    """Return the heat with what the score loses without the hottest pieces, and without random ones."""
    rng, count = np.random.default_rng(seed), heat.values.size
    size = max(1, round(COVERED * count))
    hottest = np.argsort(-heat.values.ravel(), kind="stable")[:size]
    chosen = [hottest, *(rng.choice(count, size, replace=False) for _ in range(DRAWS))]
    masks = [np.isin(np.arange(count), one).reshape(pieces.shape) for one in chosen]
    found = score([raw, *(pieces.cover(mask) for mask in masks)])
    lost = found[0] - found[1:]
    return replace(heat, lost=(float(lost[0]), float(lost[1:].mean())))


def cut(modality: str, name: str, raw: Any) -> Pieces:
    """Return the pieces of one content.

    Raises:
        ConfigError: There is no heat over this modality.
    """
    if modality == "text":
        return _words(name, raw)
    if modality == "image":
        return _picture(name, raw, (GRID, GRID))
    if modality == "audio":
        return _sound(name, raw)
    if modality == "signal":
        return _signal(name, raw)
    if modality == "video":
        return _video(name, raw)
    if modality == "mesh":
        return _mesh(name, raw)
    raise ConfigError(
        f"There is no heat over {modality}.", where=f"content.{name}", fix=f"choose one of {', '.join(READABLE)}"
    )


def _words(name: str, text: str) -> Pieces:
    from penchant.classifiers.ngrams import word_spans  # slow to import, and few services need it

    lower = text.lower()
    if len(lower) != len(text):  # a letter whose lower case is two letters would shift everything behind it
        text = lower
    spans = tuple(word_spans(lower))[:MAX_WORDS]

    def cover(mask: Bool[np.ndarray, " words"]) -> str:
        kept = text
        for (start, stop), is_gone in reversed(list(zip(spans, mask, strict=True))):
            if is_gone:
                kept = kept[:start] + kept[stop:]
        return " ".join(kept.split()) or " "

    words = tuple(text[start:stop] for start, stop in spans)
    heat = Heat("text", name, "occlusion", np.zeros(len(spans)), pieces=words, text=text, spans=spans)
    return Pieces((len(spans),), cover, heat)


def _picture(name: str, picture: Image.Image, shape: tuple[int, int]) -> Pieces:
    picture = picture.convert("RGB")
    blurred = picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 8))

    def cover(mask: Bool[np.ndarray, "rows columns"]) -> Image.Image:
        place = Image.fromarray((255 * mask).astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
        return Image.composite(blurred, picture, place)

    return Pieces(shape, cover, Heat("image", name, "occlusion", np.zeros(shape), picture=picture))


def _sound(name: str, samples: Float32[np.ndarray, " samples"]) -> Pieces:
    """Cut a sound into bands of equal width in mel and stretches of equal length; a covered piece is silent."""
    from scipy import signal

    window = 1024
    shown = np.pad(samples, (0, max(0, 2 * window - len(samples))))
    _, _, spectrum = signal.stft(shown, RATE, nperseg=window, noverlap=window // 2)
    bins, steps = spectrum.shape
    edges = np.append(0, 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 1)[1:] / 2595) - 1))
    band = np.clip(np.searchsorted(edges, np.linspace(0, RATE / 2, bins), side="right") - 1, 0, BANDS - 1)
    frame = np.minimum(np.arange(steps) * FRAMES // steps, FRAMES - 1)

    def cover(mask: Bool[np.ndarray, "bands frames"]) -> Float32[np.ndarray, " samples"]:
        quiet = np.where(mask[band][:, frame], 1e-3, 1.0) * spectrum
        _, kept = signal.istft(quiet, RATE, nperseg=window, noverlap=window // 2)
        return np.asarray(kept[: len(shown)], np.float32)

    loudness = np.log10(mel_filters(64, window) @ (np.abs(spectrum) ** 2).astype(np.float32) + 1e-8)
    shape = (BANDS, FRAMES)
    heat = Heat("audio", name, "occlusion", np.zeros(shape), picture=loudness, seconds=len(samples) / RATE)
    return Pieces(shape, cover, heat)


def _signal(name: str, raw: Any) -> Pieces:
    """Cut a series into stretches of equal length; readings of a covered one are replaced by the mean of their channel."""
    stream = raw.stream
    values = np.asarray(stream.values, np.float32)
    at = np.asarray(stream.at, np.float64)
    length = max(float(at[-1] - at[0]), 1e-9)
    piece = np.minimum(((at - at[0]) / length * STRETCHES).astype(int), STRETCHES - 1)
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)

    def cover(mask: Bool[np.ndarray, " stretches"]) -> Any:
        return replace(raw, stream=replace(stream, values=np.where(mask[piece][:, None], mean, values)))

    centred = np.where(known, values - mean, 0)
    spread = np.sqrt((centred**2).sum(0) / np.maximum(known.sum(0), 1))
    level = (centred / np.where(spread > 0, spread, 1)).sum(1) / np.maximum(known.sum(1), 1)
    level[~known.any(1)] = np.nan
    heat = Heat("signal", name, "occlusion", np.zeros(STRETCHES), picture=level, seconds=length)
    return Pieces((STRETCHES,), cover, heat)


def _video(name: str, clip: Any) -> Pieces:
    """Cut a prepared video into its frames, and its sound."""
    count = len(clip.frames)
    parts = tuple(f"frame {number + 1}" for number in range(count)) + (() if clip.sound is None else ("sound",))

    def cover(mask: Bool[np.ndarray, " parts"]) -> Any:
        frames = [frame for frame, is_gone in zip(clip.frames, mask[:count], strict=True) if not is_gone]
        return replace(clip, frames=frames, sound=None if mask[count:].any() else clip.sound)

    return Pieces((len(parts),), cover, Heat("video", name, "occlusion", np.zeros(len(parts)), pieces=parts))


def _mesh(name: str, mesh: Any) -> Pieces:
    """Cut a mesh into the eight octants around the middle of its box."""
    centre = mesh.triangles_center - mesh.bounds.mean(axis=0)
    octant = (centre > 0) @ np.array([1, 2, 4])
    sides = (("left", "right"), ("front", "back"), ("low", "high"))
    used = np.unique(octant)
    parts = tuple(" ".join(side[(code >> axis) & 1] for axis, side in enumerate(sides)) for code in used)

    def cover(mask: Bool[np.ndarray, " octants"]) -> Any:
        kept = np.flatnonzero(~np.isin(octant, used[mask]))
        return mesh.submesh([kept], append=True) if len(kept) else mesh

    return Pieces((len(parts),), cover, Heat("mesh", name, "occlusion", np.zeros(len(parts)), pieces=parts))
