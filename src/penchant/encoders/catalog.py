"""Encode a whole catalog.

In: items with text and media, and the encoder of each channel. Out: `Embeddings` by channel, and findings about unreadable content.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.errors import ConfigError, EncoderError, MediaError, PenchantError
from penchant.core.executor import current_executor
from penchant.core.logs import logger, progress_bar
from penchant.core.messages import message
from penchant.core.schema import Catalog, ChannelSource, Embeddings, Finding, Vocabulary, make_findings
from penchant.data.clean.missing_files import check_files, without
from penchant.data.clean.normalisation import language
from penchant.data.media import MediaLimits
from penchant.data.read.codes import is_category, is_grouped
from penchant.encoders import ENCODERS
from penchant.encoders.cache import VectorCache
from penchant.encoders.content import WORKERS, RawContent, columns_of, find_columns, find_content, form, join_text
from penchant.encoders.encoder import Encoder, encode_filled
from penchant.encoders.precomputed import guess_modality, read_vectors

PRECOMPUTED = "precomputed"
DEFAULT_ENCODERS = {"image": "efficientnet", "audio": "mel", "video": "video", "mesh": "shape", "signal": "signal"}
CHINESE_SHARE = 0.05
"""From this share of Chinese texts on, the default text encoder is the multilingual one."""

Prepared = tuple[str, int, Any]
"""Key, row and the prepared content; or the exception in its place."""


class ChannelConfig(Settings):
    """Columns of one channel and their encoder: a `[content.NAME]` table."""

    encoder: str
    """Name of an encoder (`penchant list encoders`)."""
    columns: list[str] = []
    """The catalog's columns to read: several text columns are joined, media take one. Empty takes the columns of the encoder's modality."""
    path: Path | None = None
    """File of precomputed vectors; relative to the settings file."""
    modality: str | None = None
    """Modality of precomputed vectors: text, image, audio; guessed from the names where left out."""
    options: dict[str, Any] = {}
    """Settings of the encoder itself."""
    batch_size: int | None = Field(None, ge=1)
    """Items encoded at once, and the most work a killed run loses; None takes the encoder's own."""


def default_channels(catalog: Catalog) -> dict[str, ChannelConfig]:
    """Return one channel for each modality of the catalog, with encoders that need no hub and no GPU; a category that groups a few items
    each, such as the code of a product's variants, is a channel of its own.
    """
    channels = {}
    if catalog.text_columns:
        encoder = default_text_encoder(join_text(catalog, catalog.text_columns)[:2000])
        channels["text"] = ChannelConfig(encoder=encoder, columns=list(catalog.text_columns))
    groups = [c for c in catalog.attribute_columns if is_category(catalog.table[c]) and is_grouped(catalog.table[c])]
    others = [column for column in catalog.attribute_columns if column not in groups]
    if others:
        channels["attributes"] = ChannelConfig(encoder="attributes", columns=others)
    taken = {*channels, *DEFAULT_ENCODERS, "fused"}
    for column in groups:
        name = f"{column}_code" if column in taken else column
        channels[name] = ChannelConfig(encoder="codes", columns=[column])
    for modality, encoder in DEFAULT_ENCODERS.items():
        if modality in catalog.media_columns:
            channels[modality] = ChannelConfig(encoder=encoder, columns=[catalog.media_columns[modality]])
    return channels


def item_channels(catalog: Catalog, chosen: Mapping[str, ChannelConfig] | None) -> Mapping[str, ChannelConfig]:
    """Return the channels of the settings, the default ones where these are None."""
    return default_channels(catalog) if chosen is None else chosen


def default_text_encoder(texts: Iterable[str]) -> str:
    """Return the encoder of texts in these languages."""
    texts = list(texts)
    chinese = sum(language(text) == "zh" for text in texts if text)
    return "e5" if chinese > CHINESE_SHARE * max(1, len(texts)) else "minilm"


def encode_catalog(
    catalog: Catalog, channels: Mapping[str, ChannelConfig], *, cache: Path, limits: MediaLimits
) -> tuple[dict[str, Embeddings], list[Finding]]:
    """Return vectors for every channel; unreadable items are missing, and counted in a finding.

    Work is stored batch by batch: an interrupted run continues, and unchanged content is never encoded twice.

    Args:
        catalog: Clean items.
        channels: Name to encoder and columns.
        cache: Folder of vectors kept between runs.
        limits: Of media files.

    Raises:
        ConfigError: An unknown encoder, column or setting.
        EncoderError: A model cannot be loaded, or returned vectors that are not finite.
        ArtifactError: The cache cannot be written.
    """
    items = Vocabulary(catalog.item_ids)
    embeddings: dict[str, Embeddings] = {}
    findings: list[Finding] = []
    for name, config in channels.items():
        if config.encoder == PRECOMPUTED:
            embeddings[name] = _read_precomputed(items, name, config)
        else:
            embeddings[name], failed = _encode_channel(catalog, name, config, cache, limits)
            findings += failed
    return embeddings, findings


def pretrained_channels(channels: Mapping[str, ChannelConfig]) -> list[str]:
    """Return the channels whose vectors come from a model of other data; the others only count what stands in this catalog."""
    return [n for n, c in channels.items() if c.encoder == PRECOMPUTED or not ENCODERS.load(c.encoder).whole_catalog]


def make_encoder(name: str, config: ChannelConfig) -> Encoder:
    """Return the encoder of one channel, not yet loaded."""
    try:
        cls = ENCODERS.load(config.encoder)
    except ConfigError as error:
        if config.encoder in ENCODERS.names():
            raise
        raise ConfigError(error.message, where=f"content.{name}.encoder", fix=error.fix) from None
    encoder: Encoder = cls(cls.config_class.read(config.options, where=f"content.{name}.options"))
    return encoder


def check_channel(catalog: Catalog, name: str, config: ChannelConfig, *, will_grow: bool = False) -> None:
    """Check the encoder, settings, columns and file of one channel, before anything is encoded; no model is loaded.

    Args:
        catalog: Items.
        name: Of the channel.
        config: Its settings.
        will_grow: Columns are added before the channel is encoded (transcripts, words in pictures), so that an unknown one is no error yet.

    Raises:
        ConfigError: An unknown encoder, column or setting, or no such file.
        MissingExtraError: The encoder's package is not installed.
    """
    if config.encoder != PRECOMPUTED:
        encoder = make_encoder(name, config)
        if not will_grow:
            find_columns(catalog, config.columns, encoder.modality, where=f"content.{name}")
    elif config.path is not None and not config.path.is_file():
        raise ConfigError(
            f"There is no file {config.path.name!r}.", where=f"content.{name}.path", fix=f"looked for {config.path}"
        )


def check_channel_files(catalog: Catalog, name: str, config: ChannelConfig, *, is_named: bool) -> None:
    """Refuse a channel of media of which no file is there; no file is opened.

    Args:
        catalog: Items as they were read.
        name: Of the channel.
        config: Its settings, which `check_channel` has passed.
        is_named: The settings name the channel; else its column was recognised.

    Raises:
        DataError: With the column, the number of files and the folder.
    """
    modality = None if config.encoder == PRECOMPUTED else make_encoder(name, config).modality
    if modality in DEFAULT_ENCODERS and catalog.media_root is not None:
        for column in {*(config.columns or columns_of(catalog, modality))} & {*catalog.table.columns}:
            leave_out = f"leave out [content.{name}]" if is_named else without(column, catalog.media_columns)
            check_files(catalog.table[column], modality, catalog.media_root, leave_out)


@dataclass(frozen=True)
class EncodingEstimate:
    """What one channel will cost.

    Attributes:
        channel: Its name.
        encoder: Name of its encoder.
        items: Items with content.
        missing: Those without a vector in the cache.
        seconds: To encode these, from the time that a sample took; 0 where nothing is missing.
    """

    channel: str
    encoder: str
    items: int
    missing: int
    seconds: float


def estimate_encoding(
    catalog: Catalog, channels: Mapping[str, ChannelConfig], *, cache: Path, limits: MediaLimits, sample: int = 16
) -> list[EncodingEstimate]:
    """Load each encoder and time it on a few items that have no vector yet.

    Raises:
        EncoderError: A model cannot be loaded, or fails on every item.
        MissingExtraError: A package is not installed.
    """
    found = []
    for name, config in channels.items():
        if config.encoder == PRECOMPUTED:
            continue
        encoder = make_encoder(name, config)
        content = find_content(catalog, config.columns, encoder.modality, limits, where=f"content.{name}")
        _, _, vectors = _read_cached(encoder, content, limits, cache)
        missing = sorted(vectors.lacking(content.first_rows))  # hashes: a sample in their order is a random one
        seconds = 0.0
        if missing and not encoder.whole_catalog:
            encoder.load()
            work = [(key, content.first_rows[key]) for key in missing[:sample]]
            for _ in encode_batches(encoder, content, work[:2], [], size=2):
                pass  # the first batch pays for what a model prepares once
            began = perf_counter()
            for _ in encode_batches(
                encoder, content, work, [], size=config.batch_size or encoder.batch_size, proven=True
            ):
                pass
            seconds = (perf_counter() - began) * len(missing) / len(work)
        found.append(EncodingEstimate(name, config.encoder, len(content.first_rows), len(missing), seconds))
    return found


def cache_key(encoder: Encoder, limits: MediaLimits, keys: Sequence[str] = ()) -> str:
    """Return the name under which embeddings are cached; those of a whole-catalog encoder are valid for these content keys only, each as often as items
    have it.
    """
    return fingerprint(
        encoder.fingerprint(), form(encoder.modality, limits), list(keys) if encoder.whole_catalog else None
    )


def encode_batches(
    encoder: Encoder,
    content: RawContent,
    work: Sequence[tuple[str, int]],
    failures: list[str],
    *,
    size: int,
    proven: bool = False,
    prepared: Iterator[Any] | None = None,
    fill: bool = False,
) -> Iterator[tuple[list[str], Float32[np.ndarray, "batch dim"]]]:
    """Yield keys and vectors; the next batch is read while the model works on this one.

    Args:
        encoder: Loaded.
        content: Content of the rows.
        work: Key and row of each item, those alike in size side by side.
        failures: Items that cannot be read or encoded are added here and left out.
        size: Items of one batch.
        proven: The encoder has returned vectors before, so that the item is the cause of a failure.
        prepared: What the encoder takes of each item, or the exception in its place; None reads and prepares the content in threads.
        fill: As of a catalog: the vector of a picture does not depend on the number of pictures in its batch (`encode_filled`).

    Raises:
        EncoderError: It fails on every item of the first batch.
    """
    if prepared is None:
        with closing(_prepared_in_threads(encoder, content, work, size)) as ahead:
            yield from encode_batches(
                encoder, content, work, failures, size=size, proven=proven, prepared=ahead, fill=fill
            )
        return
    filled = size if fill else 0
    for start in range(0, len(work), size):
        batch: list[Prepared] = [(key, row, next(prepared)) for key, row in work[start : start + size]]
        usable = [entry for entry in batch if not isinstance(entry[2], Exception)]
        encoded = _encode_halving(encoder, content, usable, filled)
        failed = [entry for entry in (*batch, *encoded) if isinstance(entry[2], Exception)]
        failures += [
            message("{place}: {error}", place=content.place(row), error=_reason(error)) for _, row, error in failed
        ]
        good = [(key, vector) for key, _, vector in encoded if not isinstance(vector, Exception)]
        if good:
            yield [key for key, _ in good], np.stack([vector for _, vector in good])
        elif not proven and len(failed) > 1 and not any(isinstance(error, MediaError) for _, _, error in failed):
            raise EncoderError(
                f"{type(encoder).__name__} fails on every item of its first batch: {failures[0]}.",
                where="the encoder",
                fix="check that its model and settings suit this content",
            ) from failed[0][2]
        proven = proven or bool(good)


def _prepared_in_threads(
    encoder: Encoder, content: RawContent, work: Sequence[tuple[str, int]], size: int
) -> Generator[Any, None, None]:
    """Yield what the encoder takes of each item, or the exception in its place, read a batch ahead."""

    def prepare(row: int) -> Any:
        try:
            return encoder.prepare(content.load(row))
        except Exception as error:
            if isinstance(error, PenchantError) and not isinstance(error, MediaError):
                raise  # a model that cannot be loaded is not specific to this item
            return error

    pool = ThreadPoolExecutor(WORKERS)
    ahead: deque[Future[Any]] = deque()
    try:
        for place in range(len(work) + size):
            if place < len(work):
                ahead.append(pool.submit(prepare, work[place][1]))
            if place >= size:
                yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the items read ahead


def _encode_halving(encoder: Encoder, content: RawContent, batch: Sequence[Prepared], filled: int) -> list[Prepared]:
    """Encode a batch, filled up to a size; where that fails, find the failing items by halving and put the exception in their place."""
    if not batch:
        return []
    try:
        inputs = [prepared for _, _, prepared in batch]
        if encoder.whole_catalog:
            vectors = encoder.encode_catalog(inputs, [content.num_items[key] for key, _, _ in batch])
        else:
            vectors = encode_filled(encoder, inputs, filled)
        return [(key, row, vector) for (key, row, _), vector in zip(batch, vectors, strict=True)]
    except (PenchantError, MemoryError):
        raise
    except Exception as error:
        if encoder.whole_catalog:
            raise
        if len(batch) == 1:
            return [(batch[0][0], batch[0][1], error)]
        middle = len(batch) // 2
        halves = (batch[:middle], batch[middle:])
        return [entry for half in halves for entry in _encode_halving(encoder, content, half, filled)]


def _encode_channel(
    catalog: Catalog, name: str, config: ChannelConfig, cache: Path, limits: MediaLimits
) -> tuple[Embeddings, list[Finding]]:
    encoder = make_encoder(name, config)
    content = find_content(catalog, config.columns, encoder.modality, limits, where=f"content.{name}")
    first_row = content.first_rows
    keys = sorted(first_row)
    mark, store, vectors = _read_cached(encoder, content, limits, cache)
    missing = vectors.lacking(keys)
    if encoder.whole_catalog and missing:
        missing = keys
    failures: list[str] = []
    if missing:
        # longest first: a batch that does not fit into memory fails at once, not after an hour
        missing = sorted(missing, key=lambda key: (-content.sizes[first_row[key]], key))
        size = len(missing) if encoder.whole_catalog else config.batch_size or encoder.batch_size
        work = [(key, first_row[key]) for key in missing]
        _run(encoder, name, config, content, work, vectors, store, failures, size)
    values, present = vectors.matrix(encoder.dim or 1)
    source, seconds = ChannelSource(config.encoder, config.options, content.load), store.seconds(len(keys))
    embeddings = Embeddings(name, encoder.modality, values, present, mark, source=source, seconds=seconds)
    return embeddings, _failed(failures, len(keys))


def _read_cached(
    encoder: Encoder, content: RawContent, limits: MediaLimits, cache: Path
) -> tuple[str, VectorCache, _Rows]:
    """Return the name of an encoder's vectors in the cache, their store, and those of this content that it holds."""
    mark = cache_key(encoder, limits, sorted(content.num_items.elements()) if encoder.whole_catalog else ())
    store, vectors = VectorCache(cache, mark), _Rows(content.keys)
    for batch in store.read():
        vectors.put(*batch)
    return mark, store, vectors


def _run(
    encoder: Encoder,
    name: str,
    config: ChannelConfig,
    content: RawContent,
    work: Sequence[tuple[str, int]],
    vectors: _Rows,
    store: VectorCache,
    failures: list[str],
    size: int,
) -> None:
    """Encode what is missing, here or on the nodes of a cluster, and store it batch by batch; only this process writes."""
    from penchant.encoders.apart import decoded_apart  # both build on this module
    from penchant.encoders.shards import encode_on_nodes

    started = perf_counter()
    is_here = current_executor().is_local or encoder.whole_catalog
    if is_here:
        encoder.load()
    rows = dict(work)
    began = perf_counter()
    spent: list[float] = []
    with ExitStack() as stack:
        bar = stack.enter_context(progress_bar(f"encode {name}", len(work)))
        prepared = None
        if is_here:
            prepared = stack.enter_context(decoded_apart(name, config, encoder, content, list(rows.values()), size))
        batches = (
            encode_batches(
                encoder, content, work, failures, size=size, proven=vectors.has_any, prepared=prepared, fill=True
            )
            if is_here
            else encode_on_nodes(name, config, content, work, failures, spent, size=size, proven=vectors.has_any)
        )
        for keys, values in batches:
            _check(values, [content.place(rows[key]) for key in keys], name)
            store.append(keys, values)
            vectors.put(keys, values)
            bar.advance(len(keys))
        bar.advance(len(failures))
    store.compact()
    seconds = perf_counter() - began
    store.add_time(began - started, sum(spent) if spent else seconds, len(work))
    logger.info(
        "encode %s: %s items in %.1f s, %.1f a second", name, f"{len(work):,}", seconds, len(work) / max(seconds, 1e-9)
    )


class _Rows:
    """The vectors of one channel by content key, in any order; equal content fills several rows."""

    def __init__(self, keys: Sequence[str | None]) -> None:
        self._rows: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            if key is not None:
                self._rows.setdefault(key, []).append(row)
        self._present = np.zeros(len(keys), bool)
        self._values: np.ndarray | None = None

    def put(self, keys: Iterable[str], values: Float32[np.ndarray, "batch dim"]) -> None:
        if self._values is None:
            self._values = np.zeros((len(self._present), values.shape[1]), np.float32)
        for key, vector in zip(keys, values, strict=True):
            if key in self._rows:  # the cache holds other catalogs too
                self._values[self._rows[key]] = vector
                self._present[self._rows[key]] = True

    def lacking(self, keys: Iterable[str]) -> list[str]:
        return [key for key in keys if not self._present[self._rows[key][0]]]

    @property
    def has_any(self) -> bool:
        return bool(self._present.any())

    def matrix(self, dim: int) -> tuple[np.ndarray, np.ndarray]:
        values = np.zeros((len(self._present), dim), np.float32) if self._values is None else self._values
        return values, self._present


def _read_precomputed(items: Vocabulary, name: str, config: ChannelConfig) -> Embeddings:
    if config.path is None:
        raise ConfigError("Precomputed vectors need a path.", where=f"content.{name}", fix='add path = "vectors.npy"')
    modality = config.modality or guess_modality(f"{name} {config.path.name}")
    return read_vectors(config.path, items, name=name, modality=modality)


def _check(values: Float32[np.ndarray, "batch dim"], places: Sequence[str], name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise EncoderError(
            f"The vector of {places[bad[0]]} holds NaN or infinity.",
            where=f"content.{name}",
            fix="look at that item's content; try another encoder, or higher precision",
        )


def _failed(failures: Sequence[str], total: int) -> list[Finding]:
    advice = message("the item is used without this content; repair or remove the file")
    return make_findings(
        "encode.failed", len(failures), total, "masked", examples=failures, advice=advice, severity="warning"
    )


def _reason(error: Exception) -> str:
    message = error.message if isinstance(error, PenchantError) else f"{type(error).__name__}: {error}"
    return (message.splitlines() or [type(error).__name__])[0]
