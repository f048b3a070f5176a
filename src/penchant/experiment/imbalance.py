"""Sample weights for rare classes and rare combinations of modalities.

In: labels and presence of training samples. Out: weight and sampling weight of each.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pydantic import Field

from penchant.classifiers.classifier import TrainingSet
from penchant.core.config import Settings

MAX_FACTOR = 20.0
"""Largest weight and sampling weight of a sample, the mean being 1."""


class ImbalanceConfig(Settings):
    """Settings for rare classes, in training only."""

    weights: Literal["none", "root", "balanced"] = "none"
    """Weight of a sample: 1; 1 over the square root of its class's share; 1 over the share."""
    focus: float = Field(0.0, ge=0)
    """Gamma of the focal loss of networks: above 0, samples already classified well count less. Source: Lin et al., ICCV 2017."""
    balanced_batches: bool = False
    """Networks draw each class as often as any other."""
    rare_combinations: bool = False
    """Networks draw combinations of modalities (no picture, words alone, ...) in proportion to the square root of their share."""


def training_set(
    rows: Int64[np.ndarray, " rows"],
    labels: Int64[np.ndarray, " rows"],
    num_classes: int,
    present: Bool[np.ndarray, "rows modalities"],
    config: ImbalanceConfig,
) -> TrainingSet:
    """Return training samples with their weights and sampling weights.

    Args:
        rows: Of the content batch.
        labels: Of these rows.
        num_classes: How many there are.
        present: Which modality each of these rows has.
        config: Settings.
    """
    weight = _by_share(labels, {"none": 0.0, "root": 0.5, "balanced": 1.0}[config.weights])
    sampling = _by_share(labels, float(config.balanced_batches))
    if config.rare_combinations and present.shape[1]:
        _, combination = np.unique(present, axis=0, return_inverse=True)
        sampling = sampling * _by_share(combination.ravel(), 0.5)
    return TrainingSet(rows, labels, num_classes, weight, sampling / sampling.mean(), config.focus)


def plain(rows: Int64[np.ndarray, " rows"], labels: Int64[np.ndarray, " rows"], num_classes: int) -> TrainingSet:
    """Return samples that all count the same: validation and test are as they are."""
    ones = np.ones(len(rows))
    return TrainingSet(rows, labels, num_classes, ones, ones)


def _by_share(groups: Int64[np.ndarray, " rows"], power: float) -> Float64[np.ndarray, " rows"]:
    """Return one over a group's share to a power, 1 on average, for each row."""
    _, number, count = np.unique(groups, return_inverse=True, return_counts=True)
    factor = (len(groups) / count) ** power
    value = np.minimum(factor / (factor[number].mean()), MAX_FACTOR)[number]
    return value / value.mean()
