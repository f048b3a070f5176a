"""Products of sparse matrices, and the largest entries of each row.

In: two sparse matrices, or rows that are computed a block at a time. Out: a dense product, or a sparse matrix with the k largest entries of
each row. Cost: pairs of entries; no array of rows x columns is made but in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from scipy import sparse

Matrix = np.ndarray | sparse.csr_array
Scales = tuple[Float32[np.ndarray, " rows"], Float32[np.ndarray, " columns"]]

BLOCK_CELLS = 16_000_000
"""Floats of one dense block of rows: 64 MB, whatever the size of the catalog."""
BLOCK_PAIRS = 8_000_000
"""Pairs of entries that are multiplied at once in a product that stays sparse."""
BLOCK_ROWS = 65_536
"""Rows of a sparse block."""
GATHERED = 1 << 19
"""Entries of the right matrix that are read at once: they stay in the processor's cache."""
MAX_FILLED = 0.02
"""Pairs for each cell of a product up to which it is computed sparse."""
STRIPES = 16
"""Stripes of a row whose maxima bound its largest entries from below."""


def dense_product(
    left: sparse.csr_array, right: sparse.csr_array, out: Float32[np.ndarray, "rows columns"] | None = None
) -> Float32[np.ndarray, "rows columns"]:
    """Return left @ right as a dense array, bit for bit, three to five times as fast: SciPy first counts the entries of a sparse result.

    The rows of `right` are gathered, weighted and added up in the order of each row of `left`.

    Args:
        left: (rows, inner).
        right: (inner, columns), float32 as `left`.
        out: Zeros to add to; None makes a new array.
    """
    shape = left.shape[0], right.shape[1]
    out = np.zeros(shape, np.float32) if out is None else out
    lengths = np.diff(right.indptr)[left.indices]
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    starts = ends[left.indptr]
    first = 0
    while first < shape[0]:
        last = int(np.searchsorted(starts, starts[first] + GATHERED, side="right")) - 1
        last = min(max(last, first + 1), shape[0])
        own = slice(left.indptr[first], left.indptr[last])
        gathered: Any = right[left.indices[own]]
        data = gathered.data * np.repeat(left.data[own], lengths[own])
        # entries of one row and column are added up where the array is made dense
        own_starts = (starts[first : last + 1] - starts[first]).astype(gathered.indices.dtype)
        rows = sparse.csr_array((data, gathered.indices, own_starts), shape=(last - first, shape[1]))
        rows.toarray(out=out[first:last])
        first = last
    return out


def block_rows(columns: int) -> int:
    """Return how many rows of so many columns make one block."""
    return max(16, min(1024, BLOCK_CELLS // max(columns, 1)))


def keep_largest(block: Float32[np.ndarray, "rows columns"], k: int) -> sparse.csr_array:
    """Return the k largest positive entries of each row; of equal ones those of the first columns, on every machine."""
    rows, columns = block.shape
    found = np.flatnonzero(block > _bound(block, k))
    starts = np.searchsorted(found, np.arange(rows + 1) * columns)
    values = block.reshape(-1)[found].astype(np.float32, copy=False)
    items = (found - np.repeat(np.arange(rows) * columns, np.diff(starts))).astype(np.int32)
    return _largest_of_rows(values, items, starts, block.shape, k)


def _bound(block: Float32[np.ndarray, "rows columns"], k: int) -> Float32[np.ndarray, "rows 1"]:
    """Return a number for each row that is 0, or below its k largest entries: of the maxima of entries that lie a stripe apart, the k-th
    largest is not above the k-th largest entry.

    Without it rows that are mostly 0 would be partitioned whole, which takes ten times as long as rows of different numbers.
    """
    rows, columns = block.shape
    stripe = columns // STRIPES
    if stripe < 2 * k:
        return np.zeros((rows, 1), np.float32)
    maxima = block[:, :stripe].copy()
    for start in range(stripe, stripe * STRIPES, stripe):
        np.maximum(maxima, block[:, start : start + stripe], out=maxima)
    bound = np.partition(maxima, stripe - k, axis=1)[:, [stripe - k]]
    return np.maximum(np.nextafter(bound, np.float32(-np.inf)), 0)


def _largest_of_rows(
    values: Float32[np.ndarray, " entries"],
    columns: np.ndarray,
    starts: Int64[np.ndarray, " rows_plus_1"],
    shape: tuple[int, int],
    k: int,
) -> sparse.csr_array:
    """Return the k largest entries of each row of entries above 0, columns ascending; of equal ones those of the first columns."""
    lengths = np.diff(starts)
    kept: Bool[np.ndarray, " entries"] = np.ones(len(values), bool)
    for row in np.flatnonzero(lengths > k):
        own = values[starts[row] : starts[row + 1]]
        last = np.partition(own, len(own) - k)[len(own) - k]
        above, equal = own > last, np.flatnonzero(own == last)
        above[equal[: k - np.count_nonzero(above)]] = True
        kept[starts[row] : starts[row + 1]] = above
    ends = np.concatenate([[0], np.cumsum(np.minimum(lengths, k))])
    if not kept.all():
        values, columns = values[kept], columns[kept]
    # both of 32 bits where they fit, or SciPy makes both 64 bits wide: four bytes more for each entry of every member
    width = sparse.get_index_dtype(maxval=max(len(values), *shape))
    return sparse.csr_array((values, columns.astype(width, copy=False), ends.astype(width)), shape=shape)


def _keep_largest_of(block: sparse.csr_array, k: int) -> sparse.csr_array:
    """Return the k largest positive entries of each row of a sparse block."""
    block.sort_indices()
    if (block.data <= 0).any():
        block.data = np.maximum(block.data, 0)
        block.eliminate_zeros()
    data = block.data.astype(np.float32, copy=False)
    shape = block.shape[0], block.shape[1]
    return _largest_of_rows(data, block.indices, block.indptr.astype(np.int64), shape, k)


def top_k_rows(
    block: Callable[[slice], Matrix],
    rows: int,
    columns: int,
    k: int,
    *,
    keep_diagonal: bool = False,
    blocks: Iterator[slice] | None = None,
) -> sparse.csr_array:
    """Return the k largest positive entries of each row of a matrix that is computed a block of rows at a time.

    Memory: three blocks.

    Args:
        block: Returns the given rows, dense or, where most entries are 0, sparse; they are changed in place.
        rows: Rows of the matrix.
        columns: Columns of the matrix.
        k: Entries kept in each row.
        keep_diagonal: Whether an item may be its own neighbour.
        blocks: The rows of each block, in order; None takes blocks that fit when dense.
    """
    parts = []
    size = block_rows(columns)
    for own in blocks or (slice(start, min(start + size, rows)) for start in range(0, rows, size)):
        some = block(own)
        place = np.arange(some.shape[0])
        if isinstance(some, np.ndarray):
            if not keep_diagonal:
                some[place, own.start + place] = 0
            parts.append(keep_largest(some, k))
        else:
            if not keep_diagonal:
                some.data[some.indices == own.start + np.repeat(place, np.diff(some.indptr))] = 0
            parts.append(_keep_largest_of(some, k))
    return sparse.csr_array(sparse.vstack(parts, format="csr"))


def product_top_k(
    left: sparse.csr_array,
    right: sparse.csr_array,
    k: int,
    *,
    scales: Scales | None = None,
    keep_diagonal: bool = True,
) -> sparse.csr_array:
    """Return the k largest positive entries of each row of left @ right.

    Args:
        left: (rows, inner), float32.
        right: (inner, columns), float32.
        k: Entries kept in each row.
        scales: What each row and each column of the product is multiplied by; None changes nothing.
        keep_diagonal: Whether the diagonal takes part.
    """
    rows, columns = left.shape[0], right.shape[1]
    pairs = np.concatenate([[0], np.cumsum(np.diff(right.indptr)[left.indices], dtype=np.int64)])[left.indptr]

    def product(own: slice) -> Matrix:
        is_dense = own.stop - own.start <= block_rows(columns) and _is_filled(pairs, own, columns)
        found: Any = dense_product(left[own], right) if is_dense else left[own] @ right
        if scales is not None:
            _scale(found, scales[0][own], scales[1])
        return found if is_dense else sparse.csr_array(found)

    blocks = blocks_of(pairs, columns)
    return top_k_rows(product, rows, columns, k, keep_diagonal=keep_diagonal, blocks=blocks)


def blocks_of(
    pairs: Int64[np.ndarray, " rows_plus_1"], columns: int, max_filled: float = MAX_FILLED
) -> Iterator[slice]:
    """Yield blocks of rows: those that fit when dense where the product is filled, else up to `BLOCK_PAIRS` pairs.

    Args:
        pairs: Pairs of entries that the rows before each row take.
        columns: Columns of the product.
        max_filled: Pairs for each cell up to which a block is sparse.
    """
    rows, first, dense = len(pairs) - 1, 0, block_rows(columns)
    while first < rows:
        last = min(first + dense, rows)
        if not _is_filled(pairs, slice(first, last), columns, max_filled):
            most = int(np.searchsorted(pairs, pairs[first] + BLOCK_PAIRS, side="right")) - 1
            last = min(max(most, last), first + BLOCK_ROWS, rows)
        yield slice(first, last)
        first = last


def _is_filled(
    pairs: Int64[np.ndarray, " rows_plus_1"], own: slice, columns: int, max_filled: float = MAX_FILLED
) -> bool:
    return bool(pairs[own.stop] - pairs[own.start] > max_filled * (own.stop - own.start) * columns)


def _scale(block: Any, left: Float32[np.ndarray, " block"], right: Float32[np.ndarray, " columns"]) -> None:
    """Multiply each row and each column, in place."""
    if isinstance(block, np.ndarray):
        block *= left[:, None]
        block *= right[None, :]
    else:
        block.data *= np.repeat(left, np.diff(block.indptr))
        block.data *= right[block.indices]
