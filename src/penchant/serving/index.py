"""Nearest vectors, exact as long as that is fast.

In: unit rows. Out: the k nearest of a query; beyond `EXACT_UP_TO` rows by FAISS, with its recall against exact search measured.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from penchant.core.errors import MissingExtraError
from penchant.core.seeds import generator

logger = logging.getLogger("penchant.service")
EXACT_UP_TO = 200_000
LINKS = 32
"""Links of each node of the HNSW graph; memory is rows x (4 dim + 8 links) bytes."""
EFFORTS = (64, 128, 256, 512)
"""Candidates looked at in a search; the first that reaches `WANTED_RECALL` is taken."""
WANTED_RECALL = 0.98
SAMPLE = 200
"""Queries the recall is measured with."""


class Index:
    """Unit rows that can be searched.

    Args:
        rows: Unit rows; a zero row is near nothing.
        exact_up_to: With more rows an HNSW graph is built.

    Raises:
        MissingExtraError: FAISS is needed and not installed.

    Source: Malkov & Yashunin, Efficient and robust approximate nearest neighbor search using HNSW graphs, TPAMI 2020 (FAISS).
    """

    def __init__(self, rows: Float32[np.ndarray, "items dim"], *, exact_up_to: int = EXACT_UP_TO) -> None:
        self.rows = rows
        self.recall = 1.0
        self._graph: Any = _build(rows) if len(rows) > exact_up_to else None
        if self._graph is not None:
            self.recall = self._tune()
            logger.info("index of %d rows: HNSW, recall@10 %.3f against exact", len(rows), self.recall)

    def search(
        self, query: Float32[np.ndarray, " dim"], k: int, allowed: Bool[np.ndarray, " items"]
    ) -> tuple[Int64[np.ndarray, " found"], Float32[np.ndarray, " found"]]:
        """Return at most k allowed rows, nearest first, and their cosines; rows of cosine 0 or less are left out.

        A graph looks at twice as many as are forbidden among its first finds would need, at most all.
        """
        if self._graph is None:
            similar = np.where(allowed, self.rows @ query, -np.inf)
            found = _largest(similar, k)
            return found, similar[found].astype(np.float32)
        width = k
        while True:
            similar, near = self._graph.search(query[None], min(width, len(self.rows)))
            keep = (near[0] >= 0) & (similar[0] > 0)
            keep[keep] = allowed[near[0][keep]]
            if keep.sum() >= k or width >= min(len(self.rows), 64 * k):
                return near[0][keep][:k], similar[0][keep][:k]
            width *= 4

    def _tune(self) -> float:
        """Raise the effort until the recall is right; return the recall."""
        drawn = generator(0, "index.recall").choice(len(self.rows), min(SAMPLE, len(self.rows)), replace=False)
        queries = self.rows[drawn]
        truth = [set(_largest(similar, 10)) for similar in queries @ self.rows.T]
        recall = 0.0
        for effort in EFFORTS:
            self._graph.hnsw.efSearch = effort
            found = self._graph.search(queries, 10)[1]
            hits = sum(len(t & set(f)) for t, f in zip(truth, found.tolist(), strict=True))
            recall = hits / max(sum(len(t) for t in truth), 1)
            if recall >= WANTED_RECALL:
                break
        return recall


def _build(rows: Float32[np.ndarray, "items dim"]) -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingExtraError("faiss-cpu", "serve") from error
    graph = faiss.IndexHNSWFlat(rows.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 80
    graph.add(np.ascontiguousarray(rows))
    return graph


def _largest(similar: np.ndarray, k: int) -> Int64[np.ndarray, " found"]:
    width = min(k, len(similar))
    found = np.argpartition(-similar, width - 1)[:width] if width else np.zeros(0, np.int64)
    found = found[np.argsort(-similar[found], kind="stable")]
    return found[similar[found] > 0]
