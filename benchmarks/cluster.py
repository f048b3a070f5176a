"""Encode sounds here and on Ray nodes of this machine: the vectors, the speed of one node beside this process, the run's memory at 1x and 4x the data.

In: nothing; sounds are generated. Out: Markdown rows, and the work of each node. One box proves correctness and memory, not speed-up.

    OMP_NUM_THREADS=1 python benchmarks/cluster.py --sounds 200 --rounds 3
    OMP_NUM_THREADS=1 python benchmarks/cluster.py --run configs/movielens.toml    # the whole run here and on two nodes of one core, compared
    OMP_NUM_THREADS=1 python benchmarks/cluster.py --train    # a network here and by two nodes together: processor time and bytes of a step
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import soundfile
from safetensors.numpy import load_file

from penchant.core.executor import Executor, LocalExecutor, RayConfig, computing, computing_on
from penchant.core.schema import Catalog, Content, Histories
from penchant.core.seeds import generator
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig, encode_catalog
from penchant.experiment.fit_cache import FitCache, FitJob
from penchant.models.member import make_member
from penchant.networks.sequences import Windows
from penchant.pipelines.recommendation import RecommendationConfig, run

SECONDS = 6
RATE = 44_100


def make_sounds(folder: Path, count: int) -> None:
    """Write sounds of a few seconds, each another one, without making any twice."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file = folder / f"{number}.wav"
        if not file.exists():
            rng = np.random.default_rng(number)
            tone = np.sin(2 * np.pi * (100 + 7 * number) * np.arange(SECONDS * RATE) / RATE)
            soundfile.write(file, 0.3 * tone + 0.01 * rng.standard_normal(len(tone)), RATE)


def encode(media: Path, count: int, cache: Path) -> np.ndarray:
    table = pl.DataFrame({"item_id": [f"i{n}" for n in range(count)], "sound": [f"{n}.wav" for n in range(count)]})
    catalog = Catalog(table, None, (), {"audio": "sound"}, (), media)
    channels = {"sound": ChannelConfig(encoder="mel", columns=["sound"])}
    found, failed = encode_catalog(catalog, channels, cache=cache, limits=MediaLimits())
    assert not failed
    return found["sound"].values


def timed(executor: Executor, media: Path, count: int) -> tuple[float, np.ndarray]:
    with tempfile.TemporaryDirectory() as cache, computing_on(executor):
        began = time.perf_counter()
        values = encode(media, count, Path(cache))
        return time.perf_counter() - began, values


def speed(media: Path, count: int, rounds: int) -> None:
    """Print how fast one node of one core is beside this process, in turn."""
    ratios, times = [], []
    with computing("ray", RayConfig(cpus=1, object_store_mb=200)) as executor:
        timed(executor, media, 8)  # starts the worker and loads the encoder
        timed(LocalExecutor(), media, 8)
        for _ in range(rounds):
            here, values = timed(LocalExecutor(), media, count)
            there, again = timed(executor, media, count)
            assert np.array_equal(values, again)
            ratios.append(here / there)
            times.append((here, there))
        for line in executor.lines():
            print(line)
    rows = ", ".join(f"{here:.1f} and {there:.1f} s" for here, there in times)
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"| {count} sounds, here and on one node, {rounds} times in turn | {rows}: median of the ratios {median(ratios):.2f} ({listed}); equal bit for bit |"
    )


def memory(media: Path, count: int) -> None:
    """Print the megabytes of files, and how far the peak of this process rose while nodes encoded them."""
    with computing("ray", RayConfig(cpus=2, object_store_mb=80)) as executor:
        timed(executor, media, 8)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        timed(executor, media, count)
        rose = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    size = sum((media / f"{number}.wav").stat().st_size for number in range(count)) / 1e6
    print(json.dumps({"sounds": count, "megabytes": size, "rose": rose}))


def run_once(settings: Path, folder: Path, max_users: int | None, ray: RayConfig | None) -> None:
    """Run a TOML file into a folder with a cache of its own, and write everybody's lists beside the bundle."""
    config = RecommendationConfig.from_toml(settings)
    evaluation = (
        config.evaluation if max_users is None else config.evaluation.model_copy(update={"max_users": max_users})
    )
    own = {"output": folder / "bundle", "cache": folder / "cache", "evaluation": evaluation}
    began, cpu = time.perf_counter(), time.process_time()
    with computing("local" if ray is None else "ray", ray or RayConfig()) as executor:
        run(config.model_copy(update=own)).recommend_all(folder / "lists.parquet", 10)
        for line in executor.lines():
            print(line)
    print(
        f"{folder.name}: {time.perf_counter() - began:.0f} s, of CPU in this process {time.process_time() - cpu:.0f} s",
        flush=True,
    )


def compare_runs(settings: Path, folder: Path, max_users: int | None) -> None:
    """Run a TOML file in this process and on two nodes of one core, and print how far what was learned and the lists differ."""
    from ray.cluster_utils import Cluster

    run_once(settings, folder / "local", max_users, None)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=400 * 2**20)
        run_once(settings, folder / "nodes", max_users, RayConfig(address=cluster.address))
    finally:
        cluster.shutdown()
    largest, equal, total = 0.0, 0, 0
    for file in sorted((folder / "local" / "bundle").glob("*.safetensors")):
        there = load_file(folder / "nodes" / "bundle" / file.name)
        for name, here in load_file(file).items():
            total += 1
            equal += int(np.array_equal(here, there[name]))
            if here.dtype.kind == "f" and here.size:
                largest = max(largest, float(np.abs(here - there[name]).max()))
    print(f"| arrays of the bundle equal bit for bit | {equal} of {total}; largest difference {largest:.2g} |")
    here, there = (pl.read_parquet(folder / name / "lists.parquet") for name in ("local", "nodes"))
    same = (here["item_id"] == there["item_id"]).sum()
    gap = float((here["score"] - there["score"]).abs().max())
    print(
        f"| items at the same place of everybody's lists | {same:,} of {len(here):,}; largest difference of a score {gap:.2g} |"
    )
    for name in ("local", "nodes"):
        print(name, json.loads((folder / name / "bundle" / "ensemble.json").read_text())["weights"])


def train_together(rounds: int) -> None:
    """Print what a step of a network costs as a whole, in two parts, and by two nodes together, in turn, and the bytes that a node sends in it."""
    from ray.cluster_utils import Cluster

    histories = _drawn_histories(users=1000, length=100, items=3700)
    table = {"model": "sequence", "epochs": 2, "batch_events": 8192, "held_out_users": 0}
    member = make_member("network", table)
    seconds: dict[str, list[float]] = {"as a whole": [], "in two parts": []}
    for _ in range(rounds):
        for parts, kind in enumerate(seconds, start=1):
            began = time.process_time()
            alone = make_member("network", {**table, "batch_parts": parts}).fit(histories)
            seconds[kind].append(time.process_time() - began)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
        with computing("ray", RayConfig(address=cluster.address)) as executor:
            job = FitJob(make_member("network", {**table, "batch_parts": 2}), Content.NONE)
            (fitted, took), *_ = FitCache().fit_all([job], histories)
            work = list(executor.work.values())
    finally:
        cluster.shutdown()
    assert all(np.array_equal(fitted.arrays()[name], array) for name, array in alone.arrays().items())
    windows = Windows(histories, member.config.max_length, table["batch_events"], member.config)
    steps = sum(1 for epoch in range(2) for _ in windows.epoch(generator(0, f"train.{epoch}")))
    weights = sum(weight.numel() for weight in fitted.network.parameters())
    for kind, found in seconds.items():
        print(f"| a step {kind}, this process, of CPU | {', '.join(f'{s / steps:.2f}' for s in found)} s |")
    sent = ", ".join(f"{one.exchanged / steps / 1e6:.2f}" for one in work)
    print(f"| a step by two nodes, wall time | {took / steps:.2f} s |")
    print(f"| sent by each node in a step | {sent} MB; {weights:,} weights |")


def _drawn_histories(users: int, length: int, items: int) -> Histories:
    rng = np.random.default_rng(0)
    index = rng.integers(0, items, users * length).astype(np.int32)
    offsets = np.arange(0, users * length + 1, length)
    at = np.tile(np.arange(length), users) * 1_000_000
    return Histories([f"u{n}" for n in range(users)], offsets, index, at, np.ones(len(index), np.float32), items)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sounds", type=int, default=400)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--media", type=Path, default=Path(tempfile.gettempdir()) / "penchant-cluster-sounds")
    options.add_argument("--memory", type=int, help="measure the memory of one encoding, of so many sounds, alone")
    options.add_argument("--run", type=Path, help="a TOML file to run here and on two nodes, instead of the sounds")
    options.add_argument("--max-users", type=int, help="of the evaluation of that run")
    options.add_argument("--folder", type=Path, help="where both runs are kept; a temporary one where left out")
    options.add_argument(
        "--train", action="store_true", help="train a network here and by two nodes, instead of the sounds"
    )
    given = options.parse_args()
    if given.train:
        train_together(given.rounds)
        return
    if given.run is not None:
        with tempfile.TemporaryDirectory() as scratch:
            compare_runs(given.run, given.folder or Path(scratch), given.max_users)
        return
    make_sounds(given.media, given.sounds)
    if given.memory:
        memory(given.media, given.memory)
        return
    for count in (given.sounds // 4, given.sounds):
        command = [sys.executable, __file__, "--media", str(given.media), "--sounds", str(given.sounds)]
        done = subprocess.run(
            [*command, "--memory", str(count)], check=True, capture_output=True, text=True, env=os.environ
        )
        found = json.loads(done.stdout.strip().splitlines()[-1])
        print(
            f"| {count} sounds of {found['megabytes']:.0f} MB on two cores, object store 80 MB | the run's own peak rose by {found['rose']:.0f} MB |"
        )
    speed(given.media, given.sounds, given.rounds)


if __name__ == "__main__":
    main()
