"""The learner as a process of its own beside a service.

In: the bundle, the store's address and settings. Out: a process that follows the events.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

from penchant.core.errors import PenchantError
from penchant.learning.learner import follow, open_learner
from penchant.learning.settings import LearningConfig
from penchant.service.kept_process import AGAIN_SECONDS, KeptProcess, end_with, log_to_stderr

logger = logging.getLogger("penchant.learning")
NICE = 10
"""Priority below that of the service, which answers people."""


def learner_process(bundle: Path, address: str, secret: Path, config: LearningConfig) -> KeptProcess:
    """Return a learner that can be kept running; what it was making when it is stopped is made by the next one.

    Args:
        bundle: Folder of the bundle that is served.
        address: Of the service's store.
        secret: File of the service's secret.
        config: Settings of the learner.
    """
    return KeptProcess("learner", learn, (bundle, address, secret, config.model_dump_json()), logger)


def learn(bundle: Path, address: str, secret: Path, config: str, starter: int) -> None:
    """Follow the events until the starter ends or SIGTERM comes: the main function of the process."""
    log_to_stderr()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # what is half made is never a version
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    end_with(starter)
    learner = open_learner(bundle, address, secret, LearningConfig.model_validate_json(config))
    try:
        with learner.versions.learning():
            follow(learner, stop)
    except PenchantError as error:  # another learner runs already
        logger.error("%s fix: %s", error.message, error.fix)
        stop.wait(AGAIN_SECONDS[-1])
