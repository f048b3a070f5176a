"""Recall and NDCG of the sample world worked out a second time, from its CSV files and without a line of the library.

In: the folder of a world. Out: what is known of each user and what comes next, plain baselines, and their numbers.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

WEIGHT = {"view": 0.5, "click": 0.5, "like": 1.0, "cart": 0.8, "purchase": 1.0, "skip": -0.5}
K = 20
Events = list[tuple[int, float]]


class PlainWorld:
    """Of each user's n events in time the last n / 10 are the test, the n / 10 before them validation.

    Events of unknown items, repeated rows, and a user with over 120 events in a minute are left out; an impossible time is the oldest.

    Attributes:
        train: User to (item row, weight), oldest first.
        known: The same with validation: what is known before the test.
        next: User to the items that were welcome in validation.
        wanted: User to the items that were welcome in the test.
    """

    def __init__(self, world: Path) -> None:
        with (world / "items.csv").open() as file:
            self.items = [row["item_id"] for row in csv.DictReader(file)]
        place = {item: row for row, item in enumerate(self.items)}
        with (world / "interactions.csv").open() as file:
            events = {
                (r["user_id"], r["at"] if "1990" < r["at"] < "2026" else "", r["item_id"], r["kind"])
                for r in csv.DictReader(file)
                if r["item_id"] in place
            }
        machines = {user for (user, _), n in Counter((u, at[:16]) for u, at, _, _ in events).items() if n > 120}
        by_user: dict[str, Events] = defaultdict(list)
        for user, _, item, kind in sorted(events):
            if user not in machines:
                by_user[user].append((place[item], WEIGHT[kind]))
        self.train: dict[str, Events] = {}
        self.known: dict[str, Events] = {}
        self.next: dict[str, set[int]] = {}
        self.wanted: dict[str, set[int]] = {}
        for user, all_ in by_user.items():
            held = max(1, round(len(all_) / 10)) if len(all_) >= 3 else 0
            first, second = len(all_) - 2 * held, len(all_) - held
            self.train[user], self.known[user] = all_[:first], all_[:second]
            self.next[user] = {item for item, weight in all_[first:second] if weight > 0}
            self.wanted[user] = {item for item, weight in all_[second:] if weight > 0}

    def matrix(self, part: Mapping[str, Events]) -> np.ndarray:
        """Return (users, items): the sum of the weights of one user's events with one item."""
        out = np.zeros((len(part), len(self.items)))
        for row, events in enumerate(part.values()):
            for item, weight in events:
                out[row, item] += weight
        return out

    def measure(
        self, scores: np.ndarray, known: Mapping[str, Events], wanted: Mapping[str, set[int]]
    ) -> tuple[float, float]:
        """Return mean Recall@20 and NDCG@20; known items are left out, equal scores are in the order of a hash."""
        ties = pl.Series(self.items).hash(0).to_numpy()
        recalls, gains = [], []
        for row, (user, events) in enumerate(known.items()):
            if not wanted[user]:
                continue
            seen = {item for item, _ in events}
            best = [item for item in np.lexsort((ties, -scores[row])) if item not in seen][:K]
            hits = [rank for rank, item in enumerate(best, start=1) if item in wanted[user]]
            ideal = sum(1 / np.log2(rank + 1) for rank in range(1, min(K, len(wanted[user])) + 1))
            recalls.append(len(hits) / len(wanted[user]))
            gains.append(sum(1 / np.log2(rank + 1) for rank in hits) / ideal)
        return float(np.mean(recalls)), float(np.mean(gains))

    def best(self, scorers: list) -> tuple[float, float]:
        """Return the test's numbers of the scorer with the highest NDCG on validation."""

        def validation(scorer) -> float:
            return self.measure(scorer(self.matrix(self.train)), self.train, self.next)[1]

        return self.measure(max(scorers, key=validation)(self.matrix(self.known)), self.known, self.wanted)


def popularity(users_items: np.ndarray) -> np.ndarray:
    return np.tile(np.maximum(users_items, 0).sum(0), (len(users_items), 1))


def ease(users_items: np.ndarray, regularisation: float) -> np.ndarray:
    liked = np.clip(users_items, 0, 1)
    inverse = np.linalg.inv(liked.T @ liked + regularisation * np.eye(liked.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return users_items @ weights


def item_knn(users_items: np.ndarray, neighbours: int, shrinkage: float) -> np.ndarray:
    met = (users_items > 0).astype(float)
    both = met.T @ met
    np.fill_diagonal(both, 0)
    cosine = both / np.sqrt(np.maximum(np.outer(met.sum(0), met.sum(0)), 1))
    for row in cosine:
        row[np.argsort(-row)[neighbours:]] = 0
    return users_items @ (cosine * both / np.maximum(both + shrinkage, 1e-9))
