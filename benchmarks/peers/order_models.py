"""Rivals of a few plain lines that read the order of a history: Markov chain, decayed EASE, session neighbours, and a blend.

In: a split. Out: lists. All run in either environment.
"""

# ruff: noqa: ARG001, ARG005 - every weight and every score takes the same arguments, needed or not

from __future__ import annotations

from typing import Any

import numpy as np
from choosing import by_scores, tuned
from exchange import CannotRunError, Clock, Events, Outcome, Recommender, Requests, Settings, Split, Stage, serve
from scipy import sparse
from simple_models import _counts, centred, sharpened

HOUR = 3_600_000_000
DAY = 24 * HOUR
MAX_ITEMS = 20_000
"""Items of a dense item-to-item matrix."""
LONGEST = 100
"""Latest events that a neighbour search reads as the current session."""


def markov(split: Split, clock: Clock) -> Outcome:
    """Counts of what followed within a few events, nearer ones more, over the last items of a history."""
    grid = {
        "steps": [1, 2, 3, 5, 10],
        "decay": [0.7, 0.5, 0.9, 1.0],
        "half_life": [1.0, 0.5, 2.0, 4.0],
        "power": [0.5, 0.0, 1.0],
        "target_power": [0.0, 0.25, 0.5],
    }

    def fit(settings: Settings, stage: Stage) -> Recommender:
        chain = _followed(stage.learn, settings["steps"], settings["decay"])
        counts = np.maximum(stage.learn.popularity(), 1)
        left, right = (sparse.diags(counts ** -settings[name]) for name in ("power", "target_power"))
        chain = (left @ chain @ right).tocsr()
        return by_scores(lambda asked: (asked.history.decayed(settings["half_life"]) @ chain).toarray(), stage)

    return tuned(split, clock, grid, fit, bounds={"decay": (0, 1), "steps": (1, 50), "half_life": (0.1, 1000)})


def plain_ease(split: Split, clock: Clock) -> Outcome:
    """EASE (Steck, 2019), every event of a history alike."""
    return _ease(split, clock, {"regularization": [500.0, 200.0, 1000.0], "half_life": [0]})


def ease_decayed(split: Split, clock: Clock) -> Outcome:
    """EASE whose history is read with a half-life in events; 0 reads all alike."""
    return _ease(split, clock, {"regularization": [500.0, 200.0, 1000.0], "half_life": [3.0, 0, 1.0, 10.0, 30.0]})


def _ease(split: Split, clock: Clock, grid: dict[str, list[Any]]) -> Outcome:
    _check_size(split)
    fitted: dict[Any, np.ndarray] = {}

    def fit(settings: Settings, stage: Stage) -> Recommender:
        key = (id(stage), settings["regularization"])
        if key not in fitted:
            fitted.clear()
            fitted[key] = ease(stage.learn, settings["regularization"])
        weights = fitted[key]
        return by_scores(lambda asked: asked.history.decayed(settings["half_life"]) @ weights, stage)

    return tuned(split, clock, grid, fit)


def blend(split: Split, clock: Clock) -> Outcome:
    """What a shop's engineer makes in an afternoon: z-scores of item neighbours, sharpened content, EASE and recency popularity, weighed on validation."""
    _check_size(split)
    grid: dict[str, list[Any]] = {
        "neighbours": [1.0],
        "half_life": [0, 1.0, 3.0, 10.0],
        "ease": [1.0, 0, 0.3, 3.0],
        "popularity": [0.1, 0, 0.3, 1.0],
        "window_days": [7, 1, 30, 0.25],
        "content": [0.1, 0, 0.3, 1.0],
        "chain": [0.3, 0, 0.1, 1.0, 3.0],
    }
    try:
        similar = sharpened(next(iter(centred(split).values())), 8.0)
    except CannotRunError:
        similar, grid["content"] = None, [0]
    has_moment = split.facts["has_time"]
    moment = "request" if split.validation.requests.at.any() else "last seen"
    if not has_moment:
        grid |= {"popularity": [0], "window_days": [0]}
    kept: dict[int, tuple] = {}

    def fit(settings: Settings, stage: Stage) -> Recommender:
        if id(stage) not in kept:
            kept.clear()
            counts = np.maximum(stage.learn.popularity(), 1)
            scale = sparse.diags(counts**-0.5)
            both = (scale @ (stage.learn.matrix().T @ stage.learn.matrix()) @ scale).toarray().astype(np.float32)
            np.fill_diagonal(both, 0)
            chain = sparse.diags(counts**-0.5) @ _followed(stage.learn, 3, 0.7)
            kept[id(stage)] = (both, ease(stage.learn, 500.0), chain.tocsr())
        both, weights, chain = kept[id(stage)]

        def score(asked: Requests) -> np.ndarray:
            history = asked.history.decayed(settings["half_life"])
            total = settings["neighbours"] * _z(history @ both)
            if settings["ease"]:
                total += settings["ease"] * _z(history @ weights)
            if settings["content"] and similar is not None:
                total += settings["content"] * _z(history @ similar)
            if settings["chain"]:
                total += settings["chain"] * _z((asked.history.decayed(1.0) @ chain).toarray())
            if settings["popularity"]:
                recent = {"moment": moment, "window_days": settings["window_days"]}
                total += settings["popularity"] * _z(_counts(recent, stage, asked))
            return total

        return by_scores(score, stage)

    return tuned(split, clock, grid, fit)


def vsknn(split: Split, clock: Clock) -> Outcome:
    """Vector session kNN: similarity of the current session's items, weighed by their place, and scores by the place of the latest shared item.

    Source: Ludewig and Jannach, 2018, "Evaluation of Session-based Recommendation Algorithms"; grid of their session-rec.
    """
    grid: dict[str, list[Any]] = {
        "session": _session_kinds(split),
        "k": [100, 50, 500, 1000, 1500],
        "sample_size": [1000, 500, 2500, 5000, 10000],
        "weighting": ["div", "same", "linear", "quadratic", "log"],
        "weighting_score": ["div", "same", "linear", "quadratic", "log"],
        "idf_weighting": [0, 1, 2, 5, 10],
    }
    return tuned(split, clock, grid, lambda settings, stage: _neighbour_lists(settings, stage, _vsknn_scores))


def stan(split: Split, clock: Clock) -> Outcome:
    """Sequence and time aware neighbourhood: decays by place in the current session, age of the neighbour, and distance to the shared item.

    Source: Garg et al., 2019, "Sequence and Time Aware Neighborhood for Session-based Recommendations"; grid of session-rec. We add lambda_snh = 0,
    no decay by age: where the time of a request is hidden, a decay of days leaves nothing of neighbours who came years before or after.
    """
    grid: dict[str, list[Any]] = {
        "session": _session_kinds(split),
        "k": [500, 100, 200, 1000, 2000],
        "sample_size": [2500, 1000, 5000, 10000],
        "lambda_spw": [0.905, 0.00001, 0.4525, 1.81, 3.62, 7.24],
        "lambda_snh": [5.0, 0, 2.5, 10.0, 20.0, 40.0, 80.0, 100.0] if split.facts["has_time"] else [0],
        "lambda_inh": [0.905, 0.00001, 0.4525, 1.81, 3.62, 7.24],
    }
    return tuned(split, clock, grid, lambda settings, stage: _neighbour_lists(settings, stage, _stan_scores))


def ease(events: Events, regularization: float) -> np.ndarray:
    """Return (history, candidates) weights of EASE."""
    matrix = events.matrix()
    gram = (matrix.T @ matrix).toarray().astype(np.float32)
    gram[np.diag_indices_from(gram)] += regularization
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def _followed(events: Events, steps: int, decay: float) -> sparse.csr_matrix:
    """Return (item, next item) counts of pairs at most `steps` apart in a history, decay ** (distance - 1) each."""
    total = sparse.csr_matrix((events.num_items, events.num_items), dtype=np.float32)
    for distance in range(1, steps + 1):
        same = events.user[distance:] == events.user[:-distance]
        cells = (events.item[:-distance][same], events.item[distance:][same])
        weight = np.full(len(cells[0]), decay ** (distance - 1), np.float32)
        total = total + sparse.csr_matrix((weight, cells), total.shape)
    return total


def _z(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean(axis=1, keepdims=True)) / np.maximum(scores.std(axis=1, keepdims=True), 1e-9)


def _check_size(split: Split) -> None:
    if split.num_items > MAX_ITEMS:
        raise CannotRunError(f"needs a dense matrix of {split.num_items:,} items, more than {MAX_ITEMS:,}")


def _session_kinds(split: Split) -> list[str]:
    """Return what a session may be: events less than an hour apart where times are finer than a day, else the whole history."""
    at = split.validation.learn.at
    fine = split.facts["has_time"] and bool((at % DAY != 0).any())
    return ["hour", "history"] if fine else ["history"]


class _Sessions:
    """Past sessions, one row each.

    Attributes:
        start: (sessions + 1,) first event of each.
        item, place: (events,) item, and its place in the session from 0.
        at: (sessions,) time of the last event.
        of_item: Item to the sessions that hold it, and its last place there.
    """

    def __init__(self, events: Events, kind: str) -> None:
        new = np.diff(events.user, prepend=-1) != 0
        if kind == "hour":
            new |= np.diff(events.at, prepend=0) >= HOUR
        first = np.flatnonzero(new)
        self.start = np.append(first, len(events))
        session = np.cumsum(new) - 1
        self.item, self.place = events.item, np.arange(len(events)) - first[session]
        self.length, self.at = np.diff(self.start), events.at[self.start[1:] - 1]
        order = np.argsort(events.item, kind="stable")
        self.sorted_session, self.sorted_place = session[order], self.place[order]
        self.offsets = np.searchsorted(events.item[order], np.arange(events.num_items + 1))
        held = np.maximum(np.bincount(events.item, minlength=events.num_items), 1)
        self.idf = np.log(len(first) / held)

    def holding(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sessions that hold each of the items, as (session, place within `items`) pairs."""
        lengths = self.offsets[items + 1] - self.offsets[items]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(self.offsets[items] - starts[:-1], lengths) + np.arange(starts[-1])
        return self.sorted_session[rows], np.repeat(np.arange(len(items)), lengths)

    def events_of(self, sessions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the events of the sessions, and which of the sessions each belongs to."""
        lengths = self.length[sessions]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(self.start[sessions] - starts[:-1], lengths) + np.arange(starts[-1])
        return rows, np.repeat(np.arange(len(sessions)), lengths)


_fitted_sessions: dict[Any, _Sessions] = {}


def _neighbour_lists(settings: Settings, stage: Stage, score_one: Any) -> Recommender:
    key = (id(stage.learn), settings["session"])
    if key not in _fitted_sessions:
        if len(_fitted_sessions) > 1:
            _fitted_sessions.clear()
        _fitted_sessions[key] = _Sessions(stage.learn, settings["session"])
    past = _fitted_sessions[key]

    def score(asked: Requests) -> np.ndarray:
        scores = np.zeros((len(asked), stage.learn.num_items), np.float32)
        offsets, moments = asked.history.offsets(), asked.moments()
        for row in range(len(asked)):
            start, stop = offsets[row], offsets[row + 1]
            if stop == start:
                continue
            items = asked.history.item[start:stop]
            if settings["session"] == "hour":
                gaps = np.flatnonzero(np.diff(asked.history.at[start:stop]) >= HOUR)
                items = items[gaps[-1] + 1 :] if len(gaps) else items
            recent = items[::-1]
            unique = recent[np.sort(np.unique(recent, return_index=True)[1])][:LONGEST]  # latest first
            scores[row] = score_one(settings, past, unique, moments[row], scores.shape[1])
        return scores

    return by_scores(score, stage)


def _nearest(
    settings: Settings, past: _Sessions, items: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return candidate sessions (the most recent that share an item), their sums of weights, and the place of their latest shared item."""
    session, place = past.holding(items)
    order = np.argsort(session, kind="stable")
    session, place = session[order], place[order]
    first = np.flatnonzero(np.diff(session, prepend=-1))
    found = session[first]
    if not len(found):
        return found, np.zeros(0), found
    summed, latest = np.add.reduceat(weight[place], first), np.minimum.reduceat(place, first)
    if len(found) > settings["sample_size"]:
        kept = np.argpartition(-past.at[found], settings["sample_size"] - 1)[: settings["sample_size"]]
        found, summed, latest = found[kept], summed[kept], latest[kept]
    return found, summed, latest


def _best(similarity: np.ndarray, k: int) -> np.ndarray:
    return np.argpartition(-similarity, k - 1)[:k] if len(similarity) > k else np.arange(len(similarity))


PLACE_WEIGHT = {
    "same": lambda step, length: np.ones(len(step)),
    "div": lambda step, length: (length - step) / length,
    "linear": lambda step, length: np.maximum(1 - 0.1 * step, 0),
    "quadratic": lambda step, length: ((length - step) / length) ** 2,
    "log": lambda step, length: 1 / np.log10(step + 1.7),
}
"""Weight of the event that is `step` before the last one of a session of some length."""
SCORE_WEIGHT = {
    "same": lambda step: np.ones(len(step)),
    "div": lambda step: 1 / (step + 1),
    "linear": lambda step: np.maximum(1 - 0.1 * (step + 1), 0),
    "quadratic": lambda step: 1 / (step + 1) ** 2,
    "log": lambda step: 1 / np.log10(step + 1 + 1.7),
}
"""Weight of a neighbour whose latest shared item is `step` before the last event of the current session."""


def _vsknn_scores(settings: Settings, past: _Sessions, items: np.ndarray, moment: int, num_items: int) -> np.ndarray:
    weight = PLACE_WEIGHT[settings["weighting"]](np.arange(len(items)), len(items))
    found, summed, latest = _nearest(settings, past, items, weight)
    kept = _best(summed, settings["k"])
    strength = summed[kept] / len(items) * SCORE_WEIGHT[settings["weighting_score"]](latest[kept])
    rows, owner = past.events_of(found[kept])
    scores = np.bincount(past.item[rows], strength[owner], num_items)
    return scores * (1 + settings["idf_weighting"] * past.idf)


def _stan_scores(settings: Settings, past: _Sessions, items: np.ndarray, moment: int, num_items: int) -> np.ndarray:
    weight = np.exp(-np.arange(len(items)) / settings["lambda_spw"])
    found, summed, latest = _nearest(settings, past, items, weight)
    cosine = summed / (np.sqrt((weight**2).sum()) * np.sqrt(past.length[found]))
    similarity = cosine
    if moment and settings["lambda_snh"]:
        # where a split lets later sessions be learned from, the distance in time counts either way
        similarity = cosine * np.exp(-np.abs(moment - past.at[found]) / (settings["lambda_snh"] * DAY))
    kept = _best(similarity, settings["k"])
    rows, owner = past.events_of(found[kept])
    shared = np.full(len(kept), 0)
    is_latest = past.item[rows] == items[latest[kept]][owner]
    shared[owner[is_latest]] = past.place[rows][is_latest]
    distance = np.abs(past.place[rows] - shared[owner])
    return np.bincount(past.item[rows], similarity[kept][owner] * np.exp(-distance / settings["lambda_inh"]), num_items)


if __name__ == "__main__":
    serve(
        {
            "markov": markov,
            "ease": plain_ease,
            "ease_decayed": ease_decayed,
            "blend": blend,
            "vsknn": vsknn,
            "stan": stan,
        },
        ("numpy", "scipy"),
    )
