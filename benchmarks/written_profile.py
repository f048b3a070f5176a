"""Does the profile in words add to ranking? The default members with and without it, on the same users.

    python benchmarks/written_profile.py configs/movielens.toml --users 1500
    python benchmarks/written_profile.py configs/steam.toml --users 1500 --encoder minilm
    python benchmarks/written_profile.py configs/steam.toml --users 300 --engine engine.toml    # a [written_profile] table of its own

In: settings of a run, of which the data, the split and the channels are read. Out: NDCG@10 with paired 95 % intervals over the users of the test.

The users are drawn at random, so that profiles of their whole, half and cut histories are written in minutes. Settings and weights are those of
validation; the test is ranked once. Vectors are kept below runs/cache, so that an interrupted measurement goes on.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.config import read_toml
from penchant.core.logs import show_logs
from penchant.core.schema import Content, Interactions
from penchant.data.read.sources import read
from penchant.experiment.defaults import FEW_EVENTS, default_members
from penchant.experiment.fit import OURS, fit
from penchant.explanation.profile_channel import CHANNEL
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.intervals import mean_interval, paired_difference
from penchant.metrics.ranking import measure
from penchant.pipelines.recommendation import prepare
from penchant.pipelines.recommendation_settings import RecommendationConfig

K = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("--users", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--reads", choices=("paragraph", "statements"), default=None)
    parser.add_argument("--engine", type=Path, default=None, help="TOML file with a [written_profile] table")
    given = parser.parse_args()
    show_logs()
    own = {"encoder": given.encoder, **({} if given.reads is None else {"reads": given.reads})}
    if given.engine is not None:
        own |= read_toml(given.engine)["written_profile"]
    table = {**read_toml(given.settings), CHANNEL: own, "members": None, "seed": given.seed}
    config = RecommendationConfig.read({k: v for k, v in table.items() if v is not None}, where=str(given.settings))
    config = config.below(given.settings.parent)
    began = time.process_time()
    data = read(config.data)
    users = data.interactions.table["user_id"].unique().sort()
    chosen = users.sample(min(given.users, len(users)), seed=given.seed)
    events = data.interactions.table.filter(pl.col("user_id").is_in(chosen.implode()))
    prepared = prepare(config, replace(data, interactions=Interactions(events)))
    print(prepared, flush=True)
    found = {}
    for name in ("with", "without"):
        content = prepared.content if name == "with" else _without(prepared.content)
        tables = default_members(content, has_time=True, num_events=FEW_EVENTS + 1)
        trained = fit(
            tables,
            prepared.ranked,
            prepared.known,
            content,
            prepared.fusion,
            config.fit.model_copy(update={"ablation": False}),
            cutoff=K,
        )
        weights = dict(trained.ours.weights)
        print(
            name,
            {n: round(float(w), 3) for n, w in weights.items()},
            {n: trained.tables[n] for n in weights if CHANNEL in n},
        )
        rows = {OURS: trained.ours.weights}
        rows |= {n: EnsembleWeights({n: 1.0}) for n in tables if CHANNEL in n and n in weights}
        test = prepared.test.liked()
        lists = trained.pool.rank(rows, test.histories, K, candidates=test.candidates, tie_order=test.tie_order)
        for row, one in lists.items():
            values = measure(one, test.truth, ks=[K])[f"ndcg@{K}"].to_numpy()
            found[name if row == OURS else row] = values
            print(f"{name} {row}: NDCG@{K} {mean_interval(values)}", flush=True)
    print(f"with − without: {paired_difference(found['with'], found['without'])}")
    print(
        f"{len(found['with'])} users, {np.sum(found['with'] != found['without'])} lists of another NDCG, CPU {time.process_time() - began:.0f} s"
    )


def _without(content: Content) -> Content:
    return replace(content, user_channels={n: e for n, e in content.user_channels.items() if n != CHANNEL})


if __name__ == "__main__":
    main()
