"""Threads for each kind of work, so that no kind of request can delay another.

In: work, and its kind. Out: its answer; or, where too many wait already, a refusal at once.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Literal, TypeVar

from penchant.service.http_errors import RETRY_SECONDS, RefusedError

Answer = TypeVar("Answer")
Kind = Literal["writes", "uploads", "lists", "encoders", "media", "replies", "chats", "profiles"]
SIZES: Mapping[Kind, tuple[int, int]] = {
    "writes": (40, 1000),  # many wait for one commit
    "uploads": (4, 32),
    "lists": (8, 256),
    "encoders": (2, 64),
    "media": (2, 16),
    "replies": (1, 32),  # one at a time: understanding a message takes tenths of a second of computing
    "chats": (1, 32),  # one at a time: a language model takes whole cores, and lists must not wait for it
    "profiles": (1, 200),  # written again while no chat runs
}
"""Threads, and requests that may wait for one; each kind is refused when its own are taken."""
MEDIA_PATHS = ("/v1/search", "/v1/predict/", "/v1/courses/", "/v1/sessions/", "/studio/search", "/studio/tasks")
WORDS_BYTES = 50_000
"""A larger body of a request to these holds media."""


class OverloadedError(RefusedError):
    """Too much work of one kind waits already."""


def overloaded(kind: str) -> OverloadedError:
    """Return the refusal of one more request of a kind."""
    return OverloadedError(
        f"Too many requests of this kind ({kind}) wait already; nothing was changed.",
        where="the service",
        fix=f"send the same request again in {RETRY_SECONDS} s",
        status=503,
        headers={"Retry-After": str(RETRY_SECONDS)},
    )


class WorkPool:
    """Some threads and a bounded queue before them.

    Args:
        name: The kind of work, for messages.
        threads: Work done at the same time.
        max_waiting: Work that waits for a thread; more is refused.
    """

    def __init__(self, name: str, threads: int, max_waiting: int) -> None:
        self._name = name
        self._places = self._room = threads + max_waiting
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    @property
    def is_full(self) -> bool:
        """Whether more work would be refused."""
        return self._room == 0

    @property
    def is_busy(self) -> bool:
        """Whether any work is done or waits."""
        return self._room < self._places

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Return what the work returns.

        Raises:
            OverloadedError: No thread is free and no place in the queue.
        """
        return await asyncio.wrap_future(self.begin(work))

    def call(self, work: Callable[[], Answer]) -> Answer:
        """Do the same for a caller that is a thread itself."""
        return self.begin(work).result()

    def begin(self, work: Callable[[], Answer]) -> Future[Answer]:
        """Do the same, and return without waiting for it."""
        with self._lock:
            if self._room == 0:
                raise overloaded(self._name)
            self._room -= 1
        future = self._threads.submit(copy_context().run, work)
        future.add_done_callback(self._leave)
        return future

    def close(self) -> None:
        """End the threads once their work is done."""
        self._threads.shutdown()

    def _leave(self, _: Future[Any]) -> None:
        with self._lock:
            self._room += 1


class WorkPools:
    """The pools of one service by kind of work."""

    def __init__(self, sizes: Mapping[Kind, tuple[int, int]] = SIZES) -> None:
        self._pools = {kind: WorkPool(kind, *size) for kind, size in sizes.items()}
        self._places = sum(sizes["media"])

    def __getitem__(self, kind: Kind) -> WorkPool:
        return self._pools[kind]

    def admit(self, path: str, num_bytes: int) -> Callable[[], None] | None:
        """Return what ends the stay of a request, None where it cannot be answered now: its body would be read for nothing.

        Requests with a large body for media stay from their headers to their answer; so many as fit into the pool. Used by the event loop alone.

        Args:
            path: Of the address.
            num_bytes: Of the body, as its header states.
        """
        if num_bytes <= WORDS_BYTES or not path.startswith(MEDIA_PATHS):
            return _nothing
        if self._places == 0 or self["media"].is_full:
            return None
        self._places -= 1
        return self._leave

    def _leave(self) -> None:
        self._places += 1

    def close(self) -> None:
        """End all threads once their work is done."""
        for pool in self._pools.values():
            pool.close()


def _nothing() -> None:
    pass


def in_pool(
    kind: Kind | Callable[[dict[str, Any]], Kind],
) -> Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]]]:
    """Return a decorator that runs an endpoint in the pool of its kind of work.

    Args:
        kind: Or what returns it from the endpoint's arguments, `request` among them.
    """

    def decorate(endpoint: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(endpoint)
        async def run(**arguments: Any) -> Any:
            pools: WorkPools = arguments["request"].app.state.pools
            chosen = kind(arguments) if callable(kind) else kind
            return await pools[chosen].run(functools.partial(endpoint, **arguments))

        return run

    return decorate
