"""Vectors of a channel in few bytes: as codes, from which each row is computed when it is asked for.

In: the vectors of a channel. Out: `CompactEmbeddings`, which gives nearly the same vectors, in the encoder's own space, and takes in new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Bool, Float32, Int64

from penchant.core.errors import MissingExtraError
from penchant.core.schema import ChannelSource, Embeddings

CodeKind = Literal["int8", "pca", "product", "binary"]
"""int8: whole numbers of 8 bits in units of the row's scale. pca: coordinates in the main directions, of 16 bits. product: every `WIDTH` numbers as the
nearest of up to 256 typical ones. binary: the sign of each number."""
WIDTH = 4
"""Numbers that product quantisation replaces by one byte."""
MIN_ROWS_PER_BOOK = 8
"""Rows for each typical part of product quantisation, at least; fewer rows have fewer typical parts."""
MAX_TRAINED = 20_000
"""Rows, evenly spaced, from which directions and typical parts are learned, at most."""
DIM = 64
"""Main directions that `pca` keeps."""
BLOCK = 4096
"""Rows that are encoded at once."""
KINDS: dict[str, type] = {"int8": np.int8, "pca": np.int16, "product": np.uint8, "binary": np.uint8}


@dataclass(frozen=True)
class VectorCodes:
    """Rows that are `mean` + scale x what their codes stand for.

    Attributes:
        kind: What a code is.
        codes: (rows, width) int8, int16 or uint8.
        scale: (rows,)
        mean: (dim,) taken off each row before it is encoded.
        learned: pca: `directions` (width, dim). product: `books` (width, 2 to 256, WIDTH). binary: `spread` (dim,).
        is_unit: Whether the rows have unit length; those that are computed have it too then.

    Source: product: Jegou et al., Product quantization for nearest neighbor search, TPAMI 2011, on rows of unit length, k-means by FAISS.
    binary: scales as in XNOR-Net (Rastegari et al., ECCV 2016), by row and by column.
    """

    kind: CodeKind
    codes: np.ndarray
    scale: Float32[np.ndarray, " rows"]
    mean: Float32[np.ndarray, " dim"]
    learned: Mapping[str, np.ndarray]
    is_unit: bool

    @classmethod
    def of(
        cls, kind: CodeKind, values: Float32[np.ndarray, "rows dim"], usable: Bool[np.ndarray, " rows"], dim: int = DIM
    ) -> Self:
        """Return the codes of some rows.

        Args:
            kind: What a code is.
            values: The rows.
            usable: Those from which it is learned how to encode.
            dim: Main directions kept by `pca`.

        Raises:
            MissingExtraError: Product quantisation needs FAISS, which is not installed.
        """
        some = values[usable]
        norms = np.linalg.norm(some, axis=1)
        is_unit = bool(len(some)) and bool((np.abs(norms[norms > 0] - 1) < 1e-3).all())
        # rows of unit length that are 0 stay 0 only where nothing is taken off
        mean = np.zeros(values.shape[1], np.float32) if is_unit or not len(some) else some.mean(0, dtype=np.float64)
        mean = np.asarray(mean, np.float32)
        centred = some[:: max(1, -(-len(some) // MAX_TRAINED))] - mean
        empty: np.ndarray = np.zeros((0, 0), KINDS[kind])
        found = cls(kind, empty, np.zeros(0, np.float32), mean, _learned(kind, centred, dim), is_unit)
        return found.appended(values)

    @property
    def dim(self) -> int:
        return len(self.mean)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in (self.codes, self.scale, self.mean, *self.learned.values()))

    def appended(self, values: Float32[np.ndarray, "new dim"]) -> Self:
        """Return the codes with those of more rows; nothing is learned of these."""
        blocks = [self._encoded(values[start : start + BLOCK] - self.mean) for start in range(0, len(values), BLOCK)]
        if not blocks:
            return self
        codes, scale = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        if len(self.codes):
            codes = np.concatenate([self.codes, codes])
        return replace(self, codes=codes, scale=np.concatenate([self.scale, scale]))

    def decoded(self, rows: Int64[np.ndarray, " some"] | slice = slice(None)) -> Float32[np.ndarray, "some dim"]:
        """Return some rows."""
        codes, scale = self.codes[rows], self.scale[rows][:, None]
        if self.kind == "int8":
            found = codes * scale
        elif self.kind == "pca":
            found = (codes * scale) @ self.learned["directions"]
        elif self.kind == "product":
            books = self.learned["books"]
            found = books[np.arange(len(books)), codes].reshape(len(codes), -1)[:, : self.dim] * scale
        else:
            signs = np.unpackbits(codes, axis=1, count=self.dim).astype(np.float32) * 2 - 1
            found = signs * self.learned["spread"] * scale
        found = (found + self.mean).astype(np.float32)
        if self.is_unit:
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-12))
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything but `kind` and `is_unit`, by name, for safetensors."""
        learned = {f"learned/{name}": array for name, array in self.learned.items()}
        return {"codes": self.codes, "scale": self.scale, "mean": self.mean, **learned}

    @classmethod
    def restored(cls, kind: str, arrays: Mapping[str, np.ndarray], is_unit: bool) -> VectorCodes:
        """Return what `arrays` described.

        Raises:
            ValueError: The arrays do not belong together; they may come from anyone.
        """
        if kind not in KINDS:
            raise ValueError(f"there is no code {kind!r}")
        start = "learned/"
        learned = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
        found = cls(kind, arrays["codes"], arrays["scale"], arrays["mean"], learned, bool(is_unit))  # type: ignore[arg-type]
        width, dim = found.codes.shape[1], found.dim
        shapes = {
            "int8": {},
            "pca": {"directions": (width, dim)},
            "product": {"books": (width, *learned["books"].shape[1:2], WIDTH)} if "books" in learned else {"books": ()},
            "binary": {"spread": (dim,)},
        }[kind]
        expected = {"int8": dim, "pca": width, "product": -(-dim // WIDTH), "binary": -(-dim // 8)}[kind]
        if {name: array.shape for name, array in learned.items()} != shapes or width != expected:
            raise ValueError(f"codes of width {width} do not give {kind} rows of width {dim}")
        if found.codes.dtype != KINDS[kind] or found.scale.shape != (len(found.codes),):
            raise ValueError(f"{kind} codes are {found.codes.dtype} with {len(found.scale)} scales")
        if kind == "product" and found.codes.size and int(found.codes.max()) >= learned["books"].shape[1]:
            raise ValueError("a code names no typical part")
        return found

    def _encoded(self, centred: Float32[np.ndarray, "new dim"]) -> tuple[np.ndarray, Float32[np.ndarray, " new"]]:
        if self.kind == "product":
            scale = np.linalg.norm(centred, axis=1)
            return _nearest_parts(centred / np.maximum(scale, 1e-12)[:, None], self.learned["books"]), scale
        if self.kind == "binary":
            spread = self.learned["spread"]
            scale = np.abs(centred) @ spread / np.maximum(np.float32(spread @ spread), np.float32(1e-12))
            return np.packbits(centred > 0, axis=1), scale.astype(np.float32)
        numbers = centred if self.kind == "int8" else centred @ self.learned["directions"].T
        largest = np.iinfo(KINDS[self.kind]).max
        scale = (np.abs(numbers).max(1, initial=0) / largest).astype(np.float32)
        whole = np.rint(numbers / np.maximum(scale, np.finfo(np.float32).tiny)[:, None])
        return whole.astype(KINDS[self.kind]), scale


class CompactEmbeddings(Embeddings):
    """Embeddings whose vectors are codes; `values` are computed at each reading, `rows` only some of them. `dataclasses.replace` does not copy them.

    Attributes:
        codes: The vectors.
    """

    codes: VectorCodes

    def __init__(self, like: Embeddings, codes: VectorCodes, **changes: Any) -> None:
        """Take everything but the vectors from other embeddings.

        Args:
            like: Of the same channel.
            codes: The vectors.
            changes: Attributes that differ.
        """
        known = {
            n: getattr(like, n) for n in ("name", "modality", "present", "encoder", "imputed", "source", "seconds")
        }
        for name, value in {**known, "codes": codes, **changes}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, embeddings: Embeddings, kind: CodeKind, dim: int = DIM) -> Embeddings:
        """Return embeddings as codes, and as they are where codes would not be smaller.

        Raises:
            MissingExtraError: Product quantisation needs FAISS, which is not installed.
        """
        codes = VectorCodes.of(kind, embeddings.values, embeddings.usable, dim)
        return cls(embeddings, codes) if codes.nbytes < embeddings.values.nbytes else embeddings

    @property
    def values(self) -> Float32[np.ndarray, "items dim"]:
        return self.rows(slice(None))

    @property
    def dim(self) -> int:
        return self.codes.dim

    def rows(self, index: Int64[np.ndarray, " some"] | slice) -> Float32[np.ndarray, "some dim"]:
        found = self.codes.decoded(index)
        found[~self.usable[index]] = 0
        return found

    def with_rows(self, values: Float32[np.ndarray, "new dim"], present: Bool[np.ndarray, " new"]) -> CompactEmbeddings:
        return type(self)(self, self.codes.appended(values), **self._with_masks(present))

    def having_source(self, source: ChannelSource) -> CompactEmbeddings:
        return type(self)(self, self.codes, source=source)


def _learned(kind: CodeKind, centred: Float32[np.ndarray, "rows dim"], dim: int) -> dict[str, np.ndarray]:
    if kind == "pca":
        _, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
        return {"directions": np.ascontiguousarray(vectors[:, ::-1][:, :dim].T, np.float32)}
    if kind == "product":
        return {"books": _books(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))}
    if kind == "binary":
        return {"spread": np.abs(centred).mean(0) if len(centred) else np.zeros(centred.shape[1], np.float32)}
    return {}


def _parts(rows: Float32[np.ndarray, "rows dim"]) -> Float32[np.ndarray, "rows width part"]:
    """Return rows cut into parts of `WIDTH` numbers, the last filled with zeros."""
    width = -(-rows.shape[1] // WIDTH)
    filled = np.pad(rows, ((0, 0), (0, width * WIDTH - rows.shape[1])))
    return filled.reshape(len(rows), width, WIDTH).astype(np.float32)


def _books(rows: Float32[np.ndarray, "rows dim"]) -> Float32[np.ndarray, "width size part"]:
    """Return the typical parts of unit rows."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingExtraError("faiss-cpu", "serve") from error
    parts = _parts(rows)
    width = parts.shape[1]
    bits = int(np.clip(np.log2(max(len(rows) / MIN_ROWS_PER_BOOK, 1)), 1, 8))
    if len(rows) < 1 << bits:
        return np.zeros((width, 1 << bits, WIDTH), np.float32)
    quantiser = faiss.ProductQuantizer(width * WIDTH, width, bits)
    quantiser.cp.min_points_per_centroid = MIN_ROWS_PER_BOOK  # fewer are warned about
    quantiser.train(np.ascontiguousarray(parts.reshape(len(rows), -1)))
    books = faiss.vector_to_array(quantiser.centroids).reshape(width, 1 << bits, WIDTH)
    return np.asarray(books, np.float32)


def _nearest_parts(rows: Float32[np.ndarray, "rows dim"], books: Float32[np.ndarray, "width size part"]) -> np.ndarray:
    """Return the number of the typical part nearest to each part of each row."""
    parts = _parts(rows)
    codes = np.empty(parts.shape[:2], np.uint8)
    for place, book in enumerate(books):  # |p - b|^2 without |p|^2, which is the same for every b
        codes[:, place] = ((book**2).sum(1) - 2 * parts[:, place] @ book.T).argmin(1)
    return codes
