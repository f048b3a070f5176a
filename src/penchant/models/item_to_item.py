"""Members whose score is the history times an items x items matrix.

In: a fitted matrix, dense or sparse. Out: scores and exact contributions of each past event.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Float32
from scipy import sparse

from penchant.core.config import Settings
from penchant.core.schema import Histories
from penchant.models.member import Member

Matrix = np.ndarray | sparse.csr_array


class ItemToItemConfig(Settings):
    """What every item-to-item member can be told about reading a history."""

    half_life: float | None = None
    """Events until a past event counts half when scoring; None lets all count the same."""


class ItemToItem(Member):
    """Score = prior + (weighted history) @ matrix.

    Cost of a score: events x the matrix's entries per row; memory: the matrix.
    """

    Config = ItemToItemConfig

    def __init__(self, config: Any = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.matrix: Matrix = np.zeros((0, 0), np.float32)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        weighted = recent(histories, self.config.half_life).matrix()
        if isinstance(self.matrix, np.ndarray):
            return np.asarray(weighted @ self.matrix, np.float32)
        scores: sparse.csr_array = weighted @ self.matrix
        return scores.toarray()

    def contributions(
        self, history: Histories
    ) -> tuple[Float32[np.ndarray, " items"], Float32[np.ndarray, "events items"]]:
        weighted = recent(history, self.config.half_life)
        rows = self.matrix[weighted.item_index]
        dense = rows.toarray() if sparse.issparse(rows) else rows
        return np.zeros(history.num_items, np.float32), dense * weighted.weight[:, None]

    def arrays(self) -> dict[str, np.ndarray]:
        if isinstance(self.matrix, np.ndarray):
            return {"matrix": self.matrix}
        return {
            "data": self.matrix.data,
            "indices": self.matrix.indices,
            "indptr": self.matrix.indptr,
            "shape": np.array(self.matrix.shape),
        }

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        if "matrix" in arrays:
            self.matrix = arrays["matrix"]
        else:
            parts = (arrays["data"], arrays["indices"], arrays["indptr"])
            rows, columns = (int(n) for n in arrays["shape"])
            self.matrix = sparse.csr_array(parts, shape=(rows, columns))
        return self


def recent(histories: Histories, half_life: float | None) -> Histories:
    """Return histories in which an event counts half once `half_life` later events followed it."""
    if half_life is None:
        return histories
    return histories.weighted(histories.weight * np.exp2(-histories.ages() / half_life).astype(np.float32))


def liked(histories: Histories) -> sparse.csr_array:
    """Return (users, items) float32 of what was welcome: negative events and repeats do not add up."""
    matrix = histories.matrix()
    matrix.data = np.clip(matrix.data, 0, 1).astype(np.float32)
    matrix.eliminate_zeros()
    return matrix


def power(values: Float32[np.ndarray, " n"], exponent: float) -> Float32[np.ndarray, " n"]:
    """Return values ** exponent, 0 where the value is 0."""
    values = np.asarray(values, np.float64)
    out = np.zeros_like(values)
    np.power(values, exponent, out=out, where=values > 0)
    return out.astype(np.float32)


def scale(matrix: sparse.csr_array, user: float, item: float) -> sparse.csr_array:
    """Return D_user^-user @ matrix @ D_item^-item, degrees being sums of weights."""
    left = power(np.asarray(matrix.sum(1)).ravel(), -user)
    right = power(np.asarray(matrix.sum(0)).ravel(), -item)
    return (sparse.diags_array(left) @ matrix @ sparse.diags_array(right)).tocsr().astype(np.float32)


def keep_largest(block: Float32[np.ndarray, "rows columns"], k: int) -> sparse.csr_array:
    """Return the k largest positive entries of each row."""
    rows, columns = block.shape
    if k < columns:
        chosen = np.sort(np.argpartition(-block, k - 1, axis=1)[:, :k], axis=1)
        data = np.take_along_axis(block, chosen, 1).ravel()
        out = sparse.csr_array(
            (data, chosen.ravel().astype(np.int32), np.arange(0, rows * k + 1, k)), shape=block.shape
        )
    else:
        out = sparse.csr_array(block)
    out.data = np.maximum(out.data, 0)
    out.eliminate_zeros()
    return out


def product_top_k(
    left: sparse.csr_array, right: sparse.csr_array, k: int, *, keep_diagonal: bool = False, block: int = 1024
) -> sparse.csr_array:
    """Return the k largest entries of each row of left @ right, computed a block of rows at a time.

    Memory: block x columns floats. Time: the sparse product's.
    """
    parts = []
    for start in range(0, left.shape[0], block):
        dense = (left[start : start + block] @ right).toarray()
        if not keep_diagonal:
            rows = np.arange(dense.shape[0])
            dense[rows, start + rows] = 0
        parts.append(keep_largest(dense, k))
    return sparse.vstack(parts, format="csr")
