"""What is said where a cluster fails: the head gone, memory, a file that kills its decoder, a node gone in a training."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cluster_parts as parts
from cluster_nodes import Nodes
from joint_training import Waits, drawn_histories, network
from penchant.core.errors import ExecutorError
from penchant.core.executor import computing
from penchant.core.schema import Content, Histories
from penchant.data.clean.media_facts import examine_files
from penchant.data.media import MediaLimits
from penchant.experiment.fit_cache import FitCache, FitJob
from penchant.models.member import Member, make_member

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


def fitted_while(change: Callable[[], None], jobs: list[FitJob], train: Histories, folder: Path, count: int) -> Member:
    """Return the first member, fitted while the cluster is changed: when so many processes wait in the middle of its training.

    The fit runs in a thread, since Ray starts nodes in the main thread alone.
    """
    waiting = Waits(folder, epoch=2)
    jobs[0].member.report = waiting
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(copy_context().run, lambda: list(FitCache().fit_all(jobs, train)))
        try:
            while waiting.processes() < count:
                assert not fitting.done(), fitting.result()
                time.sleep(0.05)
            change()
        finally:
            waiting.end()
        return fitting.result()[0][0]


@pytest.mark.parametrize("batch_parts", [1, 2])
def test_nodes_that_train_a_network_go_on_after_one_is_lost_and_learn_what_one_process_does(
    nodes: Any, tmp_path: Path, caplog: Any, batch_parts: int
) -> None:
    nodes.keep(batch_parts)
    train, settings = drawn_histories(), {"epochs": 6, "patience": 6, "batch_parts": batch_parts}
    alone = network(**settings).fit(train)
    member = network(**settings)
    member.checkpoint = tmp_path / "cache" / "network"
    member.checkpoint.parent.mkdir()
    first = nodes.workers[0]

    def change() -> None:
        nodes.add()
        nodes.lose(first)

    jobs = [FitJob(member, Content.NONE), FitJob(make_member("popular", {"model": "popularity"}), Content.NONE)]
    with caplog.at_level(logging.INFO, "penchant"), computing("ray", nodes.config()) as executor:
        fitted: Any = fitted_while(change, jobs, train, tmp_path, batch_parts)
        work = dict(executor.work)
    assert "  network: resumes after epoch 3" in caplog.messages
    assert fitted.training_history.losses == alone.training_history.losses
    assert np.array_equal(fitted.score(train), alone.score(train))
    assert sum(one.shards for one in work.values()) == batch_parts + 1, "popularity too"
    if batch_parts == 1:
        assert first.node_id not in work
        return
    by = next(line for line in caplog.messages if line.startswith("fit network: by the nodes "))
    assert by.count(",") == 1
    assert first.node_id[:8] not in by
    size = 4 * (sum(weight.numel() for weight in fitted.network.parameters()) + 1)  # and the loss
    assert {one.exchanged % size for one in work.values()} == {0}
    assert sum(one.exchanged > 0 for one in work.values()) == 2


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
