"""How a peer's settings are chosen, and how scores become lists.

In: a grid, and a function that fits one setting. Out: the lists of the setting that did best on validation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from exchange import PAD, Clock, Events, K, Outcome, Recommender, Requests, Settings, Split, Stage

AT = 10
"""Length by which settings are chosen on validation."""
BATCH_CELLS = 20_000_000
"""Scores held at once: 80 MB."""
MAX_STEPS = 6
"""How often a grid is continued at an edge that was chosen."""
ANY = (0.0, float("inf"))


def tuned(
    split: Split,
    clock: Clock,
    grid: Mapping[str, list[Any]],
    fit: Callable[[Settings, Stage], Recommender],
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    epochs: str | None = None,
) -> Outcome:
    """Choose settings on validation, one at a time in the grid's order, then fit on all that is known.

    A grid of numbers whose best value is its smallest or largest is continued in that direction, by the same factor, until the edge is not
    the best any more.

    Args:
        split: What may be known.
        clock: With too little time left for another try and the last fit, the best so far is taken.
        grid: Setting to its values, the published one first.
        fit: Settings and a stage to a recommender.
        bounds: Setting to its smallest and largest sensible value; 0 and infinity where not given.
        epochs: Setting that counts passes over the data.
    """
    stage, scores, longest = split.validation, {}, 0.0
    assert stage.truth is not None
    truth = stage.truth

    def score(settings: Settings) -> float:
        nonlocal longest
        key = json.dumps(settings, sort_keys=True)
        if key not in scores:
            began = time.process_time()
            lists = fit(settings, stage)(stage.requests, AT, stage.candidates)
            scores[key] = ndcg(lists, truth, AT)
            longest = max(longest, time.process_time() - began)
            print(f"  {settings}: validation NDCG@{AT} {scores[key]:.4f}, {clock.seconds:.0f} s", flush=True)
        return scores[key]

    best = {name: values[0] for name, values in grid.items()}
    score(best)
    untried, edges = False, []
    for name, values in grid.items():
        tried, limits = list(values), (bounds or {}).get(name, ANY)
        waiting = tried[1:]
        while waiting and not untried:
            if clock.is_up((2 + len(split.tests)) * longest):
                untried = True
                break
            best = max(best, {**best, name: waiting.pop(0)}, key=score)
            if not waiting and len(tried) < len(values) + MAX_STEPS:
                waiting = continued(tried, best[name], limits)
                tried += waiting
        if continued(tried, best[name], limits):
            edges.append(name)
    tune_seconds = clock.seconds
    lists, fit_seconds, recommend_seconds = answered(split, lambda stage: fit(best, stage))
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


def continued(values: list[Any], best: Any, limits: tuple[float, float]) -> list[Any]:
    """Return the next value of a grid whose best one is at its edge: by the factor of the last step there; nothing for names and 0."""
    numbers = sorted(v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and v > 0)
    if len(numbers) != len([v for v in values if v != 0]) or len(numbers) < 2 or best not in (numbers[0], numbers[-1]):
        return []
    if best == numbers[0] and 0 in values:
        return []
    step = best * (numbers[0] / numbers[1] if best == numbers[0] else numbers[-1] / numbers[-2])
    step = round(step) if all(isinstance(v, int) for v in numbers) else float(f"{step:.3g}")
    step = type(step)(min(max(step, limits[0]), limits[1]))
    return [] if step <= 0 or step in values else [step]


def answered(split: Split, fit: Callable[[Stage], Recommender]) -> tuple[np.ndarray, float, float]:
    """Return the lists of all stages of the test, and the seconds of their fits and of the lists."""
    lists, fit_seconds, recommend_seconds = [], 0.0, 0.0
    for stage in split.tests:
        recommender, seconds = timed(lambda stage=stage: fit(stage))
        fit_seconds += seconds
        own, seconds = timed(lambda stage=stage, r=recommender: r(stage.requests, K, stage.candidates))
        recommend_seconds += seconds
        lists.append(own)
    return np.concatenate(lists), fit_seconds, recommend_seconds


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what the work gave, and its seconds."""
    began = time.process_time()
    return work(), time.process_time() - began


def by_scores(score: Callable[[Requests], np.ndarray], stage: Stage) -> Recommender:
    """Return the recommender that ranks by a full table of scores; where all are equal, by popularity.

    Args:
        score: Requests to (requests, items), for a batch of requests.
        stage: What was learned, for the popularity.
    """

    def recommend(requests: Requests, k: int, candidates: np.ndarray | None) -> np.ndarray:
        found = []
        for batch in batches(requests, stage.learn.num_items):
            scores = np.array(score(batch), np.float32)
            left_out = batch.history.matrix().astype(bool).toarray()
            if candidates is not None:
                left_out |= ~candidates
            lowest = np.where(left_out, np.inf, scores).min(axis=1)
            says_nothing = np.where(left_out, -np.inf, scores).max(axis=1) <= lowest
            scores[says_nothing] = stage.popular
            scores[left_out] = -np.inf
            found.append(top_k(scores, k))
        return np.concatenate(found)

    return recommend


def batches(requests: Requests, num_items: int) -> Iterator[Requests]:
    """Yield requests in groups whose scores fit in `BATCH_CELLS`."""
    size = max(1, BATCH_CELLS // max(num_items, 1))
    for start in range(0, len(requests), size):
        yield requests.take(np.arange(start, min(start + size, len(requests))))


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the k best columns of each row, best first, equal scores by column, -1 for -inf."""
    width = min(k, scores.shape[1])
    found = np.sort(np.argpartition(-scores, width - 1, axis=1)[:, :width], axis=1)
    order = np.argsort(-np.take_along_axis(scores, found, 1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, 1).astype(np.int32)
    found[np.isneginf(np.take_along_axis(scores, found, 1))] = PAD
    return np.pad(found, ((0, 0), (0, k - width)), constant_values=PAD)


def ndcg(lists: np.ndarray, truth: Events, k: int) -> float:
    """Return the mean over requests of NDCG@k, binary gains; for choosing only, tables are scored by `penchant.metrics`."""
    wanted = truth.matrix()
    rows = np.arange(len(lists))[:, None]
    hits = np.asarray(wanted[rows, np.maximum(lists[:, :k], 0)].todense()) * (lists[:, :k] != PAD)
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(wanted.getnnz(axis=1), k) - 1]
    return float(np.mean(hits @ discount / ideal))


def from_table(num_rows: int, row: np.ndarray, item: np.ndarray, k: int) -> np.ndarray:
    """Return (rows, k) lists from long rows that stand best first within each row."""
    lists = np.full((num_rows, k), PAD, np.int32)
    order = np.argsort(row, kind="stable")
    place = row[order]
    rank = np.arange(len(place)) - np.searchsorted(place, place)
    kept = rank < k
    lists[place[kept], rank[kept]] = item[order][kept]
    return lists
