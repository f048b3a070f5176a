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
from exchange import PAD, Clock, Events, Outcome, Recommender, Settings, Split, serve
from lenskit import batch
from lenskit.als import ImplicitMFScorer
from lenskit.data import ItemList, from_interactions_df
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
    return tuned(
        split, clock, grid, lambda s, events: _fitted(ImplicitMFScorer, s, events, split.seed), epochs="epochs"
    )


def item_knn(split: Split, clock: Clock) -> Outcome:
    grid = {"max_nbrs": [20, 50, 100, 300], "save_nbrs": [200, 50, 1000]}

    def fit(settings: Settings, events: Events) -> Recommender:
        return _fitted(ItemKNNScorer, {**settings, "feedback": "implicit"}, events, split.seed)

    return tuned(split, clock, grid, fit)


def _fitted(scorer: Any, settings: Settings, events: Events, seed: int) -> Recommender:
    pairs = pd.DataFrame({"user_id": events.user, "item_id": events.item}).drop_duplicates()
    dataset = from_interactions_df(pairs)
    pipeline = topn_pipeline(scorer, settings)
    pipeline.train(dataset, TrainingOptions(rng=seed))

    def recommend(users: np.ndarray, k: int, candidates: np.ndarray | None) -> np.ndarray:
        found = batch.recommend(pipeline, _queries(users, events, candidates), n=k, n_jobs=1)
        lists = np.full((len(users), k), PAD, np.int32)
        row = {int(user): place for place, user in enumerate(users)}
        for key, items in found.items():
            ids = np.asarray(items.ids(), np.int32)
            lists[row[int(key.user_id)], : len(ids)] = ids
        return lists

    return recommend


def _queries(users: np.ndarray, events: Events, candidates: np.ndarray | None) -> Any:
    """Return the users, each with the items allowed to them where not all are."""
    if candidates is None:
        return [int(user) for user in users]
    seen = events.matrix()
    allowed = np.flatnonzero(candidates)
    return {int(user): ItemList(np.setdiff1d(allowed, seen[user].indices)) for user in users}


if __name__ == "__main__":
    serve({"als": als, "item_knn": item_knn}, ("lenskit", "numpy"))
