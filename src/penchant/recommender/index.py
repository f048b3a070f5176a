"""Nearest-neighbour index: exact for small catalogs, approximate for large ones.

In: unit rows. Out: the k nearest of a query; beyond `EXACT_UP_TO` rows by FAISS, with its recall against exact search measured.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from penchant.core.compact_embeddings import CompactEmbeddings
from penchant.core.errors import MissingExtraError
from penchant.core.seeds import generator

logger = logging.getLogger("penchant.service")
EXACT_UP_TO = 200_000
GRAPH_BYTES = 2_000_000_000
"""An HNSW graph, which keeps a copy of the rows, may take so much memory; a larger one gives way to IVF-PQ."""
LINKS = 32
"""Links of each node of the graph, twice as many on its lowest level."""
CODE_DIMS = 4
"""Dimensions that IVF-PQ keeps in one byte; its candidates are ranked again by the rows themselves."""
WANTED_RECALL = 0.98
SAMPLE = 200
"""Queries by which the recall is measured."""
MAX_TAIL = 0.01
"""Rows that came since an index was built are searched exactly; with a larger share of them it is built again."""
MAX_SHIFT = 0.01
"""An index built for rows that moved by less still finds the candidates; they are ranked by the current rows."""
BLOCK = 65_536
SHORTLIST = 20
"""So many times k rows are found by their signs and ranked exactly."""
BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)
"""Number of ones in each byte."""


@dataclass(frozen=True)
class IndexKind:
    """How an approximate index is searched.

    Attributes:
        name: In the log.
        setting: FAISS' name of the search effort.
        efforts: Tried in order until `WANTED_RECALL` is reached.
        width: So many times k are taken from it and ranked exactly.
    """

    name: str
    setting: str
    efforts: tuple[int, ...]
    width: int


GRAPH = IndexKind("HNSW", "efSearch", (32, 64, 128, 256, 512), 2)
CODES = IndexKind("IVF-PQ", "nprobe", (4, 8, 16, 32, 64, 128, 256), 20)


class VectorIndex:
    """Unit rows that can be searched; exact, until `build` has made something faster for a large number of them.

    Args:
        rows: Unit rows; a zero row has cosine 0 to every row.
        exact_up_to: With more rows `build` makes an approximate index.
        graph_bytes: Memory an HNSW graph may take; beyond, IVF-PQ is made, which takes about a ninth (measured at a million rows of 128).

    Attributes:
        recall: recall@10 against exact search, measured by `build`; 1 before.

    Source: Malkov & Yashunin, Efficient and robust approximate nearest neighbor search using HNSW graphs, TPAMI 2020;
    Jegou et al., Product quantization for nearest neighbor search, TPAMI 2011 (both by FAISS).
    """

    def __init__(
        self,
        rows: Float32[np.ndarray, "items dim"],
        *,
        exact_up_to: int = EXACT_UP_TO,
        graph_bytes: int = GRAPH_BYTES,
    ) -> None:
        self.rows = np.ascontiguousarray(rows, np.float32)
        self.recall = 1.0
        self.is_exact = True
        self._is_large = len(rows) > exact_up_to
        self.kind = GRAPH if _graph_bytes(*rows.shape) <= graph_bytes else CODES
        self._found: Any = None
        self._tail = np.zeros(0, np.int64)

    def row(self, number: int) -> Float32[np.ndarray, " dim"]:
        """Return one row."""
        return self.rows[number]

    @property
    def is_due(self) -> bool:
        """Whether `build` has something to do."""
        return self._is_large and self.is_exact

    def build(self, num_threads: int = 0) -> None:
        """Make the approximate index if it is due; searches continue meanwhile, exactly.

        Cost at a million rows of 128: minutes.

        Args:
            num_threads: 0 takes all cores.

        Raises:
            MissingExtraError: FAISS is needed and not installed.
        """
        if not self.is_due:
            return
        faiss = _faiss()
        if num_threads:
            faiss.omp_set_num_threads(num_threads)  # of the calling thread alone
        self._found = _graph(faiss, self.rows) if self.kind is GRAPH else _codes(faiss, self.rows)
        self.recall = self._tune()
        self.is_exact = False
        logger.info(
            "index of %d rows: %s, %s %d, recall@10 %.3f against exact on %d queries",
            len(self.rows),
            self.kind.name,
            self.kind.setting,
            self.effort,
            self.recall,
            min(SAMPLE, len(self.rows)),
        )

    def adopt(self, before: VectorIndex) -> None:
        """Take over the approximate index of an earlier catalog, if these are its rows and a few more."""
        num, indexed = len(before.rows), len(before.rows) - len(before._tail)
        is_little_more = num <= len(self.rows) <= (1 + MAX_TAIL) * indexed
        if before.is_exact or not self.is_due or not is_little_more or _shift(self.rows[:num], before.rows) > MAX_SHIFT:
            return
        self._tail = np.arange(indexed, len(self.rows))
        self._found, self.kind, self.recall, self.is_exact = before._found, before.kind, before.recall, False

    def search(
        self, query: Float32[np.ndarray, " dim"], k: int, allowed: Bool[np.ndarray, " items"]
    ) -> tuple[Int64[np.ndarray, " found"], Float32[np.ndarray, " found"]]:
        """Return at most k allowed rows, nearest first, and their exact cosines; rows of cosine 0 or less are left out.

        Where the approximate index finds fewer than k, because many are not allowed, the search is exact.
        """
        if self.is_exact or not query.any():
            return self._exactly(query, k, allowed)
        found, similar = self._nearly(query, k, allowed)
        return (found, similar) if len(found) == k else self._exactly(query, k, allowed)

    def nearest(self, query: Float32[np.ndarray, " dim"], width: int) -> Int64[np.ndarray, " found"]:
        """Return the rows that FAISS finds, unfiltered; -1 where it found no more. Before `build` they are found exactly, those above 0."""
        if self._found is None:
            return _largest(self.rows @ query, width)
        near: Int64[np.ndarray, " found"] = self._found.search(query[None], width)[1][0]
        return near

    @property
    def effort(self) -> int:
        """The search effort of FAISS."""
        return int(getattr(self._knob, self.kind.setting))

    def _exactly(
        self, query: Float32[np.ndarray, " dim"], k: int, allowed: Bool[np.ndarray, " items"]
    ) -> tuple[Int64[np.ndarray, " found"], Float32[np.ndarray, " found"]]:
        similar = np.where(allowed, self.rows @ query, -np.inf)
        found = _largest(similar, k)
        return found, similar[found].astype(np.float32)

    def _nearly(
        self, query: Float32[np.ndarray, " dim"], k: int, allowed: Bool[np.ndarray, " items"]
    ) -> tuple[Int64[np.ndarray, " found"], Float32[np.ndarray, " found"]]:
        near = self.nearest(query, min(self.kind.width * k, len(self.rows)))
        near = np.concatenate([near[near >= 0], self._tail]) if len(self._tail) else near[near >= 0]
        near = near[allowed[near]]
        similar = self.rows[near] @ query
        best = _largest(similar, k)
        return near[best], similar[best]

    def _tune(self) -> float:
        """Raise the effort until enough of each row's ten nearest others are found; return the share."""
        drawn = generator(0, "index.recall").choice(len(self.rows), min(SAMPLE, len(self.rows)), replace=False)
        allowed = np.ones(len(self.rows), bool)
        truth = [self._others(self._exactly, row, allowed) for row in drawn]
        recall = 0.0
        for effort in self.kind.efforts:
            setattr(self._knob, self.kind.setting, effort)
            hits = sum(len(t & self._others(self._nearly, r, allowed)) for r, t in zip(drawn, truth, strict=True))
            recall = hits / max(sum(len(t) for t in truth), 1)
            if recall >= WANTED_RECALL:
                break
        return recall

    def _others(self, how: Any, row: int, allowed: Bool[np.ndarray, " items"]) -> set[int]:
        """Return the ten nearest of a row but itself, which every search finds."""
        allowed[row] = False
        found, _ = how(self.rows[row], 10, allowed)
        allowed[row] = True
        return set(found.tolist())

    @property
    def _knob(self) -> Any:
        return self._found.hnsw if self.kind is GRAPH else self._found


class CodedIndex:
    """Rows that are codes, searched exactly: they are computed a block at a time, so that no search holds all of them.

    Where the codes are signs, the `SHORTLIST` x k rows that share most signs with a query are found first, and only these are computed and ranked.

    Args:
        embeddings: The channel.
        is_centred: Whether the mean of the channel is to be taken off.

    Source: the shortlist as in Yamada et al., Efficient passage retrieval with hashing, ACL 2021.
    """

    is_due = False
    """Nothing is to be built: an approximate index would hold what the codes save."""

    def __init__(self, embeddings: CompactEmbeddings, *, is_centred: bool) -> None:
        self._embeddings = embeddings
        usable = np.flatnonzero(embeddings.usable)
        total = np.zeros(embeddings.dim)
        for start in range(0, len(usable) if is_centred else 0, BLOCK):
            total += embeddings.rows(usable[start : start + BLOCK]).sum(0, dtype=np.float64)
        self._mean = (total / max(len(usable), 1)).astype(np.float32)

    def build(self, num_threads: int = 0) -> None:
        """Do nothing; see `is_due`."""

    def row(self, number: int) -> Float32[np.ndarray, " dim"]:
        """Return one row, of unit length."""
        return self._rows(np.array([number]))[0]

    def search(
        self, query: Float32[np.ndarray, " dim"], k: int, allowed: Bool[np.ndarray, " items"]
    ) -> tuple[Int64[np.ndarray, " found"], Float32[np.ndarray, " found"]]:
        """As `VectorIndex.search`."""
        rows = np.flatnonzero(allowed & self._embeddings.usable)
        if self._embeddings.codes.kind == "binary" and len(rows) > SHORTLIST * k:
            rows = rows[self._by_signs(query, rows, SHORTLIST * k)]
        blocks = [self._rows(rows[start : start + BLOCK]) @ query for start in range(0, len(rows), BLOCK)]
        similar = np.concatenate([np.zeros(0, np.float32), *blocks])
        best = _largest(similar, k)
        return rows[best], similar[best].astype(np.float32)

    def _rows(self, rows: Int64[np.ndarray, " some"]) -> Float32[np.ndarray, "some dim"]:
        found = self._embeddings.rows(rows) - self._mean
        found[~self._embeddings.usable[rows]] = 0
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.float32(1e-12))

    def _by_signs(
        self, query: Float32[np.ndarray, " dim"], rows: Int64[np.ndarray, " some"], width: int
    ) -> Int64[np.ndarray, " width"]:
        """Return the places of the rows that differ from a query in the fewest signs."""
        differing = self._embeddings.codes.codes[rows] ^ np.packbits(query > 0)
        return np.argpartition(BITS[differing].sum(1, dtype=np.int32), width - 1)[:width]


def _graph(faiss: Any, rows: Float32[np.ndarray, "items dim"]) -> Any:
    graph = faiss.IndexHNSWFlat(rows.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 80
    graph.add(rows)
    return graph


def _codes(faiss: Any, rows: Float32[np.ndarray, "items dim"]) -> Any:
    num_lists = max(1, int(2 * np.sqrt(len(rows))))
    coarse, dim = faiss.IndexFlatIP(rows.shape[1]), rows.shape[1]
    index = faiss.IndexIVFPQ(coarse, dim, num_lists, _num_codes(dim), 8, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 0
    wanted = min(len(rows), max(40 * num_lists, 40 * 256))
    index.train(rows[generator(0, "index.codes").choice(len(rows), wanted, replace=False)])
    index.add(rows)
    return index


def _num_codes(dim: int) -> int:
    """Return the bytes of a row: as near to dim / `CODE_DIMS` as divides the row evenly."""
    return min((m for m in range(1, dim + 1) if dim % m == 0), key=lambda m: abs(m - dim / CODE_DIMS))


def _graph_bytes(num_rows: int, dim: int) -> int:
    return num_rows * 4 * (dim + 2 * LINKS + 2)


def _shift(now: Float32[np.ndarray, "items dim"], before: Float32[np.ndarray, "items dim"]) -> float:
    """Return the largest change of any number; infinite if the rows are of another width."""
    if now.shape != before.shape:
        return np.inf
    starts = range(0, len(now), BLOCK)
    return max((float(np.abs(now[s : s + BLOCK] - before[s : s + BLOCK]).max()) for s in starts), default=0.0)


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingExtraError("faiss-cpu", "serve") from error
    return faiss


def _largest(similar: np.ndarray, k: int) -> Int64[np.ndarray, " found"]:
    width = min(k, len(similar))
    found = np.argpartition(-similar, width - 1)[:width] if width else np.zeros(0, np.int64)
    found = found[np.argsort(-similar[found], kind="stable")]
    return found[similar[found] > 0]
