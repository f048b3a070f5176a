"""Alarms about change: how often there is one without a change, and how soon after one.

In: a bundle of the sample world (`penchant demo`). Out: false alarms on a stationary stream of its users' choices, and events a user until a sudden
change of interest is told: from a moment on every user chooses as another user does.

    python benchmarks/drift.py runs/demo --events 1000000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penchant.recommender.recommender import Recommender
from penchant.service.watching import EventWatcher, describe

SESSION = 0.6
"""Probability that the next event is of the same user."""
KINDS = ("view", "like", "purchase")


def stream(
    recommender: Recommender, rng: np.random.Generator, users: np.ndarray, wants: np.ndarray
) -> Iterator[tuple[str, str, str]]:
    """Yield events without end: sessions of users, whose choices are drawn from the history of whom they want to be like."""
    histories, ids = recommender.histories, recommender.catalog.item_ids
    while True:
        user = int(rng.choice(users))
        own = histories.rows(int(wants[user]), int(wants[user]) + 1).item_index
        while True:
            kind = KINDS[int(rng.choice(3, p=[0.6, 0.3, 0.1]))]
            yield histories.user_ids[user], ids[int(rng.choice(own))], kind
            if rng.random() > SESSION:
                break


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    recommender = Recommender.load(given.bundle)
    users = np.flatnonzero(recommender.histories.lengths() > 0)
    rng = np.random.default_rng(given.seed)
    same = np.arange(len(recommender.histories))
    watcher, alarms = EventWatcher(recommender), 0
    events = stream(recommender, rng, users, same)
    for number in range(given.events):
        found = watcher.event(*next(events))
        if found:
            alarms += 1
            print(f"event {number:,}: {'; '.join(describe(found))}", flush=True)
    print(f"stationary: {alarms} alarms in {given.events:,} events, {watcher.num_signals} signals", flush=True)
    delays = []
    for change in range(given.changes):
        rng = np.random.default_rng([given.seed, change])
        group = rng.choice(users, min(200, len(users)), replace=False)
        watcher = EventWatcher(recommender)
        before = stream(recommender, rng, group, same)
        for _ in range(20 * len(group)):
            watcher.event(*next(before))
        labels = recommender.topics.labels
        wanted = int(rng.choice(np.unique(labels[labels >= 0])))
        # everybody turns to the tastes of those who like one topic most
        share = np.array(
            [(labels[recommender.histories.rows(int(u), int(u) + 1).item_index] == wanted).mean() for u in users]
        )
        fans = users[np.argsort(-share)[: max(10, len(users) // 20)]]
        turned = same.copy()
        turned[group] = rng.choice(fans, len(group))
        after, said = stream(recommender, rng, group, turned), None
        for number in range(100 * len(group)):
            found = watcher.event(*next(after))
            if found:
                said = (number / len(group), describe(found)[0])
                break
        delays.append(said[0] if said else np.inf)
        print(f"change {change}: {said}", flush=True)
    if delays:
        middle, worst = float(np.median(delays)), max(delays)
        print(f"noticed after {middle:.1f} events a user (median), at most {worst:.1f}, of {len(group)} users")


if __name__ == "__main__":
    main()
