"""Rows by key that outlive a killed run: a folder of Parquet files, one for each batch.

In: tables with a column `key`, batch by batch. Out: the same rows, bit for bit, in any later run, also after `kill -9`.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penchant.core.errors import ArtifactError
from penchant.core.logs import logger

ROWS = 4096
"""Rows read at once; files with fewer are joined."""
MAX_SMALL_FILES = 256
"""Small files are joined when so many were written."""
STALE_SECONDS = 3600
"""An unfinished file older than this was left behind by a killed run."""


class ParquetStore:
    """One folder for rows of one origin; safe for several processes at once.

    A file is written beside its place and renamed, so it is there whole or not at all. Each row carries a CRC-32 of its cells.
    Every row can be computed again: damaged ones are left out.

    Args:
        folder: Of this store alone; made if it is missing.
        noun: Plural noun for the rows, for messages.

    Raises:
        ArtifactError: The folder cannot be made.
    """

    def __init__(self, folder: Path, noun: str) -> None:
        self._folder = folder
        self._noun = noun
        self._num_small = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def read(self) -> Iterator[pa.Table]:
        """Yield all intact rows, oldest first and at most `ROWS` at a time; one written twice comes twice."""
        read: set[Path] = set()
        damaged: list[Path] = []
        while files := [path for path in self._files() if path not in read]:
            for path in files:
                read.add(path)
                try:
                    yield from self._scan(path, damaged)
                except FileNotFoundError:  # another process has joined it with others: the new file comes next
                    continue
        for path in damaged:
            self._join([path])

    def append(self, rows: pa.Table) -> None:
        """Store one batch.

        Raises:
            ArtifactError: The disk is full, or the folder is not writable.
        """
        if rows.num_rows == 0:
            return
        self._write([rows], f"{time.time_ns():020d}")
        self._num_small += 1
        if self._num_small >= MAX_SMALL_FILES:
            self.compact()

    def compact(self) -> None:
        """Join the small files that batches left behind; of rows with one key the newest stays."""
        self._num_small = 0
        for path in self._folder.glob("*.tmp"):
            with suppress(FileNotFoundError):  # another process has finished it just now
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()
        small = [path for path in self._files() if _num_rows(path) < ROWS]
        if len(small) > 1:
            self._join(small)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))

    def _scan(self, path: Path, damaged: list[Path] | None = None) -> Iterator[pa.Table]:
        """Yield the intact rows of a file; where `damaged` is given, log any damage and add the file to it."""
        num_bad, damage = 0, ""
        try:
            with path.open("rb") as opened, pq.ParquetFile(opened) as file:
                for batch in file.iter_batches(ROWS):
                    rows = pa.Table.from_batches([batch])
                    check, rows = np.asarray(rows["crc32"]), rows.drop_columns("crc32")
                    good = check == _checks(rows)
                    num_bad += int((~good).sum())
                    yield rows.filter(pa.array(good))
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, KeyError) as error:
            damage = (str(error).splitlines() or [type(error).__name__])[0][:120]
        if damaged is None or not (num_bad or damage):
            return
        damaged.append(path)
        if damage:
            logger.warning("%s is damaged (%s); its %s are computed again.", path, damage, self._noun)
        if num_bad:
            logger.warning(
                "%d %s of the cache %s were altered; they are computed again.", num_bad, self._noun, self._folder
            )

    def _join(self, paths: Sequence[Path]) -> None:
        """Replace these files by one with their intact rows; where another process was first, do nothing."""
        try:
            self._write(self._newest(paths), paths[-1].name.partition("-")[0])
        except FileNotFoundError:
            return
        for path in paths:
            path.unlink(missing_ok=True)

    def _newest(self, paths: Sequence[Path]) -> Iterator[pa.Table]:
        """Yield the rows of these files, each key once."""
        seen: set[str] = set()
        for path in reversed(paths):
            for rows in self._scan(path):
                keys = rows["key"].to_pylist()
                yield rows.filter(pa.array([key not in seen for key in keys], pa.bool_()))
                seen.update(keys)

    def _write(self, batches: Iterable[pa.Table], age: str) -> None:
        """Write one file; its name holds the time of the newest rows."""
        name = f"{age}-{uuid4().hex}"
        staging = self._folder / f"{name}.tmp"
        writer: pq.ParquetWriter | None = None
        try:
            for rows in batches:
                rows = rows.append_column("crc32", pa.array(_checks(rows), pa.uint32()))
                if writer is None:
                    repeated = [f.name for f in rows.schema if pa.types.is_string(f.type) and f.name != "key"]
                    writer = pq.ParquetWriter(staging, rows.schema, compression="none", use_dictionary=repeated)
                if rows.schema.equals(writer.schema):
                    writer.write_table(rows, row_group_size=ROWS)
            if writer is not None:
                writer.close()
                staging.replace(self._folder / f"{name}.parquet")
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise self._unwritable(error) from error
        finally:
            if writer is not None and writer.is_open:
                with suppress(pa.ArrowException, OSError):  # closing writes too, and fails likewise
                    writer.close()
            staging.unlink(missing_ok=True)

    def _unwritable(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"The {self._noun} cannot be stored: {(str(error).splitlines() or [type(error).__name__])[0][:120]}.",
            where=str(self._folder),
            fix="free some space, or set `cache` to a writable folder; run again, and finished batches are kept",
        )


def _num_rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError):
        return 0


def _checks(rows: pa.Table) -> np.ndarray:
    """Return the CRC-32 of each row's cells, so that a changed byte is detected."""
    checks = [0] * rows.num_rows
    for column in rows.columns:
        if pa.types.is_fixed_size_list(column.type):
            values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            cells: Iterable[bytes | memoryview] = map(
                memoryview, np.ascontiguousarray(values.reshape(-1, column.type.list_size))
            )
        else:
            cells = (repr(cell).encode() for cell in column.to_pylist())
        checks = [zlib.crc32(cell, check) for cell, check in zip(cells, checks, strict=True)]
    return np.array(checks, np.uint32)
