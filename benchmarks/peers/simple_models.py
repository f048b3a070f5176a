"""Baselines that need no library: what everyone takes, what everyone takes these days, and what looks like what the user took.

In: a split. Out: lists. All run in either environment.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from choosing import by_scores, tuned
from exchange import CannotRunError, Clock, Log, Outcome, Recommender, Requests, Settings, Split, Stage, serve

DAY = 86_400_000_000
WINDOWS = [7, 0.25, 1, 3, 14, 30, 90]
HALF_LIVES = [30, 0.1, 0.5, 2, 7, 90, 365]


def popularity(split: Split, clock: Clock) -> Outcome:
    return tuned(
        split, clock, {}, lambda _, stage: by_scores(lambda asked: np.tile(stage.popular, (len(asked), 1)), stage)
    )


def popularity_of_days(days: float) -> Callable[[Split, Clock], Outcome]:
    """Return the bestseller list of the last days before the request."""
    return lambda split, clock: _recent(split, clock, {"moment": ["request"], "window_days": [days]})


def recency_popularity(split: Split, clock: Clock) -> Outcome:
    """As of the request: the best of windows and half-lives on validation."""
    return _recent(split, clock, {"moment": ["request"], "window_days": WINDOWS, "half_life_days": [0, *HALF_LIVES]})


def recency_popularity_last_seen(split: Split, clock: Clock) -> Outcome:
    """As of each user's own last event: for protocols that hide the moment."""
    return _recent(split, clock, {"moment": ["last seen"], "window_days": WINDOWS, "half_life_days": [0, *HALF_LIVES]})


def category_popularity(split: Split, clock: Clock) -> Outcome:
    """Recency popularity times the share of each item's categories in the user's history, to a power."""
    categories = split.categories()
    sizes = np.maximum(np.asarray(categories.sum(axis=1)).ravel(), 1)
    grid = {
        "moment": ["request"],
        "window_days": [30, 7, 90, 365],
        "half_life_days": [0, *HALF_LIVES],
        "power": [1.0, 0.5, 2.0],
        "half_life": [0, 3, 10],
    }

    def fit(settings: Settings, stage: Stage) -> Recommender:
        def score(asked: Requests) -> np.ndarray:
            liked = asked.history.decayed(settings["half_life"]) @ categories  # (requests, categories)
            share = np.asarray((liked @ categories.T).todense()) / sizes
            share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
            return _counts(settings, stage, asked) * (share + 1e-6) ** settings["power"]

        return by_scores(score, stage)

    return _with_times(split, clock, grid, fit)


def content_knn(split: Split, clock: Clock) -> Outcome:
    """Cosine of centred content to a power, summed over the history: one channel, or all side by side, each of unit length."""
    vectors = centred(split)
    grid = {"channel": list(vectors), "power": [4.0, 1.0, 2.0, 8.0, 12.0], "half_life": [0, 3, 10, 30]}
    similar: dict[tuple[str, float], np.ndarray] = {}

    def fit(settings: Settings, stage: Stage) -> Recommender:
        key = (settings["channel"], settings["power"])
        if key not in similar:
            similar.clear()
            similar[key] = sharpened(vectors[settings["channel"]], settings["power"])
        weights = similar[key]
        return by_scores(lambda asked: asked.history.decayed(settings["half_life"]) @ weights, stage)

    return tuned(split, clock, grid, fit)


def content_ridge(split: Split, clock: Clock) -> Outcome:
    """Each user's history regressed on the content of the items that were learned; popular items may count less in a history."""
    vectors = centred(split)
    grid = {
        "channel": list(vectors),
        "ridge": [10.0, 1.0, 100.0],
        "popularity_power": [0.0, 0.25, 0.5],
        "half_life": [0, 10],
    }

    def fit(settings: Settings, stage: Stage) -> Recommender:
        x = vectors[settings["channel"]].astype(np.float32)
        counts = stage.learn.popularity()
        warm = x[counts > 0]
        inverse = np.linalg.inv(warm.T @ warm + settings["ridge"] * np.eye(x.shape[1], dtype=np.float32))
        damp = (np.maximum(counts, 1) ** -settings["popularity_power"]).astype(np.float32)
        project = (damp[:, None] * x) @ inverse  # (items, dim)
        return by_scores(lambda asked: (asked.history.decayed(settings["half_life"]) @ project) @ x.T, stage)

    return tuned(split, clock, grid, fit)


def centred(split: Split) -> dict[str, np.ndarray]:
    """Return (items, dim) unit vectors less the mean of each channel, and "all" of them side by side where there are several."""
    found = {name: _unit(*channel) for name, channel in split.content().items()}
    if len(found) > 1:
        found = {"all": np.hstack(list(found.values())) / np.sqrt(len(found)), **found}
    return found


def sharpened(vectors: np.ndarray, power: float) -> np.ndarray:
    """Return (items, items) cosines to a power, negative ones and the item itself 0."""
    similar = np.maximum(vectors @ vectors.T, 0).astype(np.float32)
    np.fill_diagonal(similar, 0)
    return similar**power


def _unit(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    values = np.where(present[:, None], values, 0.0)
    values = np.where(present[:, None], values - values[present].mean(axis=0), 0.0)
    return (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _recent(split: Split, clock: Clock, grid: dict[str, list]) -> Outcome:
    def fit(settings: Settings, stage: Stage) -> Recommender:
        return by_scores(lambda asked: _counts(settings, stage, asked), stage)

    return _with_times(split, clock, grid, fit)


def _with_times(
    split: Split, clock: Clock, grid: dict[str, list], fit: Callable[[Settings, Stage], Recommender]
) -> Outcome:
    if not split.facts["has_time"]:
        raise CannotRunError("needs times, this data has none")
    if grid["moment"] == ["request"] and not split.validation.requests.at.any():
        raise CannotRunError("needs the time of the request, this protocol hides it")
    return tuned(split, clock, grid, fit)


def _counts(settings: Settings, stage: Stage, asked: Requests) -> np.ndarray:
    """Return (requests, items) what was taken before each moment; popularity of all time decides between equals."""
    asked = asked if settings["moment"] == "request" else Requests(asked.history, asked.user, np.zeros_like(asked.at))
    moments = asked.moments()
    moments[moments == 0] = stage.log.at[-1] + 1
    if settings.get("half_life_days"):
        counts = _halved(stage.log, moments, settings["half_life_days"] * DAY, len(stage.popular))
    else:
        counts = _windowed(stage.log, moments, settings["window_days"] * DAY, len(stage.popular))
    return counts + 1e-6 * stage.popular / stage.popular.max()


def _windowed(log: Log, moments: np.ndarray, width: float, num_items: int) -> np.ndarray:
    counts, now = np.zeros((len(moments), num_items), np.float32), np.zeros(num_items, np.float32)
    left = np.searchsorted(log.at, moments - int(width), "left")
    right = np.searchsorted(log.at, moments, "left")
    start = stop = 0
    for n, row in enumerate(np.argsort(moments, kind="stable")):
        if n == 0:
            start = stop = left[row]
        now += np.bincount(log.item[stop : right[row]], minlength=num_items)
        now -= np.bincount(log.item[start : left[row]], minlength=num_items)
        counts[row], start, stop = now, left[row], max(stop, right[row])
    return counts


def _halved(log: Log, moments: np.ndarray, half_life: float, num_items: int) -> np.ndarray:
    counts, sums = np.zeros((len(moments), num_items), np.float32), np.zeros(num_items)
    rate, start, now = np.log(2) / half_life, 0, int(log.at[0])
    right = np.searchsorted(log.at, moments, "left")
    for row in np.argsort(moments, kind="stable"):
        sums *= np.exp(-rate * (moments[row] - now))
        weight = np.exp(-rate * (moments[row] - log.at[start : right[row]]))
        sums += np.bincount(log.item[start : right[row]], weight, num_items)
        # scaled, so that the popularity of all time stays small beside it however short the half-life is
        counts[row], start, now = sums / max(sums.max(), 1e-300), max(start, right[row]), moments[row]
    return counts


if __name__ == "__main__":
    models = {
        "popularity": popularity,
        "popularity_7_days": popularity_of_days(7),
        "popularity_30_days": popularity_of_days(30),
        "recency_popularity": recency_popularity,
        "recency_popularity_last_seen": recency_popularity_last_seen,
        "category_popularity": category_popularity,
        "content_knn": content_knn,
        "content_ridge": content_ridge,
    }
    serve(models, ("numpy",))
