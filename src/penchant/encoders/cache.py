"""Cache of embeddings.

In: content hashes and vectors, batch by batch. Out: the same vectors, bit for bit, in any later run.
"""

from __future__ import annotations

import json
import os
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
        self._times = folder / f"vectors_{fingerprint}.json"
        self.compact = self._store.compact

    def add_time(self, loading: float, encoding: float, items: int) -> None:
        """Keep what it took to encode some items, so that a run that finds their vectors here can still state their cost.

        Args:
            loading: Seconds to load the encoder.
            encoding: Seconds to read and encode the items.
            items: How many.
        """
        if not items:
            return
        before = self._read_times()
        total = {"loading": loading, "encoding": before["encoding"] + encoding, "items": before["items"] + items}
        unfinished = self._times.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(total), encoding="utf-8")
        unfinished.replace(self._times)

    def seconds(self, items: int) -> float | None:
        """Return what it takes to load the encoder and encode so many items, as measured when vectors were made; None where it never was."""
        times = self._read_times()
        return times["loading"] + times["encoding"] / times["items"] * items if times["items"] else None

    def _read_times(self) -> dict[str, float]:
        try:
            found: dict[str, float] = json.loads(self._times.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # a cache from before times were kept, or a file that a killed process left
            return {"loading": 0.0, "encoding": 0.0, "items": 0}
        return found

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
