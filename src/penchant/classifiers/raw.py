"""Raw content of each modality as training input.

In: texts, and opened sounds, meshes, signals. Out: word indices, log-mel frames, points, signal values; images are in `images`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy import signal as filters
from torch import nn

from penchant.classifiers.branches import (
    Array,
    Branch,
    BranchAugmentationConfig,
    MediaBranch,
    Prepared,
    moments,
    standardise,
)
from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.paraphrase import paraphrase
from penchant.core.errors import DataError
from penchant.data.clean.normalisation import words
from penchant.data.media import augmentation
from penchant.encoders.audio import RATE, mel_filters
from penchant.encoders.mesh import ShapeStatistics, ShapeStatisticsConfig
from penchant.encoders.signal import SignalStatistics, SignalStatisticsConfig
from penchant.encoders.word_vectors import TrainingConfig, train_words
from penchant.networks.content_nets import PointNet, SequenceEncoder, SmallImageNet, WordEmbedding

UNKNOWN = "\x00"
"""Stands for every word outside the vocabulary."""
WINDOW = 512
"""Samples of one frame of sound, 32 ms."""
MAX_CHARACTERS = 20_000
ALIKE, LEAST_ALIKE = 5, 0.5
"""Words that may replace one, and the cosine of their vectors that they have at least."""
MAX_FOR_MOMENTS = 200
"""Sounds or signals from which means and standard deviations are computed."""


class WordContent(Branch):
    """Words of a text as rows of an embedding table trained with the network; jieba segments Chinese."""

    is_sequence = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._start: Array | None = None
        self._paraphrases: dict[bytes, Array] = {}
        self._alike: Array | None = None

    def modality(self, batch: ContentBatch) -> str:
        return "text"

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return batch.has_text

    def learn(self, batch: ContentBatch, rows: Int64[np.ndarray, " rows"]) -> None:
        cut = [self._cut(batch.texts[row]) for row in rows]
        count = Counter(word for text in cut for word in text)
        common = (word for word, number in count.items() if number >= self.config.min_count)
        self.facts = {"words": [UNKNOWN, *sorted(common, key=lambda word: (-count[word], word))]}
        if self.config.pretrain:
            found = train_words(cut, TrainingConfig(min_count=self.config.min_count))
            self._start = _start(self.facts["words"], found.index, found.values)

    def vary(self, batch: ContentBatch, change: BranchAugmentationConfig | None) -> None:
        if change is not None and change.text.synonym > 0:
            self._alike = _used_alike(self.facts["words"], [self._cut(text) for text in batch.texts])
        if change is None or change.paraphrase is None:
            return
        index, others = self._index(), paraphrase(batch.texts, change.paraphrase)
        for text, other in zip(batch.texts, others, strict=True):
            own, new = self._rows(text, index), None if other is None else self._rows(other, index)
            if own is not None and new is not None:
                self._paraphrases[own.tobytes()] = new

    def prepare(self, batch: ContentBatch) -> list[Prepared]:
        index = self._index()
        return [self._rows(text, index) for text in batch.texts]

    def ready(self, array: Array, change: BranchAugmentationConfig | None, rng: np.random.Generator) -> Array:
        if change is None:
            return array
        if change.paraphrase is not None and rng.random() < change.paraphrase.probability:
            array = self._paraphrases.get(array.tobytes(), array)
        if self._alike is not None:
            array = augmentation.replace_words(array, self._alike, change.text, rng)
        if len(array) < 2:
            return array
        kept = rng.random(len(array)) >= change.text.deletion
        kept[rng.integers(len(array))] = True
        return array[kept]

    def empty(self) -> Array:
        return np.zeros(1, np.int64)

    def network(self, dim: int) -> nn.Module:
        table = WordEmbedding(len(self.facts["words"]) + 1, dim, self._start)
        size = self.config.size.model_copy(update={"dim": dim})
        return SequenceEncoder(size, self.config.net or "lstm", table, self.config.max_length)

    def widen(self, arrays: Mapping[str, Array]) -> None:
        if "entry.map.weight" in arrays:
            self._start = np.zeros(arrays["entry.table.weight"].shape, np.float32)

    def _cut(self, text: str) -> list[str]:
        return words(text[:MAX_CHARACTERS])

    def _index(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.facts["words"], start=1)}

    def _rows(self, text: str, index: Mapping[str, int]) -> Prepared:
        cut = self._cut(text)[: self.config.max_length]
        return np.array([index.get(word, index[UNKNOWN]) for word in cut], np.int64) if cut else None


class PointCloudContent(MediaBranch):
    """Points drawn from a mesh, with the surface normal at each."""

    kind = "mesh"

    def array(self, raw: Any) -> Array:
        options = ShapeStatisticsConfig.read(self.config.options, where=f"branches.{self.name}.options")
        cloud = ShapeStatistics(options).prepare(raw)
        return np.concatenate([cloud.points, cloud.normals], axis=1)

    def ready(self, array: Array, change: BranchAugmentationConfig | None, rng: np.random.Generator) -> Array:
        return array

    def empty(self) -> Array:
        return np.zeros((int(self.config.options.get("points", 1024)), 6), np.float32)

    def network(self, dim: int) -> nn.Module:
        return PointNet(self.config.size.model_copy(update={"dim": dim}))


class _SequenceContent(MediaBranch):
    """Sequences of frames or signal values, standardised with the moments of training content."""

    is_sequence = True

    def learn(self, batch: ContentBatch, rows: Int64[np.ndarray, " rows"]) -> None:
        prepared = self.prepare(batch.take(rows[:: max(1, len(rows) // MAX_FOR_MOMENTS)]))
        known = [array for array in prepared if array is not None]
        if not known:
            raise DataError(
                f"No {self.kind} of the training samples can be read.",
                where=f"branches.{self.name}",
                fix="correct the folder of media, or leave this branch out",
            )
        channels = max(array.shape[1] for array in known)
        self.facts = {"channels": channels, **moments(np.concatenate([fit_channels(a, channels) for a in known]))}

    def _scaled(self, array: Array) -> Array:
        return standardise(fit_channels(array, int(self.facts["channels"])), self.facts)

    def _sequence(self, dim: int, width: int) -> nn.Module:
        size = self.config.size.model_copy(update={"dim": dim})
        return SequenceEncoder(size, self.config.net or "lstm", nn.Linear(width, dim), self.config.max_length)


class AudioContent(_SequenceContent):
    """Log-mel frames of a sound, read as a sequence, or by `picture_cnn` as a picture."""

    kind = "audio"

    @property
    def is_picture(self) -> bool:
        return self.config.net == "picture_cnn"

    def array(self, raw: Any) -> Array:
        return coarser(log_mel(raw, self.config.bands), self.config.max_length)

    def ready(self, array: Array, change: BranchAugmentationConfig | None, rng: np.random.Generator) -> Array:
        if change is not None:
            faster = augmentation.change_speed(array.T, change.audio, rng)[:, : self.config.max_length]
            array = augmentation.mask_spectrogram(faster, change.audio, rng).T
        frames = self._scaled(array)
        if not self.is_picture:
            return frames
        picture = np.zeros((1, self.config.max_length, frames.shape[1]), np.float32)
        picture[0, : len(frames)] = frames
        return picture

    def empty(self) -> Array:
        shape = (1, self.config.max_length, self.config.bands) if self.is_picture else (1, self.config.bands)
        return np.zeros(shape, np.float32)

    def network(self, dim: int) -> nn.Module:
        if self.is_picture:
            return SmallImageNet(self.config.size.model_copy(update={"dim": dim}), channels=1)
        return self._sequence(dim, self.config.bands)


class SignalContent(_SequenceContent):
    """A signal resampled to equal time steps, each channel beside a mask of present values."""

    kind = "signal"

    def array(self, raw: Any) -> Array:
        options = SignalStatisticsConfig.read(self.config.options, where=f"branches.{self.name}.options")
        return coarser(SignalStatistics(options).prepare(raw).values, self.config.max_length)

    def ready(self, array: Array, change: BranchAugmentationConfig | None, rng: np.random.Generator) -> Array:
        if change is not None:
            array = augmentation.augment_signal(array, change.signal, rng)
        scaled = self._scaled(array)
        known = np.isfinite(scaled)
        return np.concatenate([np.where(known, scaled, 0.0), known], axis=1).astype(np.float32)

    def empty(self) -> Array:
        return np.zeros((1, 2 * int(self.facts["channels"])), np.float32)

    def network(self, dim: int) -> nn.Module:
        return self._sequence(dim, 2 * int(self.facts["channels"]))


def log_mel(samples: Float32[np.ndarray, " samples"], bands: int) -> Float32[np.ndarray, "frames bands"]:
    """Return the logarithm of power in mel bands, 16 ms apart."""
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    _, _, spectrum = filters.stft(samples, RATE, nperseg=WINDOW, noverlap=WINDOW // 2, boundary=None, padded=False)
    power = np.square(np.abs(spectrum)).astype(np.float32)
    return np.log(np.maximum(mel_filters(bands, WINDOW) @ power, 1e-10)).T.astype(np.float32)


def coarser(steps: Float32[np.ndarray, "steps channels"], most: int) -> Float32[np.ndarray, "fewer channels"]:
    """Return at most `most` steps, means of neighbours; missing values do not count."""
    if len(steps) <= most:
        return steps
    group = -(-len(steps) // most)
    padded = np.full((-(-len(steps) // group) * group, steps.shape[1]), np.nan, np.float32)
    padded[: len(steps)] = steps
    parts = padded.reshape(-1, group, steps.shape[1])
    known = np.isfinite(parts)
    count = known.sum(axis=1)
    mean = np.where(known, parts, 0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan).astype(np.float32)


def fit_channels(values: Float32[np.ndarray, "steps some"], channels: int) -> Float32[np.ndarray, "steps channels"]:
    """Return steps with `channels` channels; an absent channel is NaN throughout."""
    if values.shape[1] >= channels:
        return values[:, :channels]
    return np.pad(values, ((0, 0), (0, channels - values.shape[1])), constant_values=np.nan)


def _start(names: list[str], index: Mapping[str, int], values: Array) -> Array:
    """Return the initial word embeddings: Word2Vec's where it has the word, small random ones elsewhere, 0 for padding."""
    start = np.random.default_rng(0).normal(0, 0.1, (len(names) + 1, values.shape[1]))
    start[0] = 0
    for row, word in enumerate(names, start=1):
        if word in index:
            start[row] = values[index[word]]
    return start.astype(np.float32)


def _used_alike(names: list[str], texts: list[list[str]]) -> Int64[np.ndarray, "vocabulary choices"]:
    """Return the rows of the words that the texts use most like each word of the vocabulary, -1 where there are fewer; row 0 is padding."""
    vectors = train_words(texts, TrainingConfig())
    rows = np.array([vectors.index.get(word, -1) for word in names])
    unit = vectors.values[rows] / np.maximum(np.linalg.norm(vectors.values[rows], axis=1, keepdims=True), 1e-12)
    unit[rows < 0] = 0
    alike = np.full((len(names) + 1, ALIKE), -1, np.int64)
    for start in range(0, len(names), 1024):  # bounds the memory of a large vocabulary
        similar = unit[start : start + 1024] @ unit.T
        similar[np.arange(len(similar)), start + np.arange(len(similar))] = -1
        best = np.argsort(-similar, axis=1)[:, :ALIKE]
        found = np.where(np.take_along_axis(similar, best, 1) >= LEAST_ALIKE, best + 1, -1)
        alike[1 + start : 1 + start + len(similar), : best.shape[1]] = found
    return alike
