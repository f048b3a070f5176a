"""Decode the content of a channel in processes of its own, ahead of the model.

In: rows of media files. Out: what the encoder takes of each, in their order. A file that ends the process of its decoder is an item without content.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from penchant.core.errors import MediaError, PenchantError
from penchant.core.messages import message
from penchant.core.worker_processes import Lost, WorkerProcesses, are_worthwhile, portable
from penchant.data.media.memory import divide_memory
from penchant.encoders.catalog import ChannelConfig, make_encoder
from penchant.encoders.content import WORKERS, RawContent
from penchant.encoders.encoder import Encoder

CORES_PER_PROCESS = 4
"""A model uses the others: decoding keeps up with it."""
MAX_AHEAD = 64
"""Items decoded beyond the batch that is next; each holds memory."""


@dataclass
class Decoding:
    """Reads and prepares the content of a row, in a process without the model.

    Attributes:
        channel: Name of the channel.
        config: Its encoder and settings.
        load: Row to content.
    """

    channel: str
    config: ChannelConfig
    load: Callable[[int], Any]

    def __call__(self, row: int) -> Any:
        """Return the prepared content; an exception in its place where the content is the cause."""
        try:
            return self._encoder.prepare(self.load(row))
        except Exception as error:
            if isinstance(error, PenchantError) and not isinstance(error, MediaError):
                raise  # a package that is missing is not specific to this item
            return portable(error)

    @cached_property
    def _encoder(self) -> Encoder:
        return make_encoder(self.channel, self.config)


@contextmanager
def decoded_apart(
    name: str, config: ChannelConfig, encoder: Encoder, content: RawContent, rows: Sequence[int], size: int
) -> Iterator[Iterator[Any] | None]:
    """Give the prepared content of each row, or the exception in its place; None where there is too little to decode, or the encoder does not allow it.

    Args:
        name: Of the channel.
        config: Its encoder and settings.
        encoder: The same, made.
        content: Content of the rows.
        rows: In the order in which they are taken.
        size: Items of one batch.
    """
    is_allowed = content.is_files and encoder.decodes_apart and not encoder.whole_catalog
    if not is_allowed or not are_worthwhile(len(rows)):
        yield None
        return
    count = max(WORKERS, (os.cpu_count() or 1) // CORES_PER_PROCESS)
    ahead = size + min(size, MAX_AHEAD)
    with WorkerProcesses[int, Any](Decoding(name, config, content.load), count, ahead, divide_memory) as processes:
        yield (
            _unread(content.place(row), found.why) if isinstance(found, Lost) else found
            for row, found in zip(rows, processes.map(rows), strict=True)
        )


def _unread(place: str, why: str) -> MediaError:
    return MediaError(
        message("reading it failed, {why}", why=why),
        where=place,
        fix="repair or remove the file; the item is used without it",
    )
