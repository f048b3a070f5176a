"""Cache of generated texts.

In: content hashes, texts and their provenance, batch by batch. Out: the same texts in any later run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from penchant.core.store import ParquetStore

SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "text": pa.string(),
        "model": pa.string(),
        "weights": pa.string(),
        "prompt": pa.string(),
        "max_tokens": pa.int64(),
        "decoding": pa.string(),
        "seed": pa.int64(),
    }
)
"""One row for each text: the hash of its source content, and the model and settings that wrote it."""


class WrittenStore:
    """The texts of one provenance.

    Args:
        folder: Parent folder of all stores.
        mark: Fingerprint of the provenance; each provenance has a store of its own.

    Raises:
        ArtifactError: The folder cannot be written to.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self._store = ParquetStore(folder / f"written_{mark}", "texts")

    def read(self) -> dict[str, str]:
        """Return content hash to text; damaged rows are left out, and written again."""
        batches = ((rows["key"].to_pylist(), rows["text"].to_pylist()) for rows in self._store.read())
        return {key: text for keys, texts in batches for key, text in zip(keys, texts, strict=True)}

    def append(self, texts: Mapping[str, str], provenance: Mapping[str, Any]) -> None:
        """Store one batch.

        Raises:
            ArtifactError: The disk is full, or the folder is not writable.
        """
        rows = [{"key": key, "text": text, **provenance} for key, text in texts.items()]
        self._store.append(pa.Table.from_pylist(rows, SCHEMA))
