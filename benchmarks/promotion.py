"""Which versions the learner promotes: real bundles of the sample world, truly better or worse by a known part, judged on streams of requests.

In: a folder. Out: the true change of each version on all requests, and how often each is promoted in so many streams, as JSON lines.

    OMP_NUM_THREADS=1 python benchmarks/promotion.py prepare runs/promotion
    OMP_NUM_THREADS=1 python benchmarks/promotion.py judge runs/promotion --tries 20
    OMP_NUM_THREADS=1 python benchmarks/promotion.py learner runs/promotion

`prepare` draws a world of the demo's size with many more users, runs Penchant on the events of the first ones before a cut, and writes the NDCG@10 of each request after the
cut of all others: of the bundle itself, and of bundles that are worse. These are of two kinds: "weights" has the same members, with part of the weight moved to the one that has least (of those that read no context);
"events" has members fitted on a part of the users. The true change is that on all requests; of each kind the one nearest to 5 % is taken. A version that is worse is such a bundle beside
the whole one; for a version that is better the two change places.

`judge` gives each try the requests of other users, drawn at random (tries share some), in the order of time, with the looks and the rule of the learner. `learner` is one try of each with everything around it: events
in the store of a service, versions on disk, steps of the learner.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.schema import Histories, Interactions, Vocabulary
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import Event, build_histories
from penchant.data.read.sources import DataConfig, read
from penchant.experiment.refit import refitted
from penchant.fusion.late import EnsembleWeights
from penchant.learning.judging import Judgement, JudgingConfig, gains, judged, last_look, needed_requests
from penchant.learning.learner import open_learner
from penchant.learning.settings import LearningConfig
from penchant.metrics.intervals import user_numbers
from penchant.models.member import make_member
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.recommender.recommender import Recommender
from penchant.recommender.versions import VersionRecord, data_range
from penchant.service.config import ServiceConfig
from penchant.service.store import Store, now
from penchant.world import WorldConfig, make_world

LEARNED = 1_400
"""Users whose events the bundle knows."""
CUT = 0.7
"""Share of the year before the cut."""
WHOLE, CHANGE = "whole", 0.05
KINDS = ("weights", "events")
DIRECTIONS = {"worse": 1 - CHANGE, "better": 1 / (1 + CHANGE)}
"""NDCG of the worse one of a pair, as a share of that of the whole bundle."""
PARTS = {"weights": (0.02, 0.0275, 0.035), "events": (0.3, 0.4, 0.5, 0.6)}
"""Kind to the parts that are measured: of the weight that is moved, of the users that are left out."""
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "judge", "learner"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, default=8000, help="of the world")
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--looks", type=int, default=JudgingConfig().looks)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    {"prepare": prepare, "judge": judge_tries, "learner": with_learner}[asked.what](asked)


def prepare(asked: argparse.Namespace) -> None:
    """Write the bundles, and the NDCG of every request for each."""
    world = asked.folder / "world"
    make_world(world, WorldConfig(size="small", num_users=asked.users, defects=False, seed=asked.seed))
    table = read(DataConfig.read({"path": str(world)}, where="promotion.py")).interactions.table.sort("at")
    first, last = table["at"].min(), table["at"].max()
    cut = first + CUT * (last - first)
    users = table["user_id"].unique().sort().to_list()
    learned = set(np.random.default_rng(asked.seed).choice(users, LEARNED, replace=False).tolist())
    known = table.filter(pl.col("user_id").is_in(learned), pl.col("at") < cut)
    data = asked.folder / "data"
    data.mkdir(exist_ok=True)
    known.write_parquet(data / "interactions.parquet")
    shutil.copy(world / "items.csv", data)
    config = RecommendationConfig.read(
        {
            "name": "whole",
            "output": str(asked.folder / WHOLE),
            "cache": str(asked.folder / "cache"),
            "data": {"path": str(data), "media_folder": str(world.absolute())},
            "split": {"kind": "rolling_time", "refits": 1, "max_requests": 3000},
            "fit": {"ablation": False},
        },
        where="promotion.py",
    )
    if not (asked.folder / WHOLE).exists():
        run(config)
    bundle = Recommender.load(asked.folder / WHOLE)
    stream = table.filter(~pl.col("user_id").is_in(learned))
    stream.write_parquet(asked.folder / "stream.parquet")
    events, start = events_of(bundle, stream), micros(cut)
    models = {WHOLE: bundle, **{name_of(k, p): worse_one(bundle, k, p, asked.seed) for k in KINDS for p in PARTS[k]}}
    for number, part in enumerate(parts(events, 5, asked.seed)):
        own_gains, of_users = ranked(models, part, start)
        frame = pl.DataFrame({"user_id": of_users, **own_gains})
        frame.write_parquet(asked.folder / f"gains-{number}.parquet")
        means = {n: round(float(g.mean()), 5) for n, g in own_gains.items()}
        print(json.dumps({"fifth": number, "requests": len(of_users), "ndcg": means}), flush=True)


def name_of(kind: str, part: float) -> str:
    return f"{kind} {part}"


def events_of(bundle: Recommender, table: pl.DataFrame) -> Histories:
    """Return the events of a table as the bundle reads them."""
    config = HistoriesConfig.read(dict(bundle.facts["histories"]), where="facts")
    known = table.filter(pl.col("item_id").is_in(bundle.catalog.item_ids))
    return build_histories(Interactions(known), Vocabulary(bundle.catalog.item_ids), config)


def micros(at: Any) -> int:
    """Return a time as microseconds since 1970."""
    return round(at.timestamp() * 1e6)


def parts(events: Histories, count: int, seed: int) -> list[Histories]:
    """Return the users in so many parts, drawn at random."""
    order = np.random.default_rng([seed, 1]).permutation(len(events))
    return [events.take(np.sort(rows)) for rows in np.array_split(order, count)]


def ranked(models: Mapping[str, Recommender], events: Histories, start: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the NDCG of each request from a moment on, as the learner finds it."""
    first = next(iter(models.values()))
    popularity = make_member("p", {"model": "recent_popularity", "half_life_days": 7}).fit(
        events.where(events.at < start)
    )
    stop = int(events.at.max()) + 1
    return gains({**models, "popularity": popularity}, events, first.catalog.item_ids, start, stop, K, 10**9)


def worse_one(bundle: Recommender, kind: str, part: float, seed: int) -> Recommender:
    """Return a bundle that is worse, the more so the larger the part."""
    if kind == "weights":
        present = bundle.ensemble.weights.overall
        weights = {name: (1 - part) * weight for name, weight in present.items()}
        # the requests are ranked without their context, so that weight on what reads it would change nothing
        told = {
            name: weight for name, weight in present.items() if bundle.tables[name]["model"] != "context_popularity"
        }
        weights[min(told, key=told.__getitem__)] += part * sum(present.values())
        return replace(bundle, ensemble=replace(bundle.ensemble, weights=EnsembleWeights(weights)))
    fitted = bundle.histories if bundle.fitted is None else bundle.fitted
    order = np.random.default_rng([seed, 2]).permutation(len(fitted))
    return refitted(bundle, fitted.take(np.sort(order[: round((1 - part) * len(order))])))[0]


def measured(folder: Path) -> pl.DataFrame:
    """Return the NDCG of every request for each bundle, with the user and the place in time, 0 to 1."""
    paths = sorted(folder.glob("gains-*.parquet"))
    # each file is in the order of time, over the same stretch
    return pl.concat([pl.read_parquet(p).with_columns(moment=pl.int_range(pl.len()) / pl.len()) for p in paths])


def pair_of(table: pl.DataFrame, kind: str, direction: str) -> tuple[str, str]:
    """Return the names of a version and its parent: the whole bundle, and the worse one that comes nearest to the change that is wanted."""
    means = {part: table[name_of(kind, part)].mean() / table[WHOLE].mean() for part in PARTS[kind]}
    worse = name_of(kind, min(means, key=lambda part: abs(means[part] - DIRECTIONS[direction])))
    return (worse, WHOLE) if direction == "worse" else (WHOLE, worse)


def judge_tries(asked: argparse.Namespace) -> None:
    """Print the true change of each version, and what becomes of it in every try."""
    table = measured(asked.folder)
    config = JudgingConfig(looks=asked.looks, max_requests=10**9)
    user = user_numbers(table["user_id"])
    assert user is not None
    print(json.dumps({"requests": len(table), "users": int(user.max()) + 1, "requests of a try": last_look(config)}))
    for kind in asked.kinds:
        for direction in DIRECTIONS:
            pair = pair_of(table, kind, direction)
            version, parent = (table[name].to_numpy() for name in pair)
            tries = [outcome(table, user, pair, config, [asked.seed, number]) for number in range(asked.tries)]
            verdicts = [one.verdict for one in tries]
            needed = [
                needed_requests(one.difference, one.scores["parent"].mean, one.requests, config, one.look, CHANGE)
                for one in tries
                if one.difference is not None
            ]
            print(
                json.dumps(
                    {
                        "version": pair[0],
                        "parent": pair[1],
                        "true change": round(float(version.mean() / parent.mean() - 1), 4),
                        "standard error": round(standard_error(version, parent, user), 4),
                        "ndcg of parent": round(float(parent.mean()), 4),
                        "promoted": verdicts.count("promoted"),
                        "rejected": verdicts.count("rejected"),
                        "of": len(verdicts),
                        "median requests": float(np.median([one.requests for one in tries])),
                        "needed by one better by 5 %": float(np.median([n for n in needed if n])),
                        "needed by one as good": float(np.median([one.needed for one in tries if one.needed])),
                    }
                ),
                flush=True,
            )


def standard_error(version: np.ndarray, parent: np.ndarray, user: np.ndarray) -> float:
    """Return the standard error of the relative change, users drawn together."""
    residual = (version - parent) - (version.mean() / parent.mean() - 1) * parent
    return float(np.sqrt((np.bincount(user, residual) ** 2).sum()) / parent.sum())


def outcome(
    table: pl.DataFrame, user: np.ndarray, pair: tuple[str, str], config: JudgingConfig, seed: list[int]
) -> Judgement:
    """Return the last comparison of a version with its parent, looked at as the learner does, on requests of some users in the order of time."""
    chance = np.random.default_rng(seed).permutation(int(user.max()) + 1)
    rows = np.argsort(chance[user], kind="stable")[: last_look(config)]
    rows = rows[np.argsort(table["moment"].to_numpy()[rows], kind="stable")]
    columns = {"version": pair[0], "parent": pair[1], "popularity": "popularity"}
    values = {name: table[column].to_numpy() for name, column in columns.items()}
    for look in range(1, config.looks + 1):
        seen = rows[: config.first_look * 2 ** (look - 1)]
        own = {name: one[seen] for name, one in values.items()}
        found = judged(own, user[seen].astype(str).tolist(), 0, 1, config, look)
        if found.verdict != "waiting":
            break
    return found


def with_learner(asked: argparse.Namespace) -> None:
    """Print what becomes of each version in the learner's own hands: events in the store, versions on disk, steps."""
    stream, table = pl.read_parquet(asked.folder / "stream.parquet").sort("at"), measured(asked.folder)
    whole = Recommender.load(asked.folder / WHOLE)
    for kind in asked.kinds:
        for direction in DIRECTIONS:
            pair = pair_of(table, kind, direction)
            with tempfile.TemporaryDirectory() as scratch:
                bundles = []
                for name in pair:
                    part = float(name.split()[-1]) if name != WHOLE else 0.0
                    one = worse_one(whole, kind, part, asked.seed) if part else whole
                    one.save(Path(scratch) / name)
                    bundles.append(Path(scratch) / name)
                found = shadowed(bundles[1], bundles[0], stream)
                print(json.dumps({"version": pair[0], "parent": pair[1], **found}), flush=True)


def shadowed(bundle: Path, version: Path, stream: pl.DataFrame) -> dict[str, Any]:
    """Publish a version of a bundle, let requests come, and return what the learner decided."""
    config = ServiceConfig(bundle=bundle)
    config.state_folder.mkdir()
    store = Store.open(config.address)
    learner = open_learner(bundle, config.address, config.state_folder / "secret.key", LearningConfig(min_events=10**9))
    served = learner.step().served
    candidate = Recommender.load(version)

    def record(number: int) -> VersionRecord:
        return VersionRecord(number=number, mark="", parent=served.number, made_at=now(), data=data_range(candidate))

    made = learner.versions.publish(candidate, record)
    known = Recommender.load(bundle).histories
    start = int(known.at.max())
    users = stream["user_id"].unique().sort().sample(2000, seed=0)
    own = stream.filter(pl.col("user_id").is_in(users.implode()))
    found: dict[str, Any] = {}
    events = [
        Event(user, item, kind, round(at.timestamp() * 1e6))
        for user, item, kind, at in own.select("user_id", "item_id", "kind", "at").iter_rows()
    ]
    before = [e for e in events if e.at <= start]
    store.append([before])
    after = [e for e in events if e.at > start]
    step = JudgingConfig().first_look
    for first in range(0, len(after), step):
        store.append([after[first : first + step]])
        judged_now = learner.step().judged
        if judged_now is not None and judged_now[1].difference is not None:
            found = {
                "requests": judged_now[1].requests,
                "verdict": judged_now[1].verdict,
                "needed": judged_now[1].needed,
            }
            if judged_now[1].verdict != "waiting":
                break
    found["served"] = learner.versions.record(made.number).outcome
    learner.close()
    store.close()
    return found


if __name__ == "__main__":
    main()
