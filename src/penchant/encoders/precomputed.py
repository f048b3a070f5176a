"""Embeddings computed elsewhere.

In: `.npy`, Parquet or safetensors. Out: the same rows, checked and brought into the catalog's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32
from safetensors import safe_open

from penchant.core.artifacts import checksum
from penchant.core.config import Settings
from penchant.core.errors import EncoderError, PenchantError
from penchant.core.logs import logger
from penchant.core.schema import Embeddings, Vocabulary
from penchant.data.read.tables import read_parquet
from penchant.encoders.encoder import Encoder

MODALITY_WORDS = {
    "image": ("image", "visual", "picture", "poster"),
    "audio": ("audio", "acoustic", "sound"),
    "text": ("text",),
}
ORDER_FIX = "give one row for each item in the catalog's order, or a Parquet file with item_id and vector"


class PrecomputedConfig(Settings):
    """No settings: `path` and `modality` are set in the channel."""


class Precomputed(Encoder[PrecomputedConfig]):
    """Vectors of your own, from the file at the channel's `path`, of the channel's `modality`.

    As an encoder it returns a vector unchanged; the file of a catalog is read by `read_vectors`.
    """

    modality = "text"
    licence = "your own"
    cost = "light"

    config_class = PrecomputedConfig

    def weights(self) -> Any:
        return None

    def prepare(self, raw: Any) -> Float32[np.ndarray, " dim"]:
        return np.asarray(raw, np.float32)

    def encode(self, prepared: Sequence[Float32[np.ndarray, " dim"]]) -> Float32[np.ndarray, "batch dim"]:
        return np.stack(prepared)


def read_vectors(path: Path, items: Vocabulary, *, name: str, modality: str) -> Embeddings:
    """Return precomputed vectors.

    `.npy` and safetensors hold row i for item i of the catalog; Parquet holds `item_id` and a list column, in any order.
    A row of zeros, an empty cell or an absent id means that the item has no such content.

    Raises:
        EncoderError: Missing or damaged file, wrong number of rows, or a value that is not finite.
    """
    if not path.is_file():
        raise EncoderError(f"There is no file {path.name!r}.", where=f"content.{name}.path", fix="correct the path")
    try:
        if path.suffix == ".parquet":
            values = _from_parquet(path, items)
        else:
            values = _from_rows(_read_array(path, name), path, items)
    except PenchantError:
        raise
    except Exception as error:  # each format has its own exceptions for a damaged file
        raise EncoderError(
            f"The vectors cannot be read: {(str(error).splitlines() or [''])[0]}.",
            where=str(path),
            fix="write the file again as .npy, .safetensors or .parquet",
        ) from error
    return Embeddings(name, modality, values, np.any(values != 0, axis=1), checksum(path)[:16])


def guess_modality(name: str) -> str:
    """Return the modality that a file or channel name contains; text where it contains none."""
    lower = name.lower()
    return next((modality for modality, words in MODALITY_WORDS.items() if any(w in lower for w in words)), "text")


def _read_array(path: Path, name: str) -> np.ndarray:
    if path.suffix != ".safetensors":
        return np.load(path, allow_pickle=False)
    with safe_open(path, framework="np") as file:
        tensors = list(file.keys())
        chosen = name if name in tensors else tensors[0]
        if len(tensors) > 1 and name not in tensors:
            raise EncoderError(
                f"The file holds {len(tensors)} tensors and none is called {name!r}.",
                where=str(path),
                fix=f"name the channel after one of them: {', '.join(tensors[:10])}",
            )
        return np.asarray(file.get_tensor(chosen))


def _from_rows(raw: np.ndarray, path: Path, items: Vocabulary) -> Float32[np.ndarray, "items dim"]:
    if raw.ndim != 2 or len(raw) != len(items):
        raise EncoderError(
            f"The vectors have shape {raw.shape}, the catalog has {len(items)} items.", where=str(path), fix=ORDER_FIX
        )
    return _numbers(raw, path, items.ids)


def _from_parquet(path: Path, items: Vocabulary) -> Float32[np.ndarray, "items dim"]:
    table = read_parquet(path)
    column = next((c for c in table.columns if isinstance(table[c].dtype, (pl.List, pl.Array))), None)
    if "item_id" not in table.columns or column is None:
        raise EncoderError(
            f"There is no item_id and list column, only {', '.join(table.columns)}.",
            where=str(path),
            fix="write columns item_id and vector",
        )
    table = table.select(pl.col("item_id").cast(pl.String), vector=pl.col(column).cast(pl.List(pl.Float64)))
    table = table.with_row_index("row").drop_nulls("vector")
    _check_ids(table["item_id"], path, items)
    lengths = table["vector"].list.len()
    usual = lengths.mode().sort()[0]
    other = (lengths != usual).arg_true()
    if len(other):
        raise EncoderError(
            f"The vector of item {table['item_id'][other[0]]!r} has {lengths[other[0]]} numbers, others {usual}.",
            where=f"{path} row {table['row'][other[0]]}",
            fix="write vectors of one length",
        )
    flat = table["vector"].explode(empty_as_null=True).to_numpy().reshape(len(table), -1)
    vectors = _numbers(flat, path, table["item_id"].to_list(), table["row"].to_list())
    rows = items.indices(table["item_id"])
    out = np.zeros((len(items), vectors.shape[1]), np.float32)
    out[rows[rows >= 0]] = vectors[rows >= 0]
    return out


def _check_ids(ids: pl.Series, path: Path, items: Vocabulary) -> None:
    repeated = ids.filter(ids.is_duplicated())
    if len(repeated):
        raise EncoderError(
            f"The id {repeated[0]!r} occurs more than once.", where=str(path), fix="keep one row for each item_id"
        )
    unknown = ids.filter(items.indices(ids) < 0)
    if len(unknown) == len(ids):
        shown = repr(ids[0]) if len(ids) else "nothing"
        raise EncoderError(
            f"None of its {len(ids):,} ids is in the catalog; it begins with {shown}, the catalog with {items.ids[0]!r}.",
            where=str(path),
            fix="write the same item_id as in the table of items",
        )
    if len(unknown):
        logger.info("%s: %s of %s ids are not in the catalog", path.name, f"{len(unknown):,}", f"{len(ids):,}")


def _numbers(
    raw: np.ndarray, path: Path, ids: Sequence[str], rows: Sequence[int] | None = None
) -> Float32[np.ndarray, "rows dim"]:
    """Return float32, and refuse values that are not finite in it."""
    with np.errstate(over="ignore"):
        values = np.asarray(raw).astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        row = int(bad[0])
        raise EncoderError(
            f"The vector of item {ids[row]!r} holds NaN or infinity ({len(bad)} such rows).",
            where=f"{path} row {row if rows is None else rows[row]}",
            fix="compute it again, or set the whole row to zero if the item has no such content",
        )
    return values
