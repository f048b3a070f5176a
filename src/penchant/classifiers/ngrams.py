"""TF-IDF of word and character n-grams with a linear classifier.

In: text. Out: log-probabilities, and exactly what each word of a text adds to each class.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Float64
from pydantic import Field
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from penchant.classifiers.classifier import (
    ContentBatch,
    LogProbability,
    ScoreFunction,
    TextClassifier,
    TrainingSet,
    log_softmax,
)
from penchant.classifiers.linear import Coefficients, Loss, apply_linear, choose, fit_linear
from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.data.clean.normalisation import words

MAX_CHARACTERS = 20_000
"""Characters read of each text: the topic of a long document shows in its first pages."""
BLOCK = 500
"""Texts vectorised at once."""
_SPACE = re.compile(r"\s+")

Kind = Literal["word", "char"]


class NGramsConfig(Settings):
    """Settings of an n-gram classifier."""

    kinds: list[Kind] = Field(["word", "char"], min_length=1)
    """word: n-grams of words; char: n-grams of characters, which tolerate misspelling and cross word borders."""
    words: tuple[int, int] = (1, 2)
    """Least and greatest number of words of an n-gram."""
    chars: tuple[int, int] = (1, 4)
    """Least and greatest number of characters of an n-gram."""
    min_texts: int = Field(2, ge=1)
    """N-grams in fewer texts are left out."""
    loss: Loss = "logistic"
    """logistic, or squared_hinge for a support vector machine."""
    strength: list[float] = Field([1.0, 4.0, 16.0], min_length=1)
    """C, the inverse strength of regularisation; several are tried on validation."""


class NGramClassifier(TextClassifier[NGramsConfig]):
    """TF-IDF of word and character n-grams, and a logistic regression or support vector machine over it.

    Chinese words come from jieba. Seconds for 10,000 short texts. Source: Wang & Manning, Baselines and bigrams, ACL 2012.
    """

    config_class = NGramsConfig
    refits_fully = True

    def __init__(self, config: NGramsConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.strength = float(self.config.strength[0])
        self.counters: list[_Counter] = []
        self.coefficients: Coefficients = (np.zeros((0, 0)), np.zeros(0))

    def fit(
        self, batch: ContentBatch, train: TrainingSet, validation: TrainingSet, score: ScoreFunction, *, seed: int
    ) -> Self:
        has = self.present(batch)
        train, validation = train.where(has[train.rows]), validation.where(has[validation.rows])
        values = self._count(batch, train)
        held = self._vectorise([batch.texts[row] for row in validation.rows])
        found = {c: fit_linear(values, train, c, self.config.loss) for c in self.config.strength}
        self.strength = choose(
            {c: score(validation.labels, log_softmax(apply_linear(held, fitted))) for c, fitted in found.items()}
        )
        self.coefficients = _halved(found[self.strength])
        return self

    def settle(self, fits: Sequence[Self]) -> Self:
        self.strength = sorted(one.strength for one in fits)[(len(fits) - 1) // 2]
        return self

    def refit(self, batch: ContentBatch, train: TrainingSet) -> Self:
        train = train.where(self.present(batch)[train.rows])
        self.coefficients = _halved(fit_linear(self._count(batch, train), train, self.strength, self.config.loss))
        return self

    def log_probability(self, batch: ContentBatch) -> LogProbability:
        texts = batch.texts
        parts = [
            apply_linear(self._vectorise(texts[start : start + BLOCK]), self.coefficients)
            for start in range(0, len(texts), BLOCK)
        ]
        return log_softmax(np.concatenate(parts)) if parts else np.zeros((0, len(self.coefficients[1])))

    def evidence(self, batch: ContentBatch, row: int) -> tuple[list[str], Float64[np.ndarray, "words classes"]]:
        """Return the text's words and what each adds to each class's logit; with the bias they sum to it.

        The contribution of a character n-gram is divided among its characters, that of a word n-gram among its words.
        """
        text = flat(batch.texts[row])
        spans = list(word_spans(text))
        added = np.zeros((len(spans) + 1, len(self.coefficients[1])))  # the last row is what lies between words
        owner = np.full(len(text), len(spans))
        for number, (start, stop) in enumerate(spans):
            owner[start:stop] = number
        values = self._vectorise([text])
        for counter, first in zip(self.counters, self._starts(), strict=True):
            counter.add_contributions(text, values, first, self.coefficients[0], owner, added)
        return [text[start:stop] for start, stop in spans] + [""], added

    def arrays(self) -> dict[str, np.ndarray]:
        named = {"weight": self.coefficients[0], "bias": self.coefficients[1]}
        for counter in self.counters:
            named |= {f"{counter.kind}.runs": pack_words(counter.runs), f"{counter.kind}.idf": counter.idf}
        return named

    def facts(self) -> dict[str, Any]:
        return {"strength": self.strength}

    def restore(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        self.strength = facts["strength"]
        self.counters = [
            _Counter.of(kind, self._reach(kind), unpack_words(arrays[f"{kind}.runs"]), arrays[f"{kind}.idf"])
            for kind in self.config.kinds
            if f"{kind}.runs" in arrays  # a kind whose n-grams are all rare is not learned
        ]
        self.coefficients = arrays["weight"], arrays["bias"]
        return self

    def _reach(self, kind: Kind) -> tuple[int, int]:
        return self.config.words if kind == "word" else self.config.chars

    def _starts(self) -> list[int]:
        return [0, *np.cumsum([len(counter.runs) for counter in self.counters])[:-1].tolist()]

    def _count(self, batch: ContentBatch, train: TrainingSet) -> sparse.csr_array:
        """Learn the vocabulary and return the TF-IDF values of the training texts."""
        texts = [batch.texts[row] for row in train.rows]
        made = [
            (counter, values)
            for kind in self.config.kinds
            if (found := _Counter.learn(kind, self._reach(kind), texts, self.config.min_texts)) is not None
            for counter, values in [found]
        ]
        if not made:
            raise DataError(
                f"No n-gram of words or characters occurs in {self.config.min_texts} of {len(texts):,} texts.",
                where=f"classifiers.{self.name}",
                fix="lower min_texts, or leave this classifier out",
            )
        self.counters = [counter for counter, _ in made]
        return _float32(sparse.hstack([values for _, values in made], format="csr"))

    def _vectorise(self, texts: list[str]) -> sparse.csr_array:
        return _float32(sparse.hstack([counter.transform(texts) for counter in self.counters], format="csr"))


class _Counter:
    """The n-grams of one kind: vocabulary and inverse document frequencies."""

    def __init__(self, kind: Kind, reach: tuple[int, int], vectorizer: TfidfVectorizer) -> None:
        self.kind, self.reach, self._vectorizer = kind, reach, vectorizer
        self.idf = np.asarray(vectorizer.idf_, np.float64)
        self.runs = [run for run, _ in sorted(vectorizer.vocabulary_.items(), key=lambda pair: pair[1])]

    @classmethod
    def learn(
        cls, kind: Kind, reach: tuple[int, int], texts: list[str], min_texts: int
    ) -> tuple[_Counter, sparse.csr_array] | None:
        vectorizer = _vectorizer(kind, reach, min_df=min(min_texts, len(texts)))
        try:
            values = vectorizer.fit_transform(texts)
        except ValueError:  # no n-gram occurs often enough
            return None
        return cls(kind, reach, vectorizer), values

    @classmethod
    def of(cls, kind: Kind, reach: tuple[int, int], runs: list[str], idf: Float64[np.ndarray, " runs"]) -> _Counter:
        vectorizer = _vectorizer(kind, reach, vocabulary=runs)
        vectorizer.idf_ = idf
        vectorizer.vocabulary_ = {run: row for row, run in enumerate(runs)}
        return cls(kind, reach, vectorizer)

    def transform(self, texts: list[str]) -> sparse.csr_array:
        return self._vectorizer.transform(texts)

    def add_contributions(
        self,
        text: str,
        values: sparse.csr_array,
        first: int,
        weight: Float64[np.ndarray, "classes runs"],
        owner: np.ndarray,
        added: Float64[np.ndarray, "words classes"],
    ) -> None:
        """Add the contribution of each n-gram of a text to the words it covers."""
        rows = dict(zip(values.indices.tolist(), values.data.tolist(), strict=True))
        index = self._vectorizer.vocabulary_
        places = [(first + index[run], start, stop) for run, start, stop in self._ngrams(text) if run in index]
        repeats = Counter(column for column, _, _ in places)
        for column, start, stop in places:
            share = rows.get(column, 0.0) * weight[:, column] / repeats[column] / (stop - start)
            np.add.at(added, owner[start:stop], share)

    def _ngrams(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Yield every n-gram of the text with the characters it covers."""
        if self.kind == "char":
            for size in range(self.reach[0], self.reach[1] + 1):
                for start in range(len(text) - size + 1):
                    yield text[start : start + size], start, start + size
            return
        spans = list(word_spans(text))
        for size in range(self.reach[0], self.reach[1] + 1):
            for start in range(len(spans) - size + 1):
                covered = spans[start : start + size]
                yield " ".join(text[a:b] for a, b in covered), covered[0][0], covered[-1][1]


def flat(text: str) -> str:
    """Return the text from which n-grams are counted: lower case, one space between words, at most `MAX_CHARACTERS`."""
    return _SPACE.sub(" ", text[:MAX_CHARACTERS].lower().replace("’", "'")).strip()


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each word of a lower-case text begins and ends."""
    position = 0
    for word in words(text):
        start = text.find(word, position)
        if start >= 0:
            position = start + len(word)
            yield start, position


def pack_words(names: list[str]) -> np.ndarray:
    """Return strings without line breaks as bytes, for safetensors."""
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def unpack_words(packed: np.ndarray) -> list[str]:
    """Return what `pack_words` packed."""
    return packed.tobytes().decode().split("\n")


def _vectorizer(kind: Kind, reach: tuple[int, int], **options: Any) -> TfidfVectorizer:
    if kind == "word":
        options |= {"tokenizer": words, "token_pattern": None}
    return TfidfVectorizer(
        analyzer=kind, preprocessor=flat, ngram_range=reach, sublinear_tf=True, dtype=np.float32, **options
    )


def _halved(coefficients: Coefficients) -> Coefficients:
    """Return the weights in float32, the type on disk, so that the evaluated and the stored classifier are equal."""
    return coefficients[0].astype(np.float32), coefficients[1]


def _float32(values: Any) -> sparse.csr_array:
    return sparse.csr_array(values, dtype=np.float32)
