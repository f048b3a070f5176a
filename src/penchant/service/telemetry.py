"""Metrics, logs, and the middleware around every request.

In: requests. Out: Prometheus metrics, one JSON log line for each request, limits of body size and time, security headers. Neither metrics
nor logs hold an id of a user or item: the route's pattern stands for its path, so there is nothing to erase.
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
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penchant.service.http_errors import RETRY_SECONDS, overloaded_response
from penchant.service.stream_log import COUNTS
from penchant.service.tracing import Tracing
from penchant.service.user_cache import UserStateCache

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
FREE_BYTES = 250_000
"""Of each request's body, not counted together with others: events pass while large files wait."""
LARGE_BODIES = 3
"""Bodies of the largest size that may be in memory at the same time."""
BEGIN_TOGETHER = 8
"""Requests that begin in one round of the event loop: some milliseconds of work."""
REFUSED_UNTIL = "refused_until"
"""Of a connection: when its last refused request may be sent again."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """Metrics of one process; several workers write to one folder, and their metrics are summed.

    Attributes:
        gathered: Opens a folder with the files of all processes whose metrics are summed; by default that of the workers of this machine.
    """

    def __init__(self) -> None:
        self.gathered: Callable[[], AbstractContextManager[str | None]] = nullcontext
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "penchant_request_seconds",
            "Time to answer",
            ["route", "method", "status"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.events = Counter("penchant_events_total", "Events stored", registry=self.registry)
        self.duplicates = Counter("penchant_duplicate_events_total", "Events stored before", registry=self.registry)
        self.erasures = Counter("penchant_erasures_total", "Users erased", registry=self.registry)
        self.content = Counter(
            "penchant_user_content_total",
            "Pieces of users' content by what became of them",
            ["outcome"],
            registry=self.registry,
        )
        self.moderated = Counter(
            "penchant_moderated_total",
            "Sentences of an engine, and fixed sentences with quotations, that moderation did not show as they were",
            ["what"],
            registry=self.registry,
        )
        self.talk_refused = Counter(
            "penchant_talk_refused_total",
            "Requests of the routes that talk that were refused: by rate or length",
            ["why"],
            registry=self.registry,
        )
        self.alarms = Counter(
            "penchant_alarms_total", "Signals that moved, of alarms", ["signal"], registry=self.registry
        )
        self.list_ndcg = Gauge(
            "penchant_list_ndcg",
            "NDCG@10 of the latest lists that were looked up: served, popularity, and frozen, the model at the start",
            ["of"],
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.stream_records = Gauge(
            "penchant_stream_records",
            "Records of an event stream by what became of them, since its first one",
            ["source", "outcome"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self.stream_reading = Gauge(
            "penchant_stream_reading",
            "1 while an event stream is read; 0 while it waits, its broker is away, or nobody reads it",
            ["source"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self.stream_behind = Gauge(
            "penchant_stream_behind_seconds",
            "Age of the newest record that was read of an event stream, while there are more to read",
            ["source"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self.dead_letters = Gauge(
            "penchant_dead_letters",
            "Records of an event stream that could not be stored and are kept",
            ["source"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self.cached_users = Gauge(
            "penchant_cached_users", "Users in the cache", registry=self.registry, multiprocess_mode="livesum"
        )
        self.user_cache_bytes = Gauge(
            "penchant_user_cache_bytes", "Memory of the user cache", registry=self.registry, multiprocess_mode="livesum"
        )

    def add_talk(self, name: str, label: str, number: int) -> None:
        """Add what the process that talks counted: of `moderated` or `talk_refused`, under its label."""
        counter: Counter = getattr(self, name)
        counter.labels(label).inc(number)

    def set_streams(self, streams: Sequence[Mapping[str, Any]]) -> None:
        """Take the state of the event streams over, as the store has it (`StreamLog.summary`)."""
        for one in streams:
            source = one["source"]
            for outcome in COUNTS:
                self.stream_records.labels(source, outcome).set(one[outcome])
            self.stream_reading.labels(source).set(one["state"] == "reading")
            self.stream_behind.labels(source).set(one["behind_seconds"])
            self.dead_letters.labels(source).set(one["dead_letters"])

    def text(self, user_cache: UserStateCache) -> bytes:
        """Return all metrics in Prometheus' format, the cache's size of now included."""
        self.cached_users.set(len(user_cache))
        self.user_cache_bytes.set(user_cache.num_bytes)
        if MULTIPROCESS not in os.environ:
            return generate_latest(self.registry)
        total = CollectorRegistry()
        with self.gathered() as folder:
            multiprocess.MultiProcessCollector(total, folder)  # type: ignore[no-untyped-call]
            return generate_latest(total)


class RequestMiddleware:
    """ASGI middleware around the whole application.

    Args:
        app: The wrapped application.
        metrics: Receives latencies.
        max_body_bytes: A larger body is refused while it comes in.
        max_seconds: A body that takes longer is refused.
        tracing: Exports spans; None makes none.
        admit: Path and size of a body to what ends its stay, to be called once it is answered; None where the request is to be refused from its
            headers alone: to read its body, or to find its route, would take the event loop longer than the refusal. A connection
            that was refused, and asks again before the time it was told, is not read until then.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        max_body_bytes: int,
        max_seconds: float,
        tracing: Tracing | None = None,
        admit: Callable[[str, int], Callable[[], None] | None] = lambda _path, _size: _nothing,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._max_bytes = max_body_bytes
        self._max_seconds = max_seconds
        self._tracing = tracing
        self._admit = admit
        self._budget = _BodyBudget(LARGE_BODIES * max_body_bytes)
        self._turns = _Turns(BEGIN_TOGETHER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        headers = dict(scope["headers"])
        given_id = headers.get(b"x-request-id", b"").decode("latin-1")
        scope["request_id"] = given_id if REQUEST_ID.fullmatch(given_id) else secrets.token_hex(8)
        span = None if self._tracing is None else self._tracing.begin(headers)

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _set_headers(message, scope)
            await send(message)

        size = headers.get(b"content-length", b"")
        num_bytes = int(size) if size.isdigit() and len(size) < 19 else self._max_bytes
        leave = await self._admitted(scope, num_bytes)
        body = _LimitedBody(receive, self._max_bytes, self._max_seconds, self._budget)
        try:
            if leave is None:
                await overloaded_response(scope)(scope, receive, guarded_send)
            else:
                await self._turns.next()
                await self._app(scope, body, guarded_send)
        finally:
            body.release()
            if leave is not None:
                leave()
            facts = self._record(scope, status, time.perf_counter() - began)
            if self._tracing is not None and span is not None:
                self._tracing.end(span, **facts)

    async def _admitted(self, scope: Scope, num_bytes: int) -> Callable[[], None] | None:
        leave = self._admit(scope["path"], num_bytes)
        connection: dict[str, float] = scope.get("connection", {})
        early = connection.get(REFUSED_UNTIL, 0.0) - time.monotonic()
        if leave is None and early > 0:  # other work of the event loop comes before that of a client that does not wait
            await asyncio.sleep(early)
            leave = self._admit(scope["path"], num_bytes)
        if leave is None:
            connection[REFUSED_UNTIL] = time.monotonic() + RETRY_SECONDS
        return leave

    def _record(self, scope: Scope, status: int, seconds: float) -> dict[str, Any]:
        route = scope.get("route")
        pattern = getattr(route, "path_format", None) or getattr(route, "path", "unknown")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.seconds.labels(pattern, method, str(status)).observe(seconds)
        facts = {"request_id": scope["request_id"], "route": pattern, "method": method, "status": status}
        if logger.isEnabledFor(logging.INFO):
            logger.info("request", extra={**facts, "milliseconds": round(1000 * seconds, 2)})
        return facts


class _Turns:
    """Lets requests begin in the order they came, a few in each round of the event loop; between rounds it reads what has arrived, so that a refusal
    does not wait for hundreds of requests that are to be answered.
    """

    def __init__(self, together: int) -> None:
        self._together = self._left = together
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_renewed = True

    async def next(self) -> None:
        """Return when this request may begin; at once where few have begun in this round."""
        loop = asyncio.get_running_loop()
        if self._is_renewed:
            self._is_renewed = False
            loop.call_soon(self._renew, loop)
        if self._left and not self._waiting:
            self._left -= 1
            return
        mine = loop.create_future()
        self._waiting.append(mine)
        await mine

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        self._left = self._together
        while self._waiting and self._left:
            mine = self._waiting.popleft()
            if not mine.done():  # its client went away
                mine.set_result(None)
                self._left -= 1
        self._is_renewed = self._left == self._together
        if not self._is_renewed:
            loop.call_soon(self._renew, loop)


def _nothing() -> None:
    pass


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _BodyBudget:
    """Bytes of large bodies that are in memory, of all requests together; used by the event loop alone."""

    def __init__(self, max_bytes: int) -> None:
        self.left = max_bytes


class _LimitedBody:
    """A request's body with limits of size and time, and of memory together with other bodies."""

    def __init__(self, receive: Receive, max_bytes: int, max_seconds: float, budget: _BodyBudget) -> None:
        self._receive = receive
        self._budget = budget
        self._free, self._held = FREE_BYTES, 0
        self._left = max_bytes
        self._until = time.monotonic() + max_seconds
        self._is_complete = False

    async def __call__(self) -> Message:
        if self._is_complete:  # the next message is the end of the connection, which has no time limit
            return await self._receive()
        try:
            async with asyncio.timeout(max(self._until - time.monotonic(), 0)):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "The body took too long") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, "The body is too large")
        self._hold(len(message.get("body", b"")))
        self._is_complete = not message.get("more_body", False)
        return message

    def release(self) -> None:
        """Give back the memory of the body: the request is answered."""
        self._budget.left += self._held
        self._held = 0

    def _hold(self, size: int) -> None:
        counted = max(0, size - self._free)
        self._free = max(0, self._free - size)
        if counted > self._budget.left:
            raise HTTPException(503, "Too many large bodies at the same time", headers={"Retry-After": "1"})
        self._budget.left -= counted
        self._held += counted


def _set_headers(message: Message, scope: Scope) -> None:
    headers: list[tuple[bytes, bytes]] = list(message["headers"])
    given = {name.lower() for name, _ in headers}
    headers += [header for header in _OWN_HEADERS if header[0] not in given]
    headers.append((b"x-request-id", scope["request_id"].encode("latin-1")))
    message["headers"] = headers


_OWN_HEADERS = [
    (name.lower().encode("latin-1"), value.encode("latin-1"))
    for name, value in {**HEADERS, "Content-Security-Policy": POLICY}.items()
]


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
