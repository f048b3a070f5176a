"""An ensemble of classifiers with calibrated probabilities and a decision rule.

In: logarithms of probability of each classifier, and which samples each can classify. Out: (samples, classes) probabilities and answers.
Fitted in `experiment.calibration`, applied here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import Bool, Float64, Int64

from penchant.classifiers.classifier import LogProbability, log_softmax

Probability = Float64[np.ndarray, "samples classes"]
CalibrationKind = Literal["none", "temperature", "platt", "isotonic"]
TINY = 1e-12


@dataclass(frozen=True)
class ClassifierEnsemble:
    """Decision-level fusion: a weighted sum of log-probabilities.

    A sample without the content that some members read is classified by the others, whose weights are scaled up to the same sum;
    without any content, the answer is the share of each class in training.

    Attributes:
        members: Names.
        weight: (members,) at least 0.
        bias: (classes,) added to the logits.
        prior: (classes,) logarithm of each class's share in training.
    """

    members: tuple[str, ...]
    weight: Float64[np.ndarray, " members"]
    bias: Float64[np.ndarray, " classes"]
    prior: Float64[np.ndarray, " classes"]

    def shares(self, present: Mapping[str, Bool[np.ndarray, " samples"]]) -> Float64[np.ndarray, "samples members"]:
        """Return each member's weight for each sample; a row of zeros without content."""
        return shares(self.weight, np.stack([present[name] for name in self.members], axis=1))

    def logits(
        self, found: Mapping[str, LogProbability], present: Mapping[str, Bool[np.ndarray, " samples"]]
    ) -> LogProbability:
        """Return (samples, classes) logits."""
        each = np.stack([found[name] for name in self.members], axis=1)  # (N, M, C)
        share = self.shares(present)
        summed = np.einsum("nm,nmc->nc", share, np.where(share[..., None] > 0, each, 0.0)) + self.bias
        return np.where(share.any(axis=1, keepdims=True), summed, self.prior)


@dataclass(frozen=True)
class Calibration:
    """Calibration of probabilities.

    Attributes:
        kind: temperature divides logits by one number; platt fits a line for each class to its log odds; isotonic a non-decreasing step function.
        temperature: Of the logits.
        slope: (classes,) of platt.
        intercept: (classes,) of platt.
        steps: For each class, (2, knots): probability before, ascending, and after; of isotonic.
    """

    kind: CalibrationKind = "none"
    temperature: float = 1.0
    slope: Float64[np.ndarray, " classes"] = field(default_factory=lambda: np.zeros(0))
    intercept: Float64[np.ndarray, " classes"] = field(default_factory=lambda: np.zeros(0))
    steps: tuple[Float64[np.ndarray, "2 _"], ...] = ()

    def apply(self, logits: LogProbability) -> Probability:
        """Return probabilities that sum to 1."""
        if self.kind == "temperature":
            logits = logits / self.temperature
        probability = np.exp(log_softmax(logits))
        if self.kind == "platt":
            odds = log_odds(probability) * self.slope + self.intercept
            return _to_one(0.5 * (1 + np.tanh(0.5 * odds)))
        if self.kind == "isotonic":
            moved = [np.interp(probability[:, k], *self.steps[k]) for k in range(len(self.steps))]
            return _to_one(np.stack(moved, axis=1))
        return probability

    def arrays(self) -> dict[str, np.ndarray]:
        steps = {f"steps.{k}": pair for k, pair in enumerate(self.steps)}
        return {"slope": self.slope, "intercept": self.intercept, **steps}

    @classmethod
    def of(cls, kind: CalibrationKind, temperature: float, arrays: Mapping[str, np.ndarray]) -> Self:
        count = sum(name.startswith("steps.") for name in arrays)
        steps = tuple(arrays[f"steps.{k}"] for k in range(count))
        return cls(kind, temperature, arrays["slope"], arrays["intercept"], steps)


@dataclass(frozen=True)
class DecisionRule:
    """From probabilities to one class, to the classes that are plausible, or to human review.

    Attributes:
        factor: (classes,) the class with the largest factor times probability is the answer; with two classes it is a threshold.
        confidence_threshold: An answer whose share of these products is below this goes to a reviewer, where `limits` do not settle it.
        limits: (classes,) least probability at which each class is plausible (conformal prediction); none without left-out samples.
        coverage: Share of samples whose class is promised to be plausible; 0 without `limits`.
    """

    factor: Float64[np.ndarray, " classes"]
    confidence_threshold: float = 0.0
    limits: Float64[np.ndarray, " limits"] = field(default_factory=lambda: np.zeros(0))
    coverage: float = 0.0

    def answers(self, probability: Probability) -> Int64[np.ndarray, " samples"]:
        """Return the class index of each sample."""
        return np.argmax(probability * self.factor, axis=1)

    def confidence(self, probability: Probability) -> Float64[np.ndarray, " samples"]:
        """Return the answer's share, from 1 over the number of classes to 1."""
        product = probability * self.factor
        return product.max(axis=1) / np.maximum(product.sum(axis=1), TINY)

    def plausible(self, probability: Probability) -> Bool[np.ndarray, "samples classes"]:
        """Return the classes that are plausible; without limits all of them."""
        return probability >= (self.limits if len(self.limits) else np.zeros(probability.shape[1]))

    def is_unsure(self, probability: Probability) -> Bool[np.ndarray, " samples"]:
        """Return which answers are below the confidence threshold and not the single plausible class."""
        low = self.confidence(probability) < self.confidence_threshold
        if not len(self.limits):
            return low
        plausible = self.plausible(probability)
        rows = np.arange(len(probability))
        settled = (plausible.sum(axis=1) == 1) & plausible[rows, self.answers(probability)]
        return low & ~settled

    def thresholds(self, probability: Probability) -> Probability:
        """Return the probability from which on each class is the answer, the others keeping their proportions."""
        known, classes = np.maximum(probability, TINY), range(len(self.factor))
        best = np.stack([np.delete(known * self.factor, k, axis=1).max(axis=1) for k in classes], axis=1)
        # not 1 - p, which is 0 long before the others are: their proportions would be lost
        others = best / np.stack([np.delete(known, k, axis=1).sum(axis=1) for k in classes], axis=1)
        return others / np.maximum(others + self.factor, TINY)


@dataclass(frozen=True)
class CombinedClassifier:
    """An ensemble, its calibration and its decision rule: a row of the report, or the classifier of a bundle."""

    ensemble: ClassifierEnsemble
    calibration: Calibration
    decision: DecisionRule

    def probability(
        self, found: Mapping[str, LogProbability], present: Mapping[str, Bool[np.ndarray, " samples"]]
    ) -> Probability:
        """Return (samples, classes), each row summing to 1."""
        return self.calibration.apply(self.ensemble.logits(found, present))

    def arrays(self) -> dict[str, np.ndarray]:
        ensemble = {name: getattr(self.ensemble, name) for name in ("weight", "bias", "prior")}
        return {**ensemble, **self.calibration.arrays(), "factor": self.decision.factor, "limits": self.decision.limits}

    def facts(self) -> dict[str, Any]:
        return {
            "members": list(self.ensemble.members),
            "calibration": self.calibration.kind,
            "temperature": self.calibration.temperature,
            "confidence_threshold": self.decision.confidence_threshold,
            "coverage": self.decision.coverage,
        }

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Self:
        ensemble = ClassifierEnsemble(tuple(facts["members"]), arrays["weight"], arrays["bias"], arrays["prior"])
        calibration = Calibration.of(facts["calibration"], facts["temperature"], arrays)
        limits, coverage = arrays.get("limits", np.zeros(0)), float(facts.get("coverage", 0.0))
        return cls(
            ensemble, calibration, DecisionRule(arrays["factor"], facts["confidence_threshold"], limits, coverage)
        )


def shares(
    weight: Float64[np.ndarray, " members"], there: Bool[np.ndarray, "samples members"]
) -> Float64[np.ndarray, "samples members"]:
    """Return the weights of members with content, scaled to the sum of all; equal where the weights of these are 0."""
    kept = np.where(there, weight, 0.0)
    total = kept.sum(axis=1, keepdims=True)
    even = there / np.maximum(there.sum(axis=1, keepdims=True), 1)
    return weight.sum() * np.where(total > TINY, kept / np.maximum(total, TINY), even)


def log_odds(probability: Probability) -> Float64[np.ndarray, "samples classes"]:
    """Return log(p / (1 - p)), clipped at 1e-12 from both ends."""
    clipped = np.clip(probability, TINY, 1 - TINY)
    return np.log(clipped) - np.log1p(-clipped)


def _to_one(probability: Probability) -> Probability:
    """Return rows that sum to 1; uniform where all are 0."""
    total = probability.sum(axis=1, keepdims=True)
    return np.where(total > TINY, probability / np.maximum(total, TINY), 1 / probability.shape[1])
