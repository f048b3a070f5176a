"""Results come back in order whatever happens to a process; arrays of any size; a process that hangs is ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import cluster_parts as parts
from penchant.core import worker_processes as module
from penchant.core.worker_processes import Lost, WorkerProcesses


def test_results_come_in_order_and_arrays_of_any_size_come_whole() -> None:
    with WorkerProcesses(partial(parts.large, megabytes=1), 2, 5) as processes:
        found = list(processes.map(range(12)))
    assert [array[0] for array in found if isinstance(array, np.ndarray)] == list(range(12))
    with WorkerProcesses(
        partial(parts.large, megabytes=20), 1, 2
    ) as processes:  # larger than its place in shared memory
        (one,) = processes.map([7])
    assert isinstance(one, np.ndarray)
    assert (one.shape, one[0], one[-1]) == ((20 * 2**17,), 7, 7)
    one[0] = 1  # a copy of its own


def test_items_are_taken_a_bounded_number_ahead() -> None:
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with WorkerProcesses(partial(parts.slow_square, seconds=0.0), 2, 4) as processes:
        results = processes.map(items())
        assert [next(results) for _ in range(10)] == [n * n for n in range(10)]
        assert len(taken) == 13  # ten given, and three with the last of them in the queue of four


def test_an_item_that_ends_its_process_is_told_and_the_others_are_computed_once_each() -> None:
    with WorkerProcesses(partial(parts.kills_itself, victim=3), 2, 6) as processes:
        found = list(processes.map(range(10)))
    assert found[3] == Lost("its process died")
    assert found[:3] + found[4:] == [0, 1, 2, *range(4, 10)]


def test_an_item_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS", 0.5)
    with WorkerProcesses(parts.sleeps, 1, 3) as processes:
        found = list(processes.map([0.0, 60.0, 0.01]))
    assert found == [0.0, Lost("it took more than 0 seconds"), 0.01]


def test_what_the_function_raises_comes_when_its_item_is_next() -> None:
    with WorkerProcesses(parts.fails, 1, 4) as processes, pytest.raises(ValueError, match="number 0"):
        next(processes.map(range(3)))


def test_nothing_is_left_of_processes_and_shared_memory() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with WorkerProcesses(parts.pid_of, 2, 4) as processes:
            pids = set(processes.map(range(20)))
    for pid in pids:
        assert isinstance(pid, int)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3  # the server of processes, once
    assert threading.active_count() < 20


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\n"
        "import cluster_parts as parts\n"
        "from penchant.core.worker_processes import WorkerProcesses\n"
        "print('run')\n"
        "with WorkerProcesses(partial(parts.slow_square, seconds=0.0), 1, 2) as processes:\n"
        "    print(list(processes.map([3])))\n"
    )
    began = time.monotonic()
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, script],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (done.stdout, done.returncode) == ("run\n[9]\n", 0), done.stderr
    assert time.monotonic() - began < 100
