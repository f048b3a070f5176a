"""Vectors that were computed once.

In: content hashes and vectors, batch by batch. Out: the same vectors in any later run, also after `kill -9`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from penchant.core.errors import MissingExtraError
from penchant.core.logs import logger


class VectorCache:
    """One LanceDB table for one encoder and its settings; a batch is there whole or not at all.

    Args:
        folder: Where all caches live.
        fingerprint: Of the encoder; vectors of another one are never mixed in.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        try:
            import lancedb
        except ModuleNotFoundError as error:
            raise MissingExtraError("lancedb", "text") from error
        self._name = f"vectors_{fingerprint}"
        self._path = folder / f"{self._name}.lance"
        folder.mkdir(parents=True, exist_ok=True)
        self._database = lancedb.connect(str(folder))
        self._table = self._open()

    def read(self, keys: Sequence[str]) -> dict[str, Float32[np.ndarray, " dim"]]:
        """Return the vectors that are there; a damaged cache is put aside and counts as empty."""
        if self._table is None:
            return {}
        wanted = set(keys)
        try:
            stored = self._table.to_arrow()
            names = stored["key"].to_pylist()
            flat = stored["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            values = flat.reshape(len(names), -1)
        except Exception as error:
            self._discard(error)
            return {}
        return {
            name: values[row] for row, name in enumerate(names) if name in wanted and np.isfinite(values[row]).all()
        }

    def append(self, keys: Sequence[str], values: Float32[np.ndarray, "batch dim"]) -> None:
        """Store one batch durably."""
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])
        batch = pa.table({"key": pa.array(keys, pa.string()), "vector": vectors})
        if self._table is None:
            self._table = self._database.create_table(self._name, batch)
        else:
            self._table.add(batch)

    def compact(self) -> None:
        """Join the small files that batches left behind."""
        if self._table is not None:
            self._table.optimize()

    def _open(self) -> Any:
        if not self._path.exists():
            return None
        try:
            return self._database.open_table(self._name)
        except Exception as error:
            self._discard(error)
            return None

    def _discard(self, error: Exception) -> None:
        """Nothing in the cache is precious: what cannot be read is computed again."""
        logger.warning(
            "The cache %s is damaged (%s); its vectors are computed again.",
            self._path,
            str(error).splitlines()[0][:120],
        )
        shutil.rmtree(self._path, ignore_errors=True)
        self._table = None
