"""A learner in a process that a test kills.

In: the bundle, its store's address and secret. Out: versions, one after the other, until it is killed.
"""

from __future__ import annotations

import threading
from pathlib import Path

from penchant.learning.learner import follow, open_learner
from penchant.learning.settings import LearningConfig


def learn(bundle: Path, address: str, secret: Path) -> None:
    """Follow the events without a pause."""
    config = LearningConfig.read({"promote": "at_once", "every_seconds": 0.05}, where="test")
    learner = open_learner(bundle, address, secret, config)
    with learner.versions.learning():
        follow(learner, threading.Event())
