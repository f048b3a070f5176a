"""Slow and failing requests are answered, and tell nothing they should not."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from penchant.core.errors import ConfigError
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.http_errors import add_error_handlers
from penchant.service.telemetry import Metrics, RequestMiddleware
from penchant.service.tracing import Tracing


def small_app() -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)

    @app.post("/take")
    def take(body: dict[str, Any]) -> dict[str, Any]:
        return body

    @app.get("/break")
    def broken() -> None:
        raise RuntimeError("the person u1 is in here")

    return app


def test_body_that_takes_too_long_is_given_up():
    guard = RequestMiddleware(small_app(), Metrics(), max_body_bytes=1000, max_seconds=0.05)
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
    app = RequestMiddleware(small_app(), Metrics(), max_body_bytes=1000, max_seconds=5)
    answer = TestClient(app, raise_server_exceptions=False).get("/break")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "An unexpected error."
    assert answer.json()["instance"] == f"urn:request:{answer.headers['X-Request-ID']}"
    assert "u1" not in answer.text
    assert "RuntimeError" in caplog.text


PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def test_span_says_which_route_answered_how_and_nothing_of_anybody():
    kept = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(kept))
    app = small_app()

    @app.get("/people/{user_id}")
    def person(user_id: str) -> str:
        return user_id

    client = TestClient(
        RequestMiddleware(app, Metrics(), max_body_bytes=1000, max_seconds=5, tracing=tracing),
        raise_server_exceptions=False,
    )
    client.get("/people/secret-person?q=secret-words", headers={"X-Request-ID": "mine-1", **PARENT})
    client.get("/break")
    client.get("/secret-place")
    tracing.close()
    first, second, third = kept.get_finished_spans()
    assert (first.name, first.kind) == ("GET /people/{user_id}", SpanKind.SERVER)
    assert dict(first.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/people/{user_id}",
        "http.response.status_code": 200,
        "penchant.request_id": "mine-1",
    }
    assert first.parent is not None
    assert f"{first.parent.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert second.status.status_code is StatusCode.ERROR
    assert third.name == "GET unknown"
    assert "secret" not in "".join(span.to_json() for span in (first, second, third))


def test_nothing_is_traced_unless_asked_for(config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    """FastAPI can trace by itself, with whole addresses in its spans; neither the environment nor another library's provider may."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    with TestClient(create_app(config)) as client:
        assert client.get("/v1/users/secret-person/recommendations").status_code == 200
    assert not kept.get_finished_spans()


def test_spans_reach_a_collector(config: ServiceConfig):
    """A collector away costs nothing; one that listens gets what was kept, at the latest when the service stops."""
    asked: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        traces = f"http://127.0.0.1:{server.server_port}"
        with TestClient(create_app(config.model_copy(update={"traces": traces}))) as client:
            client.get("/v1/users/secret-person/recommendations")
        server.shutdown()
    assert {path for path, _ in asked} == {"/v1/traces"}
    sent = b"".join(body for _, body in asked)
    assert b"/v1/users/{user_id}/recommendations" in sent
    assert b"secret-person" not in sent


def test_what_is_no_address_of_a_collector_is_told():
    with pytest.raises(ConfigError, match="'collector:4318' is not the address"):
        Tracing.to("collector:4318")
