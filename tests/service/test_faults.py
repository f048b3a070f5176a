"""What production does to a service: a full disk, a database that crashes, wrong clocks, slow clients. Nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from penchant.service import server
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.store import Event, Store
from served_application import served
from shop import Postgres

FILLER = """
import resource, sys
from sqlalchemy.exc import DBAPIError
from penchant.service.store import Event, Store
store = Store.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
failed = 0
for n in range(60):
    try:
        store.append([[Event("u", "i" * 100, "click", n, None, f"{n}-{m}") for m in range(50)]])
        print(n, flush=True)
    except DBAPIError as error:
        failed += 1
        assert len(store.events("u")) % 50 == 0, "a batch is whole or not there"
assert failed > 0
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.append([[Event("u", "i", "click", 99, None, "after")]])
"""


def test_disk_that_fills_up_loses_nothing_acknowledged_and_heals(tmp_path: Path):
    address = f"sqlite:///{tmp_path / 'store.db'}"
    done = subprocess.run([sys.executable, "-c", FILLER, address], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    store = Store.open(address)
    held = [e.key for e in store.events("u")]
    said = {f"{n}-{m}" for n in map(int, done.stdout.split()) for m in range(50)} | {"after"}
    assert 51 < len(held) < 60 * 50
    assert len(held) == len(set(held))
    assert said <= set(held)
    store.close()


def test_database_that_crashes_under_load_loses_nothing_acknowledged(
    shop: Path, tmp_path: Path, postgres_server: Postgres
):
    config = ServiceConfig(
        bundle=shop,
        folder=tmp_path / "state",
        database=postgres_server.empty(),
        watch_seconds=60,
        host_names=["testserver"],
    )
    acknowledged, codes, stop = set[str](), set[int](), threading.Event()
    with TestClient(create_app(config), raise_server_exceptions=False) as client:

        def send(name: str) -> None:
            for n in range(100_000):
                key, status = f"{name}-{n}", 0
                while status != 200 and not stop.is_set():
                    event = {"user_id": "busy", "item_id": "i12", "event_id": key}
                    status = client.post("/v1/events", json=event).status_code
                    codes.add(status)
                if stop.is_set():
                    return
                acknowledged.add(key)

        senders = [threading.Thread(target=send, args=(name,)) for name in "ab"]
        for sender in senders:
            sender.start()
        time.sleep(0.3)
        postgres_server.crash()
        before = len(acknowledged)
        postgres_server.resume()
        for _ in range(100):
            if len(acknowledged) > before + 5:
                break
            time.sleep(0.1)
        stop.set()
        for sender in senders:
            sender.join()
        held = [e.key for e in client.app.state.service.store.events("busy")]
    assert codes == {200, 503}
    assert len(acknowledged) > before > 0
    assert acknowledged <= set(held)
    assert len(held) == len(set(held)), "sent again, stored once"


def test_senders_clock_may_be_a_little_ahead_or_in_another_zone(client: TestClient):
    soon = datetime.now(UTC) + timedelta(seconds=200)
    zones = (soon, soon.astimezone(tz=None), soon.replace(tzinfo=None))
    for n, moment in enumerate(zones):
        event = {"user_id": "a", "item_id": f"i{n}", "at": moment.isoformat()}
        assert client.post("/v1/events", json=event).status_code == 200
    stored = [datetime.fromisoformat(e["at"]) for e in client.get("/v1/export/a").json()["events"]]
    assert stored == [soon, soon, soon]
    late = (soon + timedelta(seconds=200)).isoformat()
    refused = client.post("/v1/events", json={"user_id": "a", "item_id": "i5", "at": late})
    assert (refused.status_code, refused.json()["fix"]) == (422, "set the sender's clock, or leave `at` out")


def test_own_clock_that_jumps_back_hides_no_event_and_forgets_no_key(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    def post(item: str, key: str) -> Any:
        return client.post("/v1/events", json={"user_id": "a", "item_id": item, "event_id": key}).json()["stored"]

    assert post("i0", "first") == 1
    real = time.time_ns
    monkeypatch.setattr("penchant.service.store.time.time_ns", lambda: real() - 3_600_000_000_000)
    assert (post("i12", "second"), post("i0", "first")) == (1, 0)
    answer = client.get("/v1/users/a/recommendations").json()
    assert (answer["basis"], answer["events"]) == ("history", 2)
    edit = {"edits": [{"name": "item", "value": answer["items"][0]["item_id"], "action": "never"}]}
    assert client.patch("/v1/users/a/profile", json=edit).status_code == 200
    assert client.get("/v1/users/a/recommendations").json()["items"][0] != answer["items"][0]


async def answer_late(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(1)  # longer than headers may take
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_client_that_never_ends_its_headers_is_given_up_and_a_slow_answer_is_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.5)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    async def drip(port: int, *, after: bytes = b"") -> bytes:
        """Send a request if asked to, then one byte of a header now and then, and read until the server has enough."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if after:
            writer.write(after)
            assert (await reader.readexactly(15)).startswith(b"HTTP/1.1 200 OK")
            await reader.readuntil(b"ok")
        for byte in b"GET / HTTP/1.1\r\nX: " + 20 * b"a":
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
            if reader.at_eof() or reader._buffer:  # type: ignore[attr-defined]
                break
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer

    async def silent(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer

    async def ask(port: int) -> list[bytes]:
        return await asyncio.gather(drip(port), drip(port, after=request), silent(port))

    with served(answer_late) as port:
        answers = asyncio.run(ask(port))
    assert [answer.split(b"\r\n")[0] for answer in answers] == 3 * [b"HTTP/1.1 408 Request Timeout"]


def test_event_is_stored_whole_or_not_at_all_when_the_sender_hangs_up(config: ServiceConfig):
    with TestClient(create_app(config)) as client:
        store: Store = client.app.state.service.store
        store.append([[Event("a", "i1", "click", 0, None, "whole")]])
        body = b'{"events": [{"user_id": "a", "item_id": "i2"}, {"user_id": "a", "ite'
        answer = client.post("/v1/events", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert [e.key for e in store.events("a")] == ["whole"]
