"""A process beside the service that is kept running.

In: a function and its arguments. Out: a process that runs it until its starter ends, and is started again if it dies.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

AGAIN_SECONDS = (1.0, 5.0, 30.0, 120.0)
"""Pauses before a process that died is started again; the last one holds for all further starts."""
LIVED_SECONDS = 600.0
"""A process that lived so long is started again after the first pause."""


class KeptProcess:
    """Keeps a process running until `stop`.

    Args:
        name: What it is, for the log.
        run: Its main function, of a module's top level; gets the arguments and the number of this process, with which it ends (`end_with`).
        arguments: What `run` gets; they are sent to the process.
        logger: Is told when it ended.
    """

    def __init__(self, name: str, run: Callable[..., None], arguments: tuple[Any, ...], logger: logging.Logger) -> None:
        self._name, self._run, self._arguments, self._logger = name, run, (*arguments, os.getpid()), logger
        self._stop = threading.Event()
        self._process: BaseProcess | None = None
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @property
    def pid(self) -> int | None:
        """The number of the running process."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it."""
        self._stop.set()
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
        self._thread.join(10)

    def _keep(self) -> None:
        spawn: Any = multiprocessing.get_context("spawn")
        starts = 0
        while not self._stop.is_set():
            process = self._process = spawn.Process(
                target=self._run, args=self._arguments, name=self._name, daemon=True
            )
            process.start()
            process.join(LIVED_SECONDS)
            starts = 0 if process.is_alive() else starts + 1
            process.join()
            if not self._stop.is_set():
                pause = AGAIN_SECONDS[min(starts, len(AGAIN_SECONDS)) - 1 if starts else 0]
                self._logger.error(
                    "the %s ended (%s); it is started again in %g s", self._name, process.exitcode, pause
                )
                self._stop.wait(pause)


def end_with(starter: int) -> None:
    """End this process once another one has ended, however that ended."""
    threading.Thread(target=_watch, args=(starter,), daemon=True).start()


def _watch(starter: int) -> None:
    while os.getppid() == starter:
        threading.Event().wait(1.0)
    os._exit(0)


def log_to_stderr() -> None:
    """Write what a process beside a service has to tell, and the warnings of libraries, to the terminal of who started it."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("penchant").setLevel(logging.INFO)
