"""How a peer's settings are chosen, and how scores become lists.

In: a grid, and a function that fits one setting. Out: the lists of the setting that did best on validation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from exchange import PAD, Clock, Events, K, Outcome, Recommender, Settings, Split

AT = 10
"""Length by which settings are chosen on validation."""
BATCH_CELLS = 20_000_000
"""Scores held at once: 80 MB."""


def tuned(
    split: Split,
    clock: Clock,
    grid: Mapping[str, list[Any]],
    fit: Callable[[Settings, Events], Recommender],
    *,
    epochs: str | None = None,
) -> Outcome:
    """Choose settings on validation, one at a time in the grid's order, then fit on all that is known.

    Args:
        split: What may be known.
        clock: With too little time left for another try and the last fit, the best so far is taken.
        grid: Setting to its values, the published one first.
        fit: Settings and events to a recommender.
        epochs: Setting that counts passes over the data.
    """
    users, scores, longest = split.validation_users(), {}, 0.0

    def score(settings: Settings) -> float:
        nonlocal longest
        key = json.dumps(settings, sort_keys=True)
        if key not in scores:
            began = time.process_time()
            lists = fit(settings, split.train)(users, AT, split.validation_candidates)
            scores[key] = ndcg(lists, users, split.validation, AT)
            longest = max(longest, time.process_time() - began)
            print(f"  {settings}: validation NDCG@{AT} {scores[key]:.4f}, {clock.seconds:.0f} s", flush=True)
        return scores[key]

    best = {name: values[0] for name, values in grid.items()}
    score(best)
    untried = False
    for name, values in grid.items():
        for value in values[1:]:
            if clock.is_up(3 * longest):
                untried = True
                break
            best = max(best, {**best, name: value}, key=score)
    tune_seconds = clock.seconds
    edges = [name for name, values in grid.items() if len(values) > 2 and best[name] in (min(values), max(values))]
    recommender, fit_seconds = timed(lambda: fit(best, split.known))
    lists, recommend_seconds = timed(lambda: recommender(split.test_users, K, split.candidates))
    return Outcome(
        lists,
        best,
        score(best),
        fit_seconds,
        recommend_seconds,
        tune_seconds,
        best[epochs] if epochs else None,
        "clock" if untried else "epochs" if epochs else "closed form",
        [f"{name} is at the edge of its grid" for name in edges],
    )


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what the work gave, and its seconds."""
    began = time.process_time()
    return work(), time.process_time() - began


def by_scores(score: Callable[[np.ndarray], np.ndarray], known: Events) -> Recommender:
    """Return the recommender that ranks by a full table of scores.

    Args:
        score: Users to (users, items), for a batch of users.
        known: What each user has and is not recommended.
    """
    seen = known.matrix()

    def recommend(users: np.ndarray, k: int, candidates: np.ndarray | None) -> np.ndarray:
        found = []
        for batch in batches(users, known.num_items):
            scores = np.array(score(batch), np.float32)
            if candidates is not None:
                scores[:, ~candidates] = -np.inf
            scores[seen[batch].nonzero()] = -np.inf
            found.append(top_k(scores, k))
        return np.concatenate(found)

    return recommend


def batches(users: np.ndarray, num_items: int) -> Iterator[np.ndarray]:
    """Yield users in groups whose scores fit in `BATCH_CELLS`."""
    size = max(1, BATCH_CELLS // max(num_items, 1))
    for start in range(0, len(users), size):
        yield users[start : start + size]


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the k best columns of each row, best first, equal scores by column, -1 for -inf."""
    width = min(k, scores.shape[1])
    found = np.sort(np.argpartition(-scores, width - 1, axis=1)[:, :width], axis=1)
    order = np.argsort(-np.take_along_axis(scores, found, 1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, 1).astype(np.int32)
    found[np.isneginf(np.take_along_axis(scores, found, 1))] = PAD
    return np.pad(found, ((0, 0), (0, k - width)), constant_values=PAD)


def ndcg(lists: np.ndarray, users: np.ndarray, truth: Events, k: int) -> float:
    """Return the mean over users of NDCG@k, binary gains; for choosing only, tables are scored by `penchant.metrics`."""
    wanted = truth.matrix()[users]
    rows = np.arange(len(users))[:, None]
    hits = np.asarray(wanted[rows, np.maximum(lists[:, :k], 0)].todense()) * (lists[:, :k] != PAD)
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(wanted.getnnz(axis=1), k) - 1]
    return float(np.mean(hits @ discount / ideal))


def from_table(users: np.ndarray, user: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """Return (users, k) lists from long rows that stand best first within each user."""
    lists = np.full((len(users), k), PAD, np.int32)
    row = np.full(int(max(users.max(), user.max(initial=0))) + 1, -1)
    row[users] = np.arange(len(users))
    order = np.argsort(row[user], kind="stable")
    place = row[user][order]
    rank = np.arange(len(place)) - np.searchsorted(place, place)
    kept = (place >= 0) & (rank < k)
    lists[place[kept], rank[kept]] = item[order][kept]
    return lists
