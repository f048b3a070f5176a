"""Fit ensemble weights, calibration and thresholds of classifiers on validation, never on test.

In: validation labels, and log-probabilities of the members. Out: a `CombinedClassifier`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pydantic import Field
from scipy.optimize import minimize, minimize_scalar
from sklearn.isotonic import IsotonicRegression

from penchant.classifiers.classifier import LogProbability, log_softmax
from penchant.classifiers.combined import (
    TINY,
    Calibration,
    CalibrationKind,
    ClassifierEnsemble,
    CombinedClassifier,
    DecisionRule,
    Probability,
    log_odds,
    shares,
)
from penchant.core.config import Settings
from penchant.metrics.classification import from_confusion
from penchant.metrics.interest import fit_platt

Aim = Literal["accuracy", "macro_f1", "cost", "none"]
FOLDS = 5
MIN_FOR_ISOTONIC = 500
"""With fewer samples, isotonic regression fits noise. Source: Niculescu-Mizil & Caruana, ICML 2005 (about 1000 for a clear gain)."""
MIN_PROBABILITY = 1e-6
"""Lower bound of probabilities in the cross-entropy."""
PENALTY = 0.5
"""Weight of the penalty on the squared distance of ensemble weights from equal ones, in samples."""
MIN_SLOPE = 0.01
"""Minimum slope of a calibration and minimum sum of ensemble weights: validation may flatten what training learned, never reverse it.
On a small validation set the fitted slope can be negative by chance, which would reverse every ranking of that fit."""


class CalibrationConfig(Settings):
    """Settings of calibration and thresholds."""

    calibration: Literal["auto", "none", "temperature", "platt", "isotonic"] = "auto"
    """auto takes the best on held-out parts of validation; isotonic only where validation is large."""
    aim: Aim = "macro_f1"
    """Metric that thresholds maximise; "cost" minimises `costs`, "none" keeps the most probable class as the answer."""
    costs: dict[str, float] = {}
    """Cost of a missed sample by class; other classes cost 1."""
    confidence_threshold: float = Field(0.95, gt=0, le=1)
    """Target accuracy of the answers that no reviewer checks."""
    max_review_rate: float = Field(0.3, ge=0, lt=1)
    """Maximum share of samples sent to a reviewer; 0 sends none."""


def combine(
    members: Sequence[str],
    found: Mapping[str, LogProbability],
    present: Mapping[str, Bool[np.ndarray, " samples"]],
    labels: Int64[np.ndarray, " samples"],
    prior: Float64[np.ndarray, " classes"],
    classes: Sequence[str],
    config: CalibrationConfig,
) -> CombinedClassifier:
    """Return an ensemble of the members with calibration and decision rule.

    Args:
        members: Which of `found` take part.
        found: Log-probabilities by member, on validation.
        present: By member, on validation.
        labels: Of validation.
        prior: Logarithm of the share of each class in training.
        classes: Names.
        config: Settings of calibration and thresholds.
    """
    ensemble = fit_ensemble(members, found, present, labels, prior)
    logits = ensemble.logits(found, present)
    calibration = calibrate(logits, labels, config.calibration)
    probability = calibration.apply(logits)
    costs = np.array([config.costs.get(name, 1.0) for name in classes])
    factor = choose_factors(probability, labels, config.aim, costs)
    decision = DecisionRule(factor)
    confidence_threshold = choose_confidence_threshold(
        decision, probability, labels, config.confidence_threshold, config.max_review_rate
    )
    return CombinedClassifier(ensemble, calibration, DecisionRule(factor, confidence_threshold))


def fit_ensemble(
    members: Sequence[str],
    found: Mapping[str, LogProbability],
    present: Mapping[str, Bool[np.ndarray, " samples"]],
    labels: Int64[np.ndarray, " samples"],
    prior: Float64[np.ndarray, " classes"],
) -> ClassifierEnsemble:
    """Return non-negative weights and class biases of least cross-entropy, with a small penalty toward equal weights."""
    each = np.stack([found[name] for name in members], axis=1)  # (N, M, C)
    there = np.stack([present[name] for name in members], axis=1)
    has_content = there.any(axis=1)
    each, there, labels = each[has_content], there[has_content], labels[has_content]
    count, num_members, num_classes = each.shape
    even = np.full(num_members, 1.0 / num_members)
    if not count:
        return ClassifierEnsemble(tuple(members), even, np.zeros(num_classes), prior)
    truth = np.eye(num_classes)[labels]

    def loss(parameters: np.ndarray) -> float:
        weight, bias = parameters[:num_members], parameters[num_members:]
        logits = np.einsum("nm,nmc->nc", shares(weight, there), np.where(there[..., None], each, 0.0)) + bias
        penalty = PENALTY * (np.square(weight - even).sum() + np.square(bias).sum())
        return float((-(truth * log_softmax(logits)).sum() + penalty) / count)

    start = np.concatenate([even, np.zeros(num_classes)])
    bounds = [(0.0, None)] * num_members + [(None, None)] * num_classes
    best = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    weight = best[:num_members] if best[:num_members].sum() > MIN_SLOPE else MIN_SLOPE * even
    return ClassifierEnsemble(tuple(members), weight, best[num_members:], prior)


def is_flat(row: CombinedClassifier) -> bool:
    """Return whether validation reverses the ranking of training, so that a weight or slope was held at `MIN_SLOPE`."""
    slopes = row.calibration.slope if row.calibration.kind == "platt" else np.zeros(0)
    return bool(row.ensemble.weight.sum() <= MIN_SLOPE * (1 + 1e-9) or (slopes <= MIN_SLOPE).any())


def calibrate(logits: LogProbability, labels: Int64[np.ndarray, " samples"], kind: str) -> Calibration:
    """Return the calibration of a kind, for "auto" that of least cross-entropy to `targets` over five held-out parts of validation."""
    if kind != "auto":
        return _fit(kind, logits, labels)  # type: ignore[arg-type]
    kinds: list[CalibrationKind] = ["none", "temperature", "platt"]
    if len(labels) >= MIN_FOR_ISOTONIC:
        kinds.append("isotonic")
    fold, wanted = np.arange(len(labels)) % FOLDS, targets(labels, logits.shape[1])
    scores = {}
    for name in kinds:
        held = np.zeros(logits.shape)
        for number in range(FOLDS):
            out = fold == number
            if (~out).any():
                held[out] = _fit(name, logits[~out], labels[~out]).apply(logits[out])
        scores[name] = soft_cross_entropy(held, wanted)
    return _fit(min(scores, key=lambda name: scores[name]), logits, labels)


def choose_factors(
    probability: Probability, labels: Int64[np.ndarray, " samples"], aim: Aim, costs: Float64[np.ndarray, " classes"]
) -> Float64[np.ndarray, " classes"]:
    """Return the factors of the decision rule, optimised one class at a time until none changes."""
    factor = np.ones(probability.shape[1])
    if aim == "none":
        return factor
    if aim == "cost":
        return costs / costs.sum()  # of calibrated probabilities this is the least expected cost (Elkan, IJCAI 2001)
    best = score_answers(labels, np.argmax(probability, axis=1), aim)
    for _ in range(3):
        before = factor.copy()
        for k in range(len(factor) - (len(factor) == 2)):
            best, factor = _best_factor(probability, labels, aim, factor, k, best)
        if (factor == before).all():
            break
    return factor / factor.sum()


def choose_confidence_threshold(
    decision: DecisionRule,
    probability: Probability,
    labels: Int64[np.ndarray, " samples"],
    wanted: float,
    max_review_rate: float,
) -> float:
    """Return the confidence below which a reviewer decides: the lowest at which the other answers reach the accuracy `wanted`.

    Where none does at `max_review_rate`, that share is reviewed.
    """
    confidence = decision.confidence(probability)
    order = np.argsort(-confidence, kind="stable")
    right = (decision.answers(probability) == labels)[order]
    accuracy = np.cumsum(right) / np.arange(1, len(right) + 1)
    least = max(1, int(np.ceil((1 - max_review_rate) * len(right))))
    enough = np.flatnonzero(accuracy[least - 1 :] >= wanted)
    kept = least + int(enough[-1]) if len(enough) else least
    if kept >= len(right):
        return 0.0
    return float((confidence[order[kept - 1]] + confidence[order[kept]]) / 2)


def score_answers(labels: Int64[np.ndarray, " samples"], answers: Int64[np.ndarray, " samples"], aim: str) -> float:
    """Return accuracy or macro-F1; a class without a sample does not count."""
    if aim == "macro_f1":  # scikit-learn's function takes milliseconds, and thousands of thresholds are tried
        size = int(max(labels.max(), answers.max())) + 1
        cells = np.bincount(labels * size + answers, minlength=size**2).reshape(1, size, size)
        return float(from_confusion(cells.astype(np.float64))["macro_f1"][0])
    return float((labels == answers).mean())


def cross_entropy(probability: Probability, labels: Int64[np.ndarray, " samples"]) -> float:
    """Return the mean cross-entropy to the labels, in nats."""
    return soft_cross_entropy(probability, np.eye(probability.shape[1])[labels])


def soft_cross_entropy(probability: Probability, wanted: Probability) -> float:
    """Return the mean cross-entropy to target probabilities, in nats."""
    return float(-(wanted * np.log(np.maximum(probability, MIN_PROBABILITY))).sum(axis=1).mean())


def targets(labels: Int64[np.ndarray, " samples"], num_classes: int) -> Probability:
    """Return the target probabilities of calibration: the labels, smoothed by the number of samples of each class.

    For samples separated without error, the best fit would otherwise be probabilities of 0 and 1, also for content unlike them.
    With n samples of the true class, every other class gets 1 / (n + classes).

    Source: Platt, 1999, for two classes; Laplace's rule of succession is the same for more.
    """
    count = np.bincount(labels, minlength=num_classes)[labels][:, None]
    return (count * np.eye(num_classes)[labels] + 1) / (count + num_classes)


def _best_factor(
    probability: Probability,
    labels: Int64[np.ndarray, " samples"],
    aim: Aim,
    factor: Float64[np.ndarray, " classes"],
    k: int,
    best: float,
) -> tuple[float, Float64[np.ndarray, " classes"]]:
    """Try factors of one class between the borders at which answers change; keep the middle, in log odds, of the widest best interval.

    A sample of this size cannot distinguish a probability below one over its size from 0: borders further out are clipped there.
    """
    product = probability * factor
    others = np.delete(product, k, axis=1).max(axis=1)
    border = np.log(np.maximum(others, TINY)) - np.log(np.maximum(probability[:, k], TINY))
    border = np.unique(np.clip(border, -np.log1p(len(labels)), np.log1p(len(labels))))
    if len(border) > 200:
        border = np.quantile(border, np.linspace(0, 1, 201))
    tried = (border[1:] + border[:-1]) / 2
    scores = np.array([score_answers(labels, _answers(product, probability, k, value), aim) for value in tried])
    if not len(scores) or scores.max() <= best:
        return best, factor
    first, last = _widest(scores >= scores.max() - 1e-12, border)
    run = tried[first:last]
    moved = factor.copy()
    moved[k] = np.exp(run[np.argmin(np.abs(run - (border[first] + border[last]) / 2))])
    return float(scores.max()), moved


def _widest(is_best: Bool[np.ndarray, " intervals"], border: Float64[np.ndarray, " borders"]) -> tuple[int, int]:
    """Return the two borders of the widest run of best intervals; interval n lies between borders n and n + 1."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_best, [False]]).astype(np.int8)))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    return max(runs, key=lambda run: border[run[1]] - border[run[0]])


def _answers(
    product: Probability, probability: Probability, k: int, log_factor: float
) -> Int64[np.ndarray, " samples"]:
    changed = product.copy()
    changed[:, k] = probability[:, k] * np.exp(log_factor)
    return np.argmax(changed, axis=1)


def _fit(kind: CalibrationKind, logits: LogProbability, labels: Int64[np.ndarray, " samples"]) -> Calibration:
    probability = np.exp(log_softmax(logits))
    classes = range(logits.shape[1])
    if kind == "temperature":
        return Calibration("temperature", temperature=_temperature(logits, labels))
    if kind == "platt":
        odds = log_odds(probability)
        lines = [_line(labels == k, odds[:, k]) for k in classes]
        return Calibration("platt", slope=np.array([a for a, _ in lines]), intercept=np.array([b for _, b in lines]))
    if kind == "isotonic":
        return Calibration("isotonic", steps=tuple(_steps(labels == k, probability[:, k]) for k in classes))
    return Calibration()


def _temperature(logits: LogProbability, labels: Int64[np.ndarray, " samples"]) -> float:
    wanted = targets(labels, logits.shape[1])

    def loss(log_temperature: float) -> float:
        return float(-(wanted * log_softmax(logits / np.exp(log_temperature))).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def _line(truth: Bool[np.ndarray, " samples"], odds: Float64[np.ndarray, " samples"]) -> tuple[float, float]:
    if truth.all() or not truth.any():  # a class without validation samples cannot be calibrated
        return 1.0, 0.0
    slope, intercept = fit_platt(truth, odds)
    if slope >= MIN_SLOPE:
        return slope, intercept
    share = (truth.sum() + 1) / (len(truth) + 2)
    return MIN_SLOPE, float(np.log(share) - np.log1p(-share) - MIN_SLOPE * odds.mean())


def _steps(truth: Bool[np.ndarray, " samples"], probability: Float64[np.ndarray, " samples"]) -> np.ndarray:
    if not truth.any():
        return np.array([[0.0, 1.0], [0.0, 1.0]])
    found = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(probability, truth.astype(np.float64))
    return np.stack([found.X_thresholds_, found.y_thresholds_]).astype(np.float64)
