"""Content of users in the background: what came with events and what users told of themselves becomes vectors.

In: the store's content that the present encoders have not read. Out: vectors in the store, beside it; what cannot be read is counted, and shown to its
user alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from safetensors.numpy import save as write_arrays

from penchant.core.errors import PenchantError
from penchant.core.schema import Histories, OwnContent, UserEmbeddings
from penchant.data.histories import Event
from penchant.encoders.user_content import OwnContentReader
from penchant.recommender.recommender import Recommender
from penchant.service.store import Store, StoredContent, vector_name
from penchant.service.uploads import UploadStore

logger = logging.getLogger("penchant.service")
GROUP = 16
"""Pieces of content read from the store at once: another process may have encoded the next ones meanwhile."""
Outcome = Literal["encoded", "unreadable", "not read", "new value"]
"""What became of a piece of content, as metrics count it."""


class UserContentWorker:
    """Encodes the content that waits in a store.

    Args:
        store: Holds it; a piece waits there until its vectors are stored, whatever happens to a process.
        uploads: Holds its files.
        count: Counts what became of it.
    """

    def __init__(self, store: Store, uploads: UploadStore, count: Callable[[Outcome], None]) -> None:
        self._store, self._uploads, self._count = store, uploads, count
        self._mark = ""
        self._failed: set[tuple[str, int | None, str]] = set()

    def step(self, reader: OwnContentReader) -> None:
        """Encode everything that waits; what fails for another reason than its content is tried again after a start, or by another bundle."""
        if not reader.channels:
            return
        mark, after = reader.mark, -1
        if mark != self._mark:
            self._mark, self._failed = mark, set()
        while found := self._store.content_to_encode(mark, GROUP, after):
            due = [one for one in found if _key(one) not in self._failed]
            for one in due:
                self._encode(one, reader)
            after = max((one.sequence for one in found if one.sequence is not None), default=after)
            if not due and all(one.sequence is None for one in found):
                return

    def _encode(self, held: StoredContent, reader: OwnContentReader) -> None:
        try:
            of: Literal["events", "users"] = "users" if held.sequence is None else "events"
            content = reader.read(of, held.content, self._uploads.folder)
        except Exception as error:  # one piece must not stop the others
            reason = f"{error.message} fix: {error.fix}" if isinstance(error, PenchantError) else type(error).__name__
            logger.error("content of a user cannot be encoded: %s", reason, exc_info=error)
            self._failed.add(_key(held))
            return
        vectors = {vector_name(n, reader.embeddings[n].encoder): v for n, v in content.vectors.items()}
        stored = write_arrays({name: np.ascontiguousarray(v, np.float32) for name, v in vectors.items()})
        if self._store.put_encoded(held, content, stored, reader.mark):
            for _ in content.vectors:
                self._count("encoded")
            for _ in content.unreadable:
                self._count("unreadable")


def named_vectors(content: OwnContent, embeddings: Mapping[str, UserEmbeddings]) -> OwnContent:
    """Return content from the store with its vectors by channel: those that the present encoders made."""
    found = {n: content.vectors.get(vector_name(n, e.encoder)) for n, e in embeddings.items()}
    return replace(content, vectors={name: v for name, v in found.items() if v is not None})


def stored_history(
    recommender: Recommender,
    user_id: str,
    events: Sequence[Event],
    about: OwnContent | None = None,
    *,
    use_own: bool = True,
) -> Histories:
    """Return a user's history from the bundle and the store; only vectors that the bundle's own encoders made count.

    Args:
        recommender: Of the bundle.
        user_id: The user.
        events: Those of the store, oldest first.
        about: What the user told of themself.
        use_own: Whether to read the bundle's own events; not after an erasure.
    """
    embeddings = recommender.own_content.embeddings
    events = [e if e.content is None else replace(e, content=named_vectors(e.content, embeddings)) for e in events]
    told = None if about is None else named_vectors(about, embeddings)
    return recommender.history(user_id, events, use_own=use_own, about=told)


def _key(held: StoredContent) -> tuple[str, int | None, str]:
    return held.user_id, held.sequence, held.body
