"""A whole catalog becomes vectors.

In: items with text and media, and which encoder reads what. Out: `Embeddings` by channel, and what could not be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.errors import ConfigError, EncoderError, MediaError, nearest
from penchant.core.logs import ProgressBar, progress_bar
from penchant.core.schema import Catalog, Embeddings, Finding, Vocabulary
from penchant.data.media import MediaLimits, load_picture, load_sound, resolve
from penchant.data.normalisation import language
from penchant.encoders import ENCODERS
from penchant.encoders.audio import RATE
from penchant.encoders.cache import VectorCache
from penchant.encoders.encoder import Encoder
from penchant.encoders.precomputed import guess_modality, read_vectors

PRECOMPUTED = "precomputed"
CHINESE_SHARE = 0.05
"""From this share of Chinese texts on, the default text encoder is the multilingual one."""
LOUDNESS = -23.0
"""LUFS all sound is brought to, so that a loud master is not a taste."""
WORKERS = 2
MAX_SIDE = 512
"""Pictures are decoded no larger than this; every encoder here looks at fewer pixels."""


class ChannelConfig(Settings):
    """One kind of content and who reads it: a `[content.NAME]` table."""

    encoder: str
    """Name of an encoder (`penchant list encoders`), or "precomputed"."""
    columns: list[str] = []
    """The catalog's columns to read: several text columns are joined, media take one. Empty takes the columns of the encoder's modality."""
    path: Path | None = None
    """File of precomputed vectors; relative to the settings file."""
    modality: str | None = None
    """What precomputed vectors describe: text, image, audio; guessed from the names where left out."""
    options: dict[str, Any] = {}
    """Settings of the encoder itself."""


@dataclass
class _Raw:
    """The raw side of one channel: a key for each item that has content, and how to read it."""

    keys: list[str | None]
    read: Callable[[int], Any]
    size: Callable[[int], int]
    place: Callable[[int], str]


def default_channels(catalog: Catalog) -> dict[str, ChannelConfig]:
    """Return one channel for each modality the catalog has, read by encoders that need no hub and no GPU."""
    channels = {}
    if catalog.text_columns:
        texts = _joined(catalog, catalog.text_columns)
        chinese = sum(language(t) == "zh" for t in texts[:2000] if t)
        multilingual = chinese > CHINESE_SHARE * max(1, len(texts[:2000]))
        channels["text"] = ChannelConfig(encoder="e5" if multilingual else "minilm", columns=list(catalog.text_columns))
    if catalog.attribute_columns:
        channels["attributes"] = ChannelConfig(encoder="attributes", columns=list(catalog.attribute_columns))
    for modality, encoder in (("image", "efficientnet"), ("audio", "mel")):
        if modality in catalog.media_columns:
            channels[modality] = ChannelConfig(encoder=encoder, columns=[catalog.media_columns[modality]])
    return channels


def encode_catalog(
    catalog: Catalog, channels: Mapping[str, ChannelConfig], *, cache: Path, limits: MediaLimits
) -> tuple[dict[str, Embeddings], list[Finding]]:
    """Return vectors for every channel; an item that cannot be read is missing, and noted.

    Work is stored batch by batch: a killed run goes on where it was, and unchanged content is never encoded twice.

    Args:
        catalog: Clean items.
        channels: Name to encoder and columns.
        cache: Folder of vectors kept between runs.
        limits: Of media files.

    Raises:
        ConfigError: An unknown encoder, column or setting.
        EncoderError: A model cannot be loaded, or gave vectors that are not numbers.
    """
    items = Vocabulary(catalog.item_ids)
    embeddings: dict[str, Embeddings] = {}
    findings: list[Finding] = []
    for name, config in channels.items():
        if config.encoder == PRECOMPUTED:
            if config.path is None:
                raise ConfigError(
                    "Precomputed vectors need a path.", where=f"content.{name}", fix='add path = "vectors.npy"'
                )
            modality = config.modality or guess_modality(f"{name} {config.path.name}")
            embeddings[name] = read_vectors(config.path, items, name=name, modality=modality)
        else:
            embeddings[name], failed = _encode_channel(catalog, name, config, cache, limits)
            findings += failed
        findings.append(_coverage(embeddings[name]))
    return embeddings, findings


def make_encoder(name: str, config: ChannelConfig) -> Encoder:
    """Return the encoder of one channel, its model not yet loaded."""
    cls = ENCODERS.load(config.encoder)
    encoder: Encoder = cls(cls.Config.read(config.options, where=f"content.{name}.options"))
    return encoder


def _encode_channel(
    catalog: Catalog, name: str, config: ChannelConfig, cache: Path, limits: MediaLimits
) -> tuple[Embeddings, list[Finding]]:
    encoder = make_encoder(name, config)
    content = _content(catalog, name, config, encoder.modality, limits)
    known = sorted({key for key in content.keys if key is not None})
    mark = fingerprint(encoder.fingerprint(), known) if encoder.whole_catalog else encoder.fingerprint()
    store = VectorCache(cache, mark)
    vectors = store.read(known)
    first_row = {key: row for row, key in reversed(list(enumerate(content.keys))) if key is not None}
    missing = sorted((key for key in known if key not in vectors), key=lambda key: (content.size(first_row[key]), key))
    failures: list[str] = []
    if missing:
        with progress_bar(f"encode {name}", len(missing)) as bar:
            for keys, values in _encode_batches(
                encoder, content, [(key, first_row[key]) for key in missing], failures, bar
            ):
                _check(values, keys, name, catalog, first_row)
                store.append(keys, values)
                vectors.update(zip(keys, values, strict=True))
        store.compact()
    findings = []
    if failures:
        advice = "the item goes on without this content; mend or remove the file"
        findings.append(
            Finding("encode.failed", len(failures), len(known), "masked", tuple(failures[:5]), advice, "warning")
        )
    return _assemble(name, encoder, content.keys, vectors, mark), findings


def _encode_batches(
    encoder: Encoder, content: _Raw, work: Sequence[tuple[str, int]], failures: list[str], bar: ProgressBar
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Decode the next batch in threads while the model works on this one."""
    size = len(work) if encoder.whole_catalog else encoder.batch_size

    def prepare(row: int) -> Any:
        try:
            return encoder.prepare(content.read(row))
        except MediaError as error:
            return error

    def submit(pool: ThreadPoolExecutor, start: int) -> list[tuple[str, int, Future[Any]]]:
        return [(key, row, pool.submit(prepare, row)) for key, row in work[start : start + size]]

    with ThreadPoolExecutor(WORKERS) as pool:
        ahead = submit(pool, 0)
        for start in range(0, len(work), size):
            batch = [(key, row, future.result()) for key, row, future in ahead]
            ahead = submit(pool, start + size)
            failures += [
                f"{content.place(row)}: {made.message}" for _, row, made in batch if isinstance(made, MediaError)
            ]
            ready = [(key, made) for key, _, made in batch if not isinstance(made, MediaError)]
            if ready:
                yield [key for key, _ in ready], encoder.encode([made for _, made in ready])
            bar.advance(len(batch))


def _content(catalog: Catalog, name: str, config: ChannelConfig, modality: str, limits: MediaLimits) -> _Raw:
    """Find each item's content and hash it."""
    columns = config.columns or _columns_of(catalog, modality)
    for column in columns:
        if column not in catalog.table.columns:
            raise ConfigError(
                f"There is no item column {column!r}.",
                where=f"content.{name}.columns",
                fix=nearest(column, catalog.table.columns),
            )
    if not columns:
        raise ConfigError(
            f"The catalog has no {modality} column.", where=f"content.{name}", fix="name the column: columns = [...]"
        )
    if modality == "text":
        texts = _joined(catalog, columns)
        keys = [_digest(text.encode()) if text else None for text in texts]
        return _Raw(
            keys, lambda row: texts[row], lambda row: len(texts[row]), lambda row: f"item {catalog.item_ids[row]}"
        )
    if modality == "attribute":
        rows = [json.dumps(row, default=str, ensure_ascii=False) for row in catalog.table.select(columns).to_dicts()]
        return _Raw(
            [_digest(row.encode()) for row in rows],
            lambda row: rows[row],
            lambda _: 0,
            lambda row: f"item {catalog.item_ids[row]}",
        )
    return _media_content(catalog, columns[0], modality, limits)


def _media_content(catalog: Catalog, column: str, modality: str, limits: MediaLimits) -> _Raw:
    paths = catalog.table[column].cast(pl.String).to_list()
    root = catalog.media_root or Path()

    def read(row: int) -> Any:
        path = resolve(root, paths[row])
        if modality == "image":
            return load_picture(path, limits, max_side=MAX_SIDE)
        return load_sound(path, limits, rate=RATE, loudness=LOUDNESS)

    def key(path: str | None) -> str | None:
        if not path:
            return None
        try:
            return _digest(resolve(root, path).read_bytes())
        except (OSError, MediaError):  # reading it again will say what is wrong
            return _digest(f"unreadable {path}".encode())

    with ThreadPoolExecutor(WORKERS) as pool:
        keys = list(pool.map(key, paths))
    return _Raw(keys, read, lambda _: 0, lambda row: f"item {catalog.item_ids[row]}, {paths[row]}")


def _columns_of(catalog: Catalog, modality: str) -> list[str]:
    if modality == "text":
        return list(catalog.text_columns)
    if modality == "attribute":
        return list(catalog.attribute_columns)
    return [catalog.media_columns[modality]] if modality in catalog.media_columns else []


def _joined(catalog: Catalog, columns: Sequence[str]) -> list[str]:
    cells = [pl.col(c).cast(pl.String).fill_null("") for c in columns]
    return catalog.table.select(pl.concat_str(cells, separator="\n").str.strip_chars()).to_series().to_list()


def _digest(raw: bytes) -> str:
    return blake2b(raw, digest_size=16).hexdigest()


def _check(values: np.ndarray, keys: list[str], name: str, catalog: Catalog, first_row: Mapping[str, int]) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        item = catalog.item_ids[first_row[keys[bad[0]]]]
        raise EncoderError(
            f"The vector of item {item!r} holds NaN or infinity.",
            where=f"content.{name}",
            fix="look at that item's content; try another encoder, or higher precision",
        )


def _assemble(
    name: str, encoder: Encoder, keys: list[str | None], vectors: Mapping[str, np.ndarray], mark: str
) -> Embeddings:
    dim = len(next(iter(vectors.values()))) if vectors else 1
    values = np.zeros((len(keys), dim), np.float32)
    present = np.zeros(len(keys), bool)
    for row, key in enumerate(keys):
        if key is not None and key in vectors:
            values[row], present[row] = vectors[key], True
    return Embeddings(name, encoder.modality, values, present, mark)


def _coverage(embeddings: Embeddings) -> Finding:
    total = len(embeddings.present)
    lacking = int(total - embeddings.present.sum())
    return Finding(f"content.{embeddings.name}.missing", lacking, total, "masked", advice="never read as zeros")
