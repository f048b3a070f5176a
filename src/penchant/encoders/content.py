"""The raw content that a channel encodes, located but not loaded.

In: a catalog and the columns of one channel. Out: a hash of each item's content, and the means to load it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from penchant.core.artifacts import content_hash
from penchant.core.errors import ConfigError, MediaError, nearest
from penchant.core.messages import message
from penchant.core.schema import Catalog
from penchant.core.storage import Storage
from penchant.data.media import (
    MediaLimits,
    load_audio,
    load_image,
    load_mesh,
    load_signal,
    open_video,
    resolve,
    split_key,
)
from penchant.data.media.images import PICTURE_SIDE
from penchant.data.media.limits import check_file
from penchant.data.media.node_files import NodeFiles
from penchant.encoders.audio import RATE

LOUDNESS = -23.0
"""LUFS of all sound, so that embeddings do not depend on mastering loudness."""
WORKERS = 2
"""Threads that read files: decoding keeps up with the model on two cores."""

TRACK_LIMITS = ("max_frames", "min_seconds", "max_samples", "max_audio_rate", "max_audio_channels")
"""Limits that cut a video's pictures or leave out its sound: its vector is another one, where of other files there is no vector at all."""


@dataclass(frozen=True)
class RawContent:
    """Content of one channel of a catalog, not loaded yet.

    Attributes:
        keys: (items,) hash of the content, equal for equal content; None where the item has none.
        sizes: (items,) characters or bytes, so that items of similar size share a batch.
        form: Parameters of decoding; vectors of another form are not comparable.
        load: Row to content; raises `MediaError` where a file cannot be used.
        place: Row to its name in messages.
    """

    keys: list[str | None]
    sizes: list[int]
    form: dict[str, Any]
    load: Callable[[int], Any]
    place: Callable[[int], str]

    @cached_property
    def first_rows(self) -> dict[str, int]:
        """Key to the first row that has this content: equal content is read once."""
        return {key: row for row, key in reversed(list(enumerate(self.keys))) if key is not None}

    @cached_property
    def num_items(self) -> Counter[str]:
        """Key to the number of items that have this content: what learns from a catalog counts items."""
        return Counter(key for key in self.keys if key is not None)

    @property
    def is_files(self) -> bool:
        """Whether the content is read from files."""
        return isinstance(self.load, _Files)

    def part(self, rows: Sequence[int], storage: Storage | None) -> ContentPart:
        """Return the content of some rows, to be loaded on another machine; files are copied to its storage, if there is one."""
        files = None
        if isinstance(self.load, _Files):
            root, modality = self.load.root, self.load.modality
            cells = [self.load.paths[row] for row in rows]
            names = [name and NodeFiles.name_of(root, name, modality) for name in cells]
            files = NodeFiles.of(root, [name for name in names if name], modality, storage)
            load: Callable[[int], Any] = replace(self.load, root=files.root, paths=names)
        else:
            load = _InMemory([self.load(row) for row in rows])
        content = RawContent(
            [self.keys[row] for row in rows],
            [self.sizes[row] for row in rows],
            self.form,
            load,
            _Named([self.place(row) for row in rows]),
        )
        return ContentPart(content, files)


@dataclass(frozen=True)
class ContentPart:
    """Content of a few items that travels between machines: texts as they are, of files the names.

    Attributes:
        content: Rows numbered from 0.
        files: Where the files are; None where the content is in memory.
    """

    content: RawContent
    files: NodeFiles | None

    @contextmanager
    def opened(self) -> Iterator[RawContent]:
        """Return the content as it can be loaded on this machine."""
        if self.files is None or not isinstance(self.content.load, _Files):
            yield self.content
            return
        with self.files.here() as root:
            yield replace(self.content, load=replace(self.content.load, root=root))


@dataclass(frozen=True)
class _InMemory:
    """Loads content that is in memory."""

    texts: Sequence[Any]

    def __call__(self, row: int) -> Any:
        return self.texts[row]


@dataclass(frozen=True)
class _Files:
    """Loads a media file."""

    root: Path
    paths: Sequence[Any]
    modality: str
    limits: MediaLimits

    def __call__(self, row: int) -> Any:
        return _load(self.root, self.paths[row], self.modality, self.limits)


@dataclass(frozen=True)
class _Named:
    """Names the place of a row."""

    places: Sequence[str]

    def __call__(self, row: int) -> str:
        return self.places[row]


def find_content(
    catalog: Catalog, columns: Sequence[str], modality: str, limits: MediaLimits, *, where: str
) -> RawContent:
    """Hash the content of one channel.

    Args:
        catalog: Clean items.
        columns: Empty takes the catalog's columns of that modality.
        modality: Of the encoder.
        limits: Of media files.
        where: Name of the settings table, for messages.

    Raises:
        ConfigError: No such column, several columns of media, or no folder of media.
    """
    columns = find_columns(catalog, columns, modality, where=where)
    if modality == "text":
        texts = join_text(catalog, columns)
        return _in_memory(catalog, [text or None for text in texts])
    if modality == "attribute":
        rows = catalog.table.select(columns).to_dicts()
        known = (row if any(value not in (None, []) for value in row.values()) else None for row in rows)
        return _in_memory(
            catalog, [None if row is None else json.dumps(row, default=str, ensure_ascii=False) for row in known]
        )
    return _media(catalog, columns[0], modality, limits)


def join_text(catalog: Catalog, columns: Sequence[str]) -> list[str]:
    """Return each item's text columns as one text, "" where it has none."""
    cells = [pl.col(c).cast(pl.String).fill_null("") for c in columns]
    return catalog.table.select(pl.concat_str(cells, separator="\n").str.strip_chars()).to_series().to_list()


def columns_of(catalog: Catalog, modality: str) -> list[str]:
    """Return the catalog's columns of a modality, which a channel that names none reads."""
    if modality == "text":
        return list(catalog.text_columns)
    if modality == "attribute":
        return list(catalog.attribute_columns)
    return [catalog.media_columns[modality]] if modality in catalog.media_columns else []


def find_columns(catalog: Catalog, columns: Sequence[str], modality: str, *, where: str) -> Sequence[str]:
    """Return the columns that a channel reads.

    Raises:
        ConfigError: No such column, several columns of media, or no folder of media.
    """
    columns = columns or columns_of(catalog, modality)
    if not columns:
        raise ConfigError(f"The catalog has no {modality} column.", where=where, fix="name the column: columns = [...]")
    for column in columns:
        if column not in catalog.table.columns:
            raise ConfigError(
                f"There is no item column {column!r}.",
                where=f"{where}.columns",
                fix=nearest(column, catalog.table.columns),
            )
    is_media = modality not in ("text", "attribute")
    if is_media and len(columns) > 1:
        raise ConfigError(
            f"A channel of {modality} reads one column, not {len(columns)}.",
            where=f"{where}.columns",
            fix="write one [content.NAME] table for each column",
        )
    if is_media and catalog.media_root is None:
        raise ConfigError(f"The folder of the {modality} files is not known.", where=where, fix="set data.media_folder")
    return columns


def _in_memory(catalog: Catalog, texts: list[str | None]) -> RawContent:
    ids = catalog.item_ids
    return RawContent(
        [None if text is None else content_hash(text.encode()) for text in texts],
        [len(text or "") for text in texts],
        {},
        _InMemory(texts),
        lambda row: message("item {id}", id=ids[row]),
    )


def _media(catalog: Catalog, column: str, modality: str, limits: MediaLimits) -> RawContent:
    paths = catalog.table[column].cast(pl.String).to_list()
    ids, root = catalog.item_ids, (catalog.media_root or Path()).absolute()

    def identify(relative: str | None) -> tuple[str | None, int]:
        if not relative:
            return None, 0
        try:
            path, key = _file(root, relative, modality)
            check_file(path, _max_bytes(modality, limits), modality)
            with path.open("rb") as opened:
                digest = hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            return digest if key is None else content_hash(f"{digest}{key}".encode()), path.stat().st_size
        except (OSError, MediaError):  # loading reports the reason
            return content_hash(f"unreadable {relative}".encode()), 0

    with ThreadPoolExecutor(WORKERS) as pool:
        identified = list(pool.map(identify, paths))
    return RawContent(
        [key for key, _ in identified],
        [size for _, size in identified],
        form(modality, limits),
        _Files(root, paths, modality, limits),
        lambda row: message("{place}, {file}", place=message("item {id}", id=ids[row]), file=paths[row]),
    )


def _file(root: Path, relative: str, modality: str) -> tuple[Path, str | None]:
    """Return the path of a cell, and the key of a signal in that file."""
    file, key = split_key(relative) if modality == "signal" else (relative, None)
    return resolve(root, file), key


def _load(root: Path, relative: str, modality: str, limits: MediaLimits) -> Any:
    path, key = _file(root, relative, modality)
    if modality == "image":
        return load_image(path, limits, max_side=PICTURE_SIDE)
    if modality == "video":
        return open_video(path, limits)
    if modality == "mesh":
        return load_mesh(path, limits)
    if modality == "signal":
        return load_signal(path, key, limits)
    return load_audio(path, limits, rate=RATE, loudness=LOUDNESS)


def _max_bytes(modality: str, limits: MediaLimits) -> int:
    own = {"image": limits.max_bytes, "mesh": limits.max_mesh_bytes, "signal": limits.max_signal_bytes}
    return own.get(modality, limits.max_audio_bytes)


def form(modality: str, limits: MediaLimits) -> dict[str, Any]:
    """Return the parameters of decoding a file of this modality."""
    picture, sound = {"side": PICTURE_SIDE}, {"rate": RATE, "loudness": LOUDNESS, "seconds": limits.max_seconds}
    # named where they are not the default, so that vectors from before they were named stay valid
    usual = MediaLimits()
    tracks = {name: value for name in TRACK_LIMITS if (value := getattr(limits, name)) != getattr(usual, name)}
    own: dict[str, dict[str, Any]] = {
        "image": picture,
        "audio": sound,
        "video": {**picture, **sound, **tracks},
        "signal": {"readings": limits.max_readings},
    }
    return own.get(modality, {})
