"""How fast the service answers, how fast it takes events in, and whether it loses any.

In: a bundle. Out: one line for each row of the table in docs/service.md, with the machine's load beside it.

    python benchmarks/load.py runs/movielens --kills 20
    python benchmarks/load.py runs/people --photos runs/world-small-users/photos
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from penchant.recommender.recommender import Recommender
from penchant.service.store import Event, Store

SERVER = """
import json, sys
from pathlib import Path
from penchant.service.server import serve
from penchant.service.config import ServiceConfig
serve(ServiceConfig(bundle=Path(sys.argv[1]), folder=Path(sys.argv[2]), database=sys.argv[5] or None,
             **json.loads(sys.argv[6])),
      port=int(sys.argv[3]), workers=int(sys.argv[4]))
"""
WRITER = """
import sys
from penchant.service.store import Event, Store
store = Store.open(sys.argv[1])
for n in range(1000):
    store.append([[Event(f"u{m % 50}", f"{n}-{m}", "click", n, None, f"{sys.argv[2]}-{n}-{m}") for m in range(100)]])
    print(n, flush=True)
"""

LISTENS = "0A"
"""State of a listening socket in /proc/net/tcp."""


class Connection:
    """One kept HTTP connection; just enough of the protocol to cost the client little."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return int(answer[9:12]), await self._reader.readexactly(int(length))

    def close(self) -> None:
        self._writer.close()


Act = Callable[[Connection, int], Awaitable[float]]


async def drive(port: int, connections: int, count: int, act: Act) -> tuple[float, list[float]]:
    """Do `count` acts over so many connections; return them per second, and the seconds each took."""
    places, seconds = iter(range(count)), []

    async def work() -> None:
        connection = Connection(port)
        await connection.open()
        for place in places:
            seconds.append(await act(connection, place))
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*[work() for _ in range(connections)])
    return count / (time.perf_counter() - began), seconds


def sockets_of(port: int, state: str) -> int:
    """Return how many sockets of this machine have a port and are in a state of /proc/net/tcp."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(own.endswith(f":{port:04X}") and now == state for _, own, _, now, *_ in rows)


def report(what: str, value: str) -> None:
    print(f"{what:<58} {value:<44} load {os.getloadavg()[0]:.1f}", flush=True)


def spread(seconds: Sequence[float]) -> str:
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


class Server:
    """The service in a process of its own."""

    def __init__(self, bundle: Path, folder: Path, database: str, workers: int, port: int, **settings: int) -> None:
        arguments = [str(bundle.absolute()), str(folder), str(port), str(workers), database, json.dumps(settings)]
        self.port, self.workers = port, workers
        self._process = subprocess.Popen([sys.executable, "-c", SERVER, *arguments], stderr=subprocess.DEVNULL)

    def wait(self) -> float:
        began = time.perf_counter()
        while time.perf_counter() - began < 120:
            if self._process.poll() is not None:
                raise SystemExit("the server did not start")
            with contextlib.suppress(OSError):
                asyncio.run(self._ready())
                if sockets_of(self.port, LISTENS) >= self.workers:  # each worker has its own
                    return time.perf_counter() - began
            time.sleep(0.05)
        raise SystemExit("the server is not ready after two minutes")

    async def _ready(self) -> None:
        connection = Connection(self.port)
        await connection.open()
        await connection.request("GET", "/readyz")
        connection.close()

    def cpu_seconds(self) -> float:
        """Return what the server's processes have computed so far: it tells the cost where other work shares the machine."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self._pids()]
        return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> list[tuple[float, float]]:
        """Return the memory of each process, largest first, and what of it no other process shares: what one more would take."""
        found = []
        for pid in self._pids():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
            found.append((kilobytes["Rss"] / 1024, (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) / 1024))
        return sorted(found, reverse=True)

    def _pids(self) -> list[int]:
        found = [self._process.pid]
        for pid in found:  # grows while it is read: workers are children of a child
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(40)


def recommendations(server: Server, users: Sequence[str], count: int) -> None:
    async def recommend(connection: Connection, place: int) -> float:
        began = time.perf_counter()
        status, _ = await connection.request(
            "GET", f"/v1/users/{quote(users[place % len(users)])}/recommendations?k=10"
        )
        assert status == 200, status
        return time.perf_counter() - began

    for title, total in (("each user once (none in the cache)", min(len(users), count)), ("again", count)):
        before = server.cpu_seconds()
        rate, seconds = asyncio.run(drive(server.port, 16, total, recommend))
        cost = 1000 * (server.cpu_seconds() - before) / total
        report(f"recommendations, 16 connections, {title}", f"{rate:,.0f}/s, {spread(seconds)}, {cost:.2f} ms CPU")


def burst(server: Server, users: Sequence[str], size: int) -> None:
    """Ask for so many lists at the same moment, each over a connection of its own, three times: those above the queue's limit are refused."""

    async def once(first: int) -> list[tuple[int, float]]:
        connections = [Connection(server.port) for _ in range(size)]
        for connection in connections:
            await connection.open()
        start = asyncio.Event()

        async def ask(place: int) -> tuple[int, float]:
            await start.wait()
            user, began = quote(users[(first + place) % len(users)]), time.perf_counter()
            status, _ = await connections[place].request("GET", f"/v1/users/{user}/recommendations?k=10")
            return status, time.perf_counter() - began

        asked = [asyncio.ensure_future(ask(place)) for place in range(size)]
        await asyncio.sleep(0.1)
        start.set()
        found = await asyncio.gather(*asked)
        for connection in connections:
            connection.close()
        return found

    for turn in range(3):
        found = asyncio.run(once(turn * size))
        for status, what in ((200, "accepted"), (503, "refused")):
            seconds = [took for code, took in found if code == status]
            if seconds:
                report(f"{size} lists at one moment: {len(seconds)} {what}", spread(seconds))
        assert {code for code, _ in found} <= {200, 503}


def events(server: Server, users: Sequence[str], items: Sequence[str], batches: int) -> None:
    rng = random.Random(0)

    async def send(connection: Connection, place: int) -> float:
        batch = [
            {"user_id": rng.choice(users), "item_id": rng.choice(items), "event_id": f"load-{place}-{n}"}
            for n in range(100)
        ]
        began = time.perf_counter()
        status, answer = await connection.request("POST", "/v1/events", json.dumps({"events": batch}).encode())
        assert (status, json.loads(answer)["stored"]) == (200, 100), answer
        return time.perf_counter() - began

    rate, seconds = asyncio.run(drive(server.port, 4, batches, send))
    report("durable events over HTTP, batches of 100, 4 connections", f"{100 * rate:,.0f}/s, {spread(seconds)}")


def visible(server: Server, items: Sequence[str], count: int) -> None:
    """Acknowledged, then asked for at once: the answer must know it."""

    async def click(connection: Connection, place: int) -> float:
        user = f"visitor-{place % 200}"
        path = f"/v1/users/{user}/recommendations?k=10"
        before = json.loads((await connection.request("GET", path))[1])["events"]
        body = {"user_id": user, "item_id": items[place % len(items)]}
        await connection.request("POST", "/v1/events", json.dumps(body).encode())
        began = time.perf_counter()
        after = json.loads((await connection.request("GET", path))[1])["events"]
        assert after > before, (before, after)
        return time.perf_counter() - began

    _, seconds = asyncio.run(drive(server.port, 4, count, click))
    report("acknowledged event to an answer with it, 4 connections", spread(seconds))


def photos(server: Server, items: Sequence[str], folder: Path, count: int) -> None:
    """An event with a photo is sent, then lists are asked for until one knows the photo: its scores are others than those of the event alone."""
    files = sorted(folder.glob("*.jpg"))

    async def show(connection: Connection, place: int) -> float:
        user, body = f"shows-{place}", {"item_id": items[place % len(items)], "kind": "view"}
        path = f"/v1/users/{user}/recommendations?k=10"
        await connection.request("POST", "/v1/events", json.dumps({"user_id": f"plain-{place}", **body}).encode())
        before = json.loads((await connection.request("GET", path.replace("shows-", "plain-")))[1])["items"]
        body |= {"user_id": user, "image": {"data": base64.b64encode(files[place % len(files)].read_bytes()).decode()}}
        began = time.perf_counter()
        status, answer = await connection.request("POST", "/v1/events", json.dumps(body).encode())
        assert (status, json.loads(answer)["with_content"]) == (200, 1), answer
        while time.perf_counter() - began < 30:
            if json.loads((await connection.request("GET", path))[1])["items"] != before:
                return time.perf_counter() - began
            await asyncio.sleep(0.02)
        raise AssertionError("no list knows the photo after 30 s")

    for connections in (1, 4):
        begin = 0 if connections == 1 else count
        rate, seconds = asyncio.run(
            drive(
                server.port, connections, count, lambda connection, place, begin=begin: show(connection, begin + place)
            )
        )
        report(
            f"event with a photo to a list that knows it, {connections} connections", f"{rate:.0f}/s, {spread(seconds)}"
        )


def inside(bundle: Path, count: int) -> None:
    recommender = Recommender.load(bundle).warmed_up()
    seconds, computed = [], time.process_time()
    for row in range(min(count, len(recommender.histories))):
        history = recommender.histories.rows(row, row + 1)
        began = time.perf_counter()
        recommender.score(history)
        seconds.append(time.perf_counter() - began)
    cost = 1000 * (time.process_time() - computed) / len(seconds)
    report("inside the model, one user at a time", f"{spread(seconds)}, {cost:.2f} ms CPU")


def kills(address: str, times: int) -> None:
    """Kill a writer in the middle of 100,000 events, so many times."""
    rng, lost, doubled, acknowledged = random.Random(1), 0, 0, 0
    store = Store.open(address)
    for turn in range(times):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, address, str(turn)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        until = rng.randrange(5, 900)
        said = []
        for line in writer.stdout:
            said.append(int(line))
            if len(said) == until:
                writer.kill()
                break
        said += [int(line) for line in writer.stdout if line.endswith(b"\n")]
        writer.wait()
        held = [e.key for u in range(50) for e in store.events(f"u{u}") if e.key and e.key.startswith(f"{turn}-")]
        wanted = {f"{turn}-{n}-{m}" for n in said for m in range(100)}
        lost += len(wanted - set(held))
        doubled += len(held) - len(set(held))
        acknowledged += len(wanted)
        for u in range(50):
            store.erase(f"u{u}", f"{turn}", f"{turn}-{u}")
    store.close()
    kind = address.partition(":")[0]
    report(
        f"kill -9 of a writer, {times} times, {kind}", f"{acknowledged:,} acknowledged, {lost} lost, {doubled} doubled"
    )


def append_alone(address: str) -> None:
    store = Store.open(address)
    began = time.perf_counter()
    for n in range(100):
        store.append([[Event(f"u{(7 * n + m) % 5000}", f"i{m}", "click", n, None, f"{n}-{m}") for m in range(100)]])
    report("durable events into the store, batches of 100, no HTTP", f"{10_000 / (time.perf_counter() - began):,.0f}/s")
    store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--database", default="", help="postgresql://...; left out: SQLite in a new folder")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument(
        "--photos", type=Path, help="folder of pictures of a bundle that reads those of events; measures them alone"
    )
    parser.add_argument("--burst", type=int, help="so many lists at the same moment; measures them alone")
    parser.add_argument("--port", type=int, default=8765)
    told = parser.parse_args()
    bundle = Recommender.load(told.bundle)
    users = list(bundle.histories.user_ids)
    random.Random(0).shuffle(users)
    items = bundle.catalog.item_ids
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(told.bundle, Path(scratch) / "state", told.database, told.workers, told.port)
        try:
            report("start to ready", f"{server.wait():.1f} s")
            if told.photos is not None:
                photos(server, items, told.photos, told.requests // 20)
                return
            if told.burst is not None:
                burst(server, users, told.burst)
                return
            recommendations(server, users, told.requests)
            events(server, users, items, told.requests // 30)
            visible(server, items, told.requests // 6)
            sizes = ", ".join(f"{size:.0f} ({own:.0f})" for size, own in server.megabytes())
            report("memory of each process, MB (that no other shares)", sizes)
        finally:
            server.stop()
        inside(told.bundle, 1000)
        address = told.database or f"sqlite:///{scratch}/kill.db"
        append_alone(address)
        if told.kills:
            kills(address, told.kills)


if __name__ == "__main__":
    main()
