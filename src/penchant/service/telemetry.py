"""Metrics, logs, and the middleware around every request.

In: requests passing by. Out: Prometheus metrics, one JSON line for each request, limits kept, security headers. Neither metrics nor
logs hold an id of a person or item: the route's pattern stands for its path, so there is nothing to erase.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import sys
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penchant.service.tracing import Tracing

logger = logging.getLogger("penchant.service")
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
POLICY = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """Counters of one process; with several workers they add up in a folder all of them write to."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "penchant_request_seconds",
            "Time to answer",
            ["route", "method", "status"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.events = Counter("penchant_events_total", "Events stored", registry=self.registry)
        self.duplicates = Counter("penchant_duplicate_events_total", "Events known already", registry=self.registry)
        self.erasures = Counter("penchant_erasures_total", "People forgotten", registry=self.registry)
        self.hot = Gauge(
            "penchant_hot_people", "People in the cache", registry=self.registry, multiprocess_mode="livesum"
        )
        self.user_cache_bytes = Gauge(
            "penchant_hot_bytes", "Memory of the cache", registry=self.registry, multiprocess_mode="livesum"
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus' format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        multiprocess.MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)


class RequestMiddleware:
    """ASGI middleware around the whole application.

    Args:
        app: What answers.
        metrics: Where times go.
        max_body_bytes: A larger body is refused while it comes in.
        max_seconds: A body that takes longer is given up.
        tracing: Where spans go; None makes none.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, max_body_bytes: int, max_seconds: float, tracing: Tracing | None = None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_bytes = max_body_bytes
        self._max_seconds = max_seconds
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        headers = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"").decode("latin-1")
        scope["request_id"] = asked if REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        span = None if self._tracing is None else self._tracing.begin(headers)

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _set_headers(message, scope)
            await send(message)

        try:
            await self._app(scope, _Body(receive, self._max_bytes, self._max_seconds), guarded_send)
        finally:
            facts = self._note(scope, status, time.perf_counter() - began)
            if self._tracing is not None and span is not None:
                self._tracing.end(span, **facts)

    def _note(self, scope: Scope, status: int, seconds: float) -> dict[str, Any]:
        route = scope.get("route")
        pattern = getattr(route, "path_format", None) or getattr(route, "path", "unknown")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.seconds.labels(pattern, method, str(status)).observe(seconds)
        facts = {"request_id": scope["request_id"], "route": pattern, "method": method, "status": status}
        if logger.isEnabledFor(logging.INFO):
            logger.info("request", extra={**facts, "milliseconds": round(1000 * seconds, 2)})
        return facts


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Body:
    """A request's body, counted and timed as it comes in."""

    def __init__(self, receive: Receive, max_bytes: int, max_seconds: float) -> None:
        self._receive = receive
        self._left = max_bytes
        self._until = time.monotonic() + max_seconds
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:  # what comes now is the end of the connection, however long that takes
            return await self._receive()
        try:
            async with asyncio.timeout(max(self._until - time.monotonic(), 0)):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "The body took too long") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, "The body is too large")
        self._is_whole = not message.get("more_body", False)
        return message


def _set_headers(message: Message, scope: Scope) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", POLICY)
    headers["X-Request-ID"] = scope["request_id"]


class JsonLogFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and what a record adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        facts: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        facts |= {name: getattr(record, name) for name in _EXTRAS if hasattr(record, name)}
        if record.exc_info and record.exc_info[1] is not None:
            facts["trace"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False, default=str)


_EXTRAS = ("request_id", "route", "method", "status", "milliseconds")


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send the service's log to stderr, a JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLogFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
