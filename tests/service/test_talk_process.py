"""Chats in a process beside the service: the same answers, a lower priority, and what happens when it dies or a client goes away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from own_service import SERVER, free_port, wait_until_ready
from penchant.service.chat import Chats
from penchant.service.config import ServiceConfig
from penchant.service.http_errors import RefusedError, RelayedError
from penchant.service.schemas import ChatIn, ChatOut
from penchant.service.service import Service
from penchant.service.talk_process import NICENESS, TalkBeside, talk_app


@pytest.fixture
def config(shop: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(bundle=shop, folder=tmp_path / "state", watch_seconds=60)


@contextmanager
def listening(config: ServiceConfig, socket: Path) -> Iterator[Service]:
    """Answer at a socket from a thread of this process."""
    service = Service(config)
    server = uvicorn.Server(uvicorn.Config(talk_app(service), uds=str(socket), log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield service
    finally:
        server.should_exit = True
        thread.join()


def test_what_is_passed_on_is_answered_counted_and_refused_as_it_was_there(config: ServiceConfig, tmp_path: Path):
    counted: list[tuple[str, str, int]] = []

    async def talk(service: Service) -> None:
        beside = TalkBeside(tmp_path / "s", lambda *facts: counted.append(facts))
        pieces = [piece async for piece in await beside.begin(ChatIn(user_id="u0", message="low"))]
        *sentences, answer = pieces
        assert isinstance(answer, ChatOut)
        assert answer.text == " ".join(map(str, sentences))
        assert {int(item.item_id[1:]) >= 12 for item in answer.items} == {True}
        service.screen.count("sentence")
        written = await beside.in_words("u0", "zh")
        assert "你" in "".join(written["paragraph"])
        with pytest.raises(RelayedError, match="no such conversation") as error:
            await beside.answer(ChatIn(user_id="u1", message="low", conversation_id=answer.conversation_id))
        assert (error.value.status, error.value.title) == (404, "notfound")
        await beside.close()

    with listening(config, tmp_path / "s") as service:
        asyncio.run(talk(service))
    assert counted == [("moderated", "sentence", 1)]


def test_a_client_that_goes_away_ends_the_writing(
    config: ServiceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ended = threading.Event()

    def endless(*_: Any) -> Iterator[str]:
        try:
            while True:
                time.sleep(0.01)
                yield "More."
        finally:
            ended.set()

    monkeypatch.setattr(Chats, "worded", endless)

    async def leave() -> None:
        beside = TalkBeside(tmp_path / "s", lambda *_: None)
        pieces = await beside.begin(ChatIn(user_id="u0", message="low"))
        assert await anext(pieces) == "More."
        assert not ended.is_set()
        await pieces.aclose()
        assert await asyncio.to_thread(ended.wait, 20)
        await beside.close()

    with listening(config, tmp_path / "s"):
        asyncio.run(leave())


def test_without_the_process_a_message_is_refused_with_the_time_to_wait(tmp_path: Path):
    async def ask() -> None:
        beside = TalkBeside(tmp_path / "nothing", lambda *_: None)
        with pytest.raises(RefusedError, match="is starting") as error:
            await beside.begin(ChatIn(user_id="u0", message="low"))
        assert (error.value.status, error.value.headers) == (503, {"Retry-After": "2"})
        await beside.close()

    asyncio.run(ask())


def test_the_process_yields_to_lists_and_is_started_again_when_it_dies(
    shop: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    port = free_port()
    arguments = [sys.executable, "-c", SERVER, str(shop), str(tmp_path / "state"), str(port), "1"]
    scratch = tmp_path_factory.mktemp("s")  # a short name: the path of a socket has at most 107 characters
    environment = {**os.environ, "TMPDIR": str(scratch)}
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=environment)
    client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def say(message: str, **more: str) -> Any:
        return client.post("/v1/chat", json={"user_id": "u0", "message": message, **more})

    def answered(message: str, **more: str) -> Any:
        for _ in range(90):  # each counts for the limit by minute
            answer = say(message, **more)
            if answer.status_code != 503:
                return answer
            time.sleep(1.5)
        raise AssertionError("it is not there after two minutes")

    try:
        wait_until_ready(process, port)
        first = answered("something low please").json()
        assert first["understood"]["wanted"] == [{"name": "genres", "value": "low"}]
        (child,) = _children(process.pid)
        assert os.getpriority(os.PRIO_PROCESS, child) == NICENESS + os.getpriority(os.PRIO_PROCESS, process.pid)
        os.kill(child, signal.SIGKILL)
        refused = say("price under 16")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert client.get("/v1/users/u0/recommendations").status_code == 200
        again = answered("price under 16", conversation_id=first["conversation_id"])
        assert {item["item_id"] for item in again.json()["items"]} <= {"i12", "i13", "i14", "i15", "i16"}
        body = {"user_id": "u0", "message": "low"}
        events = client.post("/v1/chat", json=body, headers={"Accept": "text/event-stream"}).text.strip().split("\n\n")
        assert events[0].startswith("event: sentence")
        assert json.loads(events[-1].partition("data: ")[2])["items"]
        assert _children(process.pid) != [child]
    finally:
        client.close()
        process.terminate()
        process.wait(60)
    assert not _is_running(child)
    assert process.returncode == 0
    assert list(scratch.iterdir()) == [], "the folder of its socket goes with it"


def _children(pid: int) -> list[int]:
    """Return the processes that a process started; the one that counts shared memory is none of them."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text().split()
    own = {int(child) for child in found}
    return sorted(child for child in own if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text())


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
