"""Items added after the bundle was written, without a refit.

In: an item's columns and media, and a bundle with its channels. Out: vectors by frozen encoders; a bundle grown by rows.

A channel of a frozen encoder (MiniLM, E5, EfficientNet, mel, Whisper) gives a vector for a new item at once; a channel that learns
from the whole catalog (tfidf, attributes) counts as missing until the next refit. How a member scores new items is
its own: `Member.add_items`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from penchant.core.artifacts import fingerprint
from penchant.core.compact_embeddings import CompactEmbeddings
from penchant.core.errors import DataError, nearest
from penchant.core.schema import Catalog, ChannelSource, Content, Embeddings, Vocabulary
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import PRECOMPUTED, ChannelConfig, encode_batches, make_encoder
from penchant.encoders.content import find_content
from penchant.encoders.encoder import Encoder
from penchant.explanation.topics import Topics

if TYPE_CHECKING:
    from penchant.recommender.recommender import Recommender


PREPARED = "prepared:"
"""Before the name of a channel: its content as a trained encoder reads it, kept beside the vector of the frozen one."""


@dataclass(frozen=True)
class NewItem:
    """An item that is new, or changed.

    Attributes:
        item_id: Its id.
        columns: Values by column of the catalog.
        vectors: Channel to its vector; a channel that is not named is missing. Behind `PREPARED`, the content of a channel whose encoder a
            member trained further, as that encoder reads it.
    """

    item_id: str
    columns: Mapping[str, Any]
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)


class ChannelEncoders:
    """The frozen encoders of a bundle's channels, each loaded when first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[str, Encoder] = {}

    def of(self, facts: Mapping[str, Any], content: Content) -> dict[str, ChannelConfig]:
        """Return the channels that can encode something outside the catalog, from the facts and channels of a bundle."""
        tables = facts.get("channels", {})
        configs = {
            n: ChannelConfig.read(dict(c), where=f"content.{n}") for n, c in tables.items() if n in content.channels
        }
        return {n: c for n, c in configs.items() if c.encoder != PRECOMPUTED and not make_encoder(n, c).whole_catalog}

    def load(self, name: str, config: ChannelConfig) -> Encoder:
        """Return one channel's encoder, ready."""
        key = fingerprint(config.encoder, config.options)  # channels of items and users share a model
        with self._lock:
            if key not in self._loaded:
                encoder = make_encoder(name, config)
                encoder.load()
                self._loaded[key] = encoder
            return self._loaded[key]


def table_row(catalog: Catalog, item_id: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row in the form of the catalog's table; a column that is not given is null.

    Raises:
        DataError: A column does not exist, or holds another type.
    """
    schema = catalog.table.schema
    values: dict[str, Any] = dict.fromkeys(schema.names())
    for name, value in columns.items():
        if name not in schema or name == "item_id":
            raise DataError(f"There is no item column {name!r}.", where="columns", fix=nearest(name, schema.names()))
        is_list = isinstance(schema[name], pl.List)
        values[name] = [value] if is_list and isinstance(value, str) else value
    try:
        return pl.DataFrame([{**values, "item_id": item_id}], schema, orient="row")
    except (TypeError, UnicodeEncodeError, pl.exceptions.PolarsError) as error:  # a lone surrogate is no text
        types = ", ".join(f"{n}: {schema[n]}" for n in columns)
        raise DataError(
            "A value does not fit its column.", where="columns", fix=f"the catalog holds {types}"
        ) from error


def encode_new_item(
    bundle: Recommender,
    encoders: ChannelEncoders,
    row: pl.DataFrame,
    media: Mapping[str, str],
    root: Path,
    limits: MediaLimits,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the vectors of one item by channel, the content that trained encoders read, and what could not be read.

    Args:
        bundle: Its channels are used.
        encoders: Loaded as needed.
        row: From `table_row`.
        media: Modality to a file below `root`.
        root: Folder of uploads.
        limits: Of media files.
    """
    catalog = replace(bundle.catalog, table=row, media_root=root)
    for modality, column in catalog.media_columns.items():
        catalog = replace(
            catalog, table=catalog.table.with_columns(pl.lit(media.get(modality), pl.String).alias(column))
        )
    vectors: dict[str, np.ndarray] = {}
    failures: list[str] = []
    trained = {n: e for m in bundle.ensemble.members.values() for n, e in m.trained_encoders().items()}
    for name, config in encoders.of(bundle.facts, bundle.content).items():
        encoder = encoders.load(name, config)
        content = find_content(catalog, config.columns, encoder.modality, limits, where=f"content.{name}")
        if content.keys[0] is not None:
            work = [(content.keys[0], 0)]
            for _, values in encode_batches(encoder, content, work, failures, size=1, proven=True):
                vectors[name] = values[0]
            if name in vectors and name in trained:
                vectors[PREPARED + name] = trained[name].prepare(content.load(0))
    return vectors, failures


def grow(bundle: Recommender, items: Sequence[NewItem]) -> Recommender:
    """Return the bundle with more items; scores of the old ones keep their order.

    Items already in the catalog get their new columns. Dense matrices are shared, not copied.
    """
    known = Vocabulary(bundle.catalog.item_ids)
    new = [i for i in items if i.item_id not in known]
    catalog = replace(bundle.catalog, table=_grown_table(bundle.catalog, items, known))
    if not new:
        return replace(bundle, catalog=catalog)
    content = _grown_content(bundle, new)
    size, topics = len(catalog), _grown_topics(bundle.topics, content, len(catalog))
    derived = {name: reader.of(catalog, topics) for name, reader in bundle.histories.derived.items()}
    ensemble = bundle.ensemble.add_items(content, range(len(bundle.catalog), size))
    if ensemble.change is not None:
        ensemble = replace(ensemble, change=ensemble.change.over(topics.labels))
    return replace(
        bundle,
        catalog=catalog,
        histories=replace(bundle.histories, num_items=size, derived=derived),
        ensemble=ensemble,
        topics=topics,
        content=content,
    )


def _grown_table(catalog: Catalog, items: Sequence[NewItem], known: Vocabulary) -> pl.DataFrame:
    rows = {i.item_id: table_row(catalog, i.item_id, i.columns) for i in items}
    changed = [row for item_id, row in rows.items() if item_id in known]
    table = catalog.table
    if changed:
        table = table.update(pl.concat(changed), on="item_id", how="left")
    new = [row for item_id, row in rows.items() if item_id not in known]
    return pl.concat([table, *new]) if new else table


def _grown_content(bundle: Recommender, new: Sequence[NewItem]) -> Content:
    channels = {name: _with_rows(e, [i.vectors.get(name) for i in new]) for name, e in bundle.content.channels.items()}
    for name, e in channels.items():
        prepared = {row: i.vectors.get(PREPARED + name) for row, i in enumerate(new, start=len(bundle.catalog))}
        known = {row: array for row, array in prepared.items() if array is not None and e.present[row]}
        if known:
            channels[name] = e.having_source(ChannelSource("", {}, prepared=known))
    fused = None
    if bundle.content.fused is not None and "fusion" in bundle.facts:
        fused = bundle.fuse(channels)
        if fused is not None and isinstance(bundle.content.fused, CompactEmbeddings):
            rows = slice(len(bundle.catalog), None)
            fused = bundle.content.fused.with_rows(fused.rows(rows), fused.present[rows])
    elif bundle.content.fused is not None:
        fused = _with_rows(bundle.content.fused, [None] * len(new))
    return replace(bundle.content, channels=channels, fused=fused)


def _with_rows(embeddings: Embeddings, vectors: Sequence[np.ndarray | None]) -> Embeddings:
    # a vector of another width was made for an earlier bundle; one number that is not finite would spread to every score
    vectors = [v if v is not None and v.shape == (embeddings.dim,) and np.isfinite(v).all() else None for v in vectors]
    rows = [np.zeros(embeddings.dim, np.float32) if v is None else np.asarray(v, np.float32) for v in vectors]
    return embeddings.with_rows(np.stack(rows), np.array([v is not None for v in vectors], bool))


def _grown_topics(topics: Topics, content: Content, size: int) -> Topics:
    """Give each new item the topic of the most similar item; -1 where no item is similar."""
    labels = np.full(size, -1, np.int32)
    base = len(topics.labels)
    labels[:base] = topics.labels
    if content.fused is not None:
        similar = content.fused.values[base:] @ content.fused.values[:base].T
        best = similar.argmax(1)
        labels[base:] = np.where(similar[np.arange(len(best)), best] > 0, topics.labels[best], -1)
    return replace(topics, labels=labels)
