"""The contract of a classifier: content in, log-probabilities of the classes out.

In: a `ContentBatch` of content that holds no label, and a `TrainingSet` that does. Out: (samples, classes), and which samples had anything to judge by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, Self, cast

import numpy as np
from jaxtyping import Bool, Float64, Int64

from penchant.core.config import Settings, SettingsT_co
from penchant.core.schema import Catalog, Embeddings
from penchant.data.media import MediaLimits
from penchant.encoders.content import join_text
from penchant.encoders.nudity import DetectedRegion

LogProbability = Float64[np.ndarray, "samples classes"]
Judge = Callable[[Int64[np.ndarray, " samples"], LogProbability], float]
"""Labels and logarithms of probability to how good they are; higher is better. Only ever called on validation."""

NEVER = -14.0
"""Logarithm of probability of a class no training sample has: about one in a million."""


@dataclass(frozen=True)
class ContentBatch:
    """Content without labels, as classifiers see it.

    Attributes:
        catalog: One row for each sample; its media are read by networks trained from raw content.
        channels: Frozen vectors by channel, aligned with the catalog.
        limits: Of media files.
    """

    catalog: Catalog
    channels: Mapping[str, Embeddings]
    limits: MediaLimits = field(default_factory=MediaLimits)

    def __len__(self) -> int:
        return len(self.catalog)

    def take(self, rows: Int64[np.ndarray, " chosen"]) -> ContentBatch:
        """Return chosen samples in the given order."""
        catalog = replace(self.catalog, table=self.catalog.table[rows])
        channels = {
            name: replace(e, values=e.values[rows], present=e.present[rows]) for name, e in self.channels.items()
        }
        return ContentBatch(catalog, channels, self.limits)

    @cached_property
    def texts(self) -> list[str]:
        """Each sample's words, all text columns joined; "" where it has none."""
        if not self.catalog.text_columns:
            return [""] * len(self)
        return join_text(self.catalog, self.catalog.text_columns)

    def modality(self, channel: str) -> str:
        return self.channels[channel].modality


@dataclass(frozen=True)
class TrainingSet:
    """Some samples of a content batch with their labels and weights.

    Attributes:
        rows: Rows of the view.
        labels: (rows,) number of each one's class.
        num_classes: How many classes there are, whether or not each is here.
        weight: (rows,) how much each counts, 1 on average.
        chance: (rows,) how likely each is drawn for a batch, 1 on average; networks alone look at it.
        focus: Gamma of the focal loss, 0 for plain cross-entropy; networks alone look at it.
    """

    rows: Int64[np.ndarray, " rows"]
    labels: Int64[np.ndarray, " rows"]
    num_classes: int
    weight: Float64[np.ndarray, " rows"]
    chance: Float64[np.ndarray, " rows"]
    focus: float = 0.0

    def where(self, chosen: Bool[np.ndarray, " rows"]) -> TrainingSet:
        """Keep some of the rows."""
        return replace(
            self,
            rows=self.rows[chosen],
            labels=self.labels[chosen],
            weight=self.weight[chosen],
            chance=self.chance[chosen],
        )


class Classifier(ABC, Generic[SettingsT_co]):
    """Base class of classifiers.

    Args:
        config: Its settings.
        name: What reports call it.
    """

    config_class: ClassVar[type[Settings]]

    def __init__(self, config: SettingsT_co | None = None, *, name: str = "") -> None:
        self.config: SettingsT_co = cast(SettingsT_co, self.config_class()) if config is None else config
        self.name = name or type(self).__name__.lower()

    @abstractmethod
    def modalities(self, view: ContentBatch) -> tuple[str, ...]:
        """Return what it looks at, for reports: ("text",), ("text", "image")."""

    @abstractmethod
    def present(self, view: ContentBatch) -> Bool[np.ndarray, " samples"]:
        """Return which samples have anything it could judge by."""

    @abstractmethod
    def fit(self, view: ContentBatch, train: TrainingSet, validation: TrainingSet, judge: Judge, *, seed: int) -> Self:
        """Learn from `train`, choosing settings, and when to stop, on `validation`."""

    def refit(self, view: ContentBatch, lesson: TrainingSet) -> Self:
        """Learn again from more samples with the settings chosen before; by default stay as it is."""
        return self

    @abstractmethod
    def log_probability(self, view: ContentBatch) -> LogProbability:
        """Return the logarithm of each class's probability; rows without content hold no meaning."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything learned, by name, for safetensors."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what else `restore` needs, as JSON values."""

    @abstractmethod
    def restore(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        """Take back what `arrays` and `facts` gave; probabilities are then equal bit for bit."""

    def evidence(self, view: ContentBatch, row: int) -> tuple[list[str], Float64[np.ndarray, "words classes"]] | None:
        """Return the words of a text and what each adds to each class's logit, exactly; None where it is not additive."""
        return None

    def regions(self, view: ContentBatch, row: int) -> tuple[DetectedRegion, ...]:
        """Return where in a sample's picture it saw what it judges by; none where it does not look for places."""
        return ()


def log_softmax(logits: LogProbability) -> LogProbability:
    """Return logits as logarithms of probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
