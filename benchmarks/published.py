"""Answers while an update is published: latencies of a service before, and while versions replace one another.

In: the bundle of `penchant demo`, copied. Out: requests, failures, median and 99th percentile of both stretches of each turn, and the median of their ratios, as JSON.

    OMP_NUM_THREADS=1 python benchmarks/published.py runs/demo --seconds 30 --versions 3 --turns 5

One client asks for lists of random users, one after the other, over HTTP on this machine. Versions are made beforehand: what is measured is the
service taking them over, not the fits, which a learner does in a process of its own with a lower priority.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from penchant.data.histories import Event
from penchant.learning.learner import open_learner
from penchant.learning.settings import LearningConfig
from penchant.recommender.recommender import Recommender
from penchant.service.config import ServiceConfig
from penchant.service.store import Store, now

PROMOTER = """
import os, sys
from pathlib import Path
from penchant.learning.learner import open_learner
from penchant.service.config import ServiceConfig
config = ServiceConfig(bundle=Path(sys.argv[1]))
learner = open_learner(config.bundle, config.address, config.state_folder / "secret.key")
os.nice(10)
print("ready", flush=True)
for line in sys.stdin:
    learner.promote(int(line))
"""
"""What promotes, as a learner does: another process with a lower priority."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--versions", type=int, default=3, help="that replace one another in each turn")
    parser.add_argument(
        "--turns", type=int, default=5, help="before and while, one after the other: load of others falls on both"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(shutil.copytree(asked.bundle, Path(scratch) / "bundle"))
        numbers = versions(bundle, asked.versions)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        service = subprocess.Popen(
            [sys.executable, "-m", "penchant", "serve", str(bundle), "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            print(
                json.dumps(measure(bundle, f"http://127.0.0.1:{port}", numbers, asked.seconds, asked.turns), indent=1)
            )
        finally:
            service.terminate()
            service.wait()


def versions(bundle: Path, count: int) -> list[int]:
    """Make versions, each of some new events, and return their numbers."""
    config = ServiceConfig(bundle=bundle)
    config.state_folder.mkdir(exist_ok=True)
    store = Store.open(config.address)
    items = Recommender.load(bundle).catalog.item_ids
    learner = open_learner(
        bundle, config.address, config.state_folder / "secret.key", LearningConfig(promote="at_once", keep=count + 2)
    )
    made = []
    for number in range(count):
        store.append([[Event(f"u{n:04}", items[(7 * n + number) % len(items)], "like", now() - 1) for n in range(50)]])
        step = learner.step()
        assert step.made is not None
        made.append(step.made.number)
    learner.promote(1)
    learner.close()
    store.close()
    return made


def measure(bundle: Path, address: str, numbers: list[int], seconds: float, turns: int) -> dict[str, object]:
    """Ask for lists, in each turn first in peace and then while versions are promoted."""
    users = Recommender.load(bundle).histories.user_ids
    chance = random.Random(0)
    with httpx.Client(base_url=address, timeout=30) as client:
        for _ in range(200):
            try:
                if client.get("/readyz").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        marks: set[str] = set()

        def ask(until: float, promote: list[int]) -> tuple[list[float], int]:
            taken, failed, due = [], 0, list(promote)
            step, began = (until - time.monotonic()) / (len(due) + 1), time.monotonic()
            while time.monotonic() < until:
                if due and time.monotonic() - began > step * (len(promote) - len(due) + 1):
                    print(due.pop(0), file=promoter.stdin, flush=True)
                start = time.perf_counter()
                try:
                    answer = client.get(f"/v1/users/{chance.choice(users)}/recommendations?k=10")
                    failed += answer.status_code != 200
                    marks.add(answer.json()["bundle"])
                except httpx.HTTPError:
                    failed += 1
                taken.append(1000 * (time.perf_counter() - start))
                time.sleep(0.005)
            return taken, failed

        ask(time.monotonic() + 5, [])
        promoter = subprocess.Popen(
            [sys.executable, "-c", PROMOTER, str(bundle)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert promoter.stdout is not None
        promoter.stdout.readline()  # it has imported everything
        told, failed = [], 0
        for _ in range(turns):
            before, failed_before = ask(time.monotonic() + seconds, [])
            marks.clear()
            during, failed_during = ask(time.monotonic() + seconds, numbers)
            failed += failed_before + failed_during
            told.append(
                {
                    "before": quantiles(before),
                    "while published": quantiles(during),
                    "bundles answered from": len(marks),
                    "p99 ratio": round(float(np.quantile(during, 0.99) / np.quantile(before, 0.99)), 2),
                }
            )
            print(json.dumps(told[-1]), file=sys.stderr, flush=True)
    promoter.kill()
    promoter.wait()
    ratios = [float(one["p99 ratio"]) for one in told]
    return {"turns": told, "failed": failed, "median p99 ratio": float(np.median(ratios)), "ratios": sorted(ratios)}


def quantiles(taken: list[float]) -> dict[str, float]:
    """Return the number, the median and the 99th percentile of latencies in milliseconds."""
    return {
        "requests": len(taken),
        "median": round(float(np.median(taken)), 2),
        "p99": round(float(np.quantile(taken, 0.99)), 2),
    }


if __name__ == "__main__":
    main()
