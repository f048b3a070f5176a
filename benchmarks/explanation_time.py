"""How long one explanation takes in the service, with and without its counterfactual: over HTTP in one process, each user and item new.

In: a bundle. Out: Markdown rows of wall time and of CPU time; on a busy machine the second says more.

    python benchmarks/explanation_time.py runs/demo
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from penchant.service.app import create_app
from penchant.service.config import ServiceConfig

WANTED_MS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--users", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = ServiceConfig(bundle=given.bundle, folder=Path(folder), watch_seconds=3600, host_names=["testserver"])
        with TestClient(create_app(config)) as client:
            recommender = client.app.state.service.snapshot.recommender  # type: ignore[attr-defined]
            rng = np.random.default_rng(0)
            users = rng.choice(
                recommender.histories.user_ids, min(given.users, len(recommender.histories)), replace=False
            )
            items = rng.choice(recommender.lookup.items.ids, len(users))
            paths = [f"/v1/users/{user}/explanations/{item}" for user, item in zip(users, items, strict=True)]
            print("| request | wall, median and 99 % | CPU, median and 99 % |  |\n|---|---|---|---|")
            row("explanation, exact parts", [lambda path=path: client.get(path) for path in paths])
            row(
                "explanation, of users whose state is in memory", [lambda path=path: client.get(path) for path in paths]
            )
            row("counterfactual", [lambda path=path: client.get(f"{path}?counterfactual=true") for path in paths[:40]])


def row(name: str, requests: list[Callable[[], object]]) -> None:
    requests[0]()  # what only the first request does
    wall, work = [], []
    for request in requests[1:]:
        began, used = time.perf_counter(), time.process_time()
        request()
        wall.append(1000 * (time.perf_counter() - began))
        work.append(1000 * (time.process_time() - used))
    ends = [np.quantile(times, (0.5, 0.99)) for times in (wall, work)]
    said = " | ".join(f"{median:.1f}, {tail:.1f} ms" for median, tail in ends)
    verdict = "passes" if ends[1][1] < WANTED_MS else "FAILS"
    print(f"| {name} | {said} | {verdict if name.startswith('explanation') else ''} |", flush=True)


if __name__ == "__main__":
    main()
