"""Text embeddings from word vectors.

In: normalised text, Chinese or English. Out: the weighted mean of its words' vectors; a text without a known word is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.artifacts import MANIFEST, checksum, fingerprint
from penchant.core.config import Settings
from penchant.data.clean.normalisation import words
from penchant.encoders.encoder import Encoder
from penchant.encoders.text import MAX_CHARACTERS
from penchant.encoders.word_vectors import TrainingConfig, WordVectors, read_word_vectors, train_words, unusable
from penchant.language.hub import package_folder

SIF = 1e-3
"""Weight parameter: the weight of a word falls with its frequency above this (Arora et al., 2017, section 4)."""


class Word2VecConfig(TrainingConfig):
    """Word2Vec's settings."""

    weighting: Literal["sif", "tfidf", "mean"] = "sif"
    """sif: frequent words count less, and the common direction is removed. tfidf: words of few texts count more. mean: all alike."""


class Word2Vec(Encoder[Word2VecConfig]):
    """Word2Vec trained on the catalog's own texts, words weighted by rarity, the common direction removed.

    For vocabulary that general models lack. It reads the texts of all items, of test too, but no label and no event.

    Source: Mikolov et al., NIPS 2013; Arora et al., A simple but tough-to-beat baseline for sentence embeddings, ICLR 2017.
    """

    modality = "text"
    licence = "none needed"
    cost = "light"
    whole_catalog = True

    config_class = Word2VecConfig

    def weights(self) -> Any:
        package_folder("gensim", "words")
        return None

    def prepare(self, raw: str) -> list[str]:
        return words(raw[:MAX_CHARACTERS])

    def encode(self, prepared: Sequence[list[str]]) -> Float32[np.ndarray, "batch dim"]:
        vectors = train_words(prepared, self.config)
        if self.config.weighting == "mean":
            return vectors.mean(prepared, np.ones_like(vectors.share))
        if self.config.weighting == "tfidf":
            return vectors.mean(prepared, _inverse_frequency(vectors, prepared))
        return _without_common(vectors.mean(prepared, _sif(vectors)))


class WordFileConfig(Settings):
    """Settings of a file of word vectors."""

    path: Path
    """Text (.txt, .vec, also .gz), word2vec's .bin, or a folder of saved word vectors."""
    max_words: int | None = Field(None, ge=1)
    """Words read from the beginning of the file, the most frequent first; None reads all."""
    weighting: Literal["sif", "mean"] = "sif"
    """sif: frequent words count less; frequency follows from the file's order. mean: all alike."""


class WordFile(Encoder[WordFileConfig]):
    """Word vectors from a file: GloVe's text, word2vec's text or binary, or a folder that `WordVectors.save` wrote.

    Broken lines are skipped and counted in the log. gensim's own format is refused: it is a pickle.

    Source: Pennington et al., GloVe, EMNLP 2014.
    """

    modality = "text"
    licence = "the file's own"
    cost = "light"
    batch_size = 1024

    config_class = WordFileConfig

    def weights(self) -> Any:
        path = self.config.path
        if not path.exists():
            raise unusable(path, "there is no such file", "correct the path")
        return checksum(path / MANIFEST if path.is_dir() else path)

    def fingerprint(self) -> str:
        settings = self.config.model_dump(mode="json", exclude={"path"})
        return fingerprint(type(self).__name__, self.version, settings, self.weights())

    @cached_property
    def vectors(self) -> WordVectors:
        path, limit = self.config.path, self.config.max_words
        return WordVectors.open(path) if path.is_dir() else read_word_vectors(path, limit)

    @cached_property
    def _weight(self) -> Float32[np.ndarray, " words"]:
        return _sif(self.vectors) if self.config.weighting == "sif" else np.ones_like(self.vectors.share)

    def load(self) -> None:
        _ = self._weight

    def prepare(self, raw: str) -> list[str]:
        return words(raw[:MAX_CHARACTERS])

    def encode(self, prepared: Sequence[list[str]]) -> Float32[np.ndarray, "batch dim"]:
        return self.vectors.mean(prepared, self._weight)


def _sif(vectors: WordVectors) -> Float32[np.ndarray, " words"]:
    return (SIF / (SIF + vectors.share)).astype(np.float32)


def _inverse_frequency(vectors: WordVectors, texts: Sequence[Sequence[str]]) -> Float32[np.ndarray, " words"]:
    number = np.zeros(len(vectors.index))
    for text in texts:
        number[[vectors.index[word] for word in set(text) if word in vectors.index]] += 1
    return (np.log((1 + len(texts)) / (1 + number)) + 1).astype(np.float32)


def _without_common(values: Float32[np.ndarray, "texts dim"]) -> Float32[np.ndarray, "texts dim"]:
    """Remove the direction that nearly all texts share; texts without a known word stay zero."""
    known = values.any(axis=1)
    if known.sum() < 2:
        return values
    _, _, directions = np.linalg.svd(values[known].T @ values[known])
    common = directions[0]
    return np.asarray(values - np.outer(values @ common, common), np.float32)
