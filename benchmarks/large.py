"""50,000 items and 10 million interactions, and how cost grows.

In: a share of the large world, 0 to 1. Out: seconds and peak memory of the whole run.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from penchant.core.logs import show_logs
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.world import WorldConfig, make_world

SETTINGS = {
    "name": "large",
    "fit": {"ablation": False},
    "evaluation": {"max_users": 20_000, "examples": 1},
    "content": {"attributes": {"encoder": "attributes"}, "words": {"encoder": "tfidf", "options": {"dim": 64}}},
    "members": {
        "popularity": {"model": "popularity"},
        "item_knn": {"model": "item_knn"},
        "rp3beta": {"model": "rp3beta"},
        "graph": {"model": "graph_filter"},
        "transitions": {"model": "transitions"},
        "content": {"model": "content_regression"},
    },
}


def main() -> None:
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    show_logs()
    world = Path("runs") / f"world-large-{share:g}"
    make_world(world, WorldConfig(size="large", num_users=int(200_000 * share), num_items=int(50_000 * share)))
    began = time.perf_counter()
    run(RecommendationConfig.read({**SETTINGS, "data": {"path": world}}, where="benchmarks/large.py"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"share {share:g}: {time.perf_counter() - began:.0f} s, peak {peak:.1f} GB")


if __name__ == "__main__":
    main()
