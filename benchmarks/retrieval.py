"""How fast and how right the search for similar items is in a large catalog, against FAISS alone on the same index.

In: how many vectors. Out: recall@10 against exact search, times for one query, build time and memory; and what a whole
list costs, from all items and from candidates.

    python benchmarks/retrieval.py --rows 1000000
    python benchmarks/retrieval.py --rows 1000000 --recommend
    python benchmarks/retrieval.py --rows 1000000 --graph-bytes 0
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from penchant.core.schema import Content, Histories
from penchant.fusion.late import EnsembleWeights
from penchant.models.content import ContentRegression
from penchant.models.ensemble import Ensemble, tie_order_of_rows, top_k
from penchant.models.member import Member
from penchant.models.neighbours import ItemKNN
from penchant.models.popularity import Popularity
from penchant.recommender.candidates import SAMPLE, Shortlist
from penchant.recommender.index import GRAPH_BYTES, VectorIndex

PER_CLUSTER, SPREAD, QUERIES, ROUNDS, LISTS = 500, 0.7, 500, 4, 300


def clustered(size: int, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit rows around centres, as encoders place items of a kind, and queries from the same centres that are no rows."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((size // PER_CLUSTER + 1, dim)).astype(np.float32)

    def draw(count: int) -> np.ndarray:
        values = centres[rng.integers(len(centres), size=count)]
        values += SPREAD * rng.standard_normal((count, dim), np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return values

    return draw(size), draw(QUERIES)


def megabytes() -> float:
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def recall_at_10(index: VectorIndex, queries: np.ndarray) -> float:
    """Return the share of the truly ten nearest that a search finds, for queries the index was not tuned with."""
    allowed, hits = np.ones(len(index.rows), bool), 0
    for start in range(0, len(queries), 50):
        block = queries[start : start + 50]
        similar = block @ index.rows.T
        truth = np.argpartition(-similar, 9, axis=1)[:, :10]
        for query, right in zip(block, truth, strict=True):
            hits += len(set(index.search(query, 10, allowed)[0].tolist()) & set(right.tolist()))
    return hits / (10 * len(queries))


def against_faiss(index: VectorIndex, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of each of our searches and of FAISS alone, one after the other, who is first in turn."""
    allowed, seconds = np.ones(len(index.rows), bool), np.zeros((2, ROUNDS * len(queries)))
    ways = (lambda q: index.search(q, 10, allowed), lambda q: index.nearest(q, 10))
    for place in range(seconds.shape[1]):
        query = queries[place % len(queries)]
        for way in (0, 1) if place % 2 else (1, 0):
            began = time.perf_counter()
            ways[way](query)
            seconds[way, place] = time.perf_counter() - began
    return seconds[0], seconds[1]


def spread(seconds: np.ndarray) -> str:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return f"p50 {p50:.3f} ms, p99 {p99:.3f} ms"


def whole_recommendation(num_items: int, seed: int, *, content: bool) -> None:
    """Print what one user's list of 10 takes, a history of 100: from all items, and from candidates that every member scores exactly.

    Args:
        num_items: Rows of the catalog.
        seed: Of the histories and neighbours.
        content: Whether a member that reads vectors of 64 is the third.
    """
    rng = np.random.default_rng(seed)
    users, each = num_items // 50, 100
    items = (rng.random(users * each) ** 2 * num_items).astype(np.int32)
    offsets = np.arange(0, len(items) + 1, each)
    histories = Histories(
        [f"u{n}" for n in range(users)],
        offsets,
        items,
        np.arange(len(items)),
        np.ones(len(items), np.float32),
        num_items,
    )
    members: dict[str, Member] = {
        "popularity": Popularity().fit(histories, Content()),
        "item_knn": sparse_neighbours(num_items, rng),
    }
    weights = {"popularity": 0.2, "item_knn": 0.8}
    if content:
        rows, _ = clustered(num_items, 64, seed)
        source = rows * rng.random((num_items, 1), np.float32)
        members["content"] = ContentRegression().restore({"source": source, "target": rows})
        weights["content"] = 0.4
    ensemble = Ensemble.build(members, EnsembleWeights(weights), Content())
    shortlist = Shortlist(ensemble, histories, histories, num_items)
    began = time.perf_counter()
    shortlist.build()
    few = shortlist.found
    name = f"{num_items:,} items, a list of 10 from {len(members)} members"
    if few is None:
        print(f"{name}: candidates find too few")
        return
    print(f"{name}: candidates made and measured in {time.perf_counter() - began:.0f} s")
    print(
        f"{name}: recall@20 {few.recall:.4f} on {SAMPLE} users, {100 * few.share:.2f} % of the items scored, width {few.width}"
    )
    every, seconds, hits, largest = np.ones(num_items, bool), np.zeros((2, LISTS)), 0, 0.0
    computed = np.zeros((2, LISTS))
    drawn = rng.choice(users, LISTS, replace=False)
    for place, row in enumerate(drawn):
        history = histories.rows(int(row), int(row) + 1)
        began, used = time.perf_counter(), time.thread_time()
        scores = ensemble.score(history)
        scores[0, history.item_index] = -np.inf
        want = top_k(scores, 20, [""])
        seconds[0, place], computed[0, place] = time.perf_counter() - began, time.thread_time() - used
        began, used = time.perf_counter(), time.thread_time()
        may_show = every.copy()
        may_show[history.item_index] = False
        found = few.for_list(history, 10, may_show)
        assert found is not None
        own = found[0].of(found[1])
        top_k(own[None], 10, [""], tie_order_of_rows(num_items)[found[1]])
        seconds[1, place], computed[1, place] = time.perf_counter() - began, time.thread_time() - used
        own_scores, union = few.chosen(history, 20)
        common = np.intersect1d(union, want.item_index[0])
        hits += len(common)
        largest = max(largest, float(np.abs(own_scores.of(common) - scores[0, common]).max()))
    print(f"{name}: every item scored {spread(seconds[0])}, CPU {spread(computed[0])}")
    print(f"{name}: candidates {spread(seconds[1])}, CPU {spread(computed[1])}; load {os.getloadavg()[0]:.1f}")
    print(
        f"{name}: recall@20 {hits / (20 * LISTS):.4f} on {LISTS} other users, largest difference of a score {largest:.1e}"
    )


def sparse_neighbours(num_items: int, rng: np.random.Generator) -> ItemKNN:
    """Return a member of 50 random neighbours an item: its cost is that of a fitted one, which would take an hour to fit here."""
    near = 50
    return ItemKNN().restore(
        {
            "data": rng.random(near * num_items, np.float32),
            "indices": np.sort(rng.integers(num_items, size=(num_items, near), dtype=np.int32), axis=1).ravel(),
            "indptr": np.arange(0, near * num_items + 1, near, dtype=np.int32),
            "shape": np.array([num_items, num_items]),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--graph-bytes", type=int, default=GRAPH_BYTES, help="0 makes IVF-PQ")
    parser.add_argument("--threads", type=int, default=0, help="for building; 0 takes all cores")
    parser.add_argument("--recommend", action="store_true", help="measure whole lists instead")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    if told.recommend:
        for content in (False, True):
            whole_recommendation(told.rows, told.seed, content=content)
        return
    rows, queries = clustered(told.rows, told.dim, told.seed)
    before = megabytes()
    index = VectorIndex(rows, exact_up_to=0, graph_bytes=told.graph_bytes)
    began = time.perf_counter()
    index.build(told.threads)
    took, name = time.perf_counter() - began, f"{told.rows:,} x {told.dim}, {index.kind.name}"
    print(
        f"{name}: built in {took:.0f} s, {megabytes() - before:.0f} MB beside rows of {rows.nbytes / 1e6:.0f} MB",
        flush=True,
    )
    print(f"{name}: {index.kind.setting} {index.effort}, recall@10 {index.recall:.3f} on the rows it was tuned with")
    print(f"{name}: recall@10 {recall_at_10(index, queries):.3f} on {QUERIES} queries that are no rows", flush=True)
    ours, alone = against_faiss(index, queries)
    print(f"{name}: ours {spread(ours)}")
    print(f"{name}: FAISS alone {spread(alone)}")
    ratios = [np.percentile(ours, p) / np.percentile(alone, p) for p in (50, 99)]
    print(
        f"{name}: p50 {ratios[0]:.2f} times FAISS, p99 {ratios[1]:.2f} times; load {os.getloadavg()[0]:.1f}", flush=True
    )
    exact = VectorIndex(rows)
    allowed, seconds = np.ones(len(rows), bool), []
    for query in queries[:30]:
        began = time.perf_counter()
        exact.search(query, 10, allowed)
        seconds.append(time.perf_counter() - began)
    print(f"{name}: exact search {spread(np.array(seconds))}", flush=True)


if __name__ == "__main__":
    main()
