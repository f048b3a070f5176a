"""Linear classifiers over frozen embeddings.

In: vectors of one or several channels. Out: log-probabilities. The strength of the regularisation is chosen on validation.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Bool, Float32, Float64
from pydantic import Field
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from penchant.classifiers.classifier import (
    NEVER,
    Classifier,
    ContentBatch,
    LogProbability,
    ScoreFunction,
    TrainingSet,
    log_softmax,
)
from penchant.core.config import Settings
from penchant.core.errors import ConfigError, nearest

Loss = Literal["logistic", "squared_hinge"]
Coefficients = tuple[Float64[np.ndarray, "classes dim"], Float64[np.ndarray, " classes"]]


class LinearConfig(Settings):
    """Settings of a linear classifier."""

    channels: list[str] = []
    """Channels read side by side; empty reads the one that has the classifier's own name."""
    loss: Loss = "logistic"
    """logistic, or squared_hinge for a support vector machine; calibration makes probabilities of either."""
    strength: list[float] = Field([0.03, 0.1, 0.3, 1.0, 3.0, 10.0], min_length=1)
    """C, the inverse strength of regularisation; several are tried on validation."""
    parts: int = Field(1, ge=1)
    """Equal parts of the vector, such as the layers of `whisper_layers` (5): each alone and all together are tried on validation."""


class LinearClassifier(Classifier[LinearConfig]):
    """Logistic regression, or a linear support vector machine, over standardised vectors."""

    config_class = LinearConfig
    refits_fully = True

    def __init__(self, config: LinearConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.strength = float(self.config.strength[0])
        self.part: int | None = None
        """The part that is read; None reads all."""
        self.mean: Float32[np.ndarray, " dim"] = np.zeros(0, np.float32)
        self.scale: Float32[np.ndarray, " dim"] = np.zeros(0, np.float32)
        self.coefficients: Coefficients = (np.zeros((0, 0)), np.zeros(0))

    def channels(self, batch: ContentBatch) -> list[str]:
        wanted = self.config.channels or [self.name]
        for name in wanted:
            if name not in batch.channels:
                raise ConfigError(
                    f"There is no channel {name!r}.",
                    where=f"classifiers.{self.name}.channels",
                    fix=nearest(name, batch.channels),
                )
        return list(wanted)

    def modalities(self, batch: ContentBatch) -> tuple[str, ...]:
        return tuple(dict.fromkeys(batch.modality(name) for name in self.channels(batch)))

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return np.any([batch.channels[name].present for name in self.channels(batch)], axis=0)

    def fit(
        self, batch: ContentBatch, train: TrainingSet, validation: TrainingSet, score: ScoreFunction, *, seed: int
    ) -> Self:
        has = self.present(batch)
        train, validation = train.where(has[train.rows]), validation.where(has[validation.rows])
        tried: list[tuple[float, int | None, float, Coefficients]] = []
        for part in [None, *range(self.config.parts if self.config.parts > 1 else 0)]:
            self.part = part
            values = self._values(batch)
            self.mean, self.scale = _spread(values[train.rows])
            ready = self._ready(values)
            found = {c: fit_linear(ready[train.rows], train, c, self.config.loss) for c in self.config.strength}
            held = ready[validation.rows]
            scores = {
                c: score(validation.labels, log_softmax(apply_linear(held, fitted))) for c, fitted in found.items()
            }
            best = choose(scores)
            tried.append((scores[best], part, best, found[best]))
        _, self.part, self.strength, self.coefficients = max(tried, key=lambda one: one[0])
        self.mean, self.scale = _spread(self._values(batch)[train.rows])
        return self

    def settle(self, fits: Sequence[Self]) -> Self:
        self.part = Counter(one.part for one in fits).most_common(1)[0][0]
        self.strength = sorted(one.strength for one in fits)[(len(fits) - 1) // 2]
        return self

    def refit(self, batch: ContentBatch, train: TrainingSet) -> Self:
        train = train.where(self.present(batch)[train.rows])
        values = self._values(batch)
        self.mean, self.scale = _spread(values[train.rows])
        self.coefficients = fit_linear(self._ready(values)[train.rows], train, self.strength, self.config.loss)
        return self

    def log_probability(self, batch: ContentBatch) -> LogProbability:
        return log_softmax(apply_linear(self._ready(self._values(batch)), self.coefficients))

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "mean": self.mean,
            "scale": self.scale,
            "weight": self.coefficients[0],
            "bias": self.coefficients[1],
        }

    def facts(self) -> dict[str, Any]:
        return {"strength": self.strength, "part": self.part}

    def restore(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        self.mean, self.scale, self.strength = arrays["mean"], arrays["scale"], facts["strength"]
        self.part = facts.get("part")
        if self.part not in (None, *range(self.config.parts)):
            raise ValueError(f"there is no part {self.part!r}")
        self.coefficients = arrays["weight"], arrays["bias"]
        return self

    def _values(self, batch: ContentBatch) -> Float32[np.ndarray, "samples dim"]:
        values = np.concatenate([batch.channels[name].values for name in self.channels(batch)], axis=1)
        if values.shape[1] % self.config.parts:
            raise ConfigError(
                f"{values.shape[1]} numbers do not divide into {self.config.parts} equal parts.",
                where=f"classifiers.{self.name}.parts",
                fix="name one channel, and as many parts as it has layers (whisper_layers: 5)",
            )
        return values if self.part is None else np.split(values, self.config.parts, axis=1)[self.part]

    def _ready(self, values: Float32[np.ndarray, "samples dim"]) -> Float32[np.ndarray, "samples dim"]:
        return (values - self.mean) / self.scale


def fit_linear(values: Any, train: TrainingSet, strength: float, loss: Loss) -> Coefficients:
    """Return a weight vector and a bias for each class.

    Sparse values are fitted class against rest (liblinear), dense ones together; with two classes each gets half, so that
    the difference of their logits is the log odds.
    """
    known = np.unique(train.labels)
    model: Any
    if loss == "squared_hinge":
        model = LinearSVC(C=strength, max_iter=2000)
    elif sparse.issparse(values):
        model = LogisticRegression(C=strength, solver="liblinear", max_iter=300)
    else:
        model = LogisticRegression(C=strength, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a setting that converges slowly is rarely the best
        if len(known) > 2 and sparse.issparse(values) and loss == "logistic":
            parts = [_one_fit(model, values, train.labels == k, train.weight) for k in known]
            weight, bias = np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts])
        else:
            weight, bias = _one_fit(model, values, train.labels, train.weight)
    if len(known) == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    all_weight = np.zeros((train.num_classes, weight.shape[1]))
    all_bias = np.full(train.num_classes, NEVER)
    all_weight[known], all_bias[known] = weight, bias
    return all_weight, all_bias


def apply_linear(values: Any, coefficients: Coefficients) -> LogProbability:
    """Return (samples, classes) logits."""
    weight, bias = coefficients
    return np.asarray(values @ weight.T + bias, np.float64)


def choose(scores: dict[float, float]) -> float:
    """Return the setting with the best score; of equals the first, which is the most regularised where settings ascend."""
    return max(scores, key=lambda setting: scores[setting])


def _one_fit(model: Any, values: Any, labels: np.ndarray, weight: np.ndarray) -> Coefficients:
    model.fit(values, labels, sample_weight=weight)
    return np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)


def _spread(values: Float32[np.ndarray, "samples dim"]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and scale; the scale includes the square root of the width, so C means the same for any width."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    scale = np.where(spread > 1e-6, spread, 1.0) * np.sqrt(values.shape[1])
    return mean.astype(np.float32), scale.astype(np.float32)
