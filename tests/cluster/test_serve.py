"""Replicas of Ray Serve answer as one service: one store, one answer, and one that dies is replaced."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from own_service import free_port, wait_until_ready
from penchant.core.errors import ConfigError
from penchant.core.executor import RayConfig
from penchant.recommender.recommender import Recommender
from penchant.service.config import ServiceConfig
from shop import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def ask(port: int, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def events_counted(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return float(re.search(r"^penchant_events_total (\S+)$", answer.read().decode(), re.M)[1])  # type: ignore[index]


@contextmanager
def two_replicas(shop: Path, folder: Path, *options: str) -> Iterator[int]:
    """Serve a bundle by two replicas on this machine, and give the port."""
    pytest.importorskip("ray.serve", reason="pip install 'penchant[ray-serve]'", exc_type=ImportError)
    port = free_port()
    own = ["--executor", "ray", "--workers", "2", "--port", str(port), "--folder", str(folder), *options]
    command = [str(Path(sys.executable).parent / "penchant"), "serve", str(shop), *own]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    running = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    try:
        wait_until_ready(running, port)
        yield port
    finally:
        running.terminate()
        assert running.wait(90) == 0


def kill_a_replica() -> None:
    found = subprocess.run(["pgrep", "-f", "^ray::ServeReplica:penchant"], check=True, capture_output=True, text=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)


def test_replicas_share_the_store_and_one_that_dies_changes_no_answer(
    shop: Path, tmp_path: Path, postgres_server: Postgres
) -> None:
    with two_replicas(shop, tmp_path / "state", "--database", postgres_server.empty()) as port:
        for number in range(10):
            ask(port, "/v1/events", {"user_id": "new", "item_id": f"i{number}"})
            assert ask(port, "/v1/users/new/recommendations?k=3")["events"] == number + 1, "whichever replica answers"
        answers = [ask(port, "/v1/users/new/recommendations?k=3")["items"] for _ in range(8)]
        assert all(items == answers[0] for items in answers)
        recommender = Recommender.load(shop)
        expected = recommender.recommend(recommender.history_of([f"i{number}" for number in range(10)]), k=3)
        assert [item["item_id"] for item in answers[0]] == [item.item_id for item in expected]
        kill_a_replica()
        assert all(ask(port, "/v1/users/new/recommendations?k=3")["items"] == answers[0] for _ in range(20))


def test_metrics_sum_over_replicas_whichever_answers_and_keep_what_one_that_died_counted(
    shop: Path, tmp_path: Path
) -> None:
    with two_replicas(shop, tmp_path / "state") as port:
        for number in range(10):
            ask(port, "/v1/events", {"user_id": "new", "item_id": f"i{number}"})
        until = time.monotonic() + 60
        while events_counted(port) < 10 and time.monotonic() < until:  # a replica reports now and then
            time.sleep(0.5)
        assert [events_counted(port) for _ in range(6)] == [10] * 6
        kill_a_replica()
        assert [events_counted(port) for _ in range(6)] == [10] * 6


def test_several_machines_need_a_database_that_they_share(shop: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray.serve", reason="pip install 'penchant[ray-serve]'", exc_type=ImportError)
    from penchant.service.ray_serve import serve_on_ray

    config = ServiceConfig(bundle=shop, folder=tmp_path / "state")
    with pytest.raises(ConfigError, match="cannot share a file of SQLite"):
        serve_on_ray(config, cluster=RayConfig(address="10.0.0.5:6379"))
