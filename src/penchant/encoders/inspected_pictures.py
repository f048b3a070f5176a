"""Encode images during inspection, so that each file is decoded once.

In: the channels of a run, and every image that inspection decodes. Out: embeddings in the cache that `encode_catalog` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np
from PIL import Image

from penchant.core.artifacts import content_hash
from penchant.core.errors import MediaError, PenchantError
from penchant.data.media import MediaLimits
from penchant.encoders.cache import VectorCache
from penchant.encoders.catalog import DEFAULT_ENCODERS, PRECOMPUTED, ChannelConfig, cache_key, make_encoder
from penchant.encoders.encoder import Encoder, encode_filled

Prepared = tuple[str, dict[str, tuple[Any, float]]]
"""A content hash, and for each channel the input of its encoder, None where there is none, with the seconds that it took."""


class InspectedPictures:
    """The encoders of one column of images; a `PictureReader` of the inspection.

    Failures are left to `encode_catalog`, which finds the vector missing, tries again and reports the reason.

    Args:
        channels: Name to encoder and columns; None takes the default encoder of images.
        column: The column that is inspected; None without images.
        cache: Folder of embeddings.
        limits: Of media files.

    Raises:
        ConfigError: An unknown encoder or setting.
    """

    def __init__(
        self, channels: Mapping[str, ChannelConfig] | None, column: str | None, *, cache: Path, limits: MediaLimits
    ) -> None:
        if channels is None:
            channels = {"image": ChannelConfig(encoder=DEFAULT_ENCODERS["image"])}
        self._cache, self._limits = cache, limits
        self._channels: dict[str, _Channel] = {}
        self._encoders: dict[str, tuple[Encoder, int]] = {}
        self._configs: dict[str, ChannelConfig] = {}
        for name, config in channels.items():
            if column is not None and config.encoder != PRECOMPUTED and config.columns in ([], [column]):
                encoder = make_encoder(name, config)
                if encoder.modality == "image" and not encoder.whole_catalog:
                    self._encoders[name] = encoder, config.batch_size or encoder.batch_size
                    self._configs[name] = config

    def start(self) -> None:
        for name, (encoder, size) in self._encoders.items():
            self._channels[name] = _Channel(encoder, size, VectorCache(self._cache, cache_key(encoder, self._limits)))

    def prepare(self, raw: bytes, picture: Image.Image) -> Prepared:
        key = content_hash(raw)
        return key, {
            name: _prepared(channel.encoder, channel.cached, key, picture) for name, channel in self._channels.items()
        }

    def apart(self) -> PreparedApart:
        return PreparedApart(
            {
                name: (self._configs[name], frozenset(channel.cached))
                for name, channel in self._channels.items()
                if channel.encoder.decodes_apart
            }
        )

    def take(self, prepared: Prepared) -> None:
        key, parts = prepared
        for name, part in parts.items():
            self._channels[name].take(key, *part)

    def finish(self) -> None:
        for channel in self._channels.values():
            channel.encode()
            channel.cache.compact()
            channel.keep_time()


@dataclass
class PreparedApart:
    """Prepares pictures in another process, for the encoders that allow it; the others read the files again.

    Attributes:
        channels: Name to settings, and the keys whose vectors are in the cache.
    """

    channels: dict[str, tuple[ChannelConfig, frozenset[str]]]

    def __call__(self, raw: bytes, picture: Image.Image) -> Prepared:
        key = content_hash(raw)
        return key, {
            name: _prepared(self._encoders[name], cached, key, picture) for name, (_, cached) in self.channels.items()
        }

    @cached_property
    def _encoders(self) -> dict[str, Encoder]:
        return {name: make_encoder(name, config) for name, (config, _) in self.channels.items()}


def _prepared(encoder: Encoder, cached: Set[str], key: str, picture: Image.Image) -> tuple[Any, float]:
    """Return the encoder's input, None where the vector is cached or the image cannot be prepared, and the seconds it took."""
    if key in cached:
        return None, 0.0
    began = thread_time()
    try:
        found = encoder.prepare(picture)
    except Exception as error:
        if isinstance(error, PenchantError) and not isinstance(error, MediaError):
            raise  # a model that cannot be loaded is not specific to this image
        found = None
    return found, thread_time() - began


class _Channel:
    """One encoder, the keys in its cache, and the batch that is being filled."""

    def __init__(self, encoder: Encoder, size: int, cache: VectorCache) -> None:
        self.cache = cache
        self.encoder, self._size = encoder, size
        self.cached = {key for keys, _ in cache.read() for key in keys}
        self._batch: dict[str, Any] = {}
        self._preparing, self._encoding, self._count = 0.0, 0.0, 0
        began = perf_counter()
        encoder.load()
        self._loading = perf_counter() - began

    def take(self, key: str, prepared: Any, seconds: float) -> None:
        self._preparing += seconds
        if prepared is not None and key not in self.cached:
            self.cached.add(key)
            self._batch[key] = prepared
            if len(self._batch) == self._size:
                self.encode()

    def encode(self) -> None:
        batch, self._batch = self._batch, {}
        if not batch:
            return
        began = perf_counter()
        try:
            values = encode_filled(self.encoder, list(batch.values()), self._size)
        except (PenchantError, MemoryError):
            raise
        except Exception:
            return
        good = np.flatnonzero(np.isfinite(values).all(axis=1))
        keys = list(batch)
        self._encoding += perf_counter() - began
        self._count += len(good)
        self.cache.append([keys[row] for row in good], values[good])

    def keep_time(self) -> None:
        """Keep what encoding took; to decode the files belongs to the inspection."""
        self.cache.add_time(self._loading, self._encoding + self._preparing, self._count)
