"""Whole runs on one, two and three nodes equal the run in one process, also where nodes go away on the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from penchant.core.executor import RayConfig, computing
from penchant.core.logs import KeptLines, Progress, listening, logger
from penchant.pipelines.recommendation import RecommendationConfig, run
from penchant.world import WorldConfig, make_world

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SETTINGS = {
    "fit": {"lift_new_items": False, "ensemble": {"bands": 1}},
    "evaluation": {"max_users": 60},
    "content": {
        "text": {"encoder": "tfidf"},
        "audio": {"encoder": "mel", "batch_size": 4},
    },
    "members": {
        "popularity": {"model": "popularity"},
        "knn": {"model": "item_knn", "half_life": [0, 5]},
        "ease": {"model": "ease", "regularisation": [30, 300]},
        "like_audio": {"model": "content_knn", "channel": "audio"},
        "network": {
            "model": "sequence",
            "backbone": "gru",
            "dim": 16,
            "layers": 1,
            "epochs": 4,
            "max_length": 20,
            "batch_parts": 2,
        },
    },
}


@dataclass
class Ran:
    """One run.

    Attributes:
        arrays: Everything learned, by file and name.
        lists: Everybody's lists.
        weights: Of the ensemble.
        shards: Node to the shards it computed.
        fetched: Bytes that nodes fetched from the storage.
        lines: Of its log.
    """

    arrays: dict[str, np.ndarray]
    lists: pl.DataFrame
    weights: dict[str, float]
    shards: dict[str, int]
    fetched: int
    lines: list[str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_world(folder / "world", WorldConfig(size="tiny"))
    return folder


def ran(
    world: Path, name: str, ray: RayConfig | None = None, listener: Callable[[Any, Progress], None] | None = None
) -> Ran:
    folder = world / name
    settings = {
        "name": "run",
        "output": folder / "bundle",
        "cache": folder / "cache",
        "data": {"path": world / "world"},
    }
    config = RecommendationConfig.read({**settings, **SETTINGS}, where="test")
    lines = KeptLines()
    logger.addHandler(lines)
    with computing("local" if ray is None else "ray", ray or RayConfig()) as executor:
        with listening(None if listener is None else lambda progress: listener(executor, progress)):
            trained = run(config)
        trained.recommend_all(folder / "lists.parquet", 10)
        work = getattr(executor, "work", {})
        for line in executor.lines():
            print(f"{name}: {line}")
    logger.removeHandler(lines)
    arrays = {
        f"{file.name}/{key}": array
        for file in sorted((folder / "bundle").glob("*.safetensors"))
        for key, array in load_file(file).items()
    }
    weights = json.loads((folder / "bundle" / "ensemble.json").read_text())["weights"]
    return Ran(
        arrays,
        pl.read_parquet(folder / "lists.parquet"),
        weights,
        {node: one.shards for node, one in work.items()},
        sum(one.fetched for one in work.values()),
        [line for _, line in lines.kept],
    )


@pytest.fixture(scope="module")
def local(world: Path) -> Ran:
    return ran(world, "local")


def check_equal(found: Ran, wanted: Ran) -> None:
    assert found.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        assert np.allclose(found.arrays[name], array, rtol=1e-6, atol=1e-6), name
    assert found.lists.drop("score").equals(wanted.lists.drop("score"))
    assert np.allclose(found.lists["score"], wanted.lists["score"], atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_on_nodes_equals_the_run_in_one_process(
    nodes: Any, world: Path, local: Ran, count: int, tmp_path: Path
) -> None:
    nodes.keep(count)
    found = ran(world, f"nodes{count}", nodes.config(storage=str(tmp_path / "storage")))
    check_equal(found, local)
    assert len(found.shards) == count
    together = [line for line in found.lines if line.startswith("fit network: by the nodes ")]
    assert together
    assert all(line.count(",") == min(count, 2) - 1 for line in together), "each batch has two parts"
    assert found.fetched > 100_000, "nodes read media from the storage alone"
    assert not list((tmp_path / "storage").iterdir()), "the copies end with the run"


def test_media_may_be_in_a_bucket(nodes: Any, world: Path, local: Ran, bucket: str) -> None:
    nodes.keep(2)
    found = ran(world, "bucket", nodes.config(storage=bucket))
    check_equal(found, local)


@pytest.mark.parametrize("step", ["encode audio", "fit"])
def test_a_node_that_goes_away_in_a_step_changes_nothing(nodes: Any, world: Path, local: Ran, step: str) -> None:
    nodes.keep(3)
    lost: list[Any] = []

    def listener(executor: Any, progress: Progress) -> None:
        if progress.title == step and not lost:
            lost.append(nodes.workers[0])
            before = sum(work.shards for work in executor.work.values())

            def lose() -> None:
                while sum(work.shards for work in executor.work.values()) < before + 2:
                    time.sleep(0.02)
                nodes.lose(lost[0])

            threading.Thread(target=lose).start()

    found = ran(world, f"lost-{step[:3]}", nodes.config(), listener)
    assert lost
    check_equal(found, local)
    files = list((world / f"lost-{step[:3]}" / "cache" / "vectors").rglob("*.parquet"))
    keys = [key for file in files for key in pl.read_parquet(file)["key"]]
    assert len(keys) == len(set(keys)) > 0
