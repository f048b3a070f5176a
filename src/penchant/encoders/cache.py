"""Vectors that were computed once.

In: content hashes and vectors, batch by batch. Out: the same vectors, bit for bit, in any later run, also after `kill -9`.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from penchant.core.errors import ArtifactError, MissingExtraError
from penchant.core.logs import logger

ROWS = 4096
"""Rows read at once."""
MIN_FRAGMENTS = 256
GROWTH = 8
"""Small files are joined when there are `MIN_FRAGMENTS` new ones, and an eighth of all: joining copies everything so far."""
RETENTION = timedelta(minutes=1)
"""How long the files that were joined stay for another run that is reading them."""

Batch = tuple[list[str], Float32[np.ndarray, "rows dim"]]


class VectorCache:
    """One LanceDB table for one encoder and its settings; a batch is there whole or not at all.

    Vectors are float32, so that a cached run gives exactly what the first one gave. Each row carries a checksum: Lance itself
    would hand out a vector with a flipped bit. Nothing in here is precious: what is damaged is left out, and computed again.

    Args:
        folder: Where all caches live.
        fingerprint: Of the encoder; vectors of another one are never mixed in.

    Attributes:
        was_lost: The table was damaged beyond reading and put aside; what `read` gave before must be appended again.

    Raises:
        ArtifactError: The folder cannot be written to.
        MissingExtraError: LanceDB is not installed.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        try:
            import lancedb
        except ModuleNotFoundError as error:
            raise MissingExtraError("lancedb", "text") from error
        self._connect = lancedb.connect
        self._name = f"vectors_{fingerprint}"
        self._folder = folder
        self._path = folder / f"{self._name}.lance"
        self._num_written = self._num_joined = 0
        self.was_lost = False
        self._has_bad_rows = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._table = self._open()

    def read(self) -> Iterator[Batch]:
        """Yield all keys and vectors that are there and unharmed, some thousand rows at a time."""
        if self._table is None:
            return
        try:
            yield from self._scan()
        except Exception:  # another run may just have joined the files this one was reading
            try:
                self._table = self._open()
                yield from self._scan()
            except Exception as error:
                self._discard(error)
        if self._has_bad_rows:
            self.compact()

    def append(self, keys: Sequence[str], values: Float32[np.ndarray, "batch dim"]) -> None:
        """Store one batch.

        Raises:
            ArtifactError: The disk is full or the folder was closed to us.
        """
        try:
            self._write(_rows(keys, values))
        except Exception:  # another run may have put this table aside
            self._table = None
            try:
                self._write(_rows(keys, values))
            except Exception as error:
                raise _unwritable(self._path, error) from error
        self._num_written += 1
        if self._num_written - self._num_joined >= max(MIN_FRAGMENTS, self._num_written // GROWTH):
            self.compact()

    def compact(self) -> None:
        """Join the small files that batches left behind, and drop what is damaged."""
        if self._table is None:
            return
        self._num_joined = self._num_written
        try:
            if self._has_bad_rows:
                self._rewrite()
            # old versions hold the same rows once more; nobody ever goes back to one
            self._table.optimize(cleanup_older_than=RETENTION)
        except Exception as error:
            logger.warning("The cache %s could not be joined (%s); it is written anew.", self._path, _line(error))
            try:
                self._rewrite()
            except Exception as again:
                self._discard(again)

    def _write(self, rows: pa.Table) -> None:
        if self._table is None:
            database = self._connect(str(self._folder))
            self._table = database.create_table(self._name, schema=rows.schema, exist_ok=True)
        self._table.add(rows)

    def _scan(self) -> Iterator[Batch]:
        if self._table is None:
            return
        num_bad = 0
        for batch in self._table.search().select(["key", "vector", "check"]).to_batches(ROWS):
            keys = batch["key"].to_pylist()
            values = batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(len(keys), -1)
            good = np.asarray(batch["check"]) == _checksums(keys, values)
            num_bad += int((~good).sum())
            yield [key for key, kept in zip(keys, good, strict=True) if kept], values[good]
        if num_bad:
            self._has_bad_rows = True
            logger.warning("%d vectors of the cache %s were altered; they are computed again.", num_bad, self._path)

    def _rewrite(self) -> None:
        """Copy the good rows into a new table and put it in the place of the old one."""
        with tempfile.TemporaryDirectory(prefix=".rewrite-", dir=self._folder) as scratch:
            fresh: Any = None
            for keys, values in self._scan():
                if fresh is None:
                    fresh = self._connect(scratch).create_table(self._name, schema=_schema(values.shape[1]))
                fresh.add(_rows(keys, values))
            shutil.rmtree(self._path)
            if fresh is not None:
                (Path(scratch) / self._path.name).rename(self._path)
        self._has_bad_rows = False
        self._table = self._open()

    def _open(self) -> Any:
        if not self._path.exists():
            return None
        try:
            return self._connect(str(self._folder)).open_table(self._name)
        except Exception as error:
            self._discard(error)
            return None

    def _discard(self, error: Exception) -> None:
        logger.warning("The cache %s is damaged (%s); its vectors are computed again.", self._path, _line(error))
        shutil.rmtree(self._path, ignore_errors=True)
        self._table = None
        self.was_lost = True


def _schema(dim: int) -> pa.Schema:
    return pa.schema([("key", pa.string()), ("vector", pa.list_(pa.float32(), dim)), ("check", pa.uint32())])


def _rows(keys: Sequence[str], values: Float32[np.ndarray, "batch dim"]) -> pa.Table:
    values = np.ascontiguousarray(values, np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    check = pa.array(_checksums(keys, values))
    return pa.table([pa.array(keys, pa.string()), vectors, check], schema=_schema(values.shape[1]))


def _checksums(keys: Sequence[str], values: Float32[np.ndarray, "batch dim"]) -> np.ndarray:
    """Return the CRC-32 of each key and its vector; a flipped byte never goes unseen."""
    rows = (zlib.crc32(memoryview(row), zlib.crc32(str(key).encode())) for key, row in zip(keys, values, strict=True))
    return np.fromiter(rows, np.uint32, len(keys))


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _unwritable(place: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"The vectors cannot be stored: {_line(error)}.",
        where=str(place),
        fix="free some space, or set `cache` to a folder you may write to; run again, and finished batches are kept",
    )
