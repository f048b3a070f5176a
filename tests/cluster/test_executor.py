"""The executor on a real cluster: order, exactly once, nodes that go away, memory, versions, faults."""

from __future__ import annotations

import logging
import random
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cluster_parts as parts
from penchant.core.errors import ExecutorError
from penchant.core.executor import RayConfig, computing
from penchant.core.storage import Storage

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def own_megabytes() -> float:
    """Return the memory of this process without what it shares with the object store."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def test_every_node_works_in_a_folder_of_its_own_and_results_keep_the_order(nodes: Any, caplog: Any) -> None:
    nodes.keep(3)
    shards = list(range(60))
    random.Random(1).shuffle(shards)
    with caplog.at_level(logging.INFO, "penchant"), computing("ray", nodes.config()) as executor:
        found = list(executor.map(parts.folder_and_square, shards))
        work = dict(executor.work)
    assert [square for _, square in found] == [n * n for n in shards]
    assert len(work) >= 2
    assert len({folder for folder, _ in found}) == len(work)
    assert str(Path.cwd()) not in {folder for folder, _ in found}
    assert sum(one.shards for one in work.values()) == 60
    said = [line for line in caplog.messages if line.startswith("ray node ")]
    assert len(said) == len(work)
    assert all("MB received" in line and "s of work" in line for line in said)


def test_a_node_that_goes_away_in_the_middle_changes_nothing_and_nothing_counts_twice(nodes: Any) -> None:
    nodes.keep(3)
    with computing("ray", nodes.config()) as executor:
        lost = threading.Timer(3.0, nodes.lose, [nodes.workers[0]])
        lost.start()
        total = executor.sum(parts.slow_square, range(40), (0.3,))
        lost.join()
        counted = sum(work.shards for work in executor.work.values())
    assert total == sum(n * n for n in range(40))
    assert counted == 40


def test_a_run_that_starts_before_a_lost_node_is_missed_computes_on_the_others(nodes: Any) -> None:
    nodes.keep(2)
    nodes.lose(nodes.workers[0])
    with computing("ray", nodes.config()) as executor:
        assert executor.sum(parts.slow_square, range(6), (0.0,)) == sum(n * n for n in range(6))
        assert len(executor.work) == 1


def test_a_part_that_ends_its_process_is_named_or_put_aside(nodes: Any) -> None:
    nodes.keep(2)
    with computing("ray", nodes.config(retries=1)) as executor:
        with pytest.raises(ExecutorError, match=r"Part 3 of squares was given up after 2 attempts: its process died"):
            list(executor.map(parts.kills_itself, range(6), (3,), title="squares"))
        found = executor.map_apart(
            parts.killed_pieces,
            [[0, 1], [4, 5], [6]],
            lambda shard: ([one] for one in shard),
            lambda shard, why: [*shard, why],
        )
        assert list(found) == [[0, 1], [6], [4], [5, "its process died"]]


def test_an_error_of_a_part_is_that_of_this_process(nodes: Any) -> None:
    nodes.keep(2)
    with computing("ray", nodes.config()) as executor, pytest.raises(ValueError, match="number 0") as found:
        list(executor.map(parts.fails, range(4)))
    assert "on node" in found.value.__notes__[0]


def test_an_object_store_below_the_size_of_the_data_still_ends_and_the_driver_stays_flat(nodes: Any) -> None:
    nodes.keep(2)  # stores of 150 MB
    shared = np.ones(2**20)
    peaks = []
    with computing("ray", nodes.config()) as executor:
        assert executor.sum(parts.heavy_sum, range(4), (shared,)) == 4 * 2**20 + 2_000_000 * 6
        for count in (16, 64):  # results of 256 MB and 1,024 MB
            peaks.append(0.0)
            for number, found in enumerate(executor.map(parts.large, range(count), (16,))):
                assert found[0] == found[-1] == number
                peaks[-1] = max(peaks[-1], own_megabytes())
    print(f"the driver's own memory: {peaks[0]:.0f} MB at 256 MB of results, {peaks[1]:.0f} MB at 1,024 MB")
    assert peaks[1] - peaks[0] < 60, peaks


def test_one_worker_is_not_much_slower_than_this_process(nodes: Any) -> None:
    nodes.keep(1)
    with computing("ray", nodes.config()) as executor:
        list(executor.map(parts.spin, range(4), (10,)))  # starts the worker
        ratios = []
        for _ in range(3):
            began = time.perf_counter()
            here = [parts.spin(number, 3000) for number in range(40)]
            local = time.perf_counter() - began
            began = time.perf_counter()
            there = list(executor.map(parts.spin, range(40), (3000,)))
            ratios.append(local / (time.perf_counter() - began))
    print(f"speed of one Ray worker / this process: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    assert here == there
    assert max(ratios) > 0.85, ratios


def test_a_node_with_another_version_is_refused_at_the_start_and_later(nodes: Any, tmp_path: Path) -> None:
    nodes.keep(1)
    source = Path(__file__).parents[2] / "src"
    shutil.copytree(source, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "src" / "penchant" / "core" / "logs.py"
    changed.write_text(changed.read_text() + "\n# another commit\n")
    env = {"PYTHONPATH": str(tmp_path / "src"), "PENCHANT_TEST_SOURCE": str(tmp_path / "src")}
    with computing("ray", nodes.config()) as executor:
        other = nodes.add(env_vars=env)
        with pytest.raises(ExecutorError, match=r"This node has Penchant .*, the run ") as found:
            list(executor.map(parts.slow_square, range(1000), (0.2,)))  # until the new node has taken one
        assert "same version of Penchant on every node" in found.value.fix
    with pytest.raises(ExecutorError, match="This node has Penchant"), computing("ray", nodes.config()):
        pass
    nodes.lose(other)


def test_storage_that_a_node_does_not_see_is_refused_at_the_start(
    nodes: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = re.search(r"endpoint_override=([\w.:]+)", bucket)
    assert endpoint is not None
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{endpoint[1]}")
    nodes.keep(0)
    blind = nodes.add(env_vars={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    with (
        pytest.raises(ExecutorError, match=rf"The node {blind.node_id[:8]} does not see the storage of this run"),
        computing("ray", nodes.config(storage="s3://penchant/seen?scheme=http&region=us-east-1")),
    ):
        pass
    nodes.lose(blind)


def test_a_file_that_is_missing_from_the_storage_ends_the_run_with_its_name(nodes: Any, tmp_path: Path) -> None:
    nodes.keep(1)
    with computing("ray", nodes.config(storage=str(tmp_path))) as executor:
        with pytest.raises(ExecutorError, match="'media/a' is missing from the storage") as found:
            list(executor.map(parts.fetched, range(3), (executor.storage,)))
        assert "on node" in found.value.__notes__[0]


def test_storage_that_cannot_be_written_is_refused_at_the_start(nodes: Any, tmp_path: Path) -> None:
    nodes.keep(1)
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(ExecutorError, match="The storage does not answer"),
        computing("ray", nodes.config(storage=str(tmp_path / "file" / "below"))),
    ):
        pass


def test_nobody_at_the_address_is_told() -> None:
    with (
        pytest.raises(ExecutorError, match="Ray cannot be reached") as found,
        computing("ray", RayConfig(address="127.0.0.1:9")),
    ):
        pass
    assert "ray start --head" in found.value.fix


def test_a_bucket_is_storage_for_nodes(nodes: Any, bucket: str, tmp_path: Path) -> None:
    nodes.keep(2)
    (tmp_path / "a").write_bytes(b"a" * 1000)
    with computing("ray", nodes.config(storage=bucket)) as executor:
        storage = executor.storage
        assert storage.address == Storage(bucket).address
        assert storage.put(tmp_path / "a", "media/a") == 1000
        assert list(executor.map(parts.fetched, range(3), (storage,))) == [1000] * 3
    assert storage.names("media") == [], "deleted at the end"
