"""A sudden change of interest on the sample world: after how many events the profile notices it, and after how many the list follows.

In: the bundle of `penchant demo`. Out: medians and shares over users, as JSON.

    OMP_NUM_THREADS=1 python benchmarks/change.py runs/demo --users 40
    OMP_NUM_THREADS=1 python benchmarks/change.py runs/demo --users 40 --probability 0

    OMP_NUM_THREADS=1 python benchmarks/change.py runs/steam --cost

A user goes over from their own topics to one that they never touched, and chooses random items of it, one after the other. The change is
noticed once the profile names the topic and calls it rising; the list follows once half of the first ten items are of the topic.

`--cost` is what noticing changes costs where nobody is known to change: members are fitted again without the last event of each user, lists for the moment of that event are made
with changes noticed and without, and their NDCG@10 compared.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from live import ndcg_of
from penchant.data.histories import Event
from penchant.experiment.fit import FitConfig
from penchant.experiment.interest_changes import changed as with_change
from penchant.experiment.refit import refitted
from penchant.metrics.intervals import mean_interval
from penchant.models.event_log import EventLog
from penchant.models.interest_change import InterestChange
from penchant.recommender.lists import RankingOptions
from penchant.recommender.recommender import Recommender

STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)
SECOND = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--users", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cost", action="store_true", help="measure NDCG@10 on the last events instead")
    parser.add_argument(
        "--probability",
        type=float,
        help="of a change of interest before an event; 0 notices none; without it the bundle's own",
    )
    asked = parser.parse_args()
    bundle = Recommender.load(asked.bundle)
    if asked.probability is not None:
        change = InterestChange(bundle.topics.labels, asked.probability) if asked.probability else None
        bundle = replace(bundle, ensemble=replace(bundle.ensemble, change=change))
    if asked.cost:
        print(json.dumps(cost(bundle), indent=1))
        return
    rng = np.random.default_rng(asked.seed)
    lengths = bundle.histories.lengths()
    users = rng.choice(np.flatnonzero(lengths >= 10), asked.users, replace=False)
    found = [one for user in users if (one := changed(bundle, int(user), rng)) is not None]
    noticed, followed, before = (np.array([one[n] for one in found], float) for n in range(3))
    print(
        json.dumps(
            {
                "users": len(found),
                "events before": {"median": float(np.median(before))},
                "noticed after": summary(noticed),
                "list follows after": summary(followed),
                "noticed within 50": float((noticed <= 50).mean()),
                "list within 10": float((followed <= 10).mean()),
            },
            indent=1,
        )
    )


def cost(bundle: Recommender) -> dict[str, object]:
    """Return NDCG@10 of the last events with changes noticed minus without, over all users who have two earlier ones."""
    histories, probability = bundle.histories, FitConfig().change_probability
    change = bundle.ensemble.change or InterestChange(bundle.topics.labels, probability)
    users = np.flatnonzero(histories.lengths() >= 3)
    is_last = np.zeros(histories.num_events, bool)
    is_last[histories.offsets[1:][users] - 1] = True
    known, truth = histories.where(~is_last), histories.where(is_last)
    asked = known.take(users).requested(histories.at[is_last])
    noticed = with_change(asked, change.faded(asked))
    learned, _ = refitted(bundle, known)
    observed = learned.ensemble.observed(EventLog.of(histories))
    rows, chosen = asked.take(noticed), truth.take(users[noticed])
    found = [ndcg_of(replace(observed, change=one), rows, chosen) for one in (None, change)]
    gain = np.zeros(len(users))
    gain[noticed] = found[1] - found[0]
    interval = mean_interval(gain)
    return {
        "users": len(users),
        "with a change noticed": len(noticed),
        "NDCG@10 of these without, with": [round(float(one.mean()), 4) for one in found],
        "difference over all": [round(v, 5) for v in (interval.mean, interval.low, interval.high)],
    }


def summary(events: np.ndarray) -> dict[str, float]:
    """Return quantiles of the numbers of events."""
    return {name: float(np.quantile(events, share)) for name, share in (("median", 0.5), ("90 %", 0.9), ("most", 1.0))}


def changed(bundle: Recommender, row: int, rng: np.random.Generator) -> tuple[int, int, int] | None:
    """Return after how many events the change of one user is noticed, and the list follows; 999 for not at all; and the events before."""
    own = bundle.histories.rows(row, row + 1)
    user, labels = own.user_ids[0], bundle.topics.labels
    sizes = np.bincount(labels[labels >= 0], minlength=len(bundle.topics.names))
    strange = [t for t in range(len(sizes)) if sizes[t] >= max(STEPS) + 15 and not (labels[own.item_index] == t).any()]
    if not strange:
        return None
    topic = int(rng.choice(strange))
    items = rng.permutation(np.flatnonzero(labels == topic))
    last = int(own.at.max())
    events = [
        Event(user, bundle.catalog.item_ids[item], "like", last + (n + 1) * 60 * SECOND) for n, item in enumerate(items)
    ]
    noticed = followed = 999
    for step in STEPS:
        history = bundle.history(user, events[:step])
        if followed > step:
            ranked = bundle.recommend(history, 10, reasons=False, options=RankingOptions(k=10))
            rows = bundle.lookup.rows([item.item_id for item in ranked])
            followed = step if (labels[rows] == topic).mean() >= 0.5 else followed
        if noticed > step:
            interests = {(i.name, i.value): i.direction for i in bundle._profiler.profile(history, limit=12).interests}
            noticed = step if interests.get(("topic", bundle.topics.names[topic])) == "rising" else noticed
        if max(noticed, followed) <= step:
            break
    return noticed, followed, own.num_events


if __name__ == "__main__":
    main()
