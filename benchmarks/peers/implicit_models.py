"""implicit: ALS, BPR, and item neighbours by cosine and by BM25.

In: a split. Out: lists by the library's own `recommend`. Grids hold the library's defaults and what papers tuned found better.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit threads itself, and warns of the two fighting

import numpy as np
from choosing import batches, tuned
from exchange import PAD, Clock, Events, Outcome, Recommender, Settings, Split, serve
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from implicit.utils import ParameterWarning

warnings.simplefilter("ignore", ParameterWarning)  # it converts its own weighted matrix, and warns each time


def als(split: Split, clock: Clock) -> Outcome:
    def make(settings: Settings) -> Any:
        return AlternatingLeastSquares(**settings, random_state=split.seed)

    grid = {
        "factors": [128, 32, 64, 256],
        "regularization": [1.0, 0.01, 0.1, 10.0, 30.0, 100.0],
        "alpha": [1.0, 0.3, 3.0, 10.0, 30.0],
        "iterations": [15, 30],
    }
    return tuned(split, clock, grid, lambda settings, events: _fitted(make(settings), events), epochs="iterations")


def bpr(split: Split, clock: Clock) -> Outcome:
    """One thread, since threads update the same factors in no fixed order."""

    def make(settings: Settings) -> Any:
        return BayesianPersonalizedRanking(**settings, random_state=split.seed, num_threads=1)

    grid = {
        "iterations": [100, 300],
        "learning_rate": [0.01, 0.03, 0.1],
        "regularization": [0.01, 0.003, 0.03],
        "factors": [100, 32, 200],
    }
    return tuned(split, clock, grid, lambda settings, events: _fitted(make(settings), events), epochs="iterations")


def item_knn_cosine(split: Split, clock: Clock) -> Outcome:
    grid = {"K": [20, 50, 100, 200, 400, 800, 1600, 3200]}
    return tuned(split, clock, grid, lambda settings, events: _fitted(CosineRecommender(**settings), events))


def item_knn_bm25(split: Split, clock: Clock) -> Outcome:
    grid = {
        "K": [20, 50, 100, 200, 400, 800, 1600],
        "K1": [1.2, 0.1, 0.4, 4.0, 12.0, 40.0, 100.0],
        "B": [0.2, 0.0, 0.5, 0.75, 1.0],
    }
    return tuned(split, clock, grid, lambda settings, events: _fitted(BM25Recommender(**settings), events))


def _fitted(model: Any, events: Events) -> Recommender:
    matrix = events.matrix()
    model.fit(matrix, show_progress=False)

    def recommend(users: np.ndarray, k: int, candidates: np.ndarray | None) -> np.ndarray:
        allowed = None if candidates is None else np.flatnonzero(candidates)
        found = []
        for batch in batches(users, events.num_items):
            items, scores = model.recommend(batch, matrix[batch], N=k, items=allowed)
            found.append(np.where(scores > -1e37, items, PAD).astype(np.int32))
        return np.concatenate(found)

    return recommend


if __name__ == "__main__":
    models = {"als": als, "bpr": bpr, "item_knn_cosine": item_knn_cosine, "item_knn_bm25": item_knn_bm25}
    serve(models, ("implicit", "numpy", "scipy"))
