"""Members whose score is the history times an items x items matrix.

In: a fitted matrix, dense, sparse or compact. Out: scores and exact contributions of each past event.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Real
from pydantic import Field
from scipy import sparse
from typing_extensions import TypeVar

from penchant.core.config import Settings
from penchant.core.schema import Content, Histories
from penchant.models.compact import CompactConfig, CompactRows
from penchant.models.item_scores import ItemScorer, MakeNearest, SparseScorer, distinct
from penchant.models.member import Contributions, ContributionsTo, Member
from penchant.models.products import Matrix, dense_product

SUMMED_ROWS = 1024
"""Rows of a matrix that are summed up at once."""
COMPACT = "rows."
"""Before the names of the arrays of a compact matrix."""


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
        self.matrix: Matrix | CompactRows = np.zeros((0, 0), np.float32)
        self.kept: Int64[np.ndarray, " kept"] | None = None
        """Catalog rows of the matrix; None means all of them. Other items score 0."""
        self._sums: RowSums | None = None

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        weighted_events = self._weighted(histories)
        if isinstance(self.matrix, CompactRows) and self.kept is None:
            return self.matrix.sums(weighted_events.offsets, weighted_events.item_index, weighted_events.weight)
        weighted = weighted_events.matrix()
        weighted.eliminate_zeros()  # of a long history most events fade to exactly nothing
        if self.kept is None:
            return scores_of(weighted, self.matrix)
        scores = np.zeros(weighted.shape, np.float32)
        scores[:, self.kept] = scores_of(weighted[:, self.kept], self.matrix)
        return scores

    def contributions(self, history: Histories) -> Contributions:
        weighted = self._weighted(history)
        return np.zeros(history.num_items, np.float32), self._rows(weighted) * weighted.weight[:, None]

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        return self.contributions_with(self._row_sums(), history, items)

    def contributions_with(
        self, sums: RowSums, history: Histories, items: Int64[np.ndarray, " chosen"]
    ) -> ContributionsTo:
        """Return those of `contributions_to`, with means made of these sums over the rows of the matrix."""
        weighted = self._weighted(history)
        rows, row_is_kept = self._places(weighted.item_index)
        columns, column_is_kept = self._places(items)
        counts = row_is_kept & (weighted.weight != 0)
        events = np.zeros((len(rows), len(columns)), np.float32)
        events[counts] = cells_of(self.matrix, rows[counts], columns) * weighted.weight[counts, None] * column_is_kept
        means = np.where(row_is_kept, sums.of(rows), 0) * weighted.weight / history.num_items
        return (np.zeros(len(items), np.float32), events), np.append(0.0, means)

    def _places(self, index: np.ndarray) -> tuple[Int64[np.ndarray, " items"], Bool[np.ndarray, " items"]]:
        """Return the row of the matrix of each catalog row, and whether it has one; any row where it has none."""
        if self.kept is None or not len(self.kept):
            return index.astype(np.int64), np.full(len(index), self.kept is None)
        place = np.searchsorted(self.kept, index) % len(self.kept)
        return place, self.kept[place] == index

    def _row_sums(self) -> RowSums:
        """Return the sums over the rows of the matrix; a copy of the member with another matrix has its own."""
        if (
            self._sums is None or self._sums.matrix is not self.matrix
        ):  # two threads may both make it: the sums are equal
            self._sums = RowSums(self.matrix)
        return self._sums

    def item_scorer(self, num_items: int, make_nearest: MakeNearest) -> ItemScorer | None:
        if isinstance(self.matrix, CompactRows) and self.matrix.typical is not None:
            return None
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
        grown.kept = None if self.kept is None else np.concatenate([self.kept, np.arange(new.start, new.stop)])
        matrix: Any = self.matrix
        if isinstance(matrix, CompactRows):
            rows, columns = matrix.scores(weights), matrix.times(sparse.csr_array(weights.T))
            grown.matrix = matrix.bordered(
                columns, np.concatenate([rows, np.asarray((weights @ columns), np.float32)], 1)
            )
            return grown
        rows, columns = weights @ matrix, matrix @ weights.T
        blocks = [[matrix, columns], [rows, rows @ weights.T]]
        is_dense = isinstance(matrix, np.ndarray)
        grown.matrix = np.block(blocks) if is_dense else sparse.csr_array(sparse.block_array(blocks, format="csr"))
        return grown

    def compressed(self, config: CompactConfig) -> Self:
        """Return a copy with the largest entries of each row of the matrix, in few bytes."""
        if isinstance(self.matrix, CompactRows):
            return self
        smaller = copy.copy(self)
        smaller.matrix = CompactRows.of(self.matrix, config)
        return smaller

    def arrays(self) -> dict[str, np.ndarray]:
        kept = {} if self.kept is None else {"kept": self.kept}
        if isinstance(self.matrix, np.ndarray):
            return {"matrix": self.matrix, **kept}
        if isinstance(self.matrix, CompactRows):
            return {**{f"{COMPACT}{name}": one for name, one in self.matrix.arrays().items()}, **kept}
        parts = {"data": self.matrix.data, "indices": self.matrix.indices, "indptr": self.matrix.indptr}
        return {**parts, "shape": np.array(self.matrix.shape), **kept}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.kept = arrays.get("kept")
        compact = {name.removeprefix(COMPACT): one for name, one in arrays.items() if name.startswith(COMPACT)}
        if compact:
            self.matrix = CompactRows.restored(compact)
        elif "matrix" in arrays:
            self.matrix = arrays["matrix"]
        else:
            parts = (arrays["data"], arrays["indices"], arrays["indptr"])
            rows, columns = (int(n) for n in arrays["shape"])
            matrix = sparse.csr_array(parts, shape=(rows, columns))
            matrix.check_format(full_check=True)  # compiled code trusts the indices
            self.matrix = matrix
        return self

    def _rows(self, history: Histories) -> Float32[np.ndarray, "events items"]:
        """Return the matrix row of each event, over the whole catalog."""
        if self.kept is None:
            return rows_of(self.matrix, history.item_index)
        out = np.zeros((history.num_events, history.num_items), np.float32)
        place, is_kept = self._places(history.item_index)
        inside = np.flatnonzero(is_kept)
        out[np.ix_(inside, self.kept)] = rows_of(self.matrix, place[inside])
        return out


class RowSums:
    """The sum over each row of a matrix; that of a row is computed when it is first asked for, and kept.

    Args:
        matrix: Dense, sparse or compact.
        factor: What each column is multiplied by; None is 1.
    """

    def __init__(self, matrix: Matrix | CompactRows, factor: Float32[np.ndarray, " columns"] | None = None) -> None:
        self.matrix, self.factor = matrix, factor
        self._known = np.full(matrix.shape[0], np.nan)

    def of(self, rows: Int64[np.ndarray, " chosen"]) -> Float64[np.ndarray, " chosen"]:
        """Return the sums of some rows."""
        missing = distinct(rows[np.isnan(self._known[rows])])
        for start in range(0, len(missing), SUMMED_ROWS):  # two threads may both compute a row: the sums are equal
            some = missing[start : start + SUMMED_ROWS]
            self._known[some] = self._computed(some)
        return self._known[rows]

    def _computed(self, rows: Int64[np.ndarray, " some"]) -> Float64[np.ndarray, " some"]:
        if isinstance(self.matrix, CompactRows):
            return self.matrix.row_sums(rows, self.factor)
        found: Any = self.matrix[rows]
        if self.factor is not None:
            return np.asarray(found @ self.factor.astype(np.float64))
        return np.asarray(found.sum(1, dtype=np.float64)).ravel()


def plain(matrix: Matrix | CompactRows) -> Matrix:
    """Return a matrix in float32, dense or sparse."""
    return matrix.plain() if isinstance(matrix, CompactRows) else matrix


def rows_of(matrix: Matrix | CompactRows, index: np.ndarray) -> Float32[np.ndarray, "chosen columns"]:
    """Return some rows of a matrix, dense."""
    if isinstance(matrix, CompactRows):
        return matrix.rows(index)
    rows: Any = matrix[index]
    return rows if isinstance(rows, np.ndarray) else rows.toarray()


def cells_of(
    matrix: Matrix | CompactRows, rows: Int64[np.ndarray, " some"], columns: Int64[np.ndarray, " chosen"]
) -> Float32[np.ndarray, "some chosen"]:
    """Return some columns of some rows, dense."""
    if isinstance(matrix, np.ndarray):
        return matrix[np.ix_(rows, columns)] if matrix.size else np.zeros((len(rows), len(columns)), np.float32)
    if isinstance(matrix, CompactRows):
        places, values, lengths = matrix.entries(rows)
    else:
        found: Any = matrix[rows]
        places, values, lengths = found.indices, found.data, np.diff(found.indptr)
    chosen, place = np.unique(columns, return_inverse=True)
    out = np.zeros((len(rows), len(chosen)), np.float32)
    if len(chosen):
        nearest = np.minimum(np.searchsorted(chosen, places), len(chosen) - 1)
        hit = np.flatnonzero(chosen[nearest] == places)
        np.add.at(out, (np.repeat(np.arange(len(rows)), lengths)[hit], nearest[hit]), values[hit])
    out = out[:, place]
    if isinstance(matrix, CompactRows) and matrix.typical is not None:
        out += matrix.typical[columns]
    return out


def scores_of(weighted: sparse.csr_array, matrix: Matrix | CompactRows) -> Float32[np.ndarray, "users columns"]:
    """Return the product, row by row in a fixed order, so that a user's scores do not depend on the other users of the batch."""
    if isinstance(matrix, CompactRows):
        return matrix.scores(weighted)
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
