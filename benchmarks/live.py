"""A model that goes on learning, replayed in time: live updates, a nightly refit, a frozen model and recent popularity, request by request.

In: a data set and the folder for its bundle. Out: prequential NDCG@10 of each with intervals, and the time of each update, as JSON.

    PENCHANT_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/live.py prepare ml1m runs/live
    PENCHANT_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/live.py replay ml1m runs/live --events 20000 --requests 2000

    PENCHANT_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/live.py commands ml1m runs/live

`prepare` runs Penchant on the events before the cut (settings and weights by rolling validation there), `replay` gives it the events after the
cut in the order of time. All four rank for the same requests, and each request's history is all that its user did before it: "frozen" knows
new events of the user it ranks for, too, but learns nothing from them.

`commands` gives the bundle's store new events and compares `penchant update`, right after the run and once more with as many new events, with a `penchant run` on all events until then: CPU seconds of
the whole commands, and NDCG@10 of both on the requests after them. Beside them "refit" are the bundle's members fitted again on all events, and "step" is what a learner that is already running
(`penchant serve --learn`) computes for the second part, its publishing included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.schema import Content, Dataset, Embeddings, Histories, Interactions, Vocabulary
from penchant.data.clean.dataset import clean
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import Event, build_histories
from penchant.data.read.sources import DataConfig, read
from penchant.data.requests import rolling_requests
from penchant.experiment.defaults import default_members
from penchant.experiment.refit import refitted
from penchant.experiment.selection import without_grid
from penchant.learning.judging import gains
from penchant.learning.learner import open_learner
from penchant.learning.settings import LearningConfig
from penchant.learning.updating import Updater, UpdatingConfig
from penchant.learning.weighing import WeighingConfig, reweighed
from penchant.metrics.intervals import BootstrapMeans
from penchant.metrics.ranking import hit_matrix, ndcg, relevant
from penchant.models.ensemble import batch_users, blocked_items, top_k
from penchant.models.event_log import EventLog
from penchant.models.member import make_member
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.recommender.recommender import Recommender
from penchant.service.config import ServiceConfig
from penchant.service.store import Store

DATA = Path(os.environ.get("PENCHANT_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))
EMPTY = np.zeros((1, 1), np.float32)
DAY = 86_400_000_000
CONTENT = {"facts": {"encoder": "attributes"}}


@dataclass(frozen=True)
class Stream:
    """A data set in the order of time.

    Attributes:
        data: Its `[data]`.
        cut: Share of the events before the replay.
        first_only: Leave the first event of each user and item.
        before: Leave out events from this instant on.
        every: Take one user of so many.
        core: Afterwards leave out users and items with fewer events, repeatedly.
        has_no_content: Whether the items have no columns.
    """

    data: dict[str, object]
    cut: float
    first_only: bool = False
    before: str | None = None
    every: int = 1
    core: int = 0
    has_no_content: bool = False


STREAMS = {
    "ml1m": Stream(
        {"format": "movielens_mm", "path": DATA / "ml1m_mm", "min_value": 4.0, "text": []}, 0.8, every=4, core=5
    ),
    "steam": Stream(
        {
            "path": DATA / "steam",
            "columns": {"at": "timestamp"},
            "attributes": ["genres", "specs", "developer", "publisher"],
            "lists": {"genres": "|", "specs": "|"},
            "text": [],
        },
        0.8,
        every=3,
        core=5,
    ),
    "globo": Stream(
        {
            "path": DATA / "globo_clicks",
            "columns": {"item_id": "click_article_id", "at": "click_timestamp"},
            "default_kind": "click",
        },
        0.8,
        first_only=True,
        before="2017-10-18",
        every=12,
        core=5,
        has_no_content=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "replay", "update", "commands"])
    parser.add_argument("stream", choices=sorted(STREAMS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=20_000, help="replayed after the cut")
    parser.add_argument("--requests", type=int, default=2000, help="ranked, evenly spaced")
    parser.add_argument("--seconds", type=float, default=1.0, help="fitting time of a live update")
    parser.add_argument("--new", type=int, default=10_000, help="new events of `update`")
    parser.add_argument("--every", type=int, default=1000, help="events between two live updates")
    parser.add_argument("--nights", type=int, default=8, help="nightly refits at most, evenly spaced over the nights")
    asked = parser.parse_args()
    if asked.what == "prepare":
        prepare(asked.stream, asked.folder)
    else:
        {"replay": replay, "update": update, "commands": commands}[asked.what](asked)


def prepare(name: str, folder: Path) -> None:
    """Write the bundle of the events before the cut, and all events beside it."""
    stream = STREAMS[name]
    config = RecommendationConfig.read(
        {
            "name": name,
            "output": str(folder / name),
            "cache": str(folder / "cache"),
            **settings(stream),
        },
        where="live.py",
    )
    data = reduced(clean(read(DataConfig.read(stream.data, where=name)), config.clean, config.media), stream)
    folder.mkdir(parents=True, exist_ok=True)
    events = data.interactions.table.sort("at")
    events.write_parquet(folder / f"{name}-events.parquet")
    known = events.head(int(stream.cut * len(events)))
    first_later = events["at"][len(known)]
    known = known.filter(pl.col("at") < first_later)
    run(config, replace(data, interactions=Interactions(known)))
    print(json.dumps({"events": len(events), "before": len(known), "items": len(data.catalog)}))


def settings(stream: Stream) -> dict[str, Any]:
    """Return what `prepare` and `commands` run with, without data and folders."""
    return {
        "split": {"kind": "rolling_time", "refits": 1, "max_requests": 3000},
        "content": {} if stream.has_no_content else CONTENT,
        "fit": {"ablation": False},
        "members": members(stream),
        "evaluation": {"max_users": 1000, "cutoff": 10, "ks": [10]},
    }


def members(stream: Stream) -> dict[str, dict[str, Any]]:
    """Return the default members, each list of settings at its first value: what is compared is how they learn, not which settings."""
    channels = (
        {}
        if stream.has_no_content
        else {"facts": Embeddings("facts", "attribute", EMPTY, EMPTY[:, 0] > 0, "attributes")}
    )
    found = default_members(Content(channels), has_time=True, num_events=10**9)
    return {name: without_grid(table) for name, table in found.items()}


def reduced(data: Dataset, stream: Stream) -> Dataset:
    """Return the part of a data set that is replayed, with the items that occur in it."""
    table = data.interactions.table.filter(pl.col("at").is_not_null()).sort("at")
    if stream.before is not None:
        table = table.filter(pl.col("at").dt.strftime("%Y-%m-%d") < stream.before)
    if stream.first_only:
        table = table.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    if stream.every > 1:
        table = table.filter(pl.col("user_id").cast(pl.Int64) % stream.every == 0)
    while stream.core:
        kept = table.filter(
            pl.len().over("user_id") >= stream.core, pl.col("user_id").n_unique().over("item_id") >= stream.core
        )
        if len(kept) == len(table):
            break
        table = kept
    items = table["item_id"].unique()
    catalog = replace(data.catalog, table=data.catalog.table.filter(pl.col("item_id").is_in(items.implode())))
    return replace(data, interactions=Interactions(table), catalog=catalog)


def stream_of(asked: argparse.Namespace) -> tuple[Recommender, Histories, int]:
    """Return the bundle, the events of all users with those of the replay, and the moment of the first of these."""
    bundle = Recommender.load(asked.folder / asked.stream)
    table = pl.read_parquet(asked.folder / f"{asked.stream}-events.parquet")
    known = bundle.histories.num_events
    first = table["at"][int(STREAMS[asked.stream].cut * len(table))]
    later = table.filter(pl.col("at") >= first)
    shown = pl.concat([table.filter(pl.col("at") < first), later.head(asked.events)])
    config = HistoriesConfig.read(dict(bundle.facts["histories"]), where="facts")
    events = build_histories(Interactions(shown), Vocabulary(bundle.catalog.item_ids), config)
    assert int((events.at < micros(first)).sum()) == known, "the bundle learned from all events before the cut"
    return bundle, events, micros(first)


def micros(at: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return round(at.timestamp() * 1e6)


def before(events: Histories, moment: int) -> Histories:
    """Return the events before a moment."""
    return events.where(events.at < moment)


def replay(asked: argparse.Namespace) -> None:
    """Print the prequential NDCG@10 of each way to learn, and the differences."""
    bundle, events, start = stream_of(asked)
    later = np.sort(events.at[events.at >= start])
    stop = int(later[-1]) + 1
    live = np.unique(later[:: asked.every])  # moments of the live updates
    days = np.arange(start // DAY + 1, stop // DAY + 1) * DAY
    nights = days if len(days) <= asked.nights else days[np.linspace(0, len(days) - 1, asked.nights).astype(int)]
    request, truth = rolling_requests(events, start, stop, limit=asked.requests)
    at = request.requests()
    gains = {
        name: np.zeros(len(request))
        for name in ("live", "live, no weights", "nightly", "counts alone", "frozen", "popularity")
    }
    log, spent = EventLog.of(events), {"live": 0.0, "nightly": 0.0}
    popularity = (
        make_member("p", {"model": "recent_popularity", "half_life_days": 7}).fit(before(events, start)).observed(log)
    )
    updater, current, weighed, facts = Updater(UpdatingConfig(seconds=asked.seconds, all_hours=24)), bundle, bundle, {}
    since, nightly, moments = start, bundle, sorted({*live.tolist(), *nights.tolist(), start})
    for begin, end in zip(moments, [*moments[1:], stop], strict=True):
        known = before(events, begin)
        if begin in live and begin > start:
            began = time.process_time()
            weights = reweighed(weighed.ensemble, known, since, begin, WeighingConfig())
            found = updater.update(current, known, at=begin, **facts)
            facts = {"seconds": found.seconds, "learned_at": found.learned_at}
            current, since = found.recommender, begin
            spent["live"] += time.process_time() - began
            weighed = replace(current, ensemble=replace(current.ensemble, weights=weights))
        if begin in nights and begin > start:
            began = time.process_time()
            nightly, _ = refitted(nightly, known)
            spent["nightly"] += time.process_time() - began
        rows = np.flatnonzero((at >= begin) & (at < end))
        if not len(rows):
            continue
        part, chosen = request.take(rows), truth.take(rows)
        scorers = {
            "live": weighed.ensemble.observed(log),
            "live, no weights": current.ensemble.observed(log),
            "nightly": nightly.ensemble,
            "counts alone": bundle.ensemble.observed(log),
            "frozen": bundle.ensemble,
            "popularity": popularity,
        }
        for name, scorer in scorers.items():
            gains[name][rows] = ndcg_of(scorer, part, chosen)
    print(
        json.dumps(
            told(gains, request.user_ids)
            | {"requests": len(request), "updates": len(live), "nights": len(nights), "cpu": spent},
            indent=1,
        )
    )


def ndcg_of(scorer: Any, histories: Histories, truth: Histories, k: int = 10) -> np.ndarray:
    """Return the NDCG of each request."""
    found = []
    for start in range(0, len(histories), batch_users(histories.num_items)):
        part = histories.rows(start, start + batch_users(histories.num_items))
        chosen = truth.rows(start, start + batch_users(histories.num_items))
        scores = scorer.score(part)
        scores[blocked_items(part)] = -np.inf
        ranked = top_k(scores, k, part.user_ids)
        found.append(ndcg(hit_matrix(ranked.item_index, chosen), relevant(chosen).counts(), k))
    return np.concatenate(found)


def told(gains: dict[str, np.ndarray], users: list[str]) -> dict[str, Any]:
    """Return means with intervals, and each difference from the next one."""
    names = list(gains)
    means = BootstrapMeans(np.column_stack([gains[name] for name in names]), users=users)
    pairs = [
        ("live", "nightly"),
        ("live", "frozen"),
        ("nightly", "frozen"),
        ("live", "popularity"),
        ("live", "live, no weights"),
        ("live", "counts alone"),
    ]
    found = means.differences([(names.index(a), names.index(b)) for a, b in pairs])
    shown = {
        name: [round(v, 4) for v in (i.mean, i.low, i.high)]
        for name, i in zip(names, map(means.interval, range(len(names))), strict=True)
    }
    gaps = {
        f"{a} - {b}": [round(v, 4) for v in (d.mean, d.low, d.high)] for (a, b), d in zip(pairs, found, strict=True)
    }
    return {"ndcg@10": shown, "differences": gaps}


def update(asked: argparse.Namespace) -> None:
    """Print the time of an update with new events against a full refit, and the NDCG of both on the requests after them."""
    bundle, events, start = stream_of(asked)
    later = np.sort(events.at[events.at >= start])
    moment = int(later[min(asked.new, len(later) - 1)])
    known = before(events, moment)
    updater = Updater(UpdatingConfig(seconds=asked.seconds, all_hours=24))
    base = before(events, start)
    began = time.process_time()
    first = updater.update(bundle, base, at=start)  # a learner that runs already has its sums
    full = time.process_time() - began
    began = time.process_time()
    found = updater.update(first.recommender, known, at=start + 1, seconds=first.seconds, learned_at=first.learned_at)
    quick = time.process_time() - began
    whole, _ = refitted(bundle, known)
    request, truth = rolling_requests(events, moment, int(later[-1]) + 1, limit=asked.requests)
    log = EventLog.of(events)
    models = {"update": found.recommender, "refit": whole, "before": bundle}
    gains = {name: ndcg_of(one.ensemble.observed(log), request, truth) for name, one in models.items()}
    means = BootstrapMeans(np.column_stack(list(gains.values())), users=request.user_ids)
    gap = means.difference(0, 1)
    print(
        json.dumps(
            {
                "new events": known.num_events - base.num_events,
                "refit cpu seconds": round(full, 2),
                "update cpu seconds": round(quick, 2),
                "share of time": round(quick / full, 4),
                "share of ndcg": round(float(gains["update"].mean() / gains["refit"].mean()), 4),
                "ndcg": {name: round(float(one.mean()), 4) for name, one in gains.items()},
                "update minus refit": [round(v, 5) for v in (gap.mean, gap.low, gap.high)],
                "how": found.how,
                "seconds of members": {name: round(one, 2) for name, one in first.seconds.items()},
            },
            indent=1,
        )
    )


def commands(asked: argparse.Namespace) -> None:
    """Print CPU seconds of `penchant update` and `penchant run` as whole commands, and NDCG@10 after both."""
    bundle, events, start = stream_of(asked)
    table = pl.read_parquet(asked.folder / f"{asked.stream}-events.parquet")
    later = table.filter(pl.col("at") >= datetime.fromtimestamp(start / 1e6, UTC))
    steps = [later.slice(n * asked.new, asked.new) for n in range(2)]
    moment = micros(steps[-1]["at"][-1]) + 1
    with tempfile.TemporaryDirectory(dir=asked.folder.absolute()) as scratch:
        served = Path(shutil.copytree(bundle.folder or "", Path(scratch) / "served"))
        with_learner = Path(shutil.copytree(served, Path(scratch) / "with-learner"))
        service = ServiceConfig(bundle=served)
        service.state_folder.mkdir()
        store = Store.open(service.address)
        spent = {}
        for name, part in zip(("update after the run", "next update"), steps, strict=True):
            store.append([events_of(part)])
            spent[name] = cpu_of("update", str(served), "--promote", "at_once")
        spent["step"] = step_seconds(with_learner, steps)
        store.close()
        data = Path(scratch) / "data"
        data.mkdir()
        known = table.filter(pl.col("at").dt.epoch("us") < moment)
        known.write_parquet(data / "interactions.parquet")
        bundle.catalog.table.write_parquet(data / "items.parquet")
        toml = {"name": "again", "output": str(Path(scratch) / "again"), "cache": str(Path(scratch) / "cache")}
        toml |= {"data": {"path": str(data)}, **settings(STREAMS[asked.stream])}
        (Path(scratch) / "again.toml").write_text(as_toml(toml))
        spent["run"] = cpu_of("run", str(Path(scratch) / "again.toml"))
        began = time.process_time()
        refit, _ = refitted(bundle, events.where(events.at < moment))
        spent["refit"] = round(time.process_time() - began, 2)
        models = {
            "update": Recommender.load(served),
            "run": Recommender.load(Path(scratch) / "again"),
            "refit": refit,
            "no update": bundle,
        }
        found, users = gains(
            models, events, bundle.catalog.item_ids, moment, int(events.at.max()) + 1, 10, asked.requests
        )
        means = BootstrapMeans(np.column_stack(list(found.values())), users=users)
        gaps = {name: means.difference(0, column) for column, name in enumerate(models) if column}
        print(
            json.dumps(
                {
                    "events before, new, new": [int((events.at < start).sum()), *map(len, steps)],
                    "events of run": models["run"].histories.num_events,
                    "members": {name: sorted(model.ensemble.weights) for name, model in models.items()},
                    "cpu seconds": spent,
                    "share of the run's": {n: round(s / spent["run"], 4) for n, s in spent.items()},
                    "requests": len(users),
                    "ndcg@10": {name: round(float(one.mean()), 4) for name, one in found.items()},
                    "update's share of ndcg": {
                        name: round(float(found["update"].mean() / found[name].mean()), 4) for name in gaps
                    },
                    "update minus": {name: [round(v, 5) for v in (g.mean, g.low, g.high)] for name, g in gaps.items()},
                },
                indent=1,
            )
        )


def events_of(table: pl.DataFrame) -> list[Event]:
    """Return the rows of a table of interactions as events."""
    columns = table.select("user_id", "item_id", "kind", pl.col("at").dt.epoch("us"), "value")
    return [Event(*row) for row in columns.iter_rows()]


def step_seconds(bundle: Path, parts: list[pl.DataFrame]) -> float:
    """Return the CPU seconds of a running learner's last step, after which the version with the last part of the events is published."""
    config = ServiceConfig(bundle=bundle)
    config.state_folder.mkdir()
    store = Store.open(config.address)
    learner = open_learner(
        bundle, config.address, config.state_folder / "secret.key", LearningConfig(promote="at_once")
    )
    learner.step()
    for part in parts:
        store.append([events_of(part)])
        began = time.process_time()
        assert learner.step().made is not None
        spent = time.process_time() - began
    learner.close()
    store.close()
    return round(spent, 2)


def cpu_of(*arguments: str) -> float:
    """Run a command of Penchant, and return the CPU seconds of it and its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "penchant", *arguments], check=True, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)
    print(json.dumps({arguments[0]: seconds}), file=sys.stderr, flush=True)
    return seconds


def as_toml(values: dict[str, Any]) -> str:
    """Return settings as TOML: inline tables are JSON but for the sign between key and value."""
    return "\n".join(f"{name} = {_inline(value)}" for name, value in values.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(k))} = {_inline(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
