"""The service that `attack.py` attacks: a process of its own on loopback, over a small generated bundle.

In: a scratch folder. Out: the running server, what it holds in memory, and a client that survives its death.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
START_SECONDS = 120


@dataclass(frozen=True)
class Measurement:
    """One row of the table; `is_met` is None where there is no target."""

    part: str
    what: str
    value: str
    target: str = ""
    is_met: bool | None = None


class Caller:
    """One kept connection; the server may be killed at any moment."""

    def __init__(self, port: int, key: str | None = None) -> None:
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> int | None:
        """Return the status; None where the connection broke, so that nobody knows whether it was done."""
        raw = b"" if body is None else json.dumps(body).encode()
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
            told = {"Content-Type": "application/json", **self._headers, **(headers or {})}
            self._connection.request(method, path, raw, told)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        if answer.will_close:
            self.close()
        return answer.status

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind((HOST, 0))
        return int(opened.getsockname()[1])


def wait_until_ready(port: int) -> None:
    """Wait for the server.

    Raises:
        SystemExit: It does not answer.
    """
    until, caller = time.monotonic() + START_SECONDS, Caller(port)
    while time.monotonic() < until:
        if caller.call("GET", "/readyz") == 200:
            caller.close()
            return
        time.sleep(0.02)
    raise SystemExit(f"the server is not ready after {START_SECONDS} s")


class Server:
    """`penchant serve` in a process of its own.

    Attributes:
        log: What it wrote.
    """

    def __init__(self, folder: Path, bundle: Path, *options: str) -> None:
        self.port, self.log, self.state = free_port(), folder / "server.log", folder / "state"
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "penchant", "serve", str(bundle), "--host", HOST, "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--folder", str(self.state), *options],
                stdout=log,
                stderr=log,
                env=os.environ | {"TMPDIR": str(self.temporary)},
            )

    def peak_bytes(self) -> int:
        """Return the most memory the process held so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(folder: Path, bundle: Path, *options: str) -> Iterator[Server]:
    """Start a server and wait until it answers; stop it in the end."""
    server = Server(folder, bundle, *options)
    try:
        wait_until_ready(server.port)
        yield server
    finally:
        server.stop()


def answer(config: str, port: int, log: str) -> None:
    """Serve, in a process group of its own, so that a kill can take its refit with it.

    Args:
        config: Settings of the service in JSON.
        port: Where to listen.
        log: File that what it writes is added to.
    """
    from penchant.service.config import ServiceConfig
    from penchant.service.server import serve

    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    serve(ServiceConfig.model_validate_json(config), host=HOST, port=port)
