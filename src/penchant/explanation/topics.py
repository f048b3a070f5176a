"""Topics: groups of items about the same thing, named by their distinctive terms.

In: the catalog's words and attributes, and vectors of its texts. Out: a topic for each item; for each topic a name in each language of the
catalog and its most typical items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Float, Float32, Int32
from scipy.sparse import csr_array

from penchant.core.schema import Catalog, Content
from penchant.data.clean.normalisation import language, words
from penchant.encoders.content import join_text
from penchant.explanation.topic_names import FEWEST_OF_LANGUAGE, TERMS_PER_TOPIC, name_topics
from penchant.fusion.concat import unit_rows

NUM_TOPICS = (4, 6, 8, 10, 12, 16, 20, 24)
"""Numbers of topics that are compared."""
ITEMS_PER_TOPIC = 100
"""At least one topic for this many items, as far as `FEWEST_OF_MANY`: finer groups are cut where the vectors show no clear number."""
FEWEST_OF_MANY = 12
TOLERANCE = 0.02
"""The largest number of topics is taken whose silhouette is at most this much below the best."""
SAMPLE = 5000
"""Items that the number of topics is chosen on, at most."""
DIMENSIONS = 32
"""Principal components that are clustered."""
DESCRIBES = 8
"""Median words of an item from which its texts say what it is about, more than its attributes do."""
ATTRIBUTE_WEIGHT = 0.3
"""Length of the attribute vector where texts describe the items; theirs is 1."""
SAME_MEANING = 0.1
"""Agreement with the texts (CKA beyond chance) from which an attribute counts fully."""
NAMES_FROM = 0.5
"""Weight of an attribute from which its values may name a topic."""
MOST_VALUES = 500
"""Attribute values that are read, the most frequent ones."""
TYPICAL = 3
"""Items that are shown for a topic."""


@dataclass(frozen=True)
class Topics:
    """A partition of the catalog.

    Attributes:
        labels: (items,) topic of each item, -1 where it has no content.
        names: (topics,) distinct names in the catalog's main language, most distinctive term first.
        translations: Language to (topics,) names from the terms of that language's items; where a topic has none, the name in the main language.
        typical: (topics, `TYPICAL`) items nearest to the centre of each topic; -1 where it has fewer. None: not known.
    """

    labels: Int32[np.ndarray, " items"]
    names: list[str]
    translations: Mapping[str, list[str]] = field(default_factory=dict)
    typical: Int32[np.ndarray, "topics shown"] | None = None

    def shown(self, name: str, language: str) -> str:
        """Return a topic's name in a reader's language."""
        translated = self.translations.get(language)
        return translated[self.names.index(name)] if translated and name in self.names else name

    def examples(self, name: str) -> list[int]:
        """Return the rows of a topic's most typical items."""
        rows = self.typical[self.names.index(name)] if self.typical is not None and name in self.names else []
        return [int(row) for row in rows if row >= 0]


def find_topics(
    catalog: Catalog, content: Content, *, texts: Sequence[str] = (), seed: int, limit: int = NUM_TOPICS[-1]
) -> Topics:
    """Cluster items by what they are about, and name each cluster.

    Texts decide where there are texts: their vectors are centred within each language, so that a topic holds items of all languages. Attributes take
    part, with little weight where texts describe the items and as much as the texts where these are titles. Only items without both are
    grouped by their fused vectors. The number of topics has the best silhouette (Rousseeuw 1987) on a sample, within a tolerance. A
    name is made of the terms with the highest class-based TF-IDF (Grootendorst 2022, BERTopic) among words and attribute values. Cost grows
    with items x topics.

    Args:
        catalog: Items.
        content: Its embeddings.
        texts: Channels of text whose vectors hold meaning; without them every channel of text is read.
        seed: Of the clustering.
        limit: Topics, at most.
    """
    documents = join_text(catalog, catalog.text_columns) if catalog.text_columns else [""] * len(catalog)
    spoken = np.array([language(text) for text in documents])
    of_text = {name: e for name, e in content.channels.items() if e.modality == "text"}
    channels = [e for name, e in of_text.items() if name in texts] or list(of_text.values())
    parts = [_centred(e.unit(), e.usable, spoken) for e in channels]
    tables = catalog.categories()
    columns = _attributes(tables, len(catalog), np.hstack(parts) if parts else None, spoken)
    joined = [column.weight * column.vectors for column in columns.values()]
    if joined:
        describes = bool(parts) and _median_words(documents) >= DESCRIBES
        length = max(1.0, float(np.linalg.norm([column.weight for column in columns.values()])))
        parts.append((ATTRIBUTE_WEIGHT if describes else 1.0) / length * np.hstack(joined))
    elif not parts and content.fused is not None:
        parts = [_centred(content.fused.unit(), content.fused.usable, np.zeros(len(catalog)))]
    vectors = np.hstack(parts) if parts else np.zeros((len(catalog), 1), np.float32)
    usable = (vectors != 0).any(1)
    labels = np.full(len(catalog), -1, np.int32)
    if usable.sum() < 2 * TERMS_PER_TOPIC:
        return Topics(labels, [])
    vectors = unit_rows(_principal(vectors))
    labels[usable], centres = _cluster(vectors[usable], spoken[usable], seed, limit)
    values = {name: table for name, table in tables.items() if columns[name].weight >= NAMES_FROM}
    names, translations = name_topics(documents, spoken, values, labels, len(centres))
    return Topics(labels, names, translations, _typical(labels, (vectors * centres[labels]).sum(1), len(centres)))


@dataclass(frozen=True)
class _Attribute:
    """A categorical column: (items, values) unit rows, 0 where an item has no frequent value, and how much it says about what items are."""

    vectors: Float32[np.ndarray, "items dim"]
    weight: float


def _attributes(
    tables: Mapping[str, pl.DataFrame], num_items: int, texts: np.ndarray | None, spoken: np.ndarray
) -> dict[str, _Attribute]:
    """Return the categorical columns; one that agrees with the texts no better than chance (a season, a platform's feature) has weight 0."""
    found = {}
    for name, table in tables.items():
        vectors = _value_vectors(table, num_items)
        present = (vectors != 0).any(1)
        weight = 1.0 if texts is None else _agreement(vectors, texts, present)
        found[name] = _Attribute(_centred(vectors, present, spoken), weight)
    return found


def _value_vectors(table: pl.DataFrame, num_items: int) -> Float32[np.ndarray, "items dim"]:
    """Return the principal components of the values of a column; a rare value is longer."""
    from sklearn.decomposition import TruncatedSVD  # slow to import, and no service needs it

    counts = table.group_by("value").len().filter(pl.col("len") >= 2).sort(["len", "value"], descending=[True, False])
    kept = counts.head(MOST_VALUES).with_row_index("position")
    rows = table.join(kept, on="value")
    weight = np.log(num_items / rows["len"].to_numpy()).astype(np.float32)
    shape = (num_items, max(len(kept), 1))
    values = csr_array((weight, (rows["row"].to_numpy(), rows["position"].to_numpy())), shape)
    if shape[1] <= DIMENSIONS:
        return values.toarray()
    return TruncatedSVD(DIMENSIONS, random_state=0).fit_transform(values).astype(np.float32)


def _agreement(values: np.ndarray, texts: np.ndarray, present: np.ndarray) -> float:
    """Return the linear CKA (Kornblith et al. 2019) of an attribute and the texts beyond that of shuffled texts, 0 to 1."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.flatnonzero(present & (texts != 0).any(1)))[:2000]
    if len(rows) < FEWEST_OF_LANGUAGE:
        return 1.0
    a, b = (part[rows] - part[rows].mean(0) for part in (values, texts))
    size = float(np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    if size == 0:
        return 0.0
    together, by_chance = (float(np.linalg.norm(a.T @ part)) ** 2 / size for part in (b, rng.permutation(b)))
    return float(np.clip((together - by_chance) / SAME_MEANING, 0, 1))


def _median_words(documents: Sequence[str]) -> float:
    return float(np.median([len(words(text)) for text in documents[:: max(1, len(documents) // 500)]]))


def _centred(vectors: np.ndarray, present: np.ndarray, spoken: np.ndarray) -> Float32[np.ndarray, "items dim"]:
    """Return unit vectors without the mean of their language: a multilingual encoder tells languages apart first."""
    rows = np.where(present[:, None], vectors, 0).astype(np.float32)
    for name in set(spoken[present].tolist()):
        same = present & (spoken == name)
        group = same if same.sum() >= FEWEST_OF_LANGUAGE else present
        rows[same] -= vectors[group].mean(0)
    return unit_rows(rows)


def _principal(rows: np.ndarray) -> Float[np.ndarray, "rows dim"]:
    """Return the first principal components: k-means in fewer dimensions is faster and less noisy."""
    if rows.shape[1] <= DIMENSIONS:
        return rows
    _, axes = np.linalg.eigh(np.cov(rows, rowvar=False))
    return rows @ axes[:, -DIMENSIONS:]


def _cluster(
    rows: np.ndarray, spoken: np.ndarray, seed: int, limit: int
) -> tuple[Int32[np.ndarray, " items"], np.ndarray]:
    """Return the cluster of each row, and the centres."""
    from sklearn.cluster import KMeans  # slow to import, and no service needs it
    from sklearn.metrics import normalized_mutual_info_score, silhouette_score

    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:SAMPLE])
    sample = rows[chosen]
    distinct = len(np.unique(sample.round(4), axis=0))
    fewest, most = min(FEWEST_OF_MANY, len(rows) // ITEMS_PER_TOPIC), min(limit, distinct, len(rows) // TERMS_PER_TOPIC)
    sizes = [k for k in NUM_TOPICS if fewest <= k <= most] or [max(1, min(most, 2))]
    fits = [KMeans(k, n_init=10, random_state=seed).fit(sample) for k in sizes]
    quality = [
        silhouette_score(sample, fit.labels_, sample_size=min(2000, len(sample)), random_state=seed)
        - normalized_mutual_info_score(spoken[chosen], fit.labels_)  # a topic holds all languages
        if 1 < len(set(fit.labels_)) < len(sample)
        else -1.0
        for fit in fits
    ]
    best = max(i for i, q in enumerate(quality) if q >= max(quality) - TOLERANCE)
    return fits[best].predict(rows).astype(np.int32), fits[best].cluster_centers_


def _typical(labels: np.ndarray, nearness: np.ndarray, num_topics: int) -> Int32[np.ndarray, "topics shown"]:
    typical = np.full((num_topics, TYPICAL), -1, np.int32)
    for topic in range(num_topics):
        rows = np.flatnonzero(labels == topic)
        nearest = rows[np.argsort(-nearness[rows], kind="stable")[:TYPICAL]]
        typical[topic, : len(nearest)] = nearest
    return typical
