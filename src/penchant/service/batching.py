"""Group commit of writes and micro-batching of reads.

In: calls from many threads, or of one event loop. Out: each call's own answer, from one run over all that waited.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass
class _Waiting(Generic[Task, Answer]):
    task: Task
    is_done: bool = False
    answer: Answer | None = None
    error: BaseException | None = None


class GroupCommit(Generic[Task, Answer]):
    """One commit for many writers, one matrix product for many readers.

    Whoever gets the turn works for everybody who waits; nobody waits for company that may not come.

    Args:
        run: Answers several tasks, in order. What it raises, everybody of that group gets.
        max_size: Largest group.
    """

    def __init__(self, run: Callable[[Sequence[Task]], Sequence[Answer]], *, max_size: int) -> None:
        self._run = run
        self._max_size = max_size
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Waiting[Task, Answer]] = []

    def __call__(self, task: Task) -> Answer:
        """Return this task's answer."""
        mine = _Waiting[Task, Answer](task)
        with self._lock:
            self._waiting.append(mine)
        while not mine.is_done:
            with self._turn:
                if not mine.is_done:
                    self._lead()
        if mine.error is not None:
            raise mine.error
        return mine.answer  # type: ignore[return-value]

    def _lead(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
        try:
            for one, answer in zip(group, self._run([one.task for one in group]), strict=True):
                one.answer = answer
        except BaseException as error:
            for one in group:
                one.error = error
        finally:
            for one in group:
                one.is_done = True


class MicroBatcher(Generic[Task, Answer]):
    """The same for the calls of one event loop: what comes in while the thread works is its next batch, in the order it came.

    With a thread for each call, calls fight for the interpreter and the unlucky wait many times longer than the lucky. Here
    nobody waits for more than the batch under way and their own.

    Args:
        run: Answers several tasks, in order; an answer may be an exception, which its own call alone gets. What it raises,
            everybody of that batch gets.
        max_size: Largest batch.
    """

    def __init__(self, run: Callable[[Sequence[Task]], Sequence[Answer | Exception]], *, max_size: int) -> None:
        self._run = run
        self._max_size = max_size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batched")
        self._waiting: list[tuple[Task, asyncio.Future[Answer]]] = []
        self._is_working = False

    async def __call__(self, task: Task) -> Answer:
        """Return this task's answer."""
        mine: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, mine))
        if not self._is_working:
            self._begin()
        return await mine

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown()

    def _begin(self) -> None:
        batch, self._waiting = self._waiting[: self._max_size], self._waiting[self._max_size :]
        self._is_working = bool(batch)
        if batch:
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._run, [task for task, _ in batch])
            work.add_done_callback(lambda done: self._give([mine for _, mine in batch], done))

    def _give(
        self, batch: Sequence[asyncio.Future[Answer]], done: asyncio.Future[Sequence[Answer | Exception]]
    ) -> None:
        self._begin()
        error = done.exception()
        answers = [error] * len(batch) if error else done.result()
        for mine, answer in zip(batch, answers, strict=True):
            if mine.done():  # whoever asked has gone
                continue
            if isinstance(answer, BaseException):
                mine.set_exception(answer)
            else:
                mine.set_result(answer)
