"""Alarms about the quality of lists: how often there is one while nothing changes, and after how many requests a worse model is told.

In: a bundle (`penchant demo`, or a run on real data). Out: false alarms on a stationary stream of choices; for models that are worse by a known part, the choices that
were looked up until the alarm.

    python benchmarks/quality_alarms.py runs/demo --events 100000 --changes 20

Each choice is one of its user's own history, looked up in the list made without it by the served model, by popularity, and by a copy of the model from the start. A worse
model is the served one with noise in its scores: the noise is set so that the mean NDCG@10 falls by the part that is asked for.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penchant.metrics.ranking import discounted_gain
from penchant.models.ensemble import top_k
from penchant.recommender.recommender import Recommender
from penchant.service.watching import LIST, QUALITY, EventWatcher

MAX_USERS = 600
"""Users whose choices are drawn; each choice of each is ranked once for each model."""
BEFORE = 2000
"""Choices before a change."""
AFTER = 10_000
"""Choices after a change within which an alarm counts."""


@dataclass(frozen=True)
class Choices:
    """Choices with the scores of the model that is served, standardised for each of them.

    Attributes:
        users: (choices,) ids.
        items: (choices,) rows.
        scores: (choices, items) of the model without the choice; what the user had otherwise is -inf.
        popular: (choices,) NDCG@10 of popularity.
    """

    users: list[str]
    items: np.ndarray
    scores: np.ndarray
    popular: np.ndarray

    def gains(self, rng: np.random.Generator, noise: float = 0.0) -> np.ndarray:
        """Return the NDCG@10 of each choice for the model with noise of so many standard deviations in its scores."""
        scores = self.scores + (noise * rng.standard_normal(self.scores.shape) if noise else 0.0)
        return gains(scores.astype(np.float32), self.items)


def gains(scores: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the NDCG@10 of one wanted item in each row of scores."""
    found = top_k(scores, LIST, [""] * len(scores)).item_index == items[:, None]
    return np.array([discounted_gain(np.flatnonzero(row), LIST).sum() for row in found])


def choices(recommender: Recommender, rng: np.random.Generator) -> Choices:
    """Return every choice of some users with the scores of the list before it."""
    histories = recommender.histories
    popularity = np.bincount(histories.item_index, minlength=len(recommender.catalog)).astype(np.float32)
    people = np.flatnonzero(histories.lengths() > 1)
    users, items, scores, popular = [], [], [], []
    for user in rng.choice(people, min(MAX_USERS, len(people)), replace=False):
        one = histories.rows(int(user), int(user) + 1)
        place = int(rng.integers(1, one.num_events))
        row = int(one.item_index[place])
        if row in one.item_index[:place]:
            continue
        ids = recommender.catalog.item_ids
        before = recommender.history_of([ids[i] for i in one.item_index[:place]])
        found = np.array(recommender.score(before)[0], np.float64)
        found = (found - found.mean()) / max(float(found.std()), 1e-9)
        shown = popularity.copy()
        for values in (found, shown):
            values[before.item_index] = -np.inf
        users.append(histories.user_ids[int(user)])
        items.append(row)
        scores.append(found)
        popular.append(gains(shown[None], np.array([row]))[0])
    return Choices(users, np.array(items), np.array(scores), np.array(popular))


def noise_for(found: Choices, wanted: float, rng: np.random.Generator) -> float:
    """Return the noise with which the mean NDCG@10 is nearest to the wanted one."""
    low, high = 0.0, 50.0
    for _ in range(14):
        middle = (low + high) / 2
        if found.gains(rng, middle).mean() > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--events", type=int, default=100_000, help="of the stationary stream")
    parser.add_argument("--changes", type=int, default=20, help="for each part")
    parser.add_argument("--parts", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0], help="by which NDCG@10 falls")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recommender = Recommender.load(given.bundle)
    rng = np.random.default_rng(given.seed)
    found = choices(recommender, rng)
    good = found.gains(rng)
    # a copy from the start that differs from the served model by a little noise and is as good
    frozen = found.gains(rng, 0.1)
    about = {"served": good.mean(), "popularity": found.popular.mean(), "choices": len(good)}
    print(json.dumps({name: round(float(value), 4) for name, value in about.items()}), flush=True)
    false = run(recommender, found, good, good, frozen, given.events, rng, stops=False)
    print(json.dumps({"stationary": given.events, "false alarms": len(false), "at": false}), flush=True)
    for part in given.parts:
        worse = found.gains(rng, noise_for(found, (1 - part) * good.mean(), rng)) if part < 1 else np.zeros_like(good)
        delays = []
        for change in range(given.changes):
            own = np.random.default_rng([given.seed, change, round(1000 * part)])
            told = run(recommender, found, good, worse, frozen, BEFORE + AFTER, own, stops=True)
            delays.append(told[0] - BEFORE if told else np.inf)
        late = [d for d in delays if d >= 0]
        print(
            json.dumps(
                {
                    "falls by": part,
                    "to": round(float(worse.mean()), 4),
                    "told": sum(np.isfinite(late)),
                    "of": given.changes,
                    "before the change": len(delays) - len(late),
                    "median choices": float(np.median(late)) if late else None,
                    "most": float(max(late, default=np.inf)),
                },
                default=float,
            ),
            flush=True,
        )


def run(
    recommender: Recommender,
    found: Choices,
    good: np.ndarray,
    later: np.ndarray,
    frozen: np.ndarray,
    events: int,
    rng: np.random.Generator,
    *,
    stops: bool,
) -> list[int]:
    """Return the numbers of the choices at which the quality was told to have moved; the served model changes after `BEFORE`."""
    watcher, told = EventWatcher(recommender), []
    ids = recommender.catalog.item_ids
    for number in range(events):
        choice = int(rng.integers(len(good)))
        moved = watcher.event(found.users[choice], ids[int(found.items[choice])], "view")
        served = good if number < BEFORE else later
        moved = [*moved, *watcher.quality(served[choice], found.popular[choice], frozen[choice])]
        if any(one.signal == QUALITY for one in moved):
            told.append(number)
            if stops:
                break
    return told


if __name__ == "__main__":
    main()
