"""CPU seconds of `fit` with the default members, on MovieLens-1M and on a generated shop.

In: "movielens" and the folder of its data, or "shop". Out: CPU and wall seconds of `fit`, the settings and weights that were chosen.

    OMP_NUM_THREADS=1 python benchmarks/fit_cost.py movielens ../shared/data/ml1m_mm
    OMP_NUM_THREADS=1 python benchmarks/fit_cost.py shop

MovieLens: the last tenth of each user is the test; genres, year, credits and plot words, no embeddings of plots or posters; no ablation. Shop:
10,000 items in 40 topics, about 94,000 events of 10,000 users, titles and a category; with ablation. No test is ranked.
"""

from __future__ import annotations

import argparse
import datetime
import resource
import time
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.logs import show_logs
from penchant.core.schema import Dataset
from penchant.data.read.sources import DataConfig, from_tables, read
from penchant.experiment.fit import fit
from penchant.pipelines.recommendation import RecommendationConfig, choose_members, prepare

NUM_ITEMS = 10_000
NUM_USERS = 10_000
NUM_TOPICS = 40
OWN_TOPICS = 0.7
"""Share of a user's choices from two topics of their own; the others come from all items."""
ZIPF = 0.8
"""Power of the rank by which choices within a topic fall."""
SPLIT = {"split": {"kind": "user_time"}}
SETTINGS = {
    "movielens": {
        **SPLIT,
        "fit": {"ablation": False},
        "content": {
            "genres": {"encoder": "attributes", "columns": ["genres"]},
            "year": {"encoder": "attributes", "columns": ["year"]},
            "people": {"encoder": "tfidf", "columns": ["credits"], "options": {"names": True, "dim": 512}},
            "plotwords": {"encoder": "tfidf", "columns": ["plot"]},
        },
    },
    "shop": {
        **SPLIT,
        "content": {
            "words": {"encoder": "tfidf", "columns": ["title"]},
            "category": {"encoder": "attributes", "columns": ["category"]},
        },
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(SETTINGS))
    parser.add_argument("folder", type=Path, nargs="?", help="of MovieLens-1M with plots")
    asked = parser.parse_args()
    if asked.data == "movielens" and asked.folder is None:
        parser.error("movielens needs the folder of its data")
    show_logs()
    config = RecommendationConfig.read({"name": f"cost-{asked.data}", **SETTINGS[asked.data]}, where="fit_cost.py")
    data = shop() if asked.folder is None else read(DataConfig(format="movielens_mm", path=asked.folder))
    prepared = prepare(config, data)
    print(f"{len(data.interactions):,} events, {prepared.known.num_events:,} of them before the test", flush=True)
    cpu, wall = time.process_time(), time.perf_counter()
    found = choose_members(prepared.parts, prepared.content, prepared.ranked, config)
    trained = fit(
        found.tables,
        prepared.ranked,
        prepared.known,
        prepared.content,
        prepared.fusion,
        config.fit,
        cutoff=config.evaluation.cutoff,
        tried=found.tried,
        floor=found.floor,
    )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print("\n".join(f"{name}: {dict(table)}" for name, table in trained.tables.items()))
    print(f"weights: { {name: round(weight, 3) for name, weight in trained.ours.weights.items()} }")
    print(f"validation: { {name: round(score, 4) for name, score in trained.validation.items()} }")
    print(f"fit of {asked.data}: {cpu:.1f} CPU seconds, {wall:.1f} s, peak of the whole process {peak:.1f} GB")


def shop(seed: int = 0) -> Dataset:
    """Return the generated shop; each user has an item once, at times drawn from one year."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, NUM_TOPICS, NUM_ITEMS)
    count = np.maximum(3, rng.poisson(9.6, NUM_USERS))
    user = np.repeat(np.arange(NUM_USERS), count)
    own = rng.integers(0, NUM_TOPICS, (NUM_USERS, 2))[user, rng.integers(0, 2, len(user))]
    chosen = np.where(rng.random(len(user)) < OWN_TOPICS, own, topic[rng.integers(0, NUM_ITEMS, len(user))])
    item = np.empty(len(user), np.int64)
    for number in range(NUM_TOPICS):
        items, asked = np.flatnonzero(topic == number), chosen == number
        share = (1.0 + np.arange(len(items))) ** -ZIPF
        item[asked] = rng.choice(items, asked.sum(), p=share / share.sum())
    start, year = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC), 365 * 24 * 3600
    at = [start + datetime.timedelta(seconds=second) for second in rng.uniform(0, year, len(user)).tolist()]
    events = pl.DataFrame({"user_id": user, "item_id": item, "at": at}).unique(
        ["user_id", "item_id"], keep="first", maintain_order=True
    )
    events = events.with_columns(
        pl.format("u{}", "user_id").alias("user_id"), pl.format("i{}", "item_id").alias("item_id")
    )
    words = np.char.add(
        np.char.add("word", topic.astype(str))[:, None],
        np.char.add("x", rng.integers(0, 30, (NUM_ITEMS, 3)).astype(str)),
    )
    common = np.char.add("common", rng.integers(0, 200, (NUM_ITEMS, 2)).astype(str))
    titles = [" ".join(row) for row in np.concatenate([words, common], axis=1).tolist()]
    items = {"item_id": [f"i{i}" for i in range(NUM_ITEMS)], "title": titles, "category": [f"c{t}" for t in topic]}
    return from_tables(events, pl.DataFrame(items))


if __name__ == "__main__":
    main()
