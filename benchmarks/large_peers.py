"""Other libraries on the generated world of 50,000 items and 10 million events, or a share of it, beside our members: time, memory and quality on one split.

In: a share of the large world. Out: Markdown rows: seconds of the fit and of the lists, wall and processor, peak memory of the process, Recall@20 and NDCG@20 of the same test users.

    python benchmarks/large_peers.py 0.2
    python benchmarks/large_peers.py 1 --only ours_item_knn,implicit_als

Every model is fitted by a process of its own on everything before the test (the last tenth of each user), in turn, at fixed settings: the library's defaults, and for what both have the same
ones. Peers need the environment of `make .venv-peers/installed`. A model that needs more memory than there is, is shown so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

HERE = Path(__file__).parent
PEER_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
K, BATCH = 20, 500
FACTORS, NEIGHBOURS, PENALTY = 64, 100, 500.0
"""Of ALS (the library's default), of every item, and of EASE."""
TITLES = {
    "ours_popularity": "Penchant, popularity",
    "ours_item_knn": "Penchant, item kNN",
    "implicit_cosine": "implicit, cosine",
    "rectools_item_knn": "RecTools, item kNN (TF-IDF of implicit)",
    "ours_ease": "Penchant, EASE",
    "rectools_ease": "RecTools, EASE",
    "implicit_als": "implicit, ALS",
}
MODELS: dict[str, dict[str, Any]] = {
    "ours_popularity": {"model": "popularity"},
    "ours_item_knn": {"model": "item_knn", "neighbours": NEIGHBOURS},
    "ours_ease": {"model": "ease", "regularisation": PENALTY},
}
Recommend = Callable[[np.ndarray], np.ndarray]
"""Rows of users to their lists."""
Learn = Callable[[sparse.csr_matrix], Recommend]
"""A fit on the matrix of what is known."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("share", type=float, nargs="?", default=0.2, help="of 50,000 items and of 200,000 users")
    parser.add_argument("--test-users", type=int, default=20_000, help="ranked at most")
    parser.add_argument("--only", default=",".join(TITLES), help="these rows")
    parser.add_argument("--limit", type=int, default=1200, help="seconds that a model may take")
    parser.add_argument("--fit", help="used by the script itself: fit one model in this process")
    parser.add_argument("--folder", type=Path, help="used by the script itself")
    given = parser.parse_args()
    if given.fit:
        print(json.dumps(fitted(given.fit, given.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_split(given.share, given.test_users, folder)
        print(
            "| model | fit, wall and CPU s | lists, wall and CPU s | peak GB | Recall@20 | NDCG@20 |\n|---|---|---|---|---|---|"
        )
        for name in given.only.split(","):
            python = sys.executable if name.startswith("ours") else str(PEER_PYTHON)
            command = [python, __file__, "--fit", name, "--folder", str(folder)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=given.limit)
            except subprocess.TimeoutExpired:
                print(f"| {TITLES[name]} | not done after {given.limit} s | | | | |", flush=True)
                continue
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["killed: it needs more memory than there is"])[-1]
                print(f"| {TITLES[name]} | failed: {last[:120]} | | | | |", flush=True)
                continue
            show(name, json.loads(done.stdout.strip().splitlines()[-1]), folder)


def write_split(share: float, test_users: int, folder: Path) -> None:
    """Write the matrix of what is known, the rows of the test users, and what they chose."""
    from penchant.core.schema import Vocabulary
    from penchant.data.clean.dataset import clean
    from penchant.data.histories import build_histories
    from penchant.data.read.sources import DataConfig, read
    from penchant.data.split.interactions import split
    from penchant.pipelines.recommendation import RecommendationConfig
    from penchant.world import WorldConfig, make_world

    users, items = int(200_000 * share), int(50_000 * share)
    world = Path("runs") / f"world-large-{users}-{items}"
    if not world.exists():
        make_world(world, WorldConfig(size="large", num_users=users, num_items=items))
    config = RecommendationConfig.read({"name": "peers"}, where="large_peers.py")
    data = clean(read(DataConfig.read({"path": world}, where="large_peers.py")), config.clean, config.media)
    parts = split(data.interactions, config.split, config.seed)
    every, catalog = sorted(data.interactions.table["user_id"].unique()), Vocabulary(data.catalog.item_ids)
    train, validation, truth = (
        build_histories(part, catalog, config.histories, users=every).matrix()
        for part in (parts.train, parts.validation, parts.test)
    )
    known = sparse.csr_array(train + validation)
    for matrix in (known, truth):
        matrix.data[:] = 1
    rows = np.flatnonzero(np.diff(truth.indptr))
    rows = rows[np.linspace(0, len(rows) - 1, min(test_users, len(rows))).astype(np.int64)]
    sparse.save_npz(folder / "known.npz", sparse.csr_matrix(known))
    sparse.save_npz(folder / "truth.npz", sparse.csr_matrix(truth[rows]))
    np.save(folder / "rows.npy", rows)
    print(f"{known.nnz:,} known events, {known.shape[0]:,} users, {known.shape[1]:,} items, {len(rows):,} test users\n")


def fitted(name: str, folder: Path) -> dict[str, float]:
    """Fit one model, write its lists, and return what both took."""
    known, rows = sparse.load_npz(folder / "known.npz").tocsr().astype(np.float32), np.load(folder / "rows.npy")
    make = {"ours": ours, "implicit": of_implicit, "rectools": of_rectools}[name.split("_", maxsplit=1)[0]]
    learn = make(name)  # imports are not timed
    began, used = time.perf_counter(), cpu()
    recommend = learn(known)
    fit = (time.perf_counter() - began, cpu() - used)
    began, used = time.perf_counter(), cpu()
    lists = np.concatenate([recommend(rows[n : n + BATCH]) for n in range(0, len(rows), BATCH)])
    np.save(folder / f"{name}.npy", lists)
    return {
        "fit": fit[0],
        "fit_cpu": fit[1],
        "lists": time.perf_counter() - began,
        "lists_cpu": cpu() - used,
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def cpu() -> float:
    """Return the processor seconds of this process so far, all threads."""
    spent = os.times()
    return spent.user + spent.system


def ours(name: str) -> Learn:
    """Return the fit of one of our members."""
    from penchant.core.schema import Content, Histories
    from penchant.models.ensemble import batch_users, blocked_items, top_k
    from penchant.models.member import make_member

    def learn(known: sparse.csr_matrix) -> Recommend:
        count = known.nnz
        users = Histories(
            [str(row) for row in range(known.shape[0])],
            known.indptr.astype(np.int64),
            known.indices.astype(np.int32),
            np.zeros(count, np.int64),
            np.ones(count, np.float32),
            known.shape[1],
        )
        member = make_member(name, MODELS[name]).fit(users, Content())

        def recommend(rows: np.ndarray) -> np.ndarray:
            found, size = [], batch_users(known.shape[1])
            for start in range(0, len(rows), size):
                asked = users.take(rows[start : start + size])
                scores = member.score(asked)
                scores[blocked_items(asked)] = -np.inf
                found.append(top_k(scores, K, asked.user_ids).item_index)
            return np.concatenate(found)

        return recommend

    return learn


def of_implicit(name: str) -> Learn:
    """Return the fit of a model of implicit."""
    from implicit.als import AlternatingLeastSquares
    from implicit.nearest_neighbours import CosineRecommender

    def learn(known: sparse.csr_matrix) -> Recommend:
        if name == "implicit_als":
            model: Any = AlternatingLeastSquares(factors=FACTORS, random_state=0)
        else:
            model = CosineRecommender(K=NEIGHBOURS)
        model.fit(known, show_progress=False)
        return lambda rows: model.recommend(rows, known[rows], N=K, filter_already_liked_items=True)[0]

    return learn


def of_rectools(name: str) -> Learn:
    """Return the fit of a model of RecTools; its table of interactions is part of it."""
    import pandas as pd
    from implicit.nearest_neighbours import TFIDFRecommender
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import EASEModel, ImplicitItemKNNWrapperModel

    def learn(known: sparse.csr_matrix) -> Recommend:
        entries = known.tocoo()
        columns = {Columns.User: entries.row, Columns.Item: entries.col}
        frame = pd.DataFrame({**columns, Columns.Weight: 1.0, Columns.Datetime: "2026-01-01"})
        dataset = Dataset.construct(frame)
        if name == "rectools_ease":
            model: Any = EASEModel(regularization=PENALTY)
        else:
            model = ImplicitItemKNNWrapperModel(TFIDFRecommender(K=NEIGHBOURS))
        model.fit(dataset)

        def recommend(rows: np.ndarray) -> np.ndarray:
            table = model.recommend(users=rows, dataset=dataset, k=K, filter_viewed=True)
            lists = np.full((len(rows), K), -1, np.int64)
            place = pd.Series(np.arange(len(rows)), index=rows)[table[Columns.User]].to_numpy()
            lists[place, table[Columns.Rank].to_numpy() - 1] = table[Columns.Item].to_numpy()
            return lists

        return recommend

    return learn


def show(name: str, spent: dict[str, float], folder: Path) -> None:
    """Print the row of one model; its lists are scored here, the same way for all."""
    from penchant.metrics.ranking import ndcg, recall  # not in the environment of the peers

    lists, truth = np.load(folder / f"{name}.npy"), sparse.load_npz(folder / "truth.npz").tocsr()
    hit = np.zeros(lists.shape, bool)
    for row, own in enumerate(lists):
        hit[row] = np.isin(own, truth.indices[truth.indptr[row] : truth.indptr[row + 1]])
    count = np.diff(truth.indptr)
    print(
        f"| {TITLES[name]} | {spent['fit']:.1f}, {spent['fit_cpu']:.1f} | {spent['lists']:.1f}, {spent['lists_cpu']:.1f} | {spent['gb']:.1f} "
        f"| {recall(hit, count, K).mean():.4f} | {ndcg(hit, count, K).mean():.4f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
