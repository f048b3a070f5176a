"""What is said where a cluster fails: the head gone, memory, a file that kills its decoder, a node gone in a training."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cluster_parts as parts
from cluster_nodes import Nodes
from joint_training import drawn_histories, network
from penchant.core.errors import ExecutorError
from penchant.core.executor import computing
from penchant.core.schema import Content, Histories
from penchant.data.clean.media_facts import examine_files
from penchant.data.media import MediaLimits
from penchant.experiment.fit_cache import FitCache, FitJob
from penchant.models.member import make_member

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
DRIVER = """
import sys
from penchant.core.executor import RayConfig, computing
from cluster_parts import slow_square
with computing("ray", RayConfig(address=sys.argv[1])) as executor:
    for found in executor.map(slow_square, range(1000), (0.3,)):
        print(found, flush=True)
"""


def test_a_picture_that_ends_the_process_of_its_decoder_is_named_and_the_others_are_read(
    nodes: Any, tmp_path: Path
) -> None:
    media = tmp_path / "media"
    media.mkdir()
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(20)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(media / name)
    with (media / "7.png").open("ab") as file:
        file.write(b"POISON")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(parts.POISONED_DECODER)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ["PYTHONPATH"]])
    nodes.keep(0)
    node = nodes.add(env_vars={"PYTHONPATH": path})
    with computing("ray", nodes.config(retries=1)):
        facts, _ = examine_files(names, "image", root=media, limits=MediaLimits(), cache=tmp_path / "cache")
    nodes.lose(node)
    expected, _ = examine_files(names, "image", root=media, limits=MediaLimits())
    bad = facts["check"].is_not_null()
    assert [name for name, is_bad in zip(names, bad, strict=True) if is_bad] == ["7.png"]
    assert "its process died" in facts["detail"][7]
    assert facts.filter(~bad)["hash"].to_list() == expected.filter(~bad)["hash"].to_list()


def test_a_node_that_is_lost_while_a_network_trains_changes_nothing(nodes: Any, tmp_path: Path) -> None:
    nodes.keep(1)
    rng = np.random.default_rng(0)
    users, length, items = 150, 12, 40
    index = rng.integers(0, items, users * length).astype(np.int32)
    offsets, at = np.arange(0, users * length + 1, length), np.tile(np.arange(length), users) * 1_000_000
    train = Histories([f"u{n}" for n in range(users)], offsets, index, at, np.ones(len(index), np.float32), items)
    table = {"model": "sequence", "backbone": "gru", "dim": 16, "layers": 1, "epochs": 25, "patience": 25}
    alone = make_member("network", table).fit(train)

    network = make_member("network", table)
    network.checkpoint = tmp_path / "cache" / "network"
    network.checkpoint.parent.mkdir()
    seen: list[int] = []

    def lose() -> None:
        while not (tmp_path / "cache" / "network" / "manifest.json").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        seen.append(1)
        first = nodes.workers[0]
        nodes.add()
        nodes.lose(first)

    jobs = [FitJob(network, Content.NONE), FitJob(make_member("popular", {"model": "popularity"}), Content.NONE)]
    with computing("ray", nodes.config()) as executor:
        losing = threading.Thread(target=lose)
        losing.start()
        fitted = [member for member, _ in FitCache().fit_all(jobs, train)]
        losing.join()
        assert sum(work.shards for work in executor.work.values()) == 2
    assert seen
    assert np.allclose(fitted[0].score(train), alone.score(train), atol=1e-6)


def test_nodes_that_train_a_network_together_go_on_after_one_is_lost_and_learn_what_one_process_does(
    nodes: Any, tmp_path: Path, caplog: Any
) -> None:
    nodes.keep(3)
    train, settings = drawn_histories(), {"epochs": 25, "patience": 25, "batch_parts": 2}
    alone = network(**settings).fit(train)
    member = network(**settings)
    member.checkpoint = tmp_path / "cache" / "network"
    member.checkpoint.parent.mkdir()
    worked: list[int] = []

    def lose() -> None:
        while not (tmp_path / "cache" / "network" / "manifest.json").exists():
            time.sleep(0.01)
        for node in nodes.workers[:2]:  # of three nodes two train: one of them at least is lost
            nodes.lose(node)
        nodes.add()
        worked.append(1)

    with caplog.at_level(logging.INFO, "penchant"), computing("ray", nodes.config()) as executor:
        losing = threading.Thread(target=lose)
        losing.start()
        fitted = [found for found, _ in FitCache().fit_all([FitJob(member, Content.NONE)], train)]
        losing.join()
        assert sum(work.shards for work in executor.work.values()) == 2
        assert len(executor.work) == 2
    assert worked
    assert "  network: resumes after epoch" in caplog.text
    assert fitted[0].training_history.losses == alone.training_history.losses
    assert np.array_equal(fitted[0].score(train), alone.score(train))


def test_a_part_that_needs_more_memory_than_a_node_has_is_told(nodes: Any) -> None:
    nodes.keep(1)
    with computing("ray", nodes.config(retries=1)) as executor:
        first = nodes.workers[0]
        full = nodes.add(env_vars={"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "200"})
        nodes.lose(first)
        with pytest.raises(ExecutorError, match=r"Part 0 of sleep was given up after \d+ attempts: .*memory") as found:
            list(executor.map(parts.slow_square, range(1), (20,), title="sleep"))
    nodes.lose(full)
    assert "more memory" in found.value.fix


def test_the_head_node_gone_ends_the_run_with_its_address(tmp_path: Path) -> None:
    own = Nodes(tmp_path, 1)
    address = own.cluster.address
    try:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert driver.stdout is not None
        assert driver.stdout.readline() == "0\n"
        own.cluster.remove_node(own.cluster.head_node, allow_graceful=False)
        _, said = driver.communicate(timeout=90)
    finally:
        own.close()
    assert driver.returncode != 0
    assert "The head node of the cluster is gone." in said, said[-3000:]
    assert address in said
