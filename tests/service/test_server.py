"""The real thing: processes that share a store, stop when told, and lose nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from penchant.client import Client
from penchant.service.store import Store

SERVER = """
import sys
from pathlib import Path
from penchant.service.server import serve
from penchant.service.service import ServiceConfig
serve(ServiceConfig(bundle=Path(sys.argv[1]), folder=Path(sys.argv[2])), port=int(sys.argv[3]), workers=int(sys.argv[4]))
"""


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


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


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server did not start"
        try:
            with socket.create_connection(("127.0.0.1", port), 0.2) as opened:
                opened.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if b" 200 " in opened.recv(100):
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("not ready after a minute")


def test_missing_bundle_is_told_in_three_lines(tmp_path: Path):
    arguments = [sys.executable, "-c", SERVER, str(tmp_path / "none"), str(tmp_path / "state"), str(free_port()), "1"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "There is no finished bundle in 'none'." in done.stderr
