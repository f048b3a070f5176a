"""Sample weights for rare classes and rare combinations of modalities.

In: labels and presence of training samples. Out: sample weights and sampling weights.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pydantic import Field

from penchant.classifiers.classifier import TrainingSet
from penchant.core.config import Settings

MAX_FACTOR = 20.0
"""Maximum weight of a sample, as a multiple of the mean weight."""


class ImbalanceConfig(Settings):
    """Settings for rare classes, in training only."""

    weights: Literal["none", "root", "balanced"] = "none"
    """Weights of samples: none, the inverse square root of the class share (root), or the inverse class share (balanced)."""
    focus: float = Field(0.0, ge=0)
    """Gamma of the focal loss of networks: above 0, samples with a high probability of the true class count less. Source: Lin et al., ICCV 2017."""
    balanced_batches: bool = False
    """Networks draw all classes equally often."""
    rare_combinations: bool = False
    """Networks draw combinations of modalities (no picture, text alone, ...) in proportion to the square root of their share."""


def training_set(
    rows: Int64[np.ndarray, " rows"],
    labels: Int64[np.ndarray, " rows"],
    num_classes: int,
    present: Bool[np.ndarray, "rows modalities"],
    config: ImbalanceConfig,
) -> TrainingSet:
    """Return training samples with sample weights and sampling weights.

    Args:
        rows: Of the batch.
        labels: Of these rows.
        num_classes: Of the task.
        present: Which modality each of these rows has.
        config: Weights and sampling.
    """
    weight = _by_share(labels, {"none": 0.0, "root": 0.5, "balanced": 1.0}[config.weights])
    sampling_weight = _by_share(labels, float(config.balanced_batches))
    if config.rare_combinations and present.shape[1]:
        _, combination = np.unique(present, axis=0, return_inverse=True)
        sampling_weight = sampling_weight * _by_share(combination.ravel(), 0.5)
    return TrainingSet(rows, labels, num_classes, weight, sampling_weight / sampling_weight.mean(), config.focus)


def unweighted(rows: Int64[np.ndarray, " rows"], labels: Int64[np.ndarray, " rows"], num_classes: int) -> TrainingSet:
    """Return samples of equal weight, for validation and test."""
    ones = np.ones(len(rows))
    return TrainingSet(rows, labels, num_classes, ones, ones)


def _by_share(groups: Int64[np.ndarray, " rows"], power: float) -> Float64[np.ndarray, " rows"]:
    """Return the inverse share of each row's group to a power, 1 on average."""
    _, number, count = np.unique(groups, return_inverse=True, return_counts=True)
    factor = (len(groups) / count) ** power
    value = np.minimum(factor / (factor[number].mean()), MAX_FACTOR)[number]
    return value / value.mean()
