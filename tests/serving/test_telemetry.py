"""Slow and failing requests are answered, and tell nothing they should not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from penchant.serving.problems import handle_problems
from penchant.serving.telemetry import Guard, Metrics


def small_app() -> FastAPI:
    app = FastAPI()
    handle_problems(app)

    @app.post("/take")
    def take(body: dict[str, Any]) -> dict[str, Any]:
        return body

    @app.get("/break")
    def broken() -> None:
        raise RuntimeError("the person u1 is in here")

    return app


def test_body_that_takes_too_long_is_given_up():
    guard = Guard(small_app(), Metrics(), max_body_bytes=1000, max_seconds=0.05)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/take", "query_string": b"", "headers": headers}
    asyncio.run(guard(scope, receive, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["detail"] == "The body took too long."


def test_unexpected_failure_shows_the_request_and_nothing_else(caplog: pytest.LogCaptureFixture):
    app = Guard(small_app(), Metrics(), max_body_bytes=1000, max_seconds=5)
    answer = TestClient(app, raise_server_exceptions=False).get("/break")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "Something went wrong here."
    assert answer.json()["instance"] == f"urn:request:{answer.headers['X-Request-ID']}"
    assert "u1" not in answer.text
    assert "RuntimeError" in caplog.text
