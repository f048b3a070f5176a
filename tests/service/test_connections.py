"""Answers that come from the server itself, before any route: the same problem JSON as everything else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penchant.service import server
from served_application import served


def test_requests_of_one_connection_have_something_in_common():
    seen: list[dict[str, float]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["connection"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with served(app) as port:
        twice = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2
        ask(port, twice, twice[: len(twice) // 2])
        ask(port, twice)
    assert len(seen) == 5
    assert len({id(one) for one in seen}) == 3


def ask(port: int, *requests: bytes) -> list[bytes]:
    """Send each request on a connection of its own, all open at once; return the answers."""

    async def talk() -> list[bytes]:
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in requests]
        for (_, writer), request in zip(opened, requests, strict=True):
            writer.write(request)
        answers = [await asyncio.wait_for(reader.read(4000), 5) for reader, _ in opened]
        for _, writer in opened:
            writer.close()
        return answers

    return asyncio.run(talk())


def read(answer: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert int(headers["content-length"]) == len(body)
    return int(first.split()[1]), headers, json.loads(body)


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "wrong", [b"not HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"]
)
def test_what_is_not_http_gets_a_problem(wrong: bytes):
    with served() as port:
        status, headers, body = read(ask(port, wrong)[0])
    assert (status, headers["connection"], body["status"]) == (400, "close", 400)
    assert set(body) == {"type", "title", "status", "detail", "where", "fix", "instance"}


def test_too_many_connections_get_a_problem_and_when_to_come_back(monkeypatch: pytest.MonkeyPatch):
    with served() as port:
        assert ask(port, GET)[0].endswith(b"ok")
        monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
        status, headers, body = read(ask(port, GET, GET)[0])
        assert (status, headers["retry-after"], body["title"]) == (503, "1", "busy")
        monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
        assert all(answer.endswith(b"ok") for answer in ask(port, GET, GET))


def test_headers_that_take_too_long_get_a_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    with served() as port:
        status, _, body = read(ask(port, b"GET / HT")[0])
    assert (status, body["detail"]) == (408, "The headers took too long.")


def test_upgrade_to_web_sockets_is_answered_as_a_plain_request():
    upgrade = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with served() as port:
        assert ask(port, upgrade)[0].startswith(b"HTTP/1.1 200 ")
