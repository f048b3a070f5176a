"""Encode the content of a channel on the nodes of a cluster, a few batches at a time.

In: where the content is: texts, or names of files. Out: vectors by key, in the order of the work. Files are decoded where they are encoded, so that a
vector, not a picture, travels. Batches are those of a run in one process, so that the vectors are equal to theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import numpy as np
from jaxtyping import Float32

from penchant.core.executor import current_executor
from penchant.core.messages import message
from penchant.encoders.catalog import ChannelConfig, encode_batches, make_encoder
from penchant.encoders.content import ContentPart, RawContent
from penchant.encoders.encoder import Encoder

BATCHES = 4
"""Batches of one shard: files of the next are read while one is encoded, and this many are encoded again where a node goes away."""


@dataclass(frozen=True)
class EncodingShard:
    """Content of a few batches and its encoder.

    Attributes:
        channel: Name of the channel.
        config: Its encoder and settings.
        part: The content.
        rows: Rows in the whole content.
        size: Items of one batch.
        proven: The encoder has returned vectors before.
    """

    channel: str
    config: ChannelConfig
    part: ContentPart
    rows: tuple[int, ...]
    size: int
    proven: bool


@dataclass(frozen=True)
class EncodedShard:
    """Vectors of one shard.

    Attributes:
        keys: Of the items that could be encoded.
        values: (keys, dim) float32; equal content has the vectors of any other run, which half precision would not give.
        failures: What could not be encoded, with the reason.
        seconds: Of work, without loading the encoder.
    """

    keys: tuple[str, ...] = ()
    values: Float32[np.ndarray, "batch dim"] | None = None
    failures: tuple[str, ...] = ()
    seconds: float = 0.0


def encode_on_nodes(
    name: str,
    config: ChannelConfig,
    content: RawContent,
    work: Sequence[tuple[str, int]],
    failures: list[str],
    spent: list[float],
    *,
    size: int,
    proven: bool,
) -> Iterator[tuple[list[str], Float32[np.ndarray, "batch dim"]]]:
    """Yield keys and vectors as `encode_batches` does, computed on the executor of this context.

    Where a shard ends its process again and again, its items are encoded one by one; one that does so alone is among the failures.

    Args:
        name: Of the channel.
        config: Its encoder and settings.
        content: Content of the rows.
        work: Key and row of each item, those alike in size side by side.
        failures: Items that cannot be read or encoded are added here and left out.
        spent: Seconds of work of each shard are added here.
        size: Items of one batch.
        proven: The encoder has returned vectors before.

    Raises:
        EncoderError: It fails on every item of the first batch.
        ExecutorError: The nodes or the storage cannot be reached.
    """
    executor = current_executor()

    def shard_of(rows: Sequence[int], is_proven: bool) -> EncodingShard:
        return EncodingShard(name, config, content.part(rows, executor.storage), tuple(rows), size, is_proven)

    def lost(shard: EncodingShard, why: str) -> EncodedShard:
        return EncodedShard(
            failures=tuple(message("{place}: {error}", place=content.place(row), error=why) for row in shard.rows)
        )

    rows, step = [row for _, row in work], BATCHES * size
    shards = (shard_of(rows[start : start + step], proven or start > 0) for start in range(0, len(rows), step))
    found = executor.map_apart(
        encode_shard, shards, lambda shard: (shard_of([row], True) for row in shard.rows), lost, title=f"encode {name}"
    )
    for encoded in found:
        failures += encoded.failures
        spent.append(encoded.seconds)
        if encoded.values is not None:
            yield list(encoded.keys), encoded.values


def encode_shard(shard: EncodingShard) -> EncodedShard:
    """Return the vectors of a shard, on the node where this runs."""
    encoder = _loaded(shard.channel, shard.config.model_dump_json())
    failures: list[str] = []
    began = perf_counter()
    with shard.part.opened() as content:
        work = [(key, row) for row, key in enumerate(content.keys) if key is not None]
        batches = list(
            encode_batches(encoder, content, work, failures, size=shard.size, proven=shard.proven, fill=True)
        )
    keys = tuple(key for keys, _ in batches for key in keys)
    values = np.concatenate([values for _, values in batches]) if batches else None
    return EncodedShard(keys, values, tuple(failures), perf_counter() - began)


@lru_cache(maxsize=2)
def _loaded(name: str, config: str) -> Encoder:
    """Return a loaded encoder; a process of a node keeps the last ones."""
    encoder = make_encoder(name, ChannelConfig.model_validate_json(config))
    encoder.load()
    return encoder
