"""50,000 items and 10 million interactions, or a million items, and how cost grows.

In: a share of the large world, 0 to 1, or numbers of items and users. Out: wall and processor seconds and peak memory of the whole run.

    python benchmarks/large.py 0.2
    python benchmarks/large.py 1 --items 1000000 --test-users 2000
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from penchant.core.logs import show_logs
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.world import WorldConfig, make_world

SETTINGS = {
    "name": "large",
    "fit": {"ablation": False},
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("share", type=float, nargs="?", default=1.0, help="of 50,000 items and of 200,000 users")
    parser.add_argument("--items", type=int, help="so many instead of the share")
    parser.add_argument("--users", type=int, help="so many instead of the share; each has about 50 events")
    parser.add_argument("--test-users", type=int, default=20_000, help="ranked at most")
    given = parser.parse_args()
    users, items = given.users or int(200_000 * given.share), given.items or int(50_000 * given.share)
    show_logs()
    world = Path("runs") / f"world-large-{users}-{items}"
    if not world.exists():
        make_world(world, WorldConfig(size="large", num_users=users, num_items=items))
    settings = {**SETTINGS, "data": {"path": world}, "evaluation": {"max_users": given.test_users, "examples": 1}}
    began, before = time.perf_counter(), time.process_time()
    run(RecommendationConfig.read(settings, where="benchmarks/large.py"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{items:,} items, {users:,} users: {time.perf_counter() - began:.0f} s, "
        f"{time.process_time() - before:.0f} s of CPU, peak {peak:.1f} GB"
    )


if __name__ == "__main__":
    main()
