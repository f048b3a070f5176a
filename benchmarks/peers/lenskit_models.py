"""LensKit: ALS for implicit feedback, and item neighbours.

In: a split. Out: lists by the library's own top-n pipeline.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from choosing import tuned
from exchange import PAD, Clock, Outcome, Recommender, Requests, Settings, Split, Stage, serve
from lenskit import operations
from lenskit.als import ImplicitMFScorer
from lenskit.data import ItemList, RecQuery, from_interactions_df
from lenskit.knn import ItemKNNScorer
from lenskit.pipeline import topn_pipeline
from lenskit.training import TrainingOptions


def als(split: Split, clock: Clock) -> Outcome:
    grid = {
        "embedding_size": [64, 32, 128],
        "weight": [40.0, 1.0, 3.0, 10.0, 100.0],
        "regularization": [0.1, 1.0, 10.0, 30.0],
        "epochs": [10, 20],
    }
    bounds = {"embedding_size": (8, 512), "epochs": (5, 40)}
    return tuned(
        split,
        clock,
        grid,
        lambda settings, stage: _fitted(ImplicitMFScorer, settings, stage, split.seed),
        bounds=bounds,
        epochs="epochs",
    )


def item_knn(split: Split, clock: Clock) -> Outcome:
    grid = {"max_nbrs": [20, 50, 100, 300], "save_nbrs": [200, 50, 1000]}

    def fit(settings: Settings, stage: Stage) -> Recommender:
        return _fitted(ItemKNNScorer, {**settings, "feedback": "implicit"}, stage, split.seed)

    return tuned(split, clock, grid, fit, bounds=dict.fromkeys(grid, (1, split.num_items)))


def _fitted(scorer: Any, settings: Settings, stage: Stage, seed: int) -> Recommender:
    events = stage.learn
    learned = np.unique(events.item)
    pairs = pd.DataFrame({"user_id": events.user, "item_id": events.item}).drop_duplicates()
    pipeline = topn_pipeline(scorer, settings)
    pipeline.train(from_interactions_df(pairs), TrainingOptions(rng=seed))

    def recommend(requests: Requests, k: int, candidates: np.ndarray | None) -> np.ndarray:
        """Ask one request at a time: the library's batches know users by number, and a request brings its own history."""
        lists = np.full((len(requests), k), PAD, np.int32)
        seen = requests.history.matrix()
        allowed = None if candidates is None else np.flatnonzero(candidates)
        for row in range(len(requests)):
            history = np.unique(seen[row].indices)
            query = RecQuery(user_items=ItemList(np.intersect1d(history, learned)))
            choice = None if allowed is None else ItemList(np.setdiff1d(np.intersect1d(allowed, learned), history))
            ids = np.asarray(operations.recommend(pipeline, query, k, choice).ids(), np.int32)
            lists[row, : len(ids)] = ids
        return lists

    return recommend


if __name__ == "__main__":
    serve({"als": als, "item_knn": item_knn}, ("lenskit", "numpy"))
