"""Topics: groups of items with similar content, named by their terms.

In: fused item vectors and the catalog's text. Out: a topic for each item and a few words for each topic.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Int32

from penchant.core.schema import Catalog, Embeddings
from penchant.data.clean.normalisation import words

MAX_TOPICS = 24
WORDS_PER_TOPIC = 3
CHINESE_STOP_WORDS = frozenset(
    [*"的了在是我有和就不人都一上也很到说要去你会着看好这与为中被从对将以及等其他她", "一个", "没有"]
)


@dataclass(frozen=True)
class Topics:
    """A partition of the catalog.

    Attributes:
        labels: (items,) topic of each item, -1 where it has no content.
        names: (topics,) words that mark each topic, most distinctive first.
    """

    labels: Int32[np.ndarray, " items"]
    names: list[str]


def find_topics(catalog: Catalog, vectors: Embeddings | None, *, seed: int) -> Topics:
    """Cluster the fused vectors (k-means, about sqrt(items / 4) groups) and name each group.

    A catalog without content has no topics. Cost grows with items x topics.
    """
    from sklearn.cluster import MiniBatchKMeans  # slow to import, and no service needs it

    if vectors is None or vectors.usable.sum() < 2 * WORDS_PER_TOPIC:
        return Topics(np.full(len(catalog), -1, np.int32), [])
    usable = np.flatnonzero(vectors.usable)
    num_topics = int(np.clip(np.sqrt(len(usable) / 4), 2, MAX_TOPICS))
    model = MiniBatchKMeans(num_topics, random_state=seed, n_init=3, batch_size=1024)
    labels = np.full(len(catalog), -1, np.int32)
    labels[usable] = model.fit_predict(vectors.unit()[usable])
    return Topics(labels, _name_topics(catalog, labels, num_topics))


def _name_topics(catalog: Catalog, labels: Int32[np.ndarray, " items"], num_topics: int) -> list[str]:
    """Pick the words that stand in a topic's items far more often than elsewhere."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # slow to import, and no service needs it

    columns = [pl.col(c).cast(pl.String).fill_null("") for c in catalog.text_columns]
    if not columns:
        return [f"group {t + 1}" for t in range(num_topics)]
    texts = catalog.table.select(pl.concat_str(columns, separator=" ")).to_series()
    overall: Counter[str] = Counter()
    inside = [Counter[str]() for _ in range(num_topics)]
    for label, text in zip(labels, texts, strict=True):
        found = {
            w
            for w in words(text)
            if len(w) > 1 and w not in ENGLISH_STOP_WORDS | CHINESE_STOP_WORDS and not w.isdigit()
        }
        overall.update(found)
        if label >= 0:
            inside[label].update(found)
    return [
        _distinctive_words(counts, overall, int((labels == t).sum()), len(labels)) or f"group {t + 1}"
        for t, counts in enumerate(inside)
    ]


def _distinctive_words(counts: Counter[str], overall: Counter[str], size: int, total: int) -> str:
    """Rank words by the log-likelihood ratio of their counts inside a topic."""

    def strength(word: str) -> float:
        share, base = counts[word] / max(size, 1), overall[word] / total
        return counts[word] * float(np.log(share / base)) if share > base else 0.0

    best = sorted((w for w in counts if counts[w] >= 2), key=lambda w: (-strength(w), w))[:WORDS_PER_TOPIC]
    return " · ".join(w for w in best if strength(w) > 0)
