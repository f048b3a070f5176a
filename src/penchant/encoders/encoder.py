"""The contract of an encoder: content in, one vector out.

In: raw content of one modality (a string, a picture, samples). Out: (batch, dim) float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from penchant.core.artifacts import checksum, fingerprint
from penchant.core.config import Settings


class Encoder(ABC):
    """A frozen encoder of one modality.

    Attributes:
        modality: What it reads.
        licence: Licence of its weights.
        cost: "light" (under 1 ms an item on a CPU core), "medium" (under 100 ms) or "heavy".
        batch_size: Items for one call of `encode`.
        whole_catalog: It learns from all items at once, so its vectors hold for one catalog only.
    """

    Config: ClassVar[type[Settings]]
    modality: ClassVar[str]
    licence: ClassVar[str]
    cost: ClassVar[str]
    batch_size: ClassVar[int] = 32
    whole_catalog: ClassVar[bool] = False

    def __init__(self, config: Any = None) -> None:
        self.config: Any = self.Config() if config is None else config

    @abstractmethod
    def weights(self) -> Any:
        """Return what identifies the weights: a version, or the checksum of a folder; None where there are none."""

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with the weights or the settings."""
        return fingerprint(type(self).__name__, self.config, self.weights())

    @abstractmethod
    def prepare(self, raw: Any) -> Any:
        """Return what the model takes: text as it is, pixels, samples. Runs in threads ahead of the model."""

    @abstractmethod
    def encode(self, prepared: Sequence[Any]) -> Float32[np.ndarray, "batch dim"]:
        """Return one vector for each prepared item."""


def folder_weights(name: str) -> str:
    """Identify a model by its files where `name` is a folder, else by its hub id."""
    folder = Path(name)
    if not folder.is_dir():
        return name
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return fingerprint([[p.relative_to(folder).as_posix(), checksum(p)] for p in files])
