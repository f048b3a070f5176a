"""Cache of embeddings.

In: content hashes and vectors, batch by batch. Out: the same vectors, bit for bit, in any later run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from penchant.core.store import ParquetStore


class VectorCache:
    """The vectors of one encoder and its settings, float32, so that a cached run equals the first one exactly.

    Args:
        folder: Parent folder of all caches.
        fingerprint: Of the encoder; each fingerprint has a store of its own.

    Raises:
        ArtifactError: The folder cannot be written to.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._store = ParquetStore(folder / f"vectors_{fingerprint}", "vectors")
        self.compact = self._store.compact

    def read(self) -> Iterator[tuple[list[str], Float32[np.ndarray, "rows dim"]]]:
        """Yield all intact keys and vectors, some thousand rows at a time."""
        for rows in self._store.read():
            keys = rows["key"].to_pylist()
            if keys:
                values = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                yield keys, values.reshape(len(keys), -1)

    def append(self, keys: Sequence[str], values: Float32[np.ndarray, "batch dim"]) -> None:
        """Store one batch.

        Raises:
            ArtifactError: The disk is full, or the folder is not writable.
        """
        flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
        vectors = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        self._store.append(pa.table({"key": pa.array(keys, pa.string()), "vector": vectors}))
