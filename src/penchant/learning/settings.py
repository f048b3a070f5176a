"""Settings of the learner.

In: options of a command, or the table [learning] of a TOML file. Out: a `LearningConfig`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penchant.core.config import Settings
from penchant.learning.judging import JudgingConfig
from penchant.learning.updating import UpdatingConfig
from penchant.learning.weighing import WeighingConfig


class LearningConfig(Settings):
    """Settings of the learner."""

    every_seconds: float = Field(60, gt=0)
    """Pause between two steps."""
    min_events: int = Field(1, ge=1)
    """New events from which on a version is made."""
    promote: Literal["not_worse", "at_once", "by_hand"] = "not_worse"
    """When a version is served: once it is shown to be no worse on events that came after its data, as soon as it is made, or by
    `penchant promote` alone."""
    keep: int = Field(5, ge=1)
    """Versions of which the files are kept, beside the served one and its parent."""
    max_skew_seconds: float = Field(300, ge=0)
    """An event further in the future waits until its time."""
    updating: UpdatingConfig = UpdatingConfig()
    """How much of the model an update renews."""
    weighing: WeighingConfig = WeighingConfig()
    """How the ensemble weights follow the newest requests."""
    judging: JudgingConfig = JudgingConfig()
    """When a version is no worse."""
