"""Requests that are malformed, large, many or slow.

In: a scratch folder and a number of requests. Out: answers by status, memory, and how long an honest client waits meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import math
import multiprocessing
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from PIL import Image

from attacked_service import HOST, Caller, Measurement, running
from load import Connection
from penchant.service.security import make_key
from penchant.service.store import Store
from service import hostile_media as hostile
from shop import make_bundle

CHECKS = (
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.status_code_conformance,
)
MAX_PEAK_BYTES, MAX_EVENT_MS, MAX_REFUSAL_MS = 1_500_000_000, 250, 50
SERVER_ERROR, OVERLOADED = 500, 503
SLOW_SECONDS = 60
"""Longer than the service waits for headers (10 s) and for a body (30 s)."""


def attack_cases(folder: Path, cases: int, first_seed: int, seconds: float) -> list[Measurement]:
    """Send generated requests to every operation: while the service is open, then with a key, then without one."""
    make_bundle(folder / "bundle")
    statuses: Counter[int] = Counter()
    faults: Counter[str] = Counter()
    with running(folder, folder / "bundle") as server:
        base = f"http://{HOST}:{server.port}"
        found = schemathesis.openapi.from_url(f"{base}/openapi.json").get_all_operations()
        operations = [result.ok() for result in found]
        until = time.monotonic() + seconds
        for share, needs_key, sends_key in ((0.45, False, False), (0.45, True, True), (0.1, True, False)):
            headers = {}
            if needs_key and sends_key:
                store = Store.open(f"sqlite:///{server.state / 'store.db'}")
                key = make_key(store, "attack", ["read", "write", "personal"])
                store.close()
                time.sleep(3)  # every process knows of it within a second
            if sends_key:
                headers = {"Authorization": f"Bearer {key}"}
            wanted = sum(statuses.values()) + math.ceil(share * cases)
            _send_cases(operations, wanted, first_seed, until, headers, statuses, faults)
        is_alive = Caller(server.port).call("GET", "/readyz") == 200
    num_errors = sum(n for status, n in statuses.items() if status >= SERVER_ERROR)
    told = ", ".join(f"{status}: {n:,}" for status, n in sorted(statuses.items()))
    kinds = "; ".join(f"{n} x {fault}" for fault, n in faults.most_common(5)) or "0"
    return [
        Measurement(
            "cases", f"{len(operations)} operations: requests by status", f"{sum(statuses.values()):,} ({told})"
        ),
        Measurement("cases", "answers of 500 and above", f"{num_errors}", "0", num_errors == 0 and is_alive),
        Measurement("cases", "answers that are not as the API's description says", kinds, "0", not faults),
    ]


def _send_cases(
    operations: list[Any],
    wanted: int,
    first_seed: int,
    until: float,
    headers: dict[str, str],
    statuses: Counter[int],
    faults: Counter[str],
) -> None:
    """Send requests to each operation in turn, valid and invalid ones, until there are as many as wanted."""
    number = first_seed + sum(statuses.values())
    while sum(statuses.values()) < wanted and time.monotonic() < until:
        left = wanted - sum(statuses.values())
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                number += 1

                @seed(number)
                @settings(
                    max_examples=max(1, min(40, left // (2 * len(operations)))),
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode))
                def send(case: schemathesis.Case) -> None:
                    if sum(statuses.values()) >= wanted or time.monotonic() > until:
                        return
                    answer = case.call(headers=headers, timeout=60)
                    statuses[answer.status_code] += 1
                    try:
                        case.validate_response(answer, checks=CHECKS)
                    except BaseExceptionGroup as group:
                        for error in group.exceptions:
                            title = str(error).splitlines()[0]
                            faults[f"{case.operation.label} {answer.status_code}: {title}"] += 1

                with suppress(Unsatisfiable):  # an address that takes nothing cannot be asked wrongly
                    send()


def attack_media(folder: Path, at_once: int) -> list[Measurement]:
    """Search with each hostile file several times at once, then with all of them mixed, and send them as items."""
    make_bundle(folder / "bundle", has_pictures=True)
    files = [("image", name, make()) for name, make in hostile.pictures().items()]
    files += [("audio", name, make()) for name, make in hostile.sounds().items()]
    bodies = [(kind, name, {kind: {"data": base64.b64encode(raw).decode()}}) for kind, name, raw in files]
    statuses: Counter[int | None] = Counter()
    with running(folder, folder / "bundle") as server, ThreadPoolExecutor(at_once) as clients:
        start = server.peak_bytes()

        def send(method: str, path: str, body: Any) -> int | None:
            caller = Caller(server.port)
            status = caller.call(method, path, body)
            caller.close()
            statuses[status] += 1
            return status

        peak, worst = start, "at start"
        for kind, name, body in bodies:
            list(clients.map(lambda _, body=body: send("POST", "/v1/search", body), range(at_once)))
            if server.peak_bytes() > peak:
                peak, worst = server.peak_bytes(), f"{kind} {name}"
        mixed = [bodies[n] for n in np.random.default_rng(0).permutation(len(bodies) * 4) % len(bodies)]
        list(clients.map(lambda one: send("POST", "/v1/search", one[2]), mixed))
        items = [(f"{kind}-{name}", {"columns": {"title": name}, **body}) for kind, name, body in bodies]
        list(clients.map(lambda one: send("PUT", f"/v1/items/{one[0]}", one[1]), items))
        ready = _wait_for_items(server.port, [item for item, _ in items])
        is_alive = Caller(server.port).call("POST", "/v1/search", {"words": "high tune"}) == 200
        peak = server.peak_bytes()
    refused = ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items(), key=str))
    errors = sum(n for s, n in statuses.items() if s is None or (s >= SERVER_ERROR and s != OVERLOADED))
    megabytes = f"{peak / 1e6:,.0f} MB ({start / 1e6:,.0f} MB at start; highest first with {worst})"
    is_small = peak < MAX_PEAK_BYTES
    return [
        Measurement(
            "media", f"{len(files)} files, {at_once} at once: peak resident memory", megabytes, "< 1,500 MB", is_small
        ),
        Measurement("media", "requests by status", f"{sum(statuses.values())} ({refused})"),
        Measurement("media", "500s, broken connections", f"{errors}", "0", errors == 0 and is_alive),
        Measurement(
            "media", "items with such a file that are not encoded after two minutes", f"{ready}", "0", ready == 0
        ),
    ]


def _wait_for_items(port: int, items: list[str]) -> int:
    """Return how many of the items still wait for their encoding after two minutes."""
    until, waiting = time.monotonic() + 120, items
    while waiting and time.monotonic() < until:
        time.sleep(1)
        waiting = [item for item in waiting if _item_status(port, item) == "waiting"]
    return len(waiting)


def _item_status(port: int, item: str) -> str:
    import json
    from urllib.request import urlopen

    with urlopen(f"http://{HOST}:{port}/v1/items/{item}", timeout=60) as answer:
        status: str = json.load(answer)["status"]
    return status


def attack_flood(folder: Path, searches: int, seconds: float) -> list[Measurement]:
    """Measure an event's time alone, then while clients search by media: such that wait as told, and such that do not."""
    make_bundle(folder / "bundle", has_pictures=True)
    rows = []
    with running(folder, folder / "bundle") as server:
        _event_times(server.port, 3)
        rows.append(Measurement("flood", "an event, nothing else running", _spread(_event_times(server.port, 5))))
        for wait, clients in ((1.0, "that wait a second after a 503"), (0.0, "that do not wait")):
            pipe, theirs = multiprocessing.Pipe()
            spawn = multiprocessing.get_context("spawn")
            flood = spawn.Process(target=flood_with_searches, args=(server.port, searches, seconds + 4, wait, theirs))
            flood.start()
            pipe.recv()
            time.sleep(2)
            times = _event_times(server.port, seconds)
            statuses, answered, refused = pipe.recv()
            flood.join()
            told = ", ".join(f"{status}: {n:,}" for status, n in sorted(statuses.items()))
            p99 = float(np.percentile(times, 99))
            what = f"{searches} clients search by media {clients}"
            is_met = p99 < MAX_EVENT_MS
            rows.append(Measurement("flood", f"an event while {what}", _spread(times), "p99 < 250 ms", is_met))
            value = f"{_spread(refused)}; answered {_spread(answered)} ({told})"
            is_met = float(np.percentile(refused, 99)) < MAX_REFUSAL_MS
            since = "" if wait else ", from the end of the second they were told to wait"
            rows.append(Measurement("flood", f"time to 503 of {what}{since}", value, "p99 < 50 ms", is_met))
    return rows


def flood_with_searches(port: int, clients: int, seconds: float, wait: float, pipe: Any) -> None:
    """Search by picture and sound over so many connections, in a process of its own."""
    rng = np.random.default_rng(0)
    sound = hostile.wav((rng.standard_normal(16_000 * 10) * 3000).astype("<i2"), 16_000)
    picture = hostile._encoded(Image.fromarray(rng.integers(0, 255, (500, 500, 3), np.uint8)), "JPEG")
    bodies = [
        f'{{"{kind}": {{"data": "{base64.b64encode(raw).decode()}"}}}}'.encode()
        for kind, raw in (("image", picture), ("audio", sound))
    ]
    statuses: Counter[int] = Counter()
    times: dict[bool, list[float]] = {True: [], False: []}
    until = time.monotonic() + seconds

    async def work(number: int) -> None:
        connection: Connection | None = None
        told_until = 0.0
        while time.monotonic() < until:
            try:
                if connection is None:
                    connection = Connection(port)
                    await connection.open()
                began = time.perf_counter()
                status, _ = await connection.request("POST", "/v1/search", bodies[number % len(bodies)])
            except (OSError, asyncio.IncompleteReadError):  # an unread body ends the connection
                statuses[0] += 1
                connection = None
                continue
            statuses[status] += 1
            ended = time.perf_counter()
            times[status == OVERLOADED].append(1000 * (ended - max(began, min(told_until, ended))))
            if status == OVERLOADED:
                told_until = ended + 1
                await asyncio.sleep(wait)
        if connection is not None:
            connection.close()

    async def all_clients() -> None:
        await asyncio.gather(*[work(number) for number in range(clients)])

    pipe.send("started")
    asyncio.run(all_clients())
    pipe.send((dict(statuses), times[False], times[True]))


def attack_slow(folder: Path, clients: int) -> list[Measurement]:
    """Let clients send one byte a second: half of them of the headers, half of a body; and measure an event's time meanwhile."""
    make_bundle(folder / "bundle")
    body = b'{"user_id": "slow", "item_id": "i1", "event_id": "' + b"x" * 400 + b'"}'
    whole = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    whole += b"Content-Length: %d\r\n\r\n" % len(body)
    with running(folder, folder / "bundle") as server:
        alone = _event_times(server.port, 3)
        with ThreadPoolExecutor(clients) as pool:
            sent = [(b"", whole + body) if n % 2 else (whole, body) for n in range(clients)]
            slow = [pool.submit(_dribble, server.port, *one) for one in sent]
            times = _event_times(server.port, 12)
            ended = [one.result() for one in slow]
        is_alive = Caller(server.port).call("GET", "/readyz") == 200
    statuses = Counter(status for status, _ in ended)
    told = ", ".join(f"{status}: {n}" for status, n in sorted(statuses.items()))
    longest = [max((took for _, took in ended[place::2]), default=0.0) for place in (1, 0)]
    value = f"headers after {longest[0]:.1f} s, bodies after {longest[1]:.1f} s ({told})"
    is_met = set(statuses) == {"408"} and is_alive
    p99 = float(np.percentile(times, 99))
    return [
        Measurement("slow", f"{clients} slow clients, one byte a second: refused", value, "all with 408", is_met),
        Measurement(
            "slow",
            "an event meanwhile",
            f"{_spread(times)}; alone {_spread(alone)}",
            "p99 < 250 ms",
            p99 < MAX_EVENT_MS,
        ),
    ]


def _dribble(port: int, start: bytes, rest: bytes) -> tuple[str, float]:
    """Return the status and when the connection was closed."""
    began, answer = time.monotonic(), b""
    with socket.create_connection((HOST, port)) as opened, suppress(OSError):
        opened.sendall(start)
        opened.settimeout(1)
        for byte in _bytes(rest):
            if time.monotonic() - began > SLOW_SECONDS:
                break
            opened.sendall(byte)
            try:
                answer = opened.recv(1000)
                break
            except TimeoutError:
                continue
    return answer[9:12].decode() or "none", time.monotonic() - began


def _bytes(raw: bytes) -> Iterator[bytes]:
    return (raw[n : n + 1] for n in range(len(raw)))


def _event_times(port: int, seconds: float) -> list[float]:
    """Return the milliseconds of events, one after another."""
    caller, until, times = Caller(port), time.monotonic() + seconds, []
    while time.monotonic() < until:
        began = time.perf_counter()
        status = caller.call("POST", "/v1/events", {"user_id": f"honest{len(times) % 50}", "item_id": "i1"})
        times.append(1000 * (time.perf_counter() - began) if status == 200 else math.inf)
        time.sleep(0.01)
    caller.close()
    return times


def _spread(milliseconds: list[float]) -> str:
    if not milliseconds:
        return "none"
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(milliseconds):,}"
