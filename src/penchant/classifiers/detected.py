"""A classifier from the scores of a bundled detector; nothing is trained.

In: the scores a detector gave as a frozen channel. Out: log-probabilities of two classes, and the regions of the image.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from penchant.classifiers.classifier import Classifier, ContentBatch, LogProbability, ScoreFunction, TrainingSet
from penchant.core.config import Settings
from penchant.core.errors import ConfigError, MediaError, nearest
from penchant.encoders.content import find_content
from penchant.encoders.nudity import EXPOSED, LABELS, DetectedRegion, Nudity

TINY = 1e-6


class DetectedConfig(Settings):
    """Detector labels that count."""

    channel: str = "nudity"
    """Channel of the encoder nudity."""
    labels: list[str] = Field(list(EXPOSED), min_length=1)
    """Labels that count."""
    least: float = Field(0.2, ge=0, le=1)
    """Score from which on a detection is listed as evidence."""


class DetectorClassifier(Classifier[DetectedConfig]):
    """The highest score among some labels is the probability of the last class by name; it is not calibrated."""

    config_class = DetectedConfig

    def __init__(self, config: DetectedConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        for label in self.config.labels:
            if label not in LABELS:
                raise ConfigError(
                    f"The detector has no label {label!r}.", where=f"{self.name}.labels", fix=nearest(label, LABELS)
                )
        self._detector = Nudity()

    def modalities(self, batch: ContentBatch) -> tuple[str, ...]:
        return ("image",)

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return batch.channels[self._channel(batch)].present

    def fit(
        self, batch: ContentBatch, train: TrainingSet, validation: TrainingSet, score: ScoreFunction, *, seed: int
    ) -> Self:
        if train.num_classes != 2:
            raise ConfigError(
                f"A detector separates two classes, not {train.num_classes}.",
                where=f"classifiers.{self.name}",
                fix='fit a linear classifier to its scores: model = "linear"',
            )
        return self

    def log_probability(self, batch: ContentBatch) -> LogProbability:
        columns = [LABELS.index(label) for label in self.config.labels]
        score = batch.channels[self._channel(batch)].values[:, columns].astype(np.float64).max(axis=1)
        yes = np.clip(score, TINY, 1 - TINY)
        return np.log(np.stack([1 - yes, yes], axis=1))

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def facts(self) -> dict[str, Any]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        return self

    def regions(self, batch: ContentBatch, row: int) -> tuple[DetectedRegion, ...]:
        content = find_content(batch.catalog, [], "image", batch.limits, where=self.name)
        if content.keys[row] is None:
            return ()
        try:
            return self._detector.regions(content.load(row), self.config.labels, self.config.least)
        except MediaError:
            return ()

    def _channel(self, batch: ContentBatch) -> str:
        name: str = self.config.channel
        if name not in batch.channels:
            raise ConfigError(
                f"There is no channel {name!r}.",
                where=f"classifiers.{self.name}.channel",
                fix='add [content.nudity] encoder = "nudity"',
            )
        return name
