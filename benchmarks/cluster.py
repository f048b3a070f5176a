"""Encode sounds here and on Ray nodes of this machine: the vectors, the speed of one node beside this process, the run's memory at 1x and 4x the data.

In: nothing; sounds are generated. Out: Markdown rows, and the work of each node. One box proves correctness and memory, not speed-up.

    OMP_NUM_THREADS=1 python benchmarks/cluster.py --sounds 200 --rounds 3
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

from penchant.core.executor import Executor, LocalExecutor, RayConfig, computing, computing_on
from penchant.core.schema import Catalog
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig, encode_catalog

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


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sounds", type=int, default=400)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--media", type=Path, default=Path(tempfile.gettempdir()) / "penchant-cluster-sounds")
    options.add_argument("--memory", type=int, help="measure the memory of one encoding, of so many sounds, alone")
    given = options.parse_args()
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
