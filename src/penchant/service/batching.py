"""Group commit of writes and micro-batching of reads.

In: calls from many threads, or of one event loop. Out: each call's own answer, from one run over all waiting calls.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from penchant.service.pools import overloaded

MAX_WAITING = 256
"""Calls that wait for a batch of one event loop: some tenths of a second of work."""
Task = TypeVar("Task")
Answer = TypeVar("Answer")


_ARRIVE: ContextVar[Callable[[], None] | None] = ContextVar("arrive", default=None)
"""Ends the keeping of a place for the call that this task makes."""


@dataclass
class _Waiting(Generic[Task, Answer]):
    task: Task
    is_done: bool = False
    answer: Answer | None = None
    error: BaseException | None = None


class GroupCommit(Generic[Task, Answer]):
    """One commit for many writers.

    The thread that gets the lock runs all waiting tasks; no task waits for further ones to come.

    Args:
        run: Answers several tasks, in order; an answer may be an exception, which its own call alone raises. Or it changes
            nothing and raises: then each task is run alone, so that a task fails by its own error only; but what does not
            depend on the task (`SHARED`) every call of that group raises.
        max_size: Largest group.
    """

    SHARED = (OperationalError, InterfaceError, PoolTimeout, sqlite3.Error)
    """The database is away: to try each task would make all of them wait for as many timeouts."""

    def __init__(self, run: Callable[[Sequence[Task]], Sequence[Answer | Exception]], *, max_size: int) -> None:
        self._run = run
        self._max_size = max_size
        self._lock = threading.Lock()
        self._running = threading.Lock()
        self._waiting: list[_Waiting[Task, Answer]] = []

    def __call__(self, task: Task) -> Answer:
        """Return this task's answer."""
        mine = _Waiting[Task, Answer](task)
        with self._lock:
            self._waiting.append(mine)
        while not mine.is_done:
            with self._running:
                if not mine.is_done:
                    self._run_group()
        if mine.error is not None:
            raise mine.error
        return mine.answer  # type: ignore[return-value]

    def _run_group(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
        try:
            self._answer(group)
        finally:
            for one in group:
                one.is_done = True

    def _answer(self, group: Sequence[_Waiting[Task, Answer]]) -> None:
        try:
            for one, answer in zip(group, self._run([one.task for one in group]), strict=True):
                if isinstance(answer, Exception):
                    one.error = answer
                else:
                    one.answer = answer
        except Exception as error:
            if len(group) == 1 or isinstance(error, self.SHARED):
                self._fail(group, error)
            else:
                self._answer_each(group)
        except BaseException as error:  # the thread is stopped
            self._fail(group, error)

    def _answer_each(self, group: Sequence[_Waiting[Task, Answer]]) -> None:
        for place, one in enumerate(group):
            self._answer([one])
            if isinstance(one.error, self.SHARED):
                self._fail(group[place:], one.error)
                return

    def _fail(self, group: Sequence[_Waiting[Task, Answer]], error: BaseException) -> None:
        for one in group:
            one.error = error


class MicroBatcher(Generic[Task, Answer]):
    """One run for many calls of one event loop: the calls that come while the thread works are its next batch, in order.

    With a thread for each call, calls compete for the interpreter and some wait many times longer than others. Here
    no call waits for more than the running batch and its own.

    Args:
        run: Answers several tasks, in order; an answer may be an exception, which its own call alone raises. What it
            raises, every call of that batch raises.
        max_size: Largest batch.
        max_waiting: Calls that wait for a batch; more are refused at once, so that those that wait are answered in time.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Task]], Sequence[Answer | Exception]],
        *,
        max_size: int,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._run = run
        self._max_size = max_size
        self._max_waiting = max_waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batched")
        self._waiting: list[tuple[Task, asyncio.Future[Answer]]] = []
        self._num_coming = 0
        self._is_working = False

    @property
    def is_full(self) -> bool:
        """Whether one more call would be refused."""
        return len(self._waiting) + self._num_coming >= self._max_waiting

    def expect(self) -> Callable[[], None] | None:
        """Keep a place for a call that this task will make; return what gives it back where the call is not made, None where all are taken.

        So a request is refused when it arrives, not after all before it have been read as far as their call.
        """
        if self.is_full:
            return None
        self._num_coming += 1
        is_coming = True

        def arrive() -> None:
            nonlocal is_coming
            self._num_coming -= is_coming
            is_coming = False

        _ARRIVE.set(arrive)
        return arrive

    async def __call__(self, task: Task) -> Answer:
        """Return this task's answer.

        Raises:
            OverloadedError: Too many calls wait.
        """
        if (arrive := _ARRIVE.get()) is not None:
            arrive()
        if self.is_full:
            raise overloaded("lists")
        mine: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, mine))
        if not self._is_working:
            self._begin()
        return await mine

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _begin(self) -> None:
        batch, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
        self._is_working = bool(batch)
        if batch:
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._run, [task for task, _ in batch])
            work.add_done_callback(lambda done: self._set_results([mine for _, mine in batch], done))

    def _set_results(
        self, batch: Sequence[asyncio.Future[Answer]], done: asyncio.Future[Sequence[Answer | Exception]]
    ) -> None:
        self._begin()
        error = done.exception()
        answers = [error] * len(batch) if error else done.result()
        for mine, answer in zip(batch, answers, strict=True):
            if mine.done():  # the caller was cancelled
                continue
            if isinstance(answer, BaseException):
                mine.set_exception(answer)
            else:
                mine.set_result(answer)
