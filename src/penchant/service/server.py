"""Start the service in one or several processes.

In: a bundle and where to listen. Out: a server that runs until it is stopped, and then finishes the running requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import ipaddress
import json
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn import _subprocess
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.supervisors import Multiprocess, multiprocess

from penchant.classifiers.bundle import KIND as CLASSIFIER
from penchant.core.artifacts import open_artifact
from penchant.core.errors import ConfigError, PenchantError
from penchant.recommender.persistence import KIND
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.http_errors import MEDIA_TYPE, problem
from penchant.service.store import Store
from penchant.service.talk_process import talk_process
from penchant.service.telemetry import HEADERS, MULTIPROCESS, log_to_stderr
from penchant.service.tracing import Tracing

SETTINGS, PAGES, TALK = "PENCHANT_SERVICE", "PENCHANT_PAGES", "PENCHANT_TALK"
"""Environment variables with the settings and pages of workers, and the socket of the process that talks; set by `serve` for its own children."""
GRACE_SECONDS = 30
SILENT_SECONDS = 120
"""A worker that does not respond for so long is replaced. It does not respond while it imports and reads its bundle, either."""
HEADER_SECONDS = 10
"""Longest wait for a request's headers; uvicorn has no limit, and each waiting client takes one of the connections."""
POLL_SECONDS = 0.05
"""Between two looks whether the service listens yet."""
MAX_CONNECTIONS = 2000
"""Further requests are refused; by `ServiceProtocol`, since uvicorn's own limit answers in plain text."""
ARENA_MAX, ARENAS = -8, 2
"""glibc's number for the setting, and its value: by default each of 40 threads may hold freed memory the others cannot use."""
MMAP_THRESHOLD, LARGE_BYTES = -3, 1_000_000
"""The same for arrays that are given back to the system at once; by default the size grows to 32 MB with use, and freed arrays of a batch of
users stay as holes."""
SWITCH_SECONDS = 0.0005
"""How long a thread that computes keeps the interpreter from others."""
_Protocol: Any = AutoHTTPProtocol


class ServiceProtocol(_Protocol):  # type: ignore[misc]
    """uvicorn's protocol with a time limit for a request's headers, and with problem JSON where uvicorn answers in plain text."""

    _timer: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._application: Any = self.app
        self._connection: dict[str, float] = {}  # what requests of one connection have in common
        self.app: Any = self._answer

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application, or refuse the request where there are too many connections."""
        if max(len(self.connections), len(self.tasks)) <= MAX_CONNECTIONS:
            await self._application({**scope, "connection": self._connection}, receive, send)
            return
        headers, body = _problem(
            503, "busy", "Too many connections; nothing was changed.", "wait a second, and try again"
        )
        await send({"type": "http.response.start", "status": 503, "headers": [*headers, (b"retry-after", b"1")]})
        await send({"type": "http.response.body", "body": body})

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, "http", msg, "send HTTP/1.1")

    def connection_made(self, transport: Any) -> None:
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Stop the timer once the headers are complete: the application limits the time of the body."""
        super().data_received(data)
        if self._is_between_requests:
            self._start_timer()
        else:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def _is_between_requests(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._close_if_idle)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_if_idle(self) -> None:
        if self._is_between_requests and not self.transport.is_closing():
            self._refuse(408, "timeout", "The headers took too long.", f"send them within {HEADER_SECONDS} s")

    def _refuse(self, status: int, title: str, detail: str, fix: str) -> None:
        """Answer without the application, and close the connection."""
        headers, body = _problem(status, title, detail, fix)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(b": ".join(header) for header in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
        self.transport.close()


def _problem(status: int, title: str, detail: str, fix: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of an error of the connection."""
    body = json.dumps(problem(status, title, detail, "the connection", fix)).encode()
    length = str(len(body)).encode()
    return [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", length),
        (b"connection", b"close"),
        *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
    ], body


def serve(
    config: ServiceConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    pages: str | None = None,
    announce: Callable[[], None] | None = None,
) -> None:
    """Answer until SIGTERM or SIGINT; running requests are finished first, for at most `GRACE_SECONDS`.

    Args:
        config: The service's settings.
        host: Address to listen at; one that other machines can reach requires API keys.
        port: TCP port.
        workers: Processes; they share one copy of the bundle's arrays and of what is imported, and the store.
        pages: MODULE:FUNCTION that adds pages to the application, such as the studio's; None serves the API alone.
        announce: Called once, from another thread, when the first process answers.

    Raises:
        PenchantError: The bundle, the store or the secret is not as it should be.
    """
    config = checked(config, host, port)
    log_to_stderr()
    _bound_free_memory()
    _share_cores()
    if workers == 1:
        with _cleaned_up(), _talking(config) as talks_at:
            app = application(config, pages, talks_at)
            with _announced(announce, host, port, talks_at):
                _run(app, host, port)
        failure: PenchantError | None = getattr(app.state, "failure", None)
        if failure is not None:
            raise failure
        return
    open_artifact(config.bundle, kind=KIND, exact=True)  # an error is shown once, not by every worker
    for folder in config.tasks.values():
        open_artifact(folder, kind=CLASSIFIER, exact=True)
    if config.traces:
        Tracing.to(config.traces).close()
    with _cleaned_up(), tempfile.TemporaryDirectory() as counters, _talking(config) as talks_at:
        os.environ |= {SETTINGS: config.model_dump_json(), PAGES: pages or "", MULTIPROCESS: counters}
        os.environ[TALK] = "" if talks_at is None else str(talks_at)
        _share_imports(pages)
        with _announced(announce, host, port, talks_at):
            _run(f"{__name__}:worker", host, port, workers)


@contextlib.contextmanager
def _cleaned_up() -> Iterator[None]:
    """Let SIGTERM end the process through the contexts it is in: uvicorn raises it once more after the last answer, and by default it ends at once.

    In another thread than the main one nothing changes: there a signal cannot be handled, and uvicorn does not either.
    """
    if current_thread() is not main_thread():
        yield
        return

    def end(*_: object) -> None:
        sys.exit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _talking(config: ServiceConfig) -> Iterator[Path | None]:
    """Keep the process that talks running; yield its socket, None where the service talks itself."""
    if not config.language.is_apart:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="penchant-") as folder:  # its owner alone may enter it
        talks_at = Path(folder) / "talk"
        process = talk_process(config, talks_at)
        process.start()
        try:
            yield talks_at
        finally:
            process.stop()


def checked(config: ServiceConfig, host: str, port: int) -> ServiceConfig:
    """Return the settings as they hold at this address: beyond this machine, no request is answered without a key.

    Raises:
        ConfigError: There is no key, or the port cannot be listened at.
    """
    _check_port(host, port)
    store = Store.open(config.address)
    has_had_keys = store.has_had_keys()
    store.close()
    if not _is_loopback(host):
        if config.is_open and not has_had_keys:
            raise ConfigError(
                f"Every client that reaches {host} could read and erase users.",
                where="--host",
                fix="make a key with `penchant keys add NAME`, or pass --no-open to refuse every request until there is one",
            )
        config = config.model_copy(update={"is_open": False})  # whatever happens to the store later
    return config


def _check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be listened at, before the bundle is read for it.

    Raises:
        ConfigError: Another program listens there, or the system does not allow it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn: a port just closed is free
            probe.bind((host, port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ConfigError(
            f"Another program listens at {host}:{port}."
            if taken
            else f"{host}:{port} cannot be listened at: {error.strerror}.",
            where="--port" if taken else "--host, --port",
            fix=f"stop it, or take another port: --port {port + 1 if port < 65535 else 8000}"
            if taken
            else "give an address of this machine, and a port from 1024 on",
        ) from error


@contextlib.contextmanager
def _announced(
    announce: Callable[[], None] | None, host: str, port: int, talks_at: Path | None = None
) -> Iterator[None]:
    """Call `announce` as soon as the port takes connections: uvicorn listens when the application has started, in whichever process.

    So it does in the process that talks, which is waited for too, but no longer than `SILENT_SECONDS`: lists are answered without it.
    """
    stopped = Event()
    until = time.monotonic() + SILENT_SECONDS

    def wait() -> None:
        while not stopped.wait(POLL_SECONDS):
            if talks_at is not None and not talks_at.exists() and time.monotonic() < until:
                continue
            with contextlib.suppress(OSError), socket.create_connection((_own_address(host), port), timeout=1):
                if announce is not None:
                    announce()
                return

    thread = Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def worker() -> FastAPI:
    """Return the application of one worker process."""
    log_to_stderr()
    _bound_free_memory()
    _share_cores()
    talks_at = Path(os.environ[TALK]) if os.environ[TALK] else None
    return application(ServiceConfig.model_validate_json(os.environ[SETTINGS]), os.environ[PAGES], talks_at)


def application(config: ServiceConfig, pages: str | None, talks_at: Path | None = None) -> FastAPI:
    """Return the application of a service with its pages; arguments as of `serve` and `create_app`."""
    if not pages:
        return create_app(config, talks_at=talks_at)
    module, _, function = pages.partition(":")
    return create_app(config, add_pages=getattr(import_module(module), function), talks_at=talks_at)


def _bound_free_memory() -> None:
    """Bound the pools of free memory of glibc; other allocators do not have these settings."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(ARENA_MAX, ARENAS)
        library.mallopt(MMAP_THRESHOLD, LARGE_BYTES)


def _share_cores() -> None:
    """Let lists take their turn while other requests compute.

    Encoders of queries and media compute on half of the cores (read by PyTorch when it is imported, with the first of them), and a thread that
    waits for the interpreter gets it after half a millisecond; Python's own 5 ms pass several times within one list.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    sys.setswitchinterval(SWITCH_SECONDS)


def _share_imports(pages: str | None) -> None:
    """Let workers be forked from a process that has imported this program and done nothing else, so that its pages are in memory once.

    uvicorn starts each worker as a new interpreter, with imports of its own. Elsewhere than on Linux it stays so: forks of a program that
    has loaded system libraries are not safe there.
    """
    if sys.platform == "linux":
        multiprocessing.set_forkserver_preload([__name__, *([pages.partition(":")[0]] if pages else [])])
        _subprocess.spawn = multiprocessing.get_context("forkserver")  # type: ignore[assignment]


def _run(app: FastAPI | str, host: str, port: int, workers: int = 1) -> None:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        workers=workers,
        factory=isinstance(app, str),
        http=ServiceProtocol,
        ws="none",  # there are no web sockets, and their refusal would be plain text
        access_log=False,  # it would write ids into the log
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_worker_healthcheck=SILENT_SECONDS,
    )
    with contextlib.suppress(KeyboardInterrupt):
        if workers == 1:
            uvicorn.Server(config).run()
        elif sys.platform == "linux":
            multiprocess.Process = _Worker  # type: ignore[misc]
            with _bound(host, port):  # held for as long as workers come and go
                Multiprocess(config, []).run()
        else:
            Multiprocess(config, [config.bind_socket()]).run()


class _Worker(multiprocess.Process):
    """A worker process with a socket of its own for the common port.

    Linux then spreads new connections over the workers by their addresses. Of one socket that all wait at, the worker that wakes first takes every connection of a
    burst, and keeps them: of 16 connections it had 16, and the others nothing to do.
    """

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer until told to stop."""
        super().target([_bound(self.config.host, self.config.port)])


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket of a port that several processes may have at once."""
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind((host, port))
    return one


def _own_address(host: str) -> str:
    """Return the address under which this machine itself reaches a server that listens at `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing listens here


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
