"""Vectors somebody else computed.

In: `.npy`, Parquet or safetensors. Out: the same rows, checked and brought into the catalog's order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float32
from safetensors.numpy import load_file

from penchant.core.artifacts import checksum
from penchant.core.errors import EncoderError
from penchant.core.schema import Embeddings, Vocabulary

MODALITY_WORDS = {
    "image": ("image", "visual", "picture", "poster"),
    "audio": ("audio", "acoustic", "sound"),
    "text": ("text",),
}


def read_vectors(path: Path, items: Vocabulary, *, name: str, modality: str) -> Embeddings:
    """Return precomputed vectors.

    `.npy` and safetensors (its first tensor) hold row i for item i of the catalog; Parquet holds `item_id` and a list column.
    A row of zeros means that the item has no such content.

    Raises:
        EncoderError: Missing file, wrong number of rows, or a value that is not a number.
    """
    if not path.is_file():
        raise EncoderError(f"There is no file {path.name!r}.", where=f"content.{name}.path", fix="correct the path")
    values = _from_parquet(path, items) if path.suffix == ".parquet" else _from_rows(path, items)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise EncoderError(
            f"The vector of item {items.ids[bad[0]]!r} holds NaN or infinity ({len(bad)} such rows).",
            where=f"{path} row {bad[0]}",
            fix="compute it again, or set the whole row to zero to say that the item has no such content",
        )
    return Embeddings(name, modality, values, np.any(values != 0, axis=1), checksum(path)[:16])


def guess_modality(name: str) -> str:
    """Return the modality a file or channel name speaks of; text where it speaks of none."""
    lower = name.lower()
    return next((modality for modality, words in MODALITY_WORDS.items() if any(w in lower for w in words)), "text")


def _from_rows(path: Path, items: Vocabulary) -> Float32[np.ndarray, "items dim"]:
    raw = next(iter(load_file(path).values())) if path.suffix == ".safetensors" else np.load(path, allow_pickle=False)
    if raw.ndim != 2 or len(raw) != len(items):
        raise EncoderError(
            f"The vectors have shape {raw.shape}, the catalog has {len(items)} items.",
            where=str(path),
            fix="give one row for each item in the catalog's order, or a Parquet file with item_id and vector",
        )
    return np.asarray(raw, np.float32)


def _from_parquet(path: Path, items: Vocabulary) -> Float32[np.ndarray, "items dim"]:
    table = pl.read_parquet(path)
    column = next((c for c in table.columns if isinstance(table[c].dtype, (pl.List, pl.Array))), None)
    if "item_id" not in table.columns or column is None:
        raise EncoderError(
            "There is no item_id and list column.", where=str(path), fix="write columns item_id and vector"
        )
    rows = items.indices(table["item_id"])
    vectors = np.asarray(table[column].to_list(), np.float32)
    out = np.zeros((len(items), vectors.shape[1]), np.float32)
    out[rows[rows >= 0]] = vectors[rows >= 0]
    return out
