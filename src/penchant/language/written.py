"""Texts a model wrote once.

In: content hashes, texts and where they came from, batch by batch. Out: the same texts in any later run, also after `kill -9`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ArtifactError
from penchant.core.logs import logger

SCHEMA = {
    "key": pl.String,
    "text": pl.String,
    "model": pl.String,
    "weights": pl.String,
    "prompt": pl.String,
    "max_tokens": pl.Int64,
    "decoding": pl.String,
    "seed": pl.Int64,
}
"""One row a text: the hash of the content it was written from, and who wrote it how."""


class WrittenStore:
    """A folder of Parquet files, one a batch, each there whole or not at all.

    Args:
        folder: Where all stores live.
        mark: Fingerprint of the provenance; texts of another are never mixed in.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self._folder = folder / f"written_{mark}"

    def read(self) -> dict[str, str]:
        """Return content hash to text; a damaged file is removed, and its texts are written again."""
        found: dict[str, str] = {}
        for path in sorted(self._folder.glob("*.parquet")):
            try:
                table = pl.read_parquet(path, columns=["key", "text"])
            except (pl.exceptions.PolarsError, OSError) as error:
                logger.warning("%s is damaged (%s); its texts are written again.", path, str(error).splitlines()[0])
                path.unlink()
                continue
            found |= dict(zip(table["key"], table["text"], strict=True))
        return found

    def append(self, texts: Mapping[str, str], provenance: Mapping[str, Any]) -> None:
        """Store one batch.

        Raises:
            ArtifactError: The disk is full or the folder is closed to us.
        """
        if not texts:
            return
        rows = [{"key": key, "text": text, **provenance} for key, text in texts.items()]
        path = self._folder / f"{fingerprint(sorted(texts))}.parquet"
        staging = path.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            pl.DataFrame(rows, SCHEMA).write_parquet(staging)
            staging.replace(path)
        except OSError as error:
            raise ArtifactError(
                f"The descriptions cannot be stored: {error.strerror or error}.",
                where=str(self._folder),
                fix="free some space, or set `cache` to a folder you may write to; finished batches are kept",
            ) from error
