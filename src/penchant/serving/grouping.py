"""Calls that arrive while one is being answered are answered together.

In: calls from many threads. Out: each call's own answer, from one run over all that waited.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
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


class Grouped(Generic[Task, Answer]):
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
