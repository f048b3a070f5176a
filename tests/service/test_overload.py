"""One kind of request cannot delay another: each has its own threads, and what does not fit is refused at once."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import pytest
from fastapi.testclient import TestClient

from penchant.core.errors import NotFoundError
from penchant.recommender.recommender import Recommender
from penchant.service import telemetry
from penchant.service.app import create_app
from penchant.service.batching import MicroBatcher
from penchant.service.config import ServiceConfig
from penchant.service.list_answers import ListAnswers
from penchant.service.pools import SIZES, OverloadedError, WorkPool, WorkPools
from service import hostile_media as hostile

SOUND = {"audio": {"data": base64.b64encode(b"RIFF").decode()}}


def test_media_searches_that_hang_neither_delay_events_nor_each_other(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    proceed, began = threading.Event(), threading.Semaphore(0)

    def hang(*_: Any, **__: Any) -> None:
        began.release()
        assert proceed.wait(60)
        raise ValueError

    monkeypatch.setattr(Recommender, "search_media", hang)
    room = sum(SIZES["media"])
    with ThreadPoolExecutor(room + 70) as clients:
        searches = [clients.submit(client.post, "/v1/search", json=SOUND) for _ in range(room + 60)]
        try:
            assert began.acquire(timeout=20)
            refused = [search for search in searches if _is_refused(search)]
            others = [
                clients.submit(client.post, "/v1/events", json={"user_id": "a", "item_id": "i12"}),
                clients.submit(client.get, "/v1/users/a/recommendations"),
                clients.submit(client.get, "/v1/users/a/profile"),
                clients.submit(client.post, "/v1/search", json={"words": "low tune"}),
                clients.submit(client.put, "/v1/items/new", json={"columns": {"title": "new"}}),
            ]
            assert [other.result(20).status_code for other in others] == [200, 200, 200, 200, 202]
            unread = client.post(
                "/v1/search", content=b"{" + b" " * 60_000, headers={"Content-Type": "application/json"}
            )
            assert (unread.status_code, unread.headers["Retry-After"]) == (503, "1"), "not even read: it is no JSON"
        finally:
            proceed.set()
        codes = Counter(search.result().status_code for search in searches)
    assert codes[503] == 60
    answer = refused[0].result()
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["title"] == "overloaded"
    assert client.post("/v1/search", json=SOUND).status_code == 500, "there is room again"


def _is_refused(search: Any) -> bool:
    """Return whether a search was refused while the others hang; waits a moment for one that was not answered."""
    try:
        return bool(search.result(0.05).status_code == 503)
    except TimeoutError:
        return False


def test_pool_refuses_what_does_not_fit_and_has_room_again_after_a_failure():
    pool, proceed = WorkPool("media", 1, 2), threading.Event()
    hanging = [pool.begin(lambda: proceed.wait(20)) for _ in range(3)]
    with pytest.raises(OverloadedError, match="wait already") as error:
        pool.call(int)
    assert error.value.headers == {"Retry-After": "1"}
    proceed.set()
    assert all(future.result() for future in hanging)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            pool.call(lambda: 1 // 0)
    pool.close()


def test_large_bodies_share_a_budget_that_small_ones_do_not_need(
    config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(telemetry, "FREE_BYTES", 2000)
    monkeypatch.setattr(telemetry, "LARGE_BODIES", 1)
    proceed, began = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        began.set()
        assert proceed.wait(60)
        raise NotFoundError("no", where="here", fix="none")

    monkeypatch.setattr(Recommender, "search_media", hang)
    large = {"audio": {"data": base64.b64encode(bytes(21_000)).decode()}}
    config = config.model_copy(update={"max_body_bytes": 40_000})
    with TestClient(create_app(config)) as client, ThreadPoolExecutor(1) as other:
        held = other.submit(client.post, "/v1/search", json=large)
        try:
            assert began.wait(20)
            refused = client.post("/v1/search", json=large)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert refused.json()["detail"] == "Too many large bodies at the same time."
            assert client.post("/v1/events", json={"user_id": "a", "item_id": "i1"}).status_code == 200
        finally:
            proceed.set()
        assert held.result().status_code == 404
        for _ in range(4):  # what a request held is given back, also by one that fails
            assert client.post("/v1/search", json=large).status_code == 404


def test_places_for_large_media_are_taken_at_the_headers_and_given_back_with_the_answer():
    pools = WorkPools({**SIZES, "media": (1, 1)})
    large = ("/v1/search", 400_000)
    leave, other = pools.admit(*large), pools.admit(*large)
    assert leave is not None
    assert other is not None
    assert pools.admit(*large) is None
    for path, num_bytes in (("/v1/search", 500), ("/v1/events", 400_000)):
        assert pools.admit(path, num_bytes) is not None, "neither words nor events take a place"
    leave()
    assert pools.admit(*large) is not None
    assert pools.admit(*large) is None
    pools.close()


def test_refusal_reads_nothing_and_a_client_that_does_not_wait_is_read_when_it_was_told_to_come(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(telemetry, "RETRY_SECONDS", 0.3)
    has_room, read, sent = False, [], []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        read.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message.get("status"))

    guarded = telemetry.RequestMiddleware(
        application, telemetry.Metrics(), 1000, 30, admit=lambda _path, _size: (lambda: None) if has_room else None
    )

    async def ask(connection: dict[str, float]) -> int:
        sent.clear()
        scope = {"type": "http", "method": "POST", "path": "/v1/search", "headers": [], "connection": connection}
        await guarded(scope, receive, send)
        return int(sent[0])

    async def talk() -> None:
        nonlocal has_room
        connection: dict[str, float] = {}
        assert await ask(connection) == 503
        assert read == []
        again = asyncio.create_task(ask(connection))
        await asyncio.sleep(0.05)
        assert not again.done(), "it was told to wait"
        has_room = True
        assert await again == 200
        has_room = False
        assert await ask({}) == 503, "another connection is answered at once"

    asyncio.run(talk())
    assert len(read) == 1


def test_encoders_of_queries_are_loaded_before_the_first_request(client: TestClient):
    finder = client.app.state.service.snapshot.recommender.finder
    channel, _ = finder._channel("audio")
    assert channel == "sound"
    assert len(finder._encoders._loaded) == 1


def test_endless_body_ends_with_413(config: ServiceConfig):
    with TestClient(create_app(config.model_copy(update={"max_body_bytes": 1_000_000}))) as client:
        answer = client.post("/v1/search", content=b"".join(islice(hostile.endless(), 40)))
        assert answer.status_code == 413


def test_lists_beyond_the_queue_are_refused_at_once_and_those_in_it_are_answered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    proceed, began = threading.Event(), threading.Event()
    work = ListAnswers.recommend_many

    def hang(*arguments: Any) -> Any:
        began.set()
        assert proceed.wait(60)
        return work(*arguments)

    monkeypatch.setattr(ListAnswers, "recommend_many", hang)
    batched = client.app.state.batched  # type: ignore[attr-defined]
    monkeypatch.setattr(batched, "_run", partial(hang, client.app.state.service.lists))  # type: ignore[attr-defined]
    monkeypatch.setattr(batched, "_max_waiting", 6)
    path = "/v1/users/a/recommendations"
    with ThreadPoolExecutor(8) as clients:
        first = clients.submit(client.get, path)
        try:
            assert began.wait(20)
            waiting = [clients.submit(client.get, path) for _ in range(6)]
            until = time.monotonic() + 20
            while not batched.is_full and time.monotonic() < until:
                time.sleep(0.01)
            sent = time.perf_counter()
            refused = client.get(path)
            took = time.perf_counter() - sent
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert took < 1, "no thread is waited for"
            assert client.get("/v1/items/i1").status_code == 200, "other work goes on"
        finally:
            proceed.set()
        assert {one.result(20).status_code for one in (first, *waiting)} == {200}
    assert client.get(path).status_code == 200, "there is room again"


def test_batcher_refuses_what_does_not_fit():
    proceed = threading.Event()

    async def ask() -> Counter[str]:
        batched = MicroBatcher[int, int](
            lambda tasks: [proceed.wait(20) and task for task in tasks], max_size=2, max_waiting=3
        )
        calls = [asyncio.ensure_future(batched(n)) for n in range(6)]
        await asyncio.sleep(0)
        assert batched.is_full
        proceed.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        batched.close()
        return Counter(type(answer).__name__ for answer in answers)

    assert asyncio.run(ask()) == {"int": 4, "OverloadedError": 2}


def test_a_place_in_the_queue_is_kept_from_the_arrival_of_a_request():
    async def ask() -> tuple[list[bool], int, list[int | Exception]]:
        batched = MicroBatcher[int, int](list, max_size=2, max_waiting=3)

        async def request(number: int) -> tuple[bool, int]:
            leave = batched.expect()
            if leave is None:
                return False, -1
            try:
                await asyncio.sleep(0.05)  # its route is found, its body read
                return True, await batched(number) if number else -1
            finally:
                leave()

        found = await asyncio.gather(*(request(number) for number in range(5)))
        room = len([one for one in (batched.expect() for _ in range(4)) if one is not None])
        batched.close()
        return [accepted for accepted, _ in found], room, [answer for _, answer in found]

    accepted, room, answers = asyncio.run(ask())
    assert accepted == [True, True, True, False, False], "before any of them has made its call"
    assert answers == [-1, 1, 2, -1, -1]
    assert room == 3, "places are given back, also of a request that made no call"


def test_requests_begin_a_few_at_a_time_in_order_and_refusals_come_between():
    begun: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        if message.get("status") == 503:
            begun.append("refused")

    admit = lambda path, _: None if path == "/no" else lambda: None  # noqa: E731
    guarded = telemetry.RequestMiddleware(application, telemetry.Metrics(), 1000, 30, admit=admit)

    def request(path: str) -> Any:
        return guarded({"type": "http", "method": "GET", "path": path, "headers": []}, send, send)

    async def talk() -> None:
        gone, *asked = [asyncio.ensure_future(request(path)) for path in ["/gone", *map(str, range(40)), "/no"]]
        later = [asyncio.ensure_future(request(str(number))) for number in range(40, 44)]
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(*asked, *later)
        assert begun.index("refused") == telemetry.BEGIN_TOGETHER, "it waits for no more than begin together"
        assert [one for one in begun if one not in ("refused", "/gone")] == [str(number) for number in range(44)]
        begun.clear()
        await request("alone")
        assert begun == ["alone"]

    asyncio.run(talk())
