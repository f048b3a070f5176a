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
from exchange import PAD, Clock, Outcome, Recommender, Requests, Settings, Split, Stage, serve
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from implicit.utils import ParameterWarning

warnings.simplefilter("ignore", ParameterWarning)  # it converts its own weighted matrix, and warns each time


def als(split: Split, clock: Clock) -> Outcome:
    """Histories are folded in by the library (`recalculate_user`), so that events after the fit count."""

    def make(settings: Settings) -> Any:
        return AlternatingLeastSquares(**settings, random_state=split.seed)

    grid = {
        "factors": [128, 32, 64, 256],
        "regularization": [1.0, 0.01, 0.1, 10.0, 30.0, 100.0],
        "alpha": [1.0, 0.3, 3.0, 10.0, 30.0],
        "iterations": [15, 30],
    }
    return tuned(
        split,
        clock,
        grid,
        lambda settings, stage: _fitted(make(settings), stage, recalculate_user=True),
        bounds={"factors": (8, 512), "iterations": (5, 60)},
        epochs="iterations",
    )


def bpr(split: Split, clock: Clock) -> Outcome:
    """One thread, since threads update the same factors in no fixed order. Knows users by their row: newer events are not seen."""

    def make(settings: Settings) -> Any:
        return BayesianPersonalizedRanking(**settings, random_state=split.seed, num_threads=1)

    grid = {
        "iterations": [100, 300],
        "learning_rate": [0.01, 0.03, 0.1],
        "regularization": [0.01, 0.003, 0.03],
        "factors": [100, 32, 200],
    }
    bounds = {"iterations": (50, 600), "factors": (8, 512)}
    return tuned(
        split, clock, grid, lambda settings, stage: _fitted(make(settings), stage), bounds=bounds, epochs="iterations"
    )


def item_knn_cosine(split: Split, clock: Clock) -> Outcome:
    grid = {"K": [20, 50, 100, 200, 400, 800, 1600]}
    bounds = {"K": (1, split.num_items)}
    return tuned(
        split, clock, grid, lambda settings, stage: _fitted(CosineRecommender(**settings), stage), bounds=bounds
    )


def item_knn_bm25(split: Split, clock: Clock) -> Outcome:
    grid = {
        "K": [20, 50, 100, 200, 400, 800, 1600],
        "K1": [1.2, 0.1, 0.4, 4.0, 12.0, 40.0, 100.0],
        "B": [0.2, 0.0, 0.5, 0.75, 1.0],
    }
    bounds = {"K": (1, split.num_items), "B": (0, 1)}
    return tuned(split, clock, grid, lambda settings, stage: _fitted(BM25Recommender(**settings), stage), bounds=bounds)


def _fitted(model: Any, stage: Stage, **how: Any) -> Recommender:
    model.fit(stage.learn.matrix(), show_progress=False)

    def recommend(requests: Requests, k: int, candidates: np.ndarray | None) -> np.ndarray:
        allowed = None if candidates is None else np.flatnonzero(candidates)
        found = []
        for batch in batches(requests, stage.learn.num_items):
            # with users to recalculate, their numbers are not read; a model of users by row gives a history only to leave its items out
            items, scores = model.recommend(batch.user, batch.history.matrix(), N=k, items=allowed, **how)
            found.append(np.where((scores > -1e37) & _says_something(scores), items, PAD).astype(np.int32))
        return np.concatenate(found)

    return recommend


def _says_something(scores: np.ndarray) -> np.ndarray:
    """Return (requests, 1) whether a list's scores differ: an unknown user's are all 0, and such a list is the catalog's order."""
    return np.ptp(np.where(scores > -1e37, scores, scores.max(axis=1, keepdims=True)), axis=1, keepdims=True) > 0


if __name__ == "__main__":
    models = {"als": als, "bpr": bpr, "item_knn_cosine": item_knn_cosine, "item_knn_bm25": item_knn_bm25}
    serve(models, ("implicit", "numpy", "scipy"))
