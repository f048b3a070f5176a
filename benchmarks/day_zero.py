"""Day zero: lists from content alone after a user's first events, when nobody else's are known.

In: the settings of a run, whose [data] is read, and a bundle that `penchant day-zero` made of its items. Out: NDCG@10 of a user's next five items after 1, 3 and 5
events, of content alone and of a random order, with intervals over users.

    python benchmarks/day_zero.py runs/demo.toml BUNDLE --kinds like purchase play view
    python benchmarks/day_zero.py configs/movielens.toml BUNDLE --users 1500
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.schema import Histories, Recommendations
from penchant.data.read.sources import read
from penchant.metrics.intervals import mean_interval
from penchant.metrics.ranking import measure
from penchant.models.ensemble import blocked_items, top_k
from penchant.pipelines.recommendation_settings import RecommendationConfig
from penchant.recommender.recommender import Recommender

NEXT, K = 5, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kinds", nargs="+", help="of the events that count; all without it")
    parser.add_argument("--users", type=int, help="at most, drawn at random")
    given = parser.parse_args()
    recommender = Recommender.load(given.bundle)
    events = read(RecommendationConfig.from_toml(given.config).data).interactions.table
    events = events.filter(pl.col("item_id").is_in(recommender.catalog.item_ids))
    if given.kinds:
        events = events.filter(pl.col("kind").is_in(given.kinds))
    firsts = events.sort("user_id", "at").unique(["user_id", "item_id"], keep="first", maintain_order=True)
    own = (
        firsts.group_by("user_id", maintain_order=True).agg("item_id").filter(pl.col("item_id").list.len() >= 5 + NEXT)
    )
    if given.users is not None and given.users < len(own):
        own = own.sample(given.users, seed=0)
    rng = np.random.default_rng(0)
    for known in (1, 3, 5):
        histories = [recommender.history_of(row[:known], user) for user, row in own.iter_rows()]
        truth = Histories.joined(
            [recommender.history_of(row[known : known + NEXT], user) for user, row in own.iter_rows()]
        )
        joined = Histories.joined(histories)
        found = {"content": recommender.score(joined), "random": rng.random((len(joined), len(recommender.catalog)))}
        for name, scores in found.items():
            scores = scores.astype(np.float32)
            scores[blocked_items(joined)] = -np.inf
            lists = top_k(scores, K, joined.user_ids)
            table = measure(
                Recommendations(joined.user_ids, lists.item_index, lists.score), truth, ks=[K], metrics=["ndcg"]
            )
            one = mean_interval(table[f"ndcg@{K}"].to_numpy())
            print(f"{known} events, {name}: {one.mean:.4f} [{one.low:.4f}, {one.high:.4f}], {one.num_users} users")


if __name__ == "__main__":
    main()
