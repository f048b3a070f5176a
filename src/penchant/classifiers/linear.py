"""Linear classifiers over frozen embeddings.

In: vectors of one or several channels. Out: logarithms of probability. The strength of the regularisation is chosen on validation.
"""

from __future__ import annotations

import warnings
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
    Judge,
    LogProbability,
    TrainingSet,
    log_softmax,
)
from penchant.core.config import Settings
from penchant.core.errors import ConfigError, nearest

Loss = Literal["logistic", "squared_hinge"]
Coefficients = tuple[Float64[np.ndarray, "classes dim"], Float64[np.ndarray, " classes"]]


class LinearConfig(Settings):
    """What it reads and how it is fitted."""

    channels: list[str] = []
    """Channels read side by side; empty reads the one that has the classifier's own name."""
    loss: Loss = "logistic"
    """logistic, or squared_hinge for a support vector machine; the stack makes probabilities of either."""
    strength: list[float] = Field([0.03, 0.1, 0.3, 1.0, 3.0, 10.0], min_length=1)
    """C, one over the strength of the pull toward zero; several are tried on validation."""


class LinearClassifier(Classifier[LinearConfig]):
    """Logistic regression, or a linear support vector machine, over standardised vectors."""

    config_class = LinearConfig

    def __init__(self, config: LinearConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.strength = float(self.config.strength[0])
        self.mean: Float32[np.ndarray, " dim"] = np.zeros(0, np.float32)
        self.scale: Float32[np.ndarray, " dim"] = np.zeros(0, np.float32)
        self.coefficients: Coefficients = (np.zeros((0, 0)), np.zeros(0))

    def channels(self, view: ContentBatch) -> list[str]:
        wanted = self.config.channels or [self.name]
        for name in wanted:
            if name not in view.channels:
                raise ConfigError(
                    f"There is no channel {name!r}.",
                    where=f"classifiers.{self.name}.channels",
                    fix=nearest(name, view.channels),
                )
        return list(wanted)

    def modalities(self, view: ContentBatch) -> tuple[str, ...]:
        return tuple(dict.fromkeys(view.modality(name) for name in self.channels(view)))

    def present(self, view: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return np.any([view.channels[name].present for name in self.channels(view)], axis=0)

    def fit(self, view: ContentBatch, train: TrainingSet, validation: TrainingSet, judge: Judge, *, seed: int) -> Self:
        has = self.present(view)
        train, validation = train.where(has[train.rows]), validation.where(has[validation.rows])
        values = self._values(view)
        self.mean, self.scale = _spread(values[train.rows])
        ready = self._ready(values)
        found = {c: fit_linear(ready[train.rows], train, c, self.config.loss) for c in self.config.strength}
        held = ready[validation.rows]
        self.strength = choose(
            {c: judge(validation.labels, log_softmax(apply_linear(held, fitted))) for c, fitted in found.items()}
        )
        self.coefficients = found[self.strength]
        return self

    def refit(self, view: ContentBatch, lesson: TrainingSet) -> Self:
        lesson = lesson.where(self.present(view)[lesson.rows])
        values = self._values(view)
        self.mean, self.scale = _spread(values[lesson.rows])
        self.coefficients = fit_linear(self._ready(values)[lesson.rows], lesson, self.strength, self.config.loss)
        return self

    def log_probability(self, view: ContentBatch) -> LogProbability:
        return log_softmax(apply_linear(self._ready(self._values(view)), self.coefficients))

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "mean": self.mean,
            "scale": self.scale,
            "weight": self.coefficients[0],
            "bias": self.coefficients[1],
        }

    def facts(self) -> dict[str, Any]:
        return {"strength": self.strength}

    def restore(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Self:
        self.mean, self.scale, self.strength = arrays["mean"], arrays["scale"], facts["strength"]
        self.coefficients = arrays["weight"], arrays["bias"]
        return self

    def _values(self, view: ContentBatch) -> Float32[np.ndarray, "samples dim"]:
        return np.concatenate([view.channels[name].values for name in self.channels(view)], axis=1)

    def _ready(self, values: Float32[np.ndarray, "samples dim"]) -> Float32[np.ndarray, "samples dim"]:
        return (values - self.mean) / self.scale


def fit_linear(values: Any, lesson: TrainingSet, strength: float, loss: Loss) -> Coefficients:
    """Return a weight vector and a bias for each class.

    Sparse values are fitted class against rest (liblinear), dense ones together; of two classes each gets half, so that
    the difference of their logits is the log odds.
    """
    known = np.unique(lesson.labels)
    model: Any
    if loss == "squared_hinge":
        model = LinearSVC(C=strength, max_iter=2000)
    elif sparse.issparse(values):
        model = LogisticRegression(C=strength, solver="liblinear", max_iter=300)
    else:
        model = LogisticRegression(C=strength, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a setting that is slow to converge is not the one chosen
        if len(known) > 2 and sparse.issparse(values) and loss == "logistic":
            parts = [_one_fit(model, values, lesson.labels == k, lesson.weight) for k in known]
            weight, bias = np.concatenate([w for w, _ in parts]), np.concatenate([b for _, b in parts])
        else:
            weight, bias = _one_fit(model, values, lesson.labels, lesson.weight)
    if len(known) == 2:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    all_weight = np.zeros((lesson.num_classes, weight.shape[1]))
    all_bias = np.full(lesson.num_classes, NEVER)
    all_weight[known], all_bias[known] = weight, bias
    return all_weight, all_bias


def apply_linear(values: Any, coefficients: Coefficients) -> LogProbability:
    """Return (samples, classes) logits."""
    weight, bias = coefficients
    return np.asarray(values @ weight.T + bias, np.float64)


def choose(scores: dict[float, float]) -> float:
    """Return the setting that scores best; of equals the first, which is the plainest where settings ascend."""
    return max(scores, key=lambda setting: scores[setting])


def _one_fit(model: Any, values: Any, labels: np.ndarray, weight: np.ndarray) -> Coefficients:
    model.fit(values, labels, sample_weight=weight)
    return np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64)


def _spread(values: Float32[np.ndarray, "samples dim"]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and scale; the scale makes all numbers together weigh 1, so C means the same for any width."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    scale = np.where(spread > 1e-6, spread, 1.0) * np.sqrt(values.shape[1])
    return mean.astype(np.float32), scale.astype(np.float32)
