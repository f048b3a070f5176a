"""One user's scores by one member, without an array over the catalog.

In: what a member learned, and one history. Out: about its best items, its exact scores of chosen items, and the mean and spread
over the whole catalog that a z-score needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from penchant.core.schema import Histories
from penchant.models.compact import CompactRows
from penchant.models.products import Matrix

PRIOR_ITEMS = 5_000
"""Items that a prior, which is the same for every user, keeps in order."""


class Nearest(Protocol):
    """A search among rows, such as the approximate index of a large catalog."""

    def nearest(self, query: Float32[np.ndarray, " dim"], width: int) -> Int64[np.ndarray, " found"]:
        """Return about `width` rows with the largest product with the query; -1 where there are no more."""


MakeNearest = Callable[[Float32[np.ndarray, "items dim"]], Nearest]


class ItemScores(ABC):
    """One user's scores by one member."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """Mean over all items of the catalog."""

    @property
    @abstractmethod
    def std(self) -> float:
        """Standard deviation over all items of the catalog."""

    @abstractmethod
    def best(self, k: int) -> Int64[np.ndarray, " found"]:
        """Return about k items with the highest scores, in any order; fewer where the others score alike."""

    @abstractmethod
    def of(self, items: Int64[np.ndarray, " chosen"]) -> Float32[np.ndarray, " chosen"]:
        """Return the scores of some items: those of `Member.score`."""


class ItemScorer(ABC):
    """What a fitted member scores chosen items with; made once, used for every history."""

    @abstractmethod
    def of(self, history: Histories) -> ItemScores:
        """Return the scores of exactly one user."""


@dataclass(frozen=True)
class SparseScorer(ItemScorer):
    """Of (weighted history) @ matrix with a sparse matrix, or a dense one of few items: the rows of the events are read whole.

    Attributes:
        weigh: A history to the weights its matrix is read with.
        matrix: Rows and columns are `kept`.
        kept: Catalog rows of the matrix; None is all. Others score 0.
        num_items: Rows of the catalog.
        unknown: Items that have no column and score `typical` instead; None is none.
        typical: What each row gives an unknown item.
        factor: A history to what the score of each item is multiplied by; None is 1. Not together with `unknown`.
    """

    weigh: Callable[[Histories], Histories]
    matrix: Matrix | CompactRows
    kept: Int64[np.ndarray, " kept"] | None
    num_items: int
    unknown: Bool[np.ndarray, " items"] | None = None
    typical: Float32[np.ndarray, " items"] | None = None
    factor: Callable[[Histories], Float32[np.ndarray, " items"]] | None = None

    def of(self, history: Histories) -> SparseScores:
        return SparseScores(self, history)

    def summed(self, weighted: Histories) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of all items of one user, and the items that may differ from 0; added up in the order of `Member.score`."""
        once = weighted.matrix()
        scores = np.zeros(self.num_items, np.float32)  # pages that are not touched cost nothing
        if isinstance(self.matrix, np.ndarray):
            kept = np.arange(self.num_items) if self.kept is None else self.kept
            scores[kept] = np.asarray((once if self.kept is None else once[:, kept]) @ self.matrix, np.float32)[0]
            return scores, kept
        columns, values, lengths = self.rows(once.indices)
        np.add.at(scores, columns, values * np.repeat(once.data, lengths))
        return scores, distinct(columns)

    def rows(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the entries of some rows: catalog columns, values, and entries of each row."""
        if self.kept is not None:
            place = np.searchsorted(self.kept, items) % max(len(self.kept), 1)
            inside = self.kept[place] == items if len(self.kept) else np.zeros(len(items), bool)
            lengths = np.zeros(len(items), np.int64)
            columns, values, lengths[inside] = self._entries(place[inside])
            return self.kept[columns], values, lengths
        return self._entries(items)

    def _entries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if isinstance(self.matrix, CompactRows):
            return self.matrix.entries(rows)
        found: Any = self.matrix[rows]
        if isinstance(found, np.ndarray):
            width = found.shape[1]
            return np.tile(np.arange(width), len(rows)), found.ravel(), np.full(len(rows), width)
        return found.indices, found.data, np.diff(found.indptr)


class SparseScores(ItemScores):
    """See `SparseScorer`."""

    def __init__(self, scorer: SparseScorer, history: Histories) -> None:
        self._scorer, self._weighted = scorer, scorer.weigh(history)
        self._scores, self._items = scorer.summed(self._weighted)
        self._rest, self._factor = 0.0, None
        if scorer.factor is not None:
            self._factor = scorer.factor(history)
            self._scores[self._items] *= self._factor[self._items]
        if scorer.unknown is not None and scorer.typical is not None:
            self._items = self._items[~scorer.unknown[self._items]]
            self._rest = float(self._weighted.weight @ scorer.typical[self._weighted.item_index])

    @cached_property
    def _known(self) -> Float64[np.ndarray, " scored"]:
        return self._scores[self._items].astype(np.float64)

    @property
    def _num_unknown(self) -> int:
        return 0 if self._scorer.unknown is None else int(np.count_nonzero(self._scorer.unknown))

    @cached_property
    def mean(self) -> float:
        return float(self._known.sum() + self._num_unknown * self._rest) / self._scorer.num_items

    @cached_property
    def std(self) -> float:
        zeros = self._scorer.num_items - len(self._items) - self._num_unknown
        total = ((self._known - self.mean) ** 2).sum() + zeros * self.mean**2
        return float(np.sqrt((total + self._num_unknown * (self._rest - self.mean) ** 2) / self._scorer.num_items))

    def best(self, k: int) -> Int64[np.ndarray, " found"]:
        return _best_of(self._items, self._scores[self._items], k)

    def of(self, items: Int64[np.ndarray, " chosen"]) -> Float32[np.ndarray, " chosen"]:
        found = self._scores[items]
        if self._scorer.unknown is not None:
            found[self._scorer.unknown[items]] = self._rest
        return found


class FactorScorer(ItemScorer):
    """Of (weighted history) @ source @ target^T: a product of each user's vector with the items'.

    Args:
        weigh: A history to the weights its source rows are read with.
        source: Rows that events are read with.
        target: Rows that items are scored with.
        make_nearest: Makes the index in which a user's best items are found.
    """

    def __init__(
        self,
        weigh: Callable[[Histories], Histories],
        source: Float32[np.ndarray, "items dim"],
        target: Float32[np.ndarray, "items dim"],
        make_nearest: MakeNearest,
    ) -> None:
        self.weigh, self.source, self.target = weigh, source, target
        self.index = make_nearest(target)
        self.centre = target.mean(0, dtype=np.float64)
        self.spread = np.zeros((target.shape[1], target.shape[1]))
        for start in range(0, len(target), 65_536):
            rows = target[start : start + 65_536].astype(np.float64) - self.centre
            self.spread += rows.T @ rows / len(target)

    def of(self, history: Histories) -> FactorScores:
        return FactorScores(self, history)


class FactorScores(ItemScores):
    """See `FactorScorer`."""

    def __init__(self, scorer: FactorScorer, history: Histories) -> None:
        self._scorer, self._weighted = scorer, scorer.weigh(history)
        events: Any = self._weighted.matrix() @ scorer.source
        self._user = np.asarray(events, np.float32)[0]

    @cached_property
    def mean(self) -> float:
        return float(self._user @ self._scorer.centre)

    @cached_property
    def std(self) -> float:
        return float(np.sqrt(max(self._user @ self._scorer.spread @ self._user, 0.0)))

    def best(self, k: int) -> Int64[np.ndarray, " found"]:
        found = self._scorer.index.nearest(self._user, k)
        return found[found >= 0]

    def of(self, items: Int64[np.ndarray, " chosen"]) -> Float32[np.ndarray, " chosen"]:
        return np.asarray(self._scorer.target[items] @ self._user, np.float32)


class PriorScorer(ItemScorer):
    """Of members whose scores do not depend on a user's events.

    Args:
        prior: A history to the scores of all items; asked once for every request at the end of the log.
        at_end: Whether the scores of a history are those of every other such history.
    """

    def __init__(
        self,
        prior: Callable[[Histories], Float32[np.ndarray, " items"]],
        at_end: Callable[[Histories], bool] = lambda _: True,
    ) -> None:
        self._prior, self._at_end = prior, at_end
        self._scores: _PriorArray | None = None

    def of(self, history: Histories) -> PriorScores:
        if not self._at_end(history):
            return PriorScores(_PriorArray(self._prior(history)))
        if self._scores is None:  # two threads may both make it: the values are equal
            self._scores = _PriorArray(self._prior(history))
        return PriorScores(self._scores)


class _PriorArray:
    """Scores of all items, with what is needed of them."""

    def __init__(self, scores: Float32[np.ndarray, " items"]) -> None:
        self.scores = scores
        self.mean = float(scores.mean(dtype=np.float64))
        self.std = float(scores.std(dtype=np.float64))

    @cached_property
    def ordered(self) -> Int64[np.ndarray, " best"]:
        """The best items, best first."""
        found = _best_of(np.arange(len(self.scores)), self.scores, PRIOR_ITEMS)
        return found[np.argsort(-self.scores[found], kind="stable")]


class PriorScores(ItemScores):
    """See `PriorScorer`."""

    def __init__(self, prior: _PriorArray) -> None:
        self._prior = prior

    @property
    def mean(self) -> float:
        return self._prior.mean

    @property
    def std(self) -> float:
        return self._prior.std

    def best(self, k: int) -> Int64[np.ndarray, " found"]:
        return self._prior.ordered[:k]

    def of(self, items: Int64[np.ndarray, " chosen"]) -> Float32[np.ndarray, " chosen"]:
        return self._prior.scores[items]


def distinct(items: np.ndarray) -> np.ndarray:
    """Return each item once, ascending: for some thousands a sort takes a tenth of the time of NumPy's table of hashes."""
    ordered = np.sort(items)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _best_of(items: np.ndarray, scores: Float32[np.ndarray, " items"], k: int) -> Int64[np.ndarray, " found"]:
    """Return the k items with the highest scores."""
    if len(items) <= k:
        return items.astype(np.int64)
    return items[np.argpartition(scores, len(items) - k)[len(items) - k :]].astype(np.int64)
