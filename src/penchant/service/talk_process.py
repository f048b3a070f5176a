"""The process beside the service that answers chats and words profiles, so that lists do not wait for them.

In: requests of the service over a socket of this machine. Out: sentences and answers as lines of JSON.

The process has its own interpreter and a lower priority, and reads the same bundle (its arrays are the same pages) and the same store as the service:
it is one more worker, which answers nobody else. The service checks keys, rates and values; what it passes on is trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx2
import uvicorn
from fastapi import Body, FastAPI, Response
from fastapi.responses import StreamingResponse

from penchant.core.errors import PenchantError
from penchant.service.config import ServiceConfig
from penchant.service.following import ModelFollower
from penchant.service.http_errors import RefusedError, RelayedError, add_error_handlers
from penchant.service.kept_process import KeptProcess, end_with
from penchant.service.pools import WorkPools
from penchant.service.schemas import ChatIn, ChatOut
from penchant.service.service import Service
from penchant.service.talk import Pieces, Talk, TalkHere
from penchant.service.telemetry import log_to_stderr

logger = logging.getLogger("penchant.service")
NICENESS = 10
"""Lower priority of the process: one tenth of a core's time against a process that wants the same core."""
RETRY_SECONDS = 2
"""What a client is told to wait while the process is started again."""
SILENT_SECONDS = 180
"""Longest wait for the next sentence: a language model on one core may take a minute for one that is kept."""
GRACE_SECONDS = 5
LINES = "application/x-ndjson"
Count = Callable[[str, str, int], object]
"""Is told of a counter's name, its label, and by how much it grew."""


def talk_process(config: ServiceConfig, socket: Path) -> KeptProcess:
    """Return the process, which can be kept running.

    Args:
        config: The service's settings.
        socket: Where it listens, in a folder that no other user of the machine may enter.
    """
    return KeptProcess("assistant's process", talk, (config.model_dump_json(), socket), logger)


class TalkBeside(Talk):
    """Passes messages on to the process; refuses them while that is not there.

    Args:
        socket: Where it listens.
        count: Is told what the process counted.
    """

    def __init__(self, socket: Path, count: Count) -> None:
        self._count = count
        self._client = httpx2.AsyncClient(
            base_url="http://talk",
            transport=httpx2.AsyncHTTPTransport(uds=str(socket), limits=httpx2.Limits(max_connections=None)),
            timeout=httpx2.Timeout(SILENT_SECONDS, connect=RETRY_SECONDS),
            trust_env=False,
        )

    async def begin(self, given: ChatIn) -> Pieces:
        body = given.model_dump_json(exclude_none=True).encode()
        return self._read(
            await self._answered("POST", "/chat", content=body, headers={"Content-Type": "application/json"})
        )

    async def in_words(self, user_id: str, language: str) -> dict[str, Any]:
        response = await self._answered("POST", "/words", json={"user_id": user_id, "language": language})
        with _there():
            found: dict[str, Any] = json.loads(await response.aread())
        self._add(found["counted"])
        return dict(found["written"])

    async def close(self) -> None:
        await self._client.aclose()

    async def _answered(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Return the response as soon as it begins; an error of the process is raised here as it was told there."""
        with _there():
            response = await self._client.send(self._client.build_request(method, path, **options), stream=True)
            if response.status_code == 200:
                return response
            problem = json.loads(await response.aread())
        raise RelayedError(
            problem, {name: response.headers[name] for name in ("Retry-After",) if name in response.headers}
        )

    async def _read(self, response: httpx2.Response) -> Pieces:
        try:
            with _there():
                async for line in response.aiter_lines():
                    piece = json.loads(line)
                    if "sentence" in piece:
                        yield piece["sentence"]
                    else:
                        self._add(piece["counted"])
                        yield ChatOut.model_validate(piece["answer"])
        finally:
            await response.aclose()

    def _add(self, counted: dict[str, dict[str, int]]) -> None:
        for name, by_label in counted.items():
            for label, number in by_label.items():
                self._count(name, label, number)


@contextlib.contextmanager
def _there() -> Iterator[None]:
    """Say so where the process does not answer, or ends in the middle of an answer."""
    try:
        yield
    except httpx2.HTTPError as error:
        raise RefusedError(
            "The assistant's process is starting.",
            where="the service",
            fix=f"send the message again in {RETRY_SECONDS} s",
            status=503,
            headers={"Retry-After": str(RETRY_SECONDS)},
        ) from error


class Tally:
    """Counts, until they are taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, label: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[name, label] += 1

    def take(self) -> dict[str, dict[str, int]]:
        """Return what was counted since this was called last, by name and label."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        found: dict[str, dict[str, int]] = {}
        for (name, label), number in counts.items():
            found.setdefault(name, {})[label] = number
        return found


def talk_app(service: Service) -> FastAPI:
    """Return the application of the process."""
    tally = Tally()
    service.screen.count = lambda what: tally.add("moderated", what)
    service.talk_limits.count = lambda why: tally.add("talk_refused", why)
    pools = WorkPools()
    talk = TalkHere(service, pools)

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        follower = ModelFollower(service)
        follower.start()
        yield
        await talk.close()
        pools.close()
        follower.close()
        service.close()

    app = FastAPI(lifespan=life, openapi_url=None)
    add_error_handlers(app)

    @app.post("/chat")
    async def chat(given: ChatIn) -> Response:
        return StreamingResponse(_lines(await talk.begin(given), tally), media_type=LINES)

    @app.post("/words")
    async def words(user_id: Annotated[str, Body()], language: Annotated[str, Body()]) -> dict[str, Any]:
        return {"written": await talk.in_words(user_id, language), "counted": tally.take()}

    return app


async def _lines(pieces: Pieces, tally: Tally) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, ChatOut):
                line = f'{{"counted": {json.dumps(tally.take())}, "answer": {piece.model_dump_json()}}}'
            else:
                line = json.dumps({"sentence": piece})
            yield line.encode() + b"\n"


def talk(config: str, socket: Path, starter: int) -> None:
    """Answer until the starter ends or SIGTERM comes: the main function of the process."""
    log_to_stderr()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the starter is told too, and stops this process when its requests are answered
    end_with(starter)
    settings = ServiceConfig.model_validate_json(config)
    try:
        service = Service(settings.model_copy(update={"tasks": {}, "trial": None, "alarms": None}))
    except PenchantError as error:
        logger.error("%s where: %s fix: %s", error.message, error.where, error.fix)
        sys.exit(1)
    os.nice(NICENESS)  # once it is loaded: until then chats are refused
    server = _Server(
        uvicorn.Config(
            talk_app(service),
            uds=str(socket),
            log_level="warning",
            access_log=False,
            ws="none",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
    asyncio.run(server.serve())


class _Server(uvicorn.Server):
    """uvicorn without handlers of its own for signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
