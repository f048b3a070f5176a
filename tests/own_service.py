"""A service in processes of its own, on a free port of this machine."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

SERVER = """
import sys
from pathlib import Path
from penchant.service.server import serve
from penchant.service.config import ServiceConfig
serve(ServiceConfig(bundle=Path(sys.argv[1]), folder=Path(sys.argv[2])), port=int(sys.argv[3]), workers=int(sys.argv[4]))
"""


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(3000):
        assert process.poll() is None, "the server did not start"
        try:
            with socket.create_connection(("127.0.0.1", port), 0.2) as opened:
                opened.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                if b" 200 " in opened.recv(100):
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("not ready after five minutes")


LISTENS, CONNECTED = "0A", "01"
"""States of sockets in /proc/net/tcp."""


def own_sockets(port: int, state: str) -> set[str]:
    """Return the numbers in /proc of the sockets of this machine with a port and in a state."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == state}


def sockets_held_by(pid: int) -> set[str]:
    """Return the numbers of the sockets that a process has open."""
    held = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            held.add(target[8:-1])
    return held
