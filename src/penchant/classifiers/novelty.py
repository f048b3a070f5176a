"""Content unlike anything learned: another language or script, emoji only, silence, noise, a blank picture.

In: the content of training, then of a request. Out: whether it is unlike all that was learned. Such an answer is unsure, however high its
probability: a classifier is confident far from its samples too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from sklearn.utils.extmath import randomized_svd

from penchant.classifiers.classifier import ContentBatch
from penchant.data.clean.function_words import LISTS, kind_of_language

MAX_KEPT = 1000
"""Typical scores kept for comparison."""
MAX_TEXTS = 5000
"""Texts of training whose language is looked at."""
MAX_COMPONENTS = 48
PARTS = 5
"""Parts left out in turn, to measure what is typical."""
RATE = 0.02
"""Share of content like that of training that is called novel; a language rarer than this in training is novel."""
FEWEST = 50
"""With fewer samples nothing can be called unlike them at this rate."""
KEYS = ("mean", "scale", "axes", "widths", "rest", "typical")


class VectorModel:
    """A normal distribution of embeddings: few wide directions, and one width for all others.

    Source: Tipping & Bishop, Probabilistic principal component analysis, 1999; Lee et al., A simple unified framework for detecting
    out-of-distribution samples, NeurIPS 2018 (distance in the space of features).
    """

    def __init__(self, mean: np.ndarray, scale: np.ndarray, axes: np.ndarray, widths: np.ndarray, rest: float) -> None:
        self.mean, self.scale, self.axes, self.widths, self.rest = mean, scale, axes, widths, rest

    @classmethod
    def of(cls, values: Float32[np.ndarray, "samples dim"]) -> Self:
        mean, scale = values.mean(axis=0), values.std(axis=0)
        scale = np.maximum(scale, 1e-3 * max(float(scale.max()), 1e-6))
        ready = ((values - mean) / scale).astype(np.float64)
        count = max(1, min(MAX_COMPONENTS, len(values) // 4, ready.shape[1] - 1))
        _, singular, axes = randomized_svd(ready, count, n_iter=4, random_state=0)
        variance = singular**2 / max(len(values) - 1, 1)
        left = max(ready.shape[1] - count, 1)
        rest = max(float((ready**2).sum() / max(len(values) - 1, 1) - variance.sum()) / left, 1e-6)
        return cls(mean, scale, axes.astype(np.float32), np.maximum(variance, rest), rest)

    def score(self, values: Float32[np.ndarray, "samples dim"]) -> Float64[np.ndarray, " samples"]:
        """Return the logarithm of the density, up to a constant: high for typical vectors."""
        ready = ((values - self.mean) / self.scale).astype(np.float64)
        along = ready @ self.axes.T.astype(np.float64)
        across = np.maximum((ready**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.asarray(-np.log1p((along**2 / self.widths).sum(axis=1) + across / self.rest))


@dataclass(frozen=True)
class Novelty:
    """What training looks like, for each kind of content.

    Attributes:
        languages: Language to its share among the texts of training; none without text.
        vectors: Channel to its model.
        typical: Channel to scores of vectors of training, left out, ascending.
    """

    languages: Mapping[str, float]
    vectors: Mapping[str, VectorModel]
    typical: Mapping[str, Float64[np.ndarray, " scores"]]

    @classmethod
    def of(cls, batch: ContentBatch, fold: Int64[np.ndarray, " samples"]) -> Novelty:
        """Learn from all samples of a batch; `fold` holds out whole units where the typical scores are measured."""
        texts = [text for text in batch.texts if text.strip()]
        kinds = (
            Counter(kind_of_language(text) for text in texts[:: -(-len(texts) // MAX_TEXTS)] if texts)
            if texts
            else Counter()
        )
        vectors, typical = {}, {}
        for name, one in batch.channels.items():
            rows = np.flatnonzero(one.present)
            if one.modality in ("text", "attribute") or len(rows) < FEWEST:
                continue
            part = fold[rows] % PARTS if len(np.unique(fold[rows] % PARTS)) == PARTS else np.arange(len(rows)) % PARTS
            out = [VectorModel.of(one.values[rows[part != n]]).score(one.values[rows[part == n]]) for n in range(PARTS)]
            vectors[name], typical[name] = VectorModel.of(one.values[rows]), _thinned(np.concatenate(out))
        return cls({kind: count / kinds.total() for kind, count in kinds.items()}, vectors, typical)

    def is_novel(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        """Return which samples hold content unlike that of training."""
        novel = np.zeros(len(batch), bool)
        if self.languages:
            for row, text in enumerate(batch.texts):
                if text.strip():
                    novel[row] = self.is_novel_text(text)
        for name, model in self.vectors.items():
            if name in batch.channels and batch.channels[name].present.any():
                there = batch.channels[name].present
                scores = model.score(batch.channels[name].values[there])
                novel[there] |= _is_rare(scores, self.typical[name], RATE / len(self.vectors))
        return novel

    def is_novel_text(self, text: str) -> bool:
        """Return whether a text holds no letter and no digit, or is of a language that hardly occurred."""
        if not any(character.isalnum() for character in text):
            return True
        kind = kind_of_language(text)
        if kind in ("none", "latin"):  # too short to tell: novel only where no text is in Latin letters
            return kind == "latin" and self._latin < RATE
        return self.languages.get(kind, 0.0) < RATE

    @property
    def _latin(self) -> float:
        return sum(share for kind, share in self.languages.items() if kind == "latin" or kind in LISTS)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all that was learned, for safetensors."""
        found = {f"language/{kind}": np.array([share]) for kind, share in self.languages.items()}
        for name, model in self.vectors.items():
            parts = {"mean": model.mean, "scale": model.scale, "axes": model.axes, "widths": model.widths}
            parts |= {"rest": np.array([model.rest]), "typical": self.typical[name]}
            found |= {f"vector/{name}/{key}": array for key, array in parts.items()}
        return found

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Novelty:
        """Return what `arrays` came from."""
        languages = {
            key.removeprefix("language/"): float(array[0])
            for key, array in arrays.items()
            if key.startswith("language/")
        }
        names = sorted({key.split("/", 1)[1].rpartition("/")[0] for key in arrays if key.startswith("vector/")})
        parts = {name: {key: arrays[f"vector/{name}/{key}"] for key in KEYS} for name in names}
        vectors = {
            name: VectorModel(p["mean"], p["scale"], p["axes"], p["widths"], float(p["rest"][0]))
            for name, p in parts.items()
        }
        return cls(languages, vectors, {name: p["typical"] for name, p in parts.items()})


def _thinned(scores: Float64[np.ndarray, " scores"]) -> Float64[np.ndarray, " kept"]:
    """Return the scores ascending, evenly thinned."""
    ordered = np.sort(scores).astype(np.float64)
    if len(ordered) <= MAX_KEPT:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, MAX_KEPT).round().astype(np.int64)]


def _is_rare(
    scores: Float64[np.ndarray, " samples"], typical: Float64[np.ndarray, " kept"], rate: float
) -> Bool[np.ndarray, " samples"]:
    """Return which scores are as low as at most a share `rate` of the typical ones (a conformal p value)."""
    lower = np.searchsorted(typical, scores, side="right")
    least = 1 / (len(typical) + 1)  # of few samples none is rarer than this: content below all of them is novel
    return np.asarray((lower + 1) * least <= max(rate, least))
