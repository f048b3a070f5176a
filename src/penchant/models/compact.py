"""Item-to-item matrices in few bytes: the largest entries of each row, as whole numbers of 8 or 16 bits.

In: a dense or sparse matrix. Out: `CompactRows`, which gives the same products approximately, and rows that still sum up to them exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from jaxtyping import Float32, Float64, Int64
from pydantic import Field
from scipy import sparse

from penchant.core.config import Settings

BLOCK_ENTRIES = 4_000_000
"""Entries gathered at once for a product: 64 MB."""
BLOCK_ROWS = 512
"""Rows of a dense matrix whose largest entries are searched at once."""
TYPICAL_ROWS = 2000
"""Rows, evenly spaced, from which typical values are found, at most."""
NEGLIGIBLE = 1e-8
"""Weight of an event below which its row is not read: float32 would hardly notice it."""


class CompactConfig(Settings):
    """How a member is made smaller."""

    entries: int = Field(0, ge=0)
    """Largest entries kept of each row of an item-to-item matrix, by their distance from what is typical of the column; 0 keeps all."""
    rank: int = Field(256, ge=1)
    """Main directions kept of a matrix that is a product of two narrow ones, such as that of content regression."""
    bits: Literal[8, 16, 32] = 16
    """Of an entry: 8 or 16 for whole numbers in units of the row's scale, factors and vectors then being float16; 32 for float32."""


@dataclass(frozen=True)
class CompactRows:
    """A matrix whose row i is `typical` + scale[i] x its kept entries.

    `typical` is the median of each column of a dense matrix: most entries of a regression lie near it, and those that do cost nothing. A sparse
    matrix has none: most of its entries are 0. A row stays one row of numbers, so that the contribution of an event is exact.

    Attributes:
        values: (rows, width) int8, int16 or float32; 0 where a row has fewer entries.
        places: (rows, width) column of each entry, uint16 where the matrix has few columns, else int32.
        scale: (rows,) what one unit of the values is.
        typical: (columns,) what every row has besides; None for nothing.
        columns: Number of columns.
    """

    values: np.ndarray
    places: np.ndarray
    scale: Float32[np.ndarray, " rows"]
    typical: Float32[np.ndarray, " columns"] | None
    columns: int

    @classmethod
    def of(cls, matrix: np.ndarray | sparse.csr_array, config: CompactConfig) -> Self:
        """Return the compact form of a matrix; a dense one gets typical values where entries are left out."""
        if isinstance(matrix, np.ndarray):
            return cls.of_blocks(lambda rows: matrix[rows], len(matrix), matrix.shape[1], config)
        return cls._packed(*_padded(_largest_of_sparse(sparse.csr_array(matrix), config.entries)), None, config.bits)

    @classmethod
    def of_blocks(cls, block: Callable[[slice], np.ndarray], rows: int, columns: int, config: CompactConfig) -> Self:
        """Return the compact form of a dense matrix that is computed a block of rows at a time.

        Memory: a few blocks, and the rows from which typical values are found.

        Args:
            block: Returns the given rows; they are not changed.
            rows: Rows of the matrix.
            columns: Columns of the matrix.
            config: What is kept.
        """
        typical, step = None, max(1, -(-rows // TYPICAL_ROWS))
        starts = range(0, rows, BLOCK_ROWS)
        if 0 < config.entries < columns and rows:
            drawn = [block(slice(start, start + BLOCK_ROWS))[::step] for start in starts]
            typical = np.median(np.concatenate(drawn), axis=0).astype(np.float32)
        found = []
        for start in starts:
            some = block(slice(start, start + BLOCK_ROWS))
            found.append(_largest(some if typical is None else some - typical, config.entries or columns))
        values, places = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else _nothing(columns)
        return cls._packed(values, places, columns, typical, config.bits)

    @classmethod
    def _packed(
        cls, values: np.ndarray, places: np.ndarray, columns: int, typical: np.ndarray | None, bits: int
    ) -> Self:
        """Return given differences from `typical` in few bytes; none is left out."""
        place_type = np.uint16 if columns <= np.iinfo(np.uint16).max + 1 else np.int32
        scale = np.ones(len(values), np.float32)
        if bits < 32:
            kind = np.int8 if bits == 8 else np.int16
            scale = np.abs(values).max(1, initial=0).astype(np.float32) / np.float32(np.iinfo(kind).max)
            values = np.rint(values / np.maximum(scale, np.finfo(np.float32).tiny)[:, None]).astype(kind)
        return cls(values, places.astype(place_type), scale, typical, columns)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.scale), self.columns

    def scores(self, weighted: sparse.csr_array) -> Float32[np.ndarray, "users columns"]:
        """Return weighted @ the matrix; a user's scores do not depend on the other users."""
        return self.sums(weighted.indptr, weighted.indices, weighted.data)

    def sums(
        self,
        offsets: Int64[np.ndarray, " users_plus_1"],
        row: Int64[np.ndarray, " events"],
        weight: Float32[np.ndarray, " events"],
    ) -> Float32[np.ndarray, "users columns"]:
        """Return for each user the sum over events of weight x row of the matrix; a user's sums do not depend on the other users.

        Cost: events x width, and users x columns.

        Args:
            offsets: First event of each user.
            row: Row of the matrix of each event.
            weight: Of each event.
        """
        users = len(offsets) - 1
        out = np.empty((users, self.columns), np.float32)
        most = max(1, BLOCK_ENTRIES // max(self.values.shape[1], 1))  # events
        first = 0
        while first < users:
            last = min(users, max(first + 1, int(np.searchsorted(offsets, offsets[first] + most, "right")) - 1))
            block = slice(int(offsets[first]), int(offsets[last]))
            user = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
            out[first:last] = self._sums(user, row[block], weight[block], last - first)
            first = last
        return out

    def _sums(self, user: np.ndarray, row: np.ndarray, weight: np.ndarray, users: int) -> np.ndarray:
        counts = np.abs(weight) > NEGLIGIBLE
        if not counts.all():
            user, row, weight = user[counts], row[counts], weight[counts]
        cell, value = self._entries(row, weight)
        if users > 1:
            cell = cell + (user * self.columns)[:, None]
        total = np.bincount(cell.ravel(), value.ravel(), users * self.columns).reshape(users, self.columns)
        if self.typical is None:
            return total
        return total + np.bincount(user, weight, users)[:, None] * self.typical

    def rows(self, index: np.ndarray) -> Float32[np.ndarray, "chosen columns"]:
        """Return some rows, dense."""
        cell, value = self._entries(index, np.ones(len(index), np.float32))
        cell = cell + (np.arange(len(index)) * self.columns)[:, None]
        out = np.bincount(cell.ravel(), value.ravel(), len(index) * self.columns).astype(np.float32)
        out = out.reshape(len(index), self.columns)
        return out if self.typical is None else out + self.typical

    def entries(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return columns and values of the kept entries of some rows, one row after the other, and how many each has."""
        places, values = self._entries(index, np.ones(len(index), np.float32))
        return places.ravel().astype(np.int64), values.ravel(), np.full(len(index), places.shape[1])

    def row_sums(
        self, index: np.ndarray, factor: Float32[np.ndarray, " columns"] | None = None
    ) -> Float64[np.ndarray, " chosen"]:
        """Return the sum over each of some rows, each column times its factor."""
        places, values = self._entries(index, np.ones(len(index), np.float32))
        sums = (values if factor is None else values * factor[places]).sum(1, dtype=np.float64)
        if self.typical is None:
            return sums
        return sums + float((self.typical if factor is None else self.typical * factor).sum(dtype=np.float64))

    def plain(self) -> np.ndarray | sparse.csr_array:
        """Return the matrix in float32: dense where it has typical values, else sparse."""
        differences = self._differences()
        return differences if self.typical is None else differences.toarray() + self.typical

    def times(self, right: sparse.csr_array) -> Float32[np.ndarray, "rows others"]:
        """Return the matrix @ right, dense."""
        out = np.asarray((self._differences() @ right).toarray(), np.float32)
        return out if self.typical is None else out + np.asarray(right.T @ self.typical, np.float32)

    def bordered(
        self, columns: Float32[np.ndarray, "rows new"], bottom: Float32[np.ndarray, "new columns_plus_new"]
    ) -> CompactRows:
        """Return the matrix with new columns, all of whose entries are kept, and new rows, whose largest are.

        What was there keeps its order: where an entry of a new column exceeds the scale of its row, values become float32.
        """
        new, width = columns.shape[1], self.values.shape[1] + columns.shape[1]
        typical = None if self.typical is None else np.concatenate([self.typical, np.zeros(new, np.float32)])
        low, low_places = _largest(bottom if typical is None else bottom - typical, width)
        old = self.values * self.scale[:, None]
        right = np.broadcast_to(self.columns + np.arange(new), columns.shape)
        values = np.concatenate([np.concatenate([old, columns], 1), _to_width(low, width)])
        places = np.concatenate(
            [np.concatenate([self.places.astype(np.int64), right], 1), _to_width(low_places, width)]
        )
        bits = 8 * self.values.itemsize
        if bits < 32 and bool((np.abs(columns).max(1, initial=0) > np.abs(old).max(1, initial=0)).any()):
            bits = 32
        return type(self)._packed(values.astype(np.float32), places, self.columns + new, typical, bits)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the matrix by name, for safetensors."""
        typical = {} if self.typical is None else {"typical": self.typical}
        parts = {"values": self.values, "places": self.places, "scale": self.scale}
        return {**parts, **typical, "columns": np.array([self.columns])}

    @classmethod
    def restored(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Return the matrix that `arrays` described.

        Raises:
            ValueError: The arrays do not belong together; they may come from anyone.
        """
        columns = int(arrays["columns"][0])
        found = cls(arrays["values"], arrays["places"], arrays["scale"], arrays.get("typical"), columns)
        if found.values.ndim != 2 or found.places.shape != found.values.shape or len(found.values) != len(found.scale):
            raise ValueError(f"values of shape {found.values.shape} have places of shape {found.places.shape}")
        if found.places.dtype.kind not in "iu" or found.values.dtype not in (np.int8, np.int16, np.float32):
            raise ValueError(f"values are {found.values.dtype}, places {found.places.dtype}")
        if found.places.size and (int(found.places.min()) < 0 or int(found.places.max()) >= columns):
            raise ValueError(f"an entry lies outside {columns} columns")
        if found.typical is not None and found.typical.shape != (columns,):
            raise ValueError(f"typical values have shape {found.typical.shape} for {columns} columns")
        return found

    def _differences(self) -> sparse.csr_array:
        """Return the kept entries; a place that fills a short row adds 0."""
        rows, width = self.values.shape
        values = (self.values * self.scale[:, None]).astype(np.float32).ravel()
        starts = np.arange(0, rows * width + 1, width) if width else np.zeros(rows + 1, np.int64)
        found = sparse.csr_array((values, self.places.astype(np.int32).ravel(), starts), shape=self.shape)
        found.sum_duplicates()
        found.eliminate_zeros()
        return found

    def _entries(
        self, row: np.ndarray, weight: np.ndarray
    ) -> tuple[Int64[np.ndarray, "events width"], Float32[np.ndarray, "events width"]]:
        """Return the column, and weight x value, of every entry of some rows."""
        scaled = (self.scale.take(row) * weight).astype(np.float32)
        values = self.values.take(row, axis=0)
        return self.places.take(row, axis=0), np.multiply(values, scaled[:, None], dtype=np.float32)


def _nothing(columns: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, columns), np.float32), np.zeros((0, columns), np.int64)


def _largest(block: np.ndarray, entries: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of each row with the largest absolute values, in the order of columns, and their columns."""
    cut = block.shape[1] - entries
    if cut <= 0:
        return block, np.broadcast_to(np.arange(block.shape[1]), block.shape)
    places = np.sort(np.argpartition(np.abs(block), cut, axis=1)[:, cut:], axis=1)
    return np.take_along_axis(block, places, 1), places


def _to_width(part: np.ndarray, width: int) -> np.ndarray:
    """Return rows filled up with zeros."""
    return np.pad(part, ((0, 0), (0, width - part.shape[1])))


def _largest_of_sparse(matrix: sparse.csr_array, entries: int) -> sparse.csr_array:
    """Return the entries of each row with the largest absolute values; of equal ones those in earlier columns. 0 keeps all."""
    lengths = np.diff(matrix.indptr)
    if not entries or not len(lengths) or lengths.max() <= entries:
        return matrix
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((matrix.indices, -np.abs(matrix.data), row))
    rank = np.arange(len(order)) - np.repeat(matrix.indptr[:-1], lengths)
    kept = np.sort(order[rank < entries])
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, entries))])
    return sparse.csr_array((matrix.data[kept], matrix.indices[kept], starts), shape=matrix.shape)


def _padded(matrix: sparse.csr_array) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the entries and their columns as rows of one length, filled with zeros, and the number of columns."""
    rows, columns = matrix.shape
    lengths = np.diff(matrix.indptr)
    width = int(lengths.max(initial=0))
    values, places = np.zeros((rows, width), np.float32), np.zeros((rows, width), np.int64)
    row = np.repeat(np.arange(rows), lengths)
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], lengths)
    values[row, place], places[row, place] = matrix.data, matrix.indices
    return values, places, int(columns)
