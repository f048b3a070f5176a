"""The real thing: processes that share a store, stop when told, and lose nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest

from own_service import CONNECTED, LISTENS, SERVER, free_port, own_sockets, sockets_held_by, wait_until_ready
from penchant.client import Client
from penchant.service.store import Store


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_stop_finishes_what_was_begun_and_loses_nothing(shop: Path, tmp_path: Path, workers: int):
    port = free_port()
    arguments = [sys.executable, "-c", SERVER, str(shop), str(tmp_path), str(port), str(workers)]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    acknowledged: list[str] = []
    try:
        wait_until_ready(process, port)
        with Client(f"http://127.0.0.1:{port}") as client:
            client.event("a", "i12", kind="like")
            lists = [client.recommend("a", k=5) for _ in range(10)]
            assert {answer["events"] for answer in lists} == {1}, "every worker knows the event"

        def send() -> None:
            with Client(f"http://127.0.0.1:{port}") as client:
                for n in range(10_000):
                    try:
                        client.event("b", "i1", event_id=f"{n}")
                    except Exception:  # the server is gone
                        return
                    acknowledged.append(f"{n}")

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        sender.join(30)
        assert process.wait(30) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    assert len(acknowledged) > 0
    assert set(acknowledged) <= {e.key for e in store.events("b")}
    store.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sockets are read from /proc, and are shared elsewhere")
def test_connections_of_a_burst_are_spread_over_the_workers(shop: Path, tmp_path: Path):
    port = free_port()
    arguments = [sys.executable, "-c", SERVER, str(shop), str(tmp_path), str(port), "2"]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    opened: list[socket.socket] = []
    try:
        wait_until_ready(process, port)
        until = time.monotonic() + 60
        while len(own_sockets(port, LISTENS)) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        assert len(own_sockets(port, LISTENS)) == 2, "each worker has its own"
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(32)]
        time.sleep(1)
        taken = own_sockets(port, CONNECTED)
        counts = [len(taken & sockets_held_by(int(pid))) for pid in descendants(process.pid)]
        assert sum(counts) == 32
        assert max(counts) < 32, "one worker has them all (by chance once in two thousand million times)"
    finally:
        for one in opened:
            one.close()
        process.terminate()
        process.wait(60)


def descendants(pid: int) -> list[str]:
    """Return the processes that a process began, and those that these began."""
    found, left = [], [str(pid)]
    while left:
        own = Path(f"/proc/{left.pop()}/task")
        for task in own.glob("*/children"):
            new = task.read_text().split()
            found += new
            left += new
    return found


def test_missing_bundle_is_told_in_three_lines(tmp_path: Path):
    arguments = [sys.executable, "-c", SERVER, str(tmp_path / "none"), str(tmp_path / "state"), str(free_port()), "1"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "There is no finished bundle in 'none'." in done.stderr


def test_a_thread_may_serve_although_signals_are_for_the_main_one(tmp_path: Path):
    in_thread = (
        f"import threading\none = threading.Thread(target=exec, args=({SERVER!r}, {{}}))\none.start()\none.join()"
    )
    arguments = [
        sys.executable,
        "-c",
        in_thread,
        str(tmp_path / "none"),
        str(tmp_path / "state"),
        str(free_port()),
        "1",
    ]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert "There is no finished bundle in 'none'." in done.stderr


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_address_is_printed_when_it_answers(shop: Path, tmp_path: Path, workers: int):
    port = free_port()
    command = [sys.executable, "-m", "penchant", "serve", shop, "--folder", tmp_path, "--port", str(port)]
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"http://127.0.0.1:{port}/  (the API: /docs)\n"
        assert httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (again.returncode, again.stdout) == (1, "")
        assert f"Another program listens at 127.0.0.1:{port}." in again.stderr
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()
