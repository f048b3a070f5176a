"""The two baselines that need no library: what everyone takes, and what everyone takes these days.

In: a split. Out: lists. Both run in either environment.
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


if __name__ == "__main__":
    serve({"popularity": popularity, "recency_popularity": recency_popularity}, ("numpy",))
