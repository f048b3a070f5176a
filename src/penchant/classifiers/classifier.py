"""The contract of a classifier: content in, log-probabilities of the classes out.

In: a `ContentBatch` of content that holds no label, and a `TrainingSet` that does. Out: (samples, classes), and which samples have content that it reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Generic, Self, cast

import numpy as np
from jaxtyping import Bool, Float64, Int64

from penchant.classifiers import CLASSIFIERS
from penchant.core.config import Settings, SettingsT_co
from penchant.core.schema import Catalog, Embeddings
from penchant.data.media import MediaLimits
from penchant.encoders.content import join_text
from penchant.encoders.nudity import DetectedRegion

LogProbability = Float64[np.ndarray, "samples classes"]
ScoreFunction = Callable[[Int64[np.ndarray, " samples"], LogProbability], float]
"""Labels and log-probabilities to a score; higher is better. Called on validation only."""

ClassifierTables = Mapping[str, Mapping[str, Any]]
"""Name to settings; `model` names the classifier."""

NEVER = -14.0
"""Log-probability of a class without a training sample: about one in a million."""


@dataclass(frozen=True)
class ContentBatch:
    """Content without labels, the input of classifiers.

    Attributes:
        catalog: One row for each sample; networks trained on raw content open its media.
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

    @cached_property
    def has_text(self) -> Bool[np.ndarray, " samples"]:
        """Which samples have words."""
        return np.array([bool(text.strip()) for text in self.texts], bool)

    def modality(self, channel: str) -> str:
        return self.channels[channel].modality


@dataclass(frozen=True)
class TrainingSet:
    """Some samples of a content batch with their labels and weights.

    Attributes:
        rows: Rows of the batch.
        labels: (rows,) class index of each.
        num_classes: Of the task; a class may have no row here.
        weight: (rows,) sample weight, 1 on average.
        sampling_weight: (rows,) relative probability of being drawn for a batch, 1 on average; only networks use it.
        focus: Gamma of the focal loss, 0 for plain cross-entropy; only networks use it.
    """

    rows: Int64[np.ndarray, " rows"]
    labels: Int64[np.ndarray, " rows"]
    num_classes: int
    weight: Float64[np.ndarray, " rows"]
    sampling_weight: Float64[np.ndarray, " rows"]
    focus: float = 0.0

    def where(self, chosen: Bool[np.ndarray, " rows"]) -> TrainingSet:
        """Keep some of the rows."""
        return replace(
            self,
            rows=self.rows[chosen],
            labels=self.labels[chosen],
            weight=self.weight[chosen],
            sampling_weight=self.sampling_weight[chosen],
        )


class Classifier(ABC, Generic[SettingsT_co]):
    """Base class of classifiers.

    Args:
        config: Its settings.
        name: Its name in reports.
    """

    config_class: ClassVar[type[Settings]]
    refits_fully: ClassVar[bool] = False
    """Whether `settle` and then `refit` replace `fit`: it has nothing to choose but settings."""

    def __init__(self, config: SettingsT_co | None = None, *, name: str = "") -> None:
        self.config: SettingsT_co = cast(SettingsT_co, self.config_class()) if config is None else config
        self.name = name or type(self).__name__.lower()

    @abstractmethod
    def modalities(self, batch: ContentBatch) -> tuple[str, ...]:
        """Return the modalities that it reads, for reports: ("text",), ("text", "image")."""

    @abstractmethod
    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        """Return which samples have content that it reads."""

    @abstractmethod
    def fit(
        self, batch: ContentBatch, train: TrainingSet, validation: TrainingSet, score: ScoreFunction, *, seed: int
    ) -> Self:
        """Learn from `train`, choosing settings, and when to stop, on `validation`."""

    def refit(self, batch: ContentBatch, train: TrainingSet) -> Self:
        """Fit again on more samples with the settings chosen before; by default nothing changes."""
        return self

    def settle(self, fits: Sequence[Self]) -> Self:
        """Take the settings that most fits on parts of the samples chose; by default nothing changes. `refit` follows."""
        return self

    @abstractmethod
    def log_probability(self, batch: ContentBatch) -> LogProbability:
        """Return the logarithm of each class's probability; rows without content are undefined."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return all learned arrays by name, for safetensors."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what else `restore` needs, as JSON values."""

    @abstractmethod
    def restore(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        """Set the state that `arrays` and `facts` returned; probabilities are then equal bit for bit."""

    def evidence(self, batch: ContentBatch, row: int) -> tuple[list[str], Float64[np.ndarray, "words classes"]] | None:
        """Return the words of a text and what each adds to each class's logit, exactly; None where it is not additive."""
        return None

    def regions(self, batch: ContentBatch, row: int) -> tuple[DetectedRegion, ...]:
        """Return the regions of a sample's image that support the prediction; none where it does not locate any."""
        return ()


class TextClassifier(Classifier[SettingsT_co]):
    """Base class of classifiers that read the words of a sample and nothing else."""

    def modalities(self, batch: ContentBatch) -> tuple[str, ...]:
        return ("text",)

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return batch.has_text


def make_classifier(name: str, table: Mapping[str, Any]) -> Classifier:
    """Return the unfitted classifier of a `[classifiers.NAME]` table.

    Raises:
        ConfigError: The table names no classifier, an unknown one, or an unknown setting.
    """
    made: Classifier = CLASSIFIERS.make(name, table, where=f"classifiers.{name}")
    return made


def predict_members(
    members: Mapping[str, Classifier], batch: ContentBatch
) -> tuple[dict[str, LogProbability], dict[str, Bool[np.ndarray, " samples"]]]:
    """Return the log-probabilities of each classifier, and which samples it can classify."""
    found = {name: member.log_probability(batch) for name, member in members.items()}
    return found, {name: member.present(batch) for name, member in members.items()}


def log_softmax(logits: LogProbability) -> LogProbability:
    """Return logits as logarithms of probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
