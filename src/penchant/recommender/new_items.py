"""Items that came after the bundle was made, without a refit.

In: an item's columns and media, and a bundle that kept its channels. Out: vectors by frozen encoders; a bundle grown by rows.

What a newcomer gets at once: content members that read a frozen encoder's channel (MiniLM, E5, EfficientNet, mel, Whisper).
A channel that learns from the whole catalog (tfidf, attributes) counts as missing for it, and behaviour says nothing, until the
next refit.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32
from scipy import sparse

from penchant.core.errors import DataError, nearest
from penchant.core.schema import Catalog, Content, Embeddings, Vocabulary
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import PRECOMPUTED, ChannelConfig, encode_batches, make_encoder
from penchant.encoders.content import find_content
from penchant.encoders.encoder import Encoder
from penchant.explanation.topics import Topics
from penchant.fusion.fusion import make_fusion
from penchant.models.channels import pick, read
from penchant.models.content import ContentKNN, ContentRegression
from penchant.models.ensemble import Stack
from penchant.models.factory import make_member
from penchant.models.item_to_item import ItemToItem, keep_largest
from penchant.models.member import Member

if TYPE_CHECKING:
    from penchant.recommender.recommender import Recommender


@dataclass(frozen=True)
class Newcomer:
    """An item that is new, or changed.

    Attributes:
        item_id: Its id.
        columns: Values by column of the catalog.
        vectors: Channel to its vector; a channel that is not named is missing.
    """

    item_id: str
    columns: Mapping[str, Any]
    vectors: Mapping[str, Float32[np.ndarray, " dim"]] = field(default_factory=dict)


class Encoders:
    """The frozen encoders of a bundle's channels, each loaded when first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[str, Encoder] = {}

    def of(self, facts: Mapping[str, Any], content: Content) -> dict[str, ChannelConfig]:
        """Return the channels that can encode something outside the catalog, from the facts and channels of a bundle."""
        told = facts.get("channels", {})
        configs = {
            n: ChannelConfig.read(dict(c), where=f"content.{n}") for n, c in told.items() if n in content.channels
        }
        return {n: c for n, c in configs.items() if c.encoder != PRECOMPUTED and not make_encoder(n, c).whole_catalog}

    def load(self, name: str, config: ChannelConfig) -> Encoder:
        """Return one channel's encoder, ready."""
        key = config.model_dump_json()
        with self._lock:
            if key not in self._loaded:
                encoder = make_encoder(name, config)
                encoder.load()
                self._loaded[key] = encoder
            return self._loaded[key]


def table_row(catalog: Catalog, item_id: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    """Return one row in the form of the catalog's table; what was not said is null.

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
    except (TypeError, pl.exceptions.PolarsError) as error:
        said = ", ".join(f"{n}: {schema[n]}" for n in columns)
        raise DataError("A value does not fit its column.", where="columns", fix=f"the catalog holds {said}") from error


def encode_newcomer(
    bundle: Recommender,
    encoders: Encoders,
    row: pl.DataFrame,
    media: Mapping[str, str],
    root: Path,
    limits: MediaLimits,
) -> tuple[dict[str, Float32[np.ndarray, " dim"]], list[str]]:
    """Return the vectors of one item by channel, and what could not be read.

    Args:
        bundle: Whose channels.
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
    for name, config in encoders.of(bundle.facts, bundle.content).items():
        encoder = encoders.load(name, config)
        content = find_content(catalog, config.columns, encoder.modality, limits, where=f"content.{name}")
        if content.keys[0] is not None:
            work = [(content.keys[0], 0)]
            for _, values in encode_batches(encoder, content, work, failures, size=1, proven=True):
                vectors[name] = values[0]
    return vectors, failures


def grow(bundle: Recommender, items: Sequence[Newcomer]) -> Recommender:
    """Return the bundle with more items; scores of the old ones keep their order.

    Items already in the catalog get their new columns. Dense matrices are shared, not copied.
    """
    known = Vocabulary(bundle.catalog.item_ids)
    new = [i for i in items if i.item_id not in known]
    catalog = replace(bundle.catalog, table=_grown_table(bundle.catalog, items, known))
    if not new:
        return replace(bundle, catalog=catalog)
    content = _grown_content(bundle, new)
    size = len(catalog)
    members = {
        name: make_member(name, bundle.tables[name]).restore(_grown_arrays(member, content, size))
        for name, member in bundle.stack.members.items()
    }
    return replace(
        bundle,
        catalog=catalog,
        histories=replace(bundle.histories, num_items=size),
        stack=Stack(members, bundle.stack.weights, bundle.stack.channels),
        topics=_grown_topics(bundle.topics, content, size),
        content=content,
    )


def _grown_table(catalog: Catalog, items: Sequence[Newcomer], known: Vocabulary) -> pl.DataFrame:
    rows = {i.item_id: table_row(catalog, i.item_id, i.columns) for i in items}
    changed = [row for item_id, row in rows.items() if item_id in known]
    table = catalog.table
    if changed:
        table = table.update(pl.concat(changed), on="item_id", how="left")
    new = [row for item_id, row in rows.items() if item_id not in known]
    return pl.concat([table, *new]) if new else table


def _grown_content(bundle: Recommender, new: Sequence[Newcomer]) -> Content:
    channels = {name: _with_rows(e, [i.vectors.get(name) for i in new]) for name, e in bundle.content.channels.items()}
    fused = None
    if bundle.content.fused is not None and "fusion" in bundle.facts:
        fused = make_fusion(bundle.facts["fusion"], where="the bundle's facts")(channels)
    elif bundle.content.fused is not None:
        fused = _with_rows(bundle.content.fused, [None] * len(new))
    return Content(channels, fused)


def _with_rows(embeddings: Embeddings, vectors: Sequence[np.ndarray | None]) -> Embeddings:
    # a vector of another width was made for an earlier bundle
    vectors = [v if v is not None and v.shape == (embeddings.dim,) else None for v in vectors]
    rows = [np.zeros(embeddings.dim, np.float32) if v is None else np.asarray(v, np.float32) for v in vectors]
    imputed = embeddings.imputed
    return replace(
        embeddings,
        values=np.concatenate([embeddings.values, np.stack(rows)]),
        present=np.concatenate([embeddings.present, np.array([v is not None for v in vectors], bool)]),
        imputed=None if imputed is None else np.concatenate([imputed, np.zeros(len(rows), bool)]),
    )


def _grown_topics(topics: Topics, content: Content, size: int) -> Topics:
    """Give each newcomer the topic of the item most like it; -1 where nothing is like it."""
    labels = np.full(size, -1, np.int32)
    base = len(topics.labels)
    labels[:base] = topics.labels
    if content.fused is not None:
        similar = content.fused.values[base:] @ content.fused.values[:base].T
        best = similar.argmax(1)
        labels[base:] = np.where(similar[np.arange(len(best)), best] > 0, topics.labels[best], -1)
    return replace(topics, labels=labels)


def _grown_arrays(member: Member, content: Content, size: int) -> dict[str, np.ndarray]:
    """Return what a member learned, with rows for newcomers."""
    arrays = member.arrays()
    if isinstance(member, ContentKNN):
        return _grown_knn(member, content, size)
    if isinstance(member, ContentRegression):
        return _grown_regression(member, content)
    if isinstance(member, ItemToItem):
        return {"kept": np.arange(arrays_rows(arrays)), **arrays}  # behaviour knows nothing of them: they score 0
    if set(arrays) == {"prior"}:
        return {"prior": _padded(arrays["prior"], size, float(arrays["prior"].min(initial=0)))}
    raise DataError(
        f"The member {member.name!r} cannot take in new items.",
        where=f"members.{member.name}",
        fix="run `penchant run` again with the new items in its data",
    )


def arrays_rows(arrays: Mapping[str, np.ndarray]) -> int:
    """Return the rows of an item-to-item member's matrix."""
    return int(arrays["shape"][0]) if "shape" in arrays else len(arrays["matrix"])


def _grown_knn(member: ContentKNN, content: Content, size: int) -> dict[str, np.ndarray]:
    base, config = len(member.known), member.config
    rows, usable = _placed(pick(content, config.channel, member.name), base)
    if config.whiten_dim:  # the whitening itself was not kept
        usable[base:] = False
        rows[base:] = 0
    similar = rows[base:] @ rows.T
    similar[np.arange(size - base), np.arange(base, size)] = 0
    matrix = _grown_graph(member, similar) if config.neighbours else _grown_square(member, similar)
    known = np.concatenate([member.known, usable[base:]])
    total = np.asarray(matrix.sum(1), np.float32).ravel()
    grown = ContentKNN(config)
    grown.matrix, grown.known, grown.typical = matrix, known, total / np.float32(max(int(known.sum()), 1))
    return grown.arrays()


def _grown_graph(member: ContentKNN, similar: Float32[np.ndarray, "new items"]) -> sparse.csr_array:
    """Add each newcomer's nearest, and the newcomer to those whose nearest it would have been among."""
    config, base = member.config, len(member.known)
    stored: Any = member.matrix
    graph = stored.T.tocsr() if config.per_candidate else stored
    sharp = np.maximum(similar, 0) ** np.float32(config.sharpness)
    weakest, filled = np.zeros(base, np.float32), np.diff(graph.indptr) > 0
    if filled.any():
        weakest[filled] = np.minimum.reduceat(graph.data, graph.indptr[:-1][filled])
    weakest[np.diff(graph.indptr) < config.neighbours] = 0  # there is room left
    toward = np.where(sharp[:, :base] > weakest, sharp[:, :base], 0).T
    bottom = keep_largest(similar, config.neighbours)
    bottom.data **= np.float32(config.sharpness)
    top = sparse.hstack([graph, sparse.csr_array(toward)], format="csr")
    grown = sparse.csr_array(sparse.vstack([top, bottom], format="csr"))
    return sparse.csr_array(grown.T) if config.per_candidate else grown


def _grown_square(member: ContentKNN, similar: Float32[np.ndarray, "new items"]) -> Float32[np.ndarray, "items items"]:
    base = len(member.known)
    power = np.float32(member.config.sharpness)
    sharp = similar if power == 1 else np.sign(similar) * np.abs(similar) ** power
    return np.block([[member.matrix, sharp[:, :base].T], [sharp]]).astype(np.float32)


def _grown_regression(member: ContentRegression, content: Content) -> dict[str, np.ndarray]:
    base = len(member.target)
    found = read(content, member.config.channels, member.config.weights, member.name)
    placed = [(*_placed(e, base), weight) for e, weight in found]
    features = np.concatenate([rows[base:] * np.float32(np.sqrt(weight)) for rows, _, weight in placed], axis=1)
    known = np.any([usable[base:] for _, usable, _ in placed], axis=0)
    features[~known] = member.target.mean(0)
    source = np.concatenate([member.source, np.zeros_like(features)])
    return {"source": source, "target": np.concatenate([member.target, features])}


def _placed(embeddings: Embeddings, base: int) -> tuple[Float32[np.ndarray, "items dim"], Bool[np.ndarray, " items"]]:
    """Return unit rows around the mean of the items the member was fitted on, and which rows hold something."""
    usable = embeddings.usable.copy()
    old = usable[:base]
    out = np.zeros_like(embeddings.values)
    if old.any():
        centred = embeddings.values[usable] - embeddings.values[:base][old].mean(0)
        out[usable] = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return out, usable


def _padded(values: np.ndarray, size: int, fill: float) -> np.ndarray:
    out = np.full(size, fill, values.dtype)
    out[: len(values)] = values
    return out
