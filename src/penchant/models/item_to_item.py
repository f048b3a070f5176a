"""Members whose score is the history times an items x items matrix.

In: a fitted matrix, dense or sparse. Out: scores and exact contributions of each past event.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float32, Int64, Real
from pydantic import Field
from scipy import sparse
from typing_extensions import TypeVar

from penchant.core.config import Settings
from penchant.core.schema import Content, Histories
from penchant.models.item_scores import ItemScorer, MakeNearest, SparseScorer
from penchant.models.member import Contributions, Member
from penchant.models.products import Matrix, dense_product


class ItemToItemConfig(Settings):
    """Settings that every item-to-item member has for reading a history."""

    half_life: float = Field(0, ge=0)
    """Events until a past event counts half when scoring; 0 lets all count the same."""
    last_events: int = Field(0, ge=0)
    """Only this many of the newest events are read when scoring; 0 reads all."""


ItemToItemT_co = TypeVar("ItemToItemT_co", bound=ItemToItemConfig, default=ItemToItemConfig, covariant=True)


class ItemToItem(Member[ItemToItemT_co]):
    """Score = prior + (weighted history) @ matrix.

    A negative event subtracts its row from the score. Cost of a score: events x the matrix's entries per row; memory: the
    matrix.
    """

    config_class = ItemToItemConfig
    reading: ClassVar[frozenset[str]] = frozenset(ItemToItemConfig.model_fields)

    def __init__(self, config: ItemToItemT_co | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.matrix: Matrix = np.zeros((0, 0), np.float32)
        self.kept: Int64[np.ndarray, " kept"] | None = None
        """Catalog rows of the matrix; None means all of them. Other items score 0."""

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        weighted = self._weighted(histories).matrix()
        if self.kept is None:
            return scores_of(weighted, self.matrix)
        scores = np.zeros(weighted.shape, np.float32)
        scores[:, self.kept] = scores_of(weighted[:, self.kept], self.matrix)
        return scores

    def contributions(self, history: Histories) -> Contributions:
        weighted = self._weighted(history)
        return np.zeros(history.num_items, np.float32), self._rows(weighted) * weighted.weight[:, None]

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        return SparseScorer(self._weighted, self.matrix, self.kept, num_items)

    def _weighted(self, histories: Histories) -> Histories:
        """Return the histories with the weights that the matrix is read with."""
        return recent(histories, self.config)

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy that shares the matrix; new items score 0, as an item without events does."""
        grown = copy.copy(self)
        grown.kept = np.arange(new.start) if self.kept is None else self.kept
        return grown

    def _bordered(self, near: sparse.csr_array, new: range) -> Self:
        """Return a copy whose matrix has the new items, each with the mean row and column of its nearest fitted items.

        Args:
            near: (new, fitted) from `nearest_fitted`.
            new: Catalog rows of the new items.
        """
        grown = copy.copy(self)
        weights = near if self.kept is None else near[:, self.kept]
        matrix: Any = self.matrix
        rows, columns = weights @ matrix, matrix @ weights.T
        blocks = [[matrix, columns], [rows, rows @ weights.T]]
        is_dense = isinstance(matrix, np.ndarray)
        grown.matrix = np.block(blocks) if is_dense else sparse.csr_array(sparse.block_array(blocks, format="csr"))
        grown.kept = None if self.kept is None else np.concatenate([self.kept, np.arange(new.start, new.stop)])
        return grown

    def arrays(self) -> dict[str, np.ndarray]:
        kept = {} if self.kept is None else {"kept": self.kept}
        if isinstance(self.matrix, np.ndarray):
            return {"matrix": self.matrix, **kept}
        parts = {"data": self.matrix.data, "indices": self.matrix.indices, "indptr": self.matrix.indptr}
        return {**parts, "shape": np.array(self.matrix.shape), **kept}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.kept = arrays.get("kept")
        if "matrix" in arrays:
            self.matrix = arrays["matrix"]
        else:
            parts = (arrays["data"], arrays["indices"], arrays["indptr"])
            rows, columns = (int(n) for n in arrays["shape"])
            self.matrix = sparse.csr_array(parts, shape=(rows, columns))
            self.matrix.check_format(full_check=True)  # compiled code trusts the indices
        return self

    def _rows(self, history: Histories) -> Float32[np.ndarray, "events items"]:
        """Return the matrix row of each event, over the whole catalog."""
        matrix: Any = self.matrix
        if self.kept is None:
            rows = matrix[history.item_index]
            return rows if isinstance(rows, np.ndarray) else rows.toarray()
        out = np.zeros((history.num_events, history.num_items), np.float32)
        place = np.searchsorted(self.kept, history.item_index) % len(self.kept)
        inside = np.flatnonzero(self.kept[place] == history.item_index)
        rows = matrix[place[inside]]
        out[np.ix_(inside, self.kept)] = rows if isinstance(rows, np.ndarray) else rows.toarray()
        return out


def scores_of(weighted: sparse.csr_array, matrix: Matrix) -> Float32[np.ndarray, "users columns"]:
    """Return the product, row by row in a fixed order, so that a user's scores do not depend on the other users of the batch."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(weighted @ matrix, np.float32)
    return dense_product(weighted, matrix)


def recent(histories: Histories, config: ItemToItemConfig) -> Histories:
    """Return histories in which an event counts half once `half_life` later events followed it, or not at all."""
    if not config.half_life and not config.last_events:
        return histories
    ages = histories.ages()
    weight = histories.weight
    if config.half_life:
        weight = weight * np.exp2(-ages / config.half_life).astype(np.float32)
    if config.last_events:
        weight = np.where(ages < config.last_events, weight, 0)
    return histories.weighted(weight)


def liked(histories: Histories, max_weight: float = 1.0) -> sparse.csr_array:
    """Return (users, items) float32 of likes: sums of weights between 0 and `max_weight`, dislikes left out."""
    matrix = histories.matrix()
    matrix.data = np.clip(matrix.data, 0, max_weight).astype(np.float32)
    matrix.eliminate_zeros()
    return matrix


def power(values: Real[np.ndarray, " n"], exponent: float) -> Float32[np.ndarray, " n"]:
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
