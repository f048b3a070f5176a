"""The baselines that need no library: what everyone takes, what everyone takes these days, and what looks like what the user took.

In: a split. Out: lists. All run in either environment.
"""

from __future__ import annotations

import numpy as np
from choosing import by_scores, tuned
from exchange import CannotRunError, Clock, Events, Outcome, Recommender, Settings, Split, serve

DAY = 86_400_000_000


def popularity(split: Split, clock: Clock) -> Outcome:
    def fit(_: Settings, events: Events) -> Recommender:
        counts = np.bincount(events.item, minlength=events.num_items).astype(np.float32)
        return by_scores(lambda users: np.tile(counts, (len(users), 1)), events)

    return tuned(split, clock, {}, fit)


def recency_popularity(split: Split, clock: Clock) -> Outcome:
    """Popularity up to a moment, events halved every `half_life_days`: when the user was last seen, or the end of what is known."""
    if not split.facts["has_time"]:
        raise CannotRunError("needs times, this data has none")
    grid = {"moment": ["last seen", "end"], "half_life_days": [30, 0.1, 0.5, 2, 7, 90, 365, 1460]}
    return tuned(split, clock, grid, _fit_recency)


def _fit_recency(settings: Settings, events: Events) -> Recommender:
    last = np.zeros(events.num_users, np.int64)
    np.maximum.at(last, events.user, events.at)
    last[(last == 0) | (settings["moment"] == "end")] = events.at.max()
    order = np.argsort(events.at, kind="stable")
    at, item = events.at[order], events.item[order]
    rate = np.log(2) / (settings["half_life_days"] * DAY)

    def score(users: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(users), events.num_items), np.float32)
        counts, now, start = np.zeros(events.num_items), int(at[0]), 0
        for row in np.argsort(last[users], kind="stable"):
            moment = last[users[row]]
            stop = np.searchsorted(at, moment, side="right")
            counts *= np.exp(-rate * (moment - now))
            weight = np.exp(-rate * (moment - at[start:stop]))
            counts += np.bincount(item[start:stop], weight, events.num_items)
            scores[row], now, start = counts, moment, stop
        return scores

    return by_scores(score, events)


def content_knn(split: Split, clock: Clock) -> Outcome:
    """Items whose content is nearest to the history's: cosine of one channel, or of all side by side, each of unit length."""
    vectors = {name: _unit(*channel) for name, channel in split.content().items()}
    vectors["all"] = np.hstack(list(vectors.values())) / np.sqrt(len(vectors))
    grid = {
        "channel": ["all", *split.channels()],
        "neighbours": [100, 5, 10, 20, 300, 1000, split.num_items],
        "last": [0, 5, 20],
    }
    return tuned(
        split, clock, grid, lambda settings, events: _fitted_knn(settings, events, vectors[settings["channel"]])
    )


def _unit(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    values = np.where(present[:, None], values, 0.0)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _fitted_knn(settings: Settings, events: Events, vectors: np.ndarray) -> Recommender:
    """Keep each item's nearest, and sum them over the last items of a history; 0 takes the whole history."""
    similar = (vectors @ vectors.T).astype(np.float32)
    np.fill_diagonal(similar, 0)
    width = min(settings["neighbours"], len(similar))
    lowest = np.partition(similar, -width, axis=1)[:, -width, None]
    weights = np.where(similar >= lowest, similar, 0)  # (history, candidates)
    history = events.matrix()
    if settings["last"]:
        from_end = events.offsets()[events.user + 1] - 1 - np.arange(len(events))
        kept = from_end < settings["last"]
        recent = Events(events.user[kept], events.item[kept], events.at[kept], events.num_users, events.num_items)
        history = recent.matrix()
    return by_scores(lambda users: history[users] @ weights, events)


if __name__ == "__main__":
    models = {"popularity": popularity, "recency_popularity": recency_popularity, "content_knn": content_knn}
    serve(models, ("numpy",))
