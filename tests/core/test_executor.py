"""The contract of executors, as this process keeps it, and files that nodes share. Clusters: tests/cluster."""

import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from penchant.core.errors import ConfigError, ExecutorError
from penchant.core.executor import Executor, LocalExecutor, RayConfig, computing, computing_on, current_executor
from penchant.core.storage import Storage


class Dying(Executor):
    """Computes here; shards that hold a poisoned number are lost, as on nodes where they end their process."""

    name = "ray"

    def map(self, function, shards, shared=(), *, title="", lost=None) -> Iterator:
        for shard in shards:
            yield lost(shard, "its process died") if 13 in shard and lost else function(shard, *shared)


def test_results_come_in_the_order_of_the_shards_and_only_when_asked_for() -> None:
    taken = []

    def shards() -> Iterable[int]:
        for number in (3, 1, 2):
            taken.append(number)
            yield number

    results = LocalExecutor().map(lambda shard, factor: shard * factor, shards(), (10,))
    assert taken == []
    assert next(results) == 30
    assert taken == [3]
    assert list(results) == [10, 20]


def test_a_sum_counts_each_shard_once_in_any_order() -> None:
    shards = list(range(1, 9))
    random.Random(0).shuffle(shards)
    assert LocalExecutor().sum(lambda shard: [shard], [[s] for s in shards]) == [[s] for s in shards]
    assert LocalExecutor().sum(lambda shard: shard * shard, shards) == 204


def test_what_ends_its_process_alone_is_lost_and_its_shard_is_not() -> None:
    found = Dying().map_apart(
        sum, [[1, 2], [3, 13, 4], [5]], lambda shard: ([one] for one in shard), lambda shard, why: (shard, why)
    )
    assert list(found) == [3, 5, 3, ([13], "its process died"), 4]


def test_the_executor_of_a_context_ends_with_it() -> None:
    assert current_executor().is_local
    with computing_on(Dying()) as executor:
        assert current_executor() is executor
    with computing("local", RayConfig()):
        assert current_executor().is_local


def test_without_ray_the_error_has_the_install_line_and_local_needs_none(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from penchant.core.executor import RayConfig, computing
with computing("local", RayConfig()) as executor:
    print(list(executor.map(abs, [-1, 2])), "ray" in sys.modules)
with computing("ray", RayConfig()):
    pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[1, 2] False"
    assert "pip install 'penchant[ray]'" in done.stderr


def test_storage_keeps_files_by_name(tmp_path: Path) -> None:
    storage, source = Storage.of(str(tmp_path / "shared")), tmp_path / "a.bin"
    source.write_bytes(b"x" * 5000)
    assert storage.put(source, "media/a.bin") == 5000
    assert storage.put(source, "media/a.bin") == 0  # there already
    assert storage.fetch("media/a.bin", tmp_path / "b.bin") == 5000
    assert (tmp_path / "b.bin").read_bytes() == source.read_bytes()
    assert storage.names("media") == ["media/a.bin"]
    assert storage.names("none") == []
    storage.remove("media/a.bin")
    storage.remove("media/a.bin")  # gone already
    assert storage.names("media") == []


def test_a_run_deletes_its_own_copies_alone(tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    ours, theirs = (Storage.of(str(tmp_path / "shared")).of_one_run() for _ in range(2))
    for storage in (ours, theirs):
        storage.put(source, "media/a.bin")
    ours.clear()
    ours.clear()  # gone already
    assert ours.names("media") == []
    assert theirs.names("media") == ["media/a.bin"]


def test_a_missing_file_and_an_unknown_address_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match=r"'media/gone.bin' is missing from the storage"):
        Storage.of(str(tmp_path)).fetch("media/gone.bin", tmp_path / "x")
    with pytest.raises(ConfigError, match="No file system for the address 'teapot://kettle'"):
        Storage.of("teapot://kettle").names("a")


def test_storage_that_takes_requests_and_never_answers_is_told_within_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("penchant.core.storage.REQUEST_SECONDS", 0.3)
    monkeypatch.setattr("penchant.core.storage.ATTEMPTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        storage = Storage.of(f"s3://bucket/run?scheme=http&endpoint_override=127.0.0.1:{port}&region=us-east-1")
        began = time.monotonic()
        with pytest.raises(ExecutorError, match="The storage does not answer"):
            storage.fetch("a", tmp_path / "a")
    assert time.monotonic() - began < 20


def test_storage_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "a").write_text("a")
    with pytest.raises(ExecutorError, match="The storage does not answer") as found:
        Storage.of("s3://bucket/run?scheme=http&endpoint_override=127.0.0.1:9&region=us-east-1").put(
            tmp_path / "a", "a"
        )
    assert found.value.where == "ray.storage = 's3://bucket/run'"
