"""What a network forgets while it goes on learning: the NDCG@10 of old requests before and after updates, with old events in them and without.

In: a data set of benchmarks/live.py. Out: NDCG@10 on an old and a new slice after each update, and the change on the old one relative to before, with paired intervals.

    PENCHANT_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/forgetting.py steam --every 1

A network is trained on the events before a cut, then continues in steps through the later ones. "Replay" continues on all events until then, as the learner does
(`Sequence.refit`); "no replay" on the events since the step before alone. The old slice are the last events before the cut of users drawn at random, the new one their
last events of all: neither is learned by anything, and each is ranked with what its user did before it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from live import STREAMS, Stream, ndcg_of, reduced
from penchant.core.schema import Content, Histories, Interactions, Vocabulary
from penchant.data.clean.dataset import clean
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import build_histories
from penchant.data.read.sources import DataConfig, read
from penchant.models.member import Member, make_member
from penchant.pipelines.recommendation import RecommendationConfig

RESAMPLES, WORLD = 4000, "world"


def events_of(name: str, every: int, world: Path) -> Histories:
    """Return the events of one user in so many, oldest first for each; of a sample world those of all users."""
    stream = Stream({"path": world}, 0.8, core=2) if name == WORLD else replace(STREAMS[name], every=every)
    config = RecommendationConfig.read({"name": name, "split": {"kind": "rolling_time"}}, where="forgetting.py")
    data = reduced(clean(read(DataConfig.read(stream.data, where=name)), config.clean, config.media), stream)
    table = data.interactions.table.filter(pl.col("at").is_not_null())
    return build_histories(Interactions(table), Vocabulary(data.catalog.item_ids), HistoriesConfig())


def last_of(events: Histories, users: np.ndarray, moment: int) -> np.ndarray:
    """Return the place of the last event before a moment of each of these users who has two before it."""
    found = []
    for user in users:
        begin, end = int(events.offsets[user]), int(events.offsets[user + 1])
        count = int(np.searchsorted(events.at[begin:end], moment))
        if count >= 3:
            found.append(begin + count - 1)
    return np.array(found, np.int64)


def requests(events: Histories, places: np.ndarray) -> tuple[Histories, Histories]:
    """Return the histories before events, and these events as the truth, where the item is new to its user."""
    user = events.user_index()
    before, truth = [], []
    for place in places:
        own = events.rows(int(user[place]), int(user[place]) + 1)
        own_place = int(place - events.offsets[user[place]])
        if events.item_index[place] in own.item_index[:own_place]:
            continue
        number = np.arange(own.num_events)
        before.append(own.where(number < own_place))
        truth.append(own.where(number == own_place))
    return Histories.joined(before), Histories.joined(truth)


def change(after: np.ndarray, before: np.ndarray, seed: int) -> list[float]:
    """Return the relative change of a mean with its 95 % interval; both values of a request are drawn together."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(after), size=(RESAMPLES, len(after)))
    ratios = after[drawn].mean(1) / before[drawn].mean(1) - 1
    whole = after.mean() / before.mean() - 1
    return [round(float(v), 4) for v in (whole, *np.quantile(ratios, [0.025, 0.975]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", choices=[*sorted(STREAMS), WORLD])
    parser.add_argument("--world", type=Path, default=Path("runs/world-small"), help="folder of the sample world")
    parser.add_argument("--every", type=int, default=3, help="one user of so many")
    parser.add_argument("--cut", type=float, default=0.6, help="share of the events before the first update")
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--slice", type=int, default=1500, help="users of the slices")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--patience", type=int, default=3, help="epochs without a gain after which training ends")
    parser.add_argument("--dim", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    events = events_of(asked.stream, asked.every, asked.world)
    times = np.sort(events.at)
    cuts = [int(times[int(s * (len(times) - 1))]) for s in np.linspace(asked.cut, 1, asked.updates + 1)]
    rng = np.random.default_rng(asked.seed)
    users = rng.permutation(len(events))
    old = last_of(events, users, cuts[0])[: asked.slice]
    new = last_of(events, users, int(times[-1]) + 1)
    new = new[events.at[new] >= cuts[-2]][: asked.slice]
    learned = np.ones(events.num_events, bool)
    learned[old] = learned[new] = False
    slices = {"old": requests(events, old), "new": requests(events, new)}
    settings: dict[str, Any] = {
        "model": "sequence",
        "dim": asked.dim,
        "epochs": asked.epochs,
        "patience": asked.patience,
        "max_length": 50,
        "seed": asked.seed,
        "channels": [],
    }
    sizes = {"events": events.num_events, "items": events.num_items, **{n: len(s[0]) for n, s in slices.items()}}
    print(json.dumps(sizes), flush=True)
    began = time.process_time()
    first = make_member("network", settings).fit(events.where(learned & (events.at < cuts[0])), Content.NONE)
    before = measure(first, slices)
    trained = first.training_history  # type: ignore[attr-defined]
    held_out = [round(score, 4) for score in trained.scores]
    about = {"cpu": round(time.process_time() - began), "held out": held_out, "best epoch": trained.best + 1}
    print(json.dumps({**about, **means(before)}), flush=True)
    ways: dict[str, Member] = {"replay": first, "no replay": first}
    for number, (begin, end) in enumerate(pairwise(cuts), 1):
        shown = {"replay": events.at < end, "no replay": (events.at >= begin) & (events.at < end)}
        for way, keep in shown.items():
            part = events.where(learned & keep)
            ways[way] = make_member("network", settings).refit(part, Content.NONE, ways[way])
            found = measure(ways[way], slices)
            lost = change(found["old"], before["old"], asked.seed)
            print(json.dumps({"update": number, "way": way, **means(found), "old slice": lost}), flush=True)


def measure(member: Member, slices: dict[str, tuple[Histories, Histories]]) -> dict[str, np.ndarray]:
    """Return the NDCG@10 of each request of each slice."""
    return {name: ndcg_of(member, *one) for name, one in slices.items()}


def means(found: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: round(float(one.mean()), 4) for name, one in found.items()}


if __name__ == "__main__":
    main()
