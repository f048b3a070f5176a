"""The learner as a process of its own beside a service.

In: the bundle, the store's address and settings. Out: a process that follows the events until its starter ends, and is started again if it dies.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from penchant.core.errors import PenchantError
from penchant.learning.learner import follow, open_learner
from penchant.learning.settings import LearningConfig

logger = logging.getLogger("penchant.learning")
AGAIN_SECONDS = (1.0, 5.0, 30.0, 120.0)
"""Pauses before a learner that died is started again; the last one holds for all further starts."""
LIVED_SECONDS = 600.0
"""A learner that lived so long is started again after the first pause."""
NICE = 10
"""Priority below that of the service, which answers people."""


class LearnerProcess:
    """Keeps a learner running until `stop`.

    Args:
        bundle: Folder of the bundle that is served.
        address: Of the service's store.
        secret: File of the service's secret.
        config: Settings of the learner.
    """

    def __init__(self, bundle: Path, address: str, secret: Path, config: LearningConfig) -> None:
        self._arguments = (bundle, address, secret, config.model_dump_json(), os.getpid())
        self._stop = threading.Event()
        self._process: BaseProcess | None = None
        self._thread = threading.Thread(target=self._keep, name="learner", daemon=True)

    @property
    def pid(self) -> int | None:
        """The number of the running process."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it; what it was making is left out, and made by the next one."""
        self._stop.set()
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
        self._thread.join(10)

    def _keep(self) -> None:
        spawn: Any = multiprocessing.get_context("spawn")
        starts = 0
        while not self._stop.is_set():
            process = self._process = spawn.Process(target=learn, args=self._arguments, name="learner", daemon=True)
            process.start()
            process.join(LIVED_SECONDS)
            starts = 0 if process.is_alive() else starts + 1
            process.join()
            if not self._stop.is_set():
                pause = AGAIN_SECONDS[min(starts, len(AGAIN_SECONDS)) - 1 if starts else 0]
                logger.error("the learner ended (%s); it is started again in %g s", process.exitcode, pause)
                self._stop.wait(pause)


def learn(bundle: Path, address: str, secret: Path, config: str, starter: int) -> None:
    """Follow the events until the starter ends or SIGTERM comes: the main function of the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # what is half made is never a version
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    threading.Thread(target=_watch, args=(starter,), daemon=True).start()
    learner = open_learner(bundle, address, secret, LearningConfig.model_validate_json(config))
    try:
        with learner.versions.learning():
            follow(learner, stop)
    except PenchantError as error:  # another learner runs already
        logger.error("%s fix: %s", error.message, error.fix)
        stop.wait(AGAIN_SECONDS[-1])


def _watch(starter: int) -> None:
    """End the process once its starter has ended, however that ended."""
    while os.getppid() == starter:
        threading.Event().wait(1.0)
    os._exit(0)
