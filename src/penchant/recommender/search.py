"""Similar items, and items that match text, an image or audio.

In: a catalog with its channels. Out: items, nearest first, with their cosines; without channels, by behaviour.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from penchant.core.compact_embeddings import CompactEmbeddings
from penchant.core.errors import ConfigError, NotFoundError, nearest
from penchant.core.notebook import table_html
from penchant.core.schema import BEHAVIOUR, Content, Embeddings, Histories
from penchant.data.clean.normalisation import words
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig
from penchant.encoders.content import find_content, join_text
from penchant.encoders.encoder import encode_one
from penchant.models.channels import FUSED, centred_unit
from penchant.recommender.index import BLOCK, EXACT_UP_TO, CodedIndex, VectorIndex
from penchant.recommender.lists import DOCUMENTED
from penchant.recommender.lookup import CatalogLookup
from penchant.recommender.new_items import ChannelEncoders, table_row

WORDS = "words"


@dataclass(frozen=True)
class FoundItem:
    """One similar item."""

    item_id: str
    title: str
    similarity: float


@dataclass(frozen=True)
class SearchResults:
    """Similar items, and the channel compared."""

    __pydantic_config__ = DOCUMENTED

    by: str
    """The channel compared, "fused", "words" or "behaviour"."""
    items: tuple[FoundItem, ...]
    """Most similar first."""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[FoundItem]:
        return iter(self.items)

    def __getitem__(self, place: int) -> FoundItem:
        return self.items[place]

    def _repr_html_(self) -> str:
        rows = [(one.item_id, one.title, f"{one.similarity:.3f}") for one in self.items]
        return table_html(f"Nearest by {self.by}", ("item", "title", "similarity"), rows)


class ItemSearch:
    """Searches one catalog, exactly until `build` has made an index of large channels.

    Args:
        lookup: The catalog.
        content: Its channels.
        facts: Of the bundle, with the encoder of each channel.
        encoders: Of queries.
        score: Histories to scores, for similarity in behaviour.
    """

    def __init__(
        self,
        lookup: CatalogLookup,
        content: Content,
        facts: Mapping[str, Any],
        encoders: ChannelEncoders,
        score: Callable[[Histories], Float32[np.ndarray, "users items"]],
    ) -> None:
        self._lookup = lookup
        self._content = content
        self._facts = facts
        self._encoders = encoders
        self._score = score
        self._lock = threading.Lock()
        self._indexes: dict[str, VectorIndex | CodedIndex] = {}
        self._words: list[tuple[Any, Any]] = []  # shared with `scored_by`, as the indexes and the means are
        self._means: dict[str, Float32[np.ndarray, " dim"]] = {}
        if len(lookup.items) > EXACT_UP_TO and self.names()[0] != BEHAVIOUR:
            self._index(self.names()[0])  # the default one is built before the first request

    def scored_by(self, score: Callable[[Histories], Float32[np.ndarray, "users items"]]) -> ItemSearch:
        """Return the same search, indexes included, with another model's scores for similarity in behaviour."""
        other = copy.copy(self)
        other._score = score
        return other

    def adopt(self, before: ItemSearch) -> None:
        """Take over the indexes of an earlier version of the model where only a few items were added."""
        for name, index in list(before._indexes.items()):
            own = self._index(name) if name in self.names() else None
            if isinstance(own, VectorIndex) and isinstance(index, VectorIndex):
                own.adopt(index)

    @property
    def is_due(self) -> bool:
        """Whether `build` has something to do."""
        return any(index.is_due for index in list(self._indexes.values()))

    def build(self) -> None:
        """Build the due indexes on half of the cores; searches continue meanwhile."""
        for index in [one for one in self._indexes.values() if one.is_due]:
            index.build(max(1, (os.cpu_count() or 1) // 2))

    def names(self) -> list[str]:
        """Return the names of what items can be compared by."""
        return [*([FUSED] if self._content.fused is not None else []), *self._content.channels, BEHAVIOUR]

    def similar(self, item_id: str, k: int, by: str | None, available: Bool[np.ndarray, " items"]) -> SearchResults:
        """Return the items most similar to one.

        Args:
            item_id: The item; it is not in the list itself.
            k: Length of the list.
            by: A channel, "fused" or "behaviour"; None takes the first there is.
            available: Items that may be shown.

        Raises:
            NotFoundError: No such item.
            ConfigError: No such channel.
        """
        row, by = self._lookup.row(item_id), by or self.names()[0]
        allowed = available.copy()
        allowed[row] = False
        if by == BEHAVIOUR:
            return self._by_behaviour(row, k, allowed)
        index = self._index(by)
        return self._found(by, *index.search(index.row(row), k, allowed))

    def by_words(self, text: str, k: int, available: Bool[np.ndarray, " items"]) -> SearchResults:
        """Return the items whose text is nearest in meaning, or in words where no frozen text encoder is in the bundle."""
        config = self._channel("text")
        if config is None:
            return self.by_shared_words(text, k, available)
        name, channel = config
        return self._by_vector(name, encode_one(self._encoders.load(name, channel), text), k, available)

    def by_media(
        self, modality: str, file: Path, limits: MediaLimits, k: int, available: Bool[np.ndarray, " items"]
    ) -> SearchResults:
        """Return the items whose image or audio is nearest to a file.

        Raises:
            NotFoundError: The bundle has no such channel.
            MediaError: The file cannot be decoded.
        """
        found = self._channel(modality)
        if found is None:
            raise NotFoundError(
                f"This bundle cannot be searched by {modality}.",
                where=modality,
                fix=f"add a [content.NAME] table with a frozen {modality} encoder and run `penchant run` again",
            )
        channel, config = found
        catalog = self._lookup.catalog
        column = catalog.media_columns[modality]
        query = replace(catalog, table=table_row(catalog, "query", {column: file.name}), media_root=file.parent)
        content = find_content(query, [column], modality, limits, where="search")
        return self._by_vector(channel, encode_one(self._encoders.load(channel, config), content.load(0)), k, available)

    def load_encoders(self) -> None:
        """Load the encoders of queries: the first one imports large libraries, and every other thread waits for that."""
        for name, config in self._query_channels.values():
            self._encoders.load(name, config)

    def _channel(self, modality: str) -> tuple[str, ChannelConfig] | None:
        return self._query_channels.get(modality)

    @cached_property
    def _query_channels(self) -> dict[str, tuple[str, ChannelConfig]]:
        """Modality to the first channel of it that can encode a query."""
        found: dict[str, tuple[str, ChannelConfig]] = {}
        for name, config in self._encoders.of(self._facts, self._content).items():
            found.setdefault(self._content.channels[name].modality, (name, config))
        return found

    def _by_vector(
        self, name: str, vector: Float32[np.ndarray, " dim"], k: int, available: Bool[np.ndarray, " items"]
    ) -> SearchResults:
        if name not in self._means:  # two threads at once compute the same
            self._means[name] = _mean(self._content.channels[name])
        centred = vector - self._means[name]
        unit = (centred / max(float(np.linalg.norm(centred)), 1e-12)).astype(np.float32)
        return self._found(name, *self._index(name).search(unit, k, available))

    def _by_behaviour(self, row: int, k: int, allowed: Bool[np.ndarray, " items"]) -> SearchResults:
        """Return the ensemble's list for a history of this item alone."""
        one = Histories.of_one(
            "", np.array([row], np.int32), np.zeros(1, np.int64), np.ones(1, np.float32), len(allowed)
        )
        scores = np.where(allowed, self._score(one)[0], -np.inf)
        rows = np.argsort(-scores, kind="stable")[: min(k, int(allowed.sum()))]
        return self._found(BEHAVIOUR, rows, scores[rows])

    def by_shared_words(self, text: str, k: int, available: Bool[np.ndarray, " items"]) -> SearchResults:
        """Return the items whose title and text share most with some words (TF-IDF); those that share none are left out."""
        catalog = self._lookup.catalog
        columns = list(dict.fromkeys([c for c in (catalog.title_column, *catalog.text_columns) if c]))
        with self._lock:
            if not self._words:
                from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import, and seldom needed

                texts = join_text(catalog, columns) if columns else self._lookup.titles
                model = TfidfVectorizer(tokenizer=words, lowercase=False, token_pattern=None, sublinear_tf=True)
                self._words.append((model, model.fit_transform([t or "-" for t in texts])))
        model, rows = self._words[0]
        similar = np.where(available, (rows @ model.transform([text]).T).toarray().ravel(), 0)
        best = np.argsort(-similar, kind="stable")[:k]
        best = best[similar[best] > 0]
        return self._found(WORDS, best, similar[best])

    def _index(self, name: str) -> VectorIndex | CodedIndex:
        with self._lock:
            if name not in self._indexes:
                self._indexes[name] = _indexed(self._embeddings(name))
            return self._indexes[name]

    def _embeddings(self, name: str) -> Embeddings:
        if name == FUSED and self._content.fused is not None:
            return self._content.fused
        if name in self._content.channels:
            return self._content.channels[name]
        raise ConfigError(f"There is no channel {name!r}.", where="by", fix=nearest(name, self.names()))

    def _found(self, by: str, rows: Any, similar: Any) -> SearchResults:
        ids, titles = self._lookup.items.ids, self._lookup.titles
        return SearchResults(
            by, tuple(FoundItem(ids[r], titles[r], float(s)) for r, s in zip(rows, similar, strict=True))
        )


def _mean(embeddings: Embeddings) -> Float32[np.ndarray, " dim"]:
    """Return the mean of the usable vectors of a channel, NaN without one; some of the rows are decoded at a time."""
    total = np.zeros(embeddings.dim)
    for start in range(0, len(embeddings.usable), BLOCK):
        part = slice(start, start + BLOCK)
        total += embeddings.rows(part)[embeddings.usable[part]].sum(0, dtype=np.float64)
    return (total / embeddings.usable.sum()).astype(np.float32)


def _indexed(embeddings: Embeddings) -> VectorIndex | CodedIndex:
    """Return what searches a channel; the fused vectors are of unit length and centred by channel already."""
    is_fused = embeddings.modality == FUSED
    if isinstance(embeddings, CompactEmbeddings):
        return CodedIndex(embeddings, is_centred=not is_fused)
    rows = embeddings.values if is_fused else centred_unit(embeddings.values, embeddings.usable)
    return VectorIndex(rows, exact_up_to=EXACT_UP_TO)
