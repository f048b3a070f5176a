"""An item's general popularity, predicted from its content.

In: likes and dislikes of all users, and content. Out: one score for each item, items without events included.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import Field
from scipy import linalg

from penchant.core.config import Settings
from penchant.core.schema import Content, Histories
from penchant.models.channels import centred_unit, named, pick
from penchant.models.popularity import PriorMember


class ContentPriorConfig(Settings):
    """The settings of the content prior."""

    channels: list[str] | None = None
    """Channels to read; None reads all."""
    regularisation: float = Field(10.0, gt=0)
    """Penalty, in events: an item with so many events gets half its weight."""
    max_items: int = Field(15_000, ge=1)
    """With more touched items, it is fitted on the most touched."""


class ContentPrior(PriorMember[ContentPriorConfig]):
    """Kernel ridge regression from content to an item's mean weight of events, items with more events counting more.

    Without any dislike the mean is the same for every item, and log(1 + events) is predicted instead.
    Cost: touched items^3 / 3 operations.

    Source: weighted kernel ridge regression (Saunders et al., ICML 1998).
    """

    config_class = ContentPriorConfig

    learns_from_behaviour = False

    def __init__(self, config: ContentPriorConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.slope: Float64[np.ndarray, " dim"] = np.zeros(0)
        """The map from centred content to the score."""

    def channels(self, content: Content) -> tuple[str, ...]:
        return named(content, self.config.channels)

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        count = np.bincount(train.item_index, minlength=train.num_items).astype(np.float64)
        total = np.bincount(train.item_index, weights=train.weight, minlength=train.num_items)
        target = total / np.maximum(count, 1) if (train.weight < 0).any() else np.log1p(np.maximum(total, 0))
        known = np.argsort(-count, kind="stable")[: min(self.config.max_items, int((count > 0).sum()))]
        self.prior, self.slope = np.zeros(train.num_items, np.float32), np.zeros(0)
        if len(known) == 0:
            return self
        features = self._features(content, train.num_items)
        kernel = (features[known] @ features[known].T).astype(np.float64)
        kernel[np.diag_indices_from(kernel)] += self.config.regularisation / count[known]
        mean = np.average(target[known], weights=count[known])
        dual = linalg.solve(kernel, target[known] - mean, assume_a="pos")
        self.slope = features[known].T @ dual
        self.prior = (features @ self.slope).astype(np.float32)
        return self

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy that predicts the score of new items from their content; 0, as in `fit`, where they have none."""
        grown = copy.copy(self)
        features = self._features(content, new.start)[new.start :]
        predicted = features @ self.slope if len(self.slope) == features.shape[1] else np.zeros(len(new))
        grown.prior = np.concatenate([self.prior, predicted.astype(np.float32)])
        return grown

    def _features(self, content: Content, fitted: int) -> Float32[np.ndarray, "items dim"]:
        """Return the channels' centred unit rows side by side; a column of zeros where it reads none."""
        channels = [pick(content, name, self.name) for name in self.channels(content)]
        rows = [centred_unit(e.values, e.usable, fitted) for e in channels]
        return np.concatenate(rows, axis=1) if rows else np.zeros((fitted, 1), np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), "slope": self.slope}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.slope = arrays.get("slope", np.zeros(0))
        return super().restore(arrays)
