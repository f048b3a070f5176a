"""Processes that work ahead of this one: what ends a process ends it alone.

In: a function and items. Out: the result of each item in order, or in its place why there is none.
"""

from __future__ import annotations

import logging
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Self, TypeVar

from penchant.core.errors import ExecutorError
from penchant.core.logs import KeptLines, logger
from penchant.core.messages import message

SLOT_BYTES = 16 * 2**20
"""Shared memory of one result; a larger one goes through a pipe. Pages that no result touches take no memory."""
MAX_SECONDS = 600.0
"""For one item, until its process is ended."""
TRIES = 2
"""Times an item is given to a process before it is given up: the first may have died for want of memory, which others took."""
PRELOADED = ("penchant.data.clean.media_facts", "penchant.encoders.apart", "scipy.signal", "soundfile", "soxr", "av")
"""Modules that new processes find loaded, as far as they are installed, so that each starts in some hundredths of a second; by name, since imports point
down only."""
APART_FROM = 16
"""Items from which on processes are worth their start, a second for the first of a run; fewer are worked on in threads."""
_WAIT_SECONDS, _END_SECONDS = 1.0, 2.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def are_worthwhile(num_items: int) -> bool:
    """Return whether so many items are worth processes; never in a process that may not start any, as a worker of another pool."""
    return num_items >= APART_FROM and not multiprocessing.current_process().daemon


@dataclass(frozen=True)
class Lost:
    """Stands for the result of an item that ended its process each time."""

    why: str


@dataclass(frozen=True)
class _Raised:
    """Stands for the result of an item whose function raised."""

    error: Exception


@dataclass
class _Task(Generic[Item]):
    """One item given to a process, and the place of shared memory for its result."""

    number: int
    item: Item
    slot: int
    died: int = 0


@dataclass
class _Worker:
    """A process, and what it was given and has not answered, in order."""

    process: Any
    connection: Connection
    given: deque[_Task[Any]] = field(default_factory=deque)
    has_begun: bool = False
    since: float = field(default_factory=time.monotonic)


class WorkerProcesses(Generic[Item, Result]):
    """Calls a function on items in processes of their own, a bounded number of items ahead of whoever takes the results.

    The processes are forked from a server that has loaded the program and nothing of this run, so that no lock or thread of this process is in them; where
    there is no such server (Windows), they are started anew. Arrays come back through shared memory (Linux; elsewhere through pipes).

    Args:
        function: Called with an item; a function of a module, or an object that can be pickled.
        count: Number of processes.
        ahead: Items that are given out or wait for the one before them, together.
        begin: Called once in each process with `count` and the path of a file that all of them can open to lock, None where there is none.

    Raises:
        ExecutorError: No process can be started.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        count: int,
        ahead: int,
        begin: Callable[[int, str | None], None] | None = None,
    ) -> None:
        self._ahead = max(1, ahead)
        self._memory = _SharedMemory.made(self._ahead)
        self._free = list(range(self._ahead))
        self._arguments = (function, begin, count, None if self._memory is None else self._memory.path)
        self._workers: list[_Worker] = []
        try:
            for _ in range(max(1, count)):
                self._workers.append(self._started())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map(self, items: Iterable[Item]) -> Iterator[Result | Lost]:
        """Yield the result of each item, in the order of the items; to be called once.

        Raises:
            ExecutorError: A process ended before it began.
            Exception: What the function raised, when its item is next.
        """
        waiting = enumerate(items)
        done: dict[int, Any] = {}
        taken = given = 0
        is_exhausted = False
        while True:
            while not is_exhausted and taken - given < self._ahead:
                entry = next(waiting, None)
                if entry is None:
                    is_exhausted = True
                else:
                    taken += 1
                    self._give(_Task(*entry, self._free.pop()))
            self._receive(done, 0.0)
            if given == taken and is_exhausted:
                return
            while given not in done:
                self._receive(done, _WAIT_SECONDS)
            result = done.pop(given)
            given += 1
            if isinstance(result, _Raised):
                raise result.error
            yield result

    def close(self) -> None:
        """End the processes; what they are working on is dropped."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_END_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _started(self) -> _Worker:
        kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(kind)
        here, there = context.Pipe()
        with _starting():
            if kind == "forkserver":
                context.set_forkserver_preload(list(PRELOADED))
            process = context.Process(target=_serve, args=(there, *self._arguments), daemon=True)
            process.start()
        there.close()
        return _Worker(process, here)

    def _give(self, task: _Task[Item]) -> None:
        worker = min(self._workers, key=lambda one: len(one.given))
        if not worker.given:
            worker.since = time.monotonic()
        worker.given.append(task)
        with suppress(OSError):  # it has just died, which `_receive` notices
            worker.connection.send((task.number, task.slot, task.item))

    def _receive(self, done: dict[int, Any], seconds: float) -> None:
        """Take the answers that are there, waiting so long for the first; give again what died processes left."""
        by_connection = {worker.connection: worker for worker in self._workers if worker.given}
        for ready in wait(list(by_connection), timeout=seconds):
            worker = by_connection.pop(ready)  # type: ignore[call-overload]
            try:
                while worker.connection.poll():
                    self._take(worker, pickle.loads(worker.connection.recv_bytes()), done)  # noqa: S301 - our own process wrote it
            except (EOFError, OSError):
                self._replace(worker, done, message("its process died"))
        now = time.monotonic()
        for worker in by_connection.values():  # nothing of these has arrived
            if now - worker.since > MAX_SECONDS:
                worker.given[0].died = TRIES
                self._replace(worker, done, message("it took more than {seconds} seconds", seconds=round(MAX_SECONDS)))

    def _take(self, worker: _Worker, answer: Any, done: dict[int, Any]) -> None:
        worker.has_begun, worker.since = True, time.monotonic()
        if answer is None:
            return
        result, lengths, lines = answer
        for level, line in lines:
            logger.log(level, "%s", line)
        task = worker.given.popleft()
        if lengths is not None and self._memory is not None:
            result = _unpacked(self._memory.read(task.slot, lengths))
        self._free.append(task.slot)
        done[task.number] = result

    def _replace(self, worker: _Worker, done: dict[int, Any], why: str) -> None:
        """Start another process in the place of one that ended, and give it what that one left."""
        worker.connection.close()
        worker.process.kill()
        worker.process.join()
        if not worker.has_begun:
            raise ExecutorError(
                f"A process that reads files ended before it began, with exit status {worker.process.exitcode}.",
                where="this machine",
                fix="look whether memory or the number of processes is limited (`ulimit -a`)",
            )
        left = worker.given
        first = left[0]
        first.died += 1
        if first.died >= TRIES:
            left.popleft()
            self._free.append(first.slot)
            done[first.number] = Lost(why)
        self._workers[self._workers.index(worker)] = self._started()
        for task in left:
            self._give(task)


class _SharedMemory:
    """Memory without a name that processes find through the file table of this one, so that nothing of it is left when this one dies."""

    def __init__(self, handle: int, slots: int) -> None:
        self._handle, self.path = handle, f"/proc/{os.getpid()}/fd/{handle}"
        self._map = mmap.mmap(handle, slots * SLOT_BYTES)

    @classmethod
    def made(cls, slots: int) -> Self | None:
        """Return memory for so many results; None where the system has none of this kind."""
        try:
            handle = os.memfd_create("penchant")
        except (AttributeError, OSError):
            return None
        os.ftruncate(handle, slots * SLOT_BYTES)
        return cls(handle, slots)

    def read(self, slot: int, lengths: Sequence[int]) -> list[bytearray]:
        """Return copies of what was written side by side into one place."""
        start, found = slot * SLOT_BYTES, []
        for length in lengths:
            found.append(bytearray(self._map[start : start + length]))
            start += length
        return found

    def close(self) -> None:
        self._map.close()
        os.close(self._handle)


def _packed(value: Any) -> list[Any]:
    """Return a pickle and the arrays it refers to."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [head, *(buffer.raw() for buffer in buffers)]


def _unpacked(parts: Sequence[Any]) -> Any:
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 - our own process wrote it


def _serve(
    connection: Connection,
    function: Callable[[Any], Any],
    begin: Callable[[int, str | None], None] | None,
    count: int,
    path: str | None,
) -> None:
    """Answer items until the other end closes, as it does when its process dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then closes the connection
    shared = None
    if path is not None:
        with open(path, "r+b") as file:  # noqa: PTH123 - a path into the file table
            shared = mmap.mmap(file.fileno(), 0)
    if begin is not None:
        begin(count, path)
    lines = KeptLines()
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with suppress(EOFError, OSError):
        connection.send_bytes(pickle.dumps(None))
        while True:
            _, slot, item = connection.recv()
            lines.kept.clear()
            result, parts = _answered(function, item)
            lengths = [len(memoryview(part)) for part in parts]
            if shared is None or sum(lengths) > SLOT_BYTES:
                connection.send_bytes(pickle.dumps((result, None, tuple(lines.kept))))
                continue
            start = slot * SLOT_BYTES
            for part, length in zip(parts, lengths, strict=True):
                shared[start : start + length] = part
                start += length
            connection.send_bytes(pickle.dumps((None, lengths, tuple(lines.kept))))


def _answered(function: Callable[[Any], Any], item: Any) -> tuple[Any, list[Any]]:
    """Return the result of an item, and the same as bytes."""
    try:
        result = function(item)
        return result, _packed(result)
    except Exception as error:
        raised = _Raised(portable(error))
        return raised, _packed(raised)


def portable(error: Exception) -> Exception:
    """Return an exception as it can go to another process; one that would not arrive there is told in words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextmanager
def _starting() -> Iterator[None]:
    """Start processes that do not run the user's script again, which needs no `if __name__ == "__main__"`, and load modules from where this one does.

    The server of processes is not told `sys.path` by some versions of Python.
    """
    with _one_at_a_time:
        main, path = sys.modules["__main__"], os.environ.get("PYTHONPATH")
        sys.modules["__main__"] = types.ModuleType("__main__")
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            os.environ.pop("PYTHONPATH")
            if path is not None:
                os.environ["PYTHONPATH"] = path


_one_at_a_time = threading.Lock()
