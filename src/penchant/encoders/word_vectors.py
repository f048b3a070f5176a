"""Word vectors: trained on texts, read from a file, stored in a folder.

In: texts cut into words, or an untrusted GloVe or word2vec file. Out: `WordVectors`, the most frequent word first.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from scipy import sparse

from penchant.core.artifacts import open_artifact, write_artifact
from penchant.core.config import Settings
from penchant.core.errors import EncoderError
from penchant.core.logs import logger
from penchant.language.hub import package_folder

MAX_LINE = 1_000_000
"""Characters that are read at once: a line without end, of few bytes in an archive, is invalid piece by piece."""
BROKEN_SHARE = 0.5
"""A file with a larger share of invalid lines is refused."""


_COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class WordVectors:
    """Vectors of words, the most frequent word first.

    Attributes:
        index: Word to row.
        values: (words, dim) float32.
        share: (words,) part of all words each one makes up; estimated from the rank for files.
        broken: Number of invalid lines of the file.
    """

    index: dict[str, int]
    values: Float32[np.ndarray, "words dim"]
    share: Float32[np.ndarray, " words"]
    broken: int = 0

    def mean(
        self, texts: Sequence[Sequence[str]], weight: Float32[np.ndarray, " words"]
    ) -> Float32[np.ndarray, "texts dim"]:
        """Return each text's weighted mean over its known words."""
        rows = [[self.index[word] for word in text if word in self.index] for text in texts]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        column = np.concatenate([np.asarray(row, np.int64) for row in rows] or [np.zeros(0, np.int64)])
        counts = sparse.csr_array((weight[column], column, offsets), shape=(len(rows), len(self.index)))
        total = np.maximum(counts.sum(axis=1), 1e-12)
        return ((counts @ self.values) / total[:, None]).astype(np.float32)

    def save(self, folder: Path) -> Path:
        """Write the vectors to a folder that `WordFile` reads."""

        def write(into: Path) -> None:
            (into / "words.json").write_text(json.dumps(list(self.index), ensure_ascii=False), encoding="utf-8")
            np.save(into / "vectors.npy", self.values, allow_pickle=False)
            np.save(into / "share.npy", self.share, allow_pickle=False)

        return write_artifact(folder, write, kind="word vectors")

    @classmethod
    def open(cls, folder: Path) -> WordVectors:
        """Return the vectors that `save` wrote.

        Raises:
            ArtifactError: It is missing, half-written or altered.
        """
        open_artifact(folder, kind="word vectors")
        names = json.loads((folder / "words.json").read_text(encoding="utf-8"))
        values, share = (np.load(folder / name, allow_pickle=False) for name in ("vectors.npy", "share.npy"))
        return cls({word: row for row, word in enumerate(names)}, values, share)


class TrainingConfig(Settings):
    """Settings of the training of word vectors."""

    dim: int = Field(100, ge=1)
    """Numbers for each word."""
    window: int = Field(5, ge=1)
    """Words to each side that are its context."""
    epochs: int = Field(10, ge=1)
    """Passes over the texts; small collections need more."""
    min_count: int = Field(2, ge=1)
    """Rarer words get no vector."""
    skip_gram: bool = True
    """Predict the context from the word, better for few texts; false predicts the word from its context, faster."""
    seed: int = 0
    """Of the initial vectors and of sampling."""


def train_words(texts: Sequence[Sequence[str]], config: TrainingConfig) -> WordVectors:
    """Train Word2Vec on texts cut into words; one thread, so that a seed reproduces it. About 10 s for 1,000,000 words and epochs = 10.

    Source: Mikolov et al., Distributed representations of words and phrases, NIPS 2013; gensim's code.

    Raises:
        EncoderError: No word is frequent enough.
        MissingExtraError: gensim is not installed.
    """
    package_folder("gensim", "words")
    from gensim.models import Word2Vec as Model

    model = Model(
        vector_size=config.dim,
        window=config.window,
        min_count=config.min_count,
        sg=int(config.skip_gram),
        seed=config.seed,
        workers=1,
    )
    model.build_vocab(texts)
    if not len(model.wv):
        raise EncoderError(
            f"No word occurs {config.min_count} times.",
            where=f"{len(texts):,} texts",
            fix="lower min_count, or bring more texts",
        )
    model.train(texts, total_examples=len(texts), epochs=config.epochs)
    counts = np.array([model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key], np.float64)
    values = np.asarray(model.wv.vectors, np.float32)
    return WordVectors(dict(model.wv.key_to_index), values, (counts / counts.sum()).astype(np.float32))


def read_word_vectors(path: Path, max_words: int | None = None) -> WordVectors:
    """Return the vectors of a file; lines with another number of values than most, or with an invalid one, are skipped.

    Raises:
        EncoderError: It is missing, or holds no word vectors.
        MissingExtraError: The file is binary, and gensim is not installed.
    """
    if not path.is_file():
        raise unusable(path, "there is no such file", "correct the path")
    if path.suffix in {".kv", ".model", ".pkl", ".pickle"}:
        raise unusable(path, "it is a pickle, which may run code", "save it with save_word2vec_format and read that")
    names, values, broken = _read_binary(path, max_words) if path.suffix == ".bin" else _read_lines(path, max_words)
    if broken:
        logger.warning("%s: %s lines hold no vector and were skipped", path.name, f"{broken:,}")
    if not names or broken > BROKEN_SHARE * (broken + len(names)):
        raise unusable(
            path, f"{broken:,} of its {broken + len(names):,} lines hold no vector", "give a file of GloVe or word2vec"
        )
    rank = np.arange(len(names), dtype=np.float64)
    zipf = 1 / (rank + 2.7)  # Mandelbrot's form of Zipf's law: such files are sorted by frequency
    return WordVectors(
        {word: row for row, word in enumerate(names)}, values, (zipf / zipf.sum()).astype(np.float32), broken
    )


def _read_binary(path: Path, max_words: int | None) -> tuple[list[str], Float32[np.ndarray, "words dim"], int]:
    package_folder("gensim", "words")
    from gensim.models import KeyedVectors

    try:
        vectors = KeyedVectors.load_word2vec_format(str(path), binary=True, limit=max_words, unicode_errors="replace")
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise unusable(path, str(error) or type(error).__name__, "download it again, or give the text form") from error
    good = np.isfinite(vectors.vectors).all(axis=1)
    names = [word for word, is_good in zip(vectors.index_to_key, good, strict=True) if is_good]
    return names, np.asarray(vectors.vectors[good], np.float32), int((~good).sum())


def _read_lines(path: Path, max_words: int | None) -> tuple[list[str], Float32[np.ndarray, "words dim"], int]:
    """Read `word number number ...`, with or without word2vec's first line of two counts."""
    rows: dict[str, Float32[np.ndarray, " dim"]] = {}
    dim, broken = 0, 0
    for number, line in enumerate(_lines(path)):
        cells = line.rstrip().split(" ")
        if number == 0 and len(cells) == 2 and all(_COUNT.fullmatch(cell) for cell in cells):
            dim = int(cells[1])
            continue
        vector = _vector(cells, dim)
        if vector is None or not cells[0]:
            broken += bool(line.strip())
            continue
        dim = dim or len(vector)
        rows.setdefault(" ".join(cells[: len(cells) - dim]), vector)
        if max_words is not None and len(rows) >= max_words:
            break
    return list(rows), np.stack([*rows.values()]) if rows else np.zeros((0, 1), np.float32), broken


def _lines(path: Path) -> Iterator[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
        try:
            while line := file.readline(MAX_LINE):
                yield line
        except (OSError, EOFError, zlib.error) as error:  # a damaged archive
            raise unusable(path, str(error), "download it again") from error


def _vector(cells: list[str], dim: int) -> Float32[np.ndarray, " dim"] | None:
    """Return the last `dim` cells as numbers (all but the first where `dim` is 0), None where they are not numbers."""
    if len(cells) < 2 or (dim and len(cells) <= dim):
        return None
    try:
        vector = np.array(cells[-dim:] if dim else cells[1:], np.float32)
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None


def unusable(path: Path, reason: str, fix: str) -> EncoderError:
    """Return the error for a file that holds no word vectors."""
    return EncoderError(f"The word vectors cannot be read: {reason.rstrip('.')}.", where=str(path), fix=fix)
