"""A small network that processes train together, without a cluster."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penchant.core.executor import Meeting
from penchant.core.schema import Content, Histories
from penchant.experiment.fit_cache import FitJob, Summed, _fit_together
from penchant.models.member import make_member
from penchant.models.sequence import Sequence
from penchant.models.user_sums import summed

SETTINGS = {"model": "sequence", "backbone": "gru", "dim": 16, "layers": 1, "epochs": 4, "batch_events": 300}


def drawn_histories(users: int = 150, length: int = 12, items: int = 40) -> Histories:
    """Return histories of random items, of several lengths."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, length, users)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    index = rng.integers(0, items, offsets[-1]).astype(np.int32)
    at = np.concatenate([np.arange(n) for n in lengths]) * 1_000_000
    return Histories([f"u{n}" for n in range(users)], offsets, index, at, np.ones(len(index), np.float32), items)


def network(**settings: object) -> Sequence:
    member = make_member("network", {**SETTINGS, **settings})
    assert isinstance(member, Sequence)
    return member


@dataclass(frozen=True)
class Waits:
    """Waits at the end of an epoch of a training until the test goes on, which changes the cluster meanwhile.

    Attributes:
        folder: Of the files by which test and training find each other.
        epoch: From 0; its checkpoint is written.
    """

    folder: Path
    epoch: int

    def __call__(self, epoch: int, score: float) -> None:
        if epoch == self.epoch:
            (self.folder / f"waits-{os.getpid()}").touch()
            while not (self.folder / "end").exists():
                time.sleep(0.02)

    def processes(self) -> int:
        """Return how many processes wait."""
        return len(list(self.folder.glob("waits-*")))

    def end(self) -> None:
        (self.folder / "end").touch()


def fitted_at(
    meeting: Meeting | None, checkpoint: Path | None = None, dies: bool = False, **settings: object
) -> Sequence | None:
    """Return the network that the processes of a meeting fit; one of them may end in the middle."""
    train, member = drawn_histories(), network(**settings)
    member.checkpoint = checkpoint
    if dies:
        member.report = lambda epoch, _: os._exit(1) if epoch == 1 else None
    sums = Summed(summed(train, [member.user_sums(train)]))
    found = _fit_together((FitJob(member, Content.NONE), 0), meeting, train, sums, Content.NONE)
    return None if found is None else found[0]  # type: ignore[return-value]
