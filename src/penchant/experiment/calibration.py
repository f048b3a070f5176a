"""Fit ensemble weights, calibration, thresholds and doubt of classifiers on left-out samples, never on test.

In: labels of left-out samples, and log-probabilities of the members. Out: a `CombinedClassifier`, and what it answers to left-out samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from penchant.experiment.left_out import LeftOut
from penchant.metrics.classification import from_confusion

Aim = Literal["accuracy", "macro_f1", "cost", "none"]
MIN_FOR_ISOTONIC = 500
"""With fewer samples, isotonic regression fits noise. Source: Niculescu-Mizil & Caruana, ICML 2005 (about 1000 for a clear gain)."""
MIN_PROBABILITY = 1e-6
"""Lower bound of probabilities in the cross-entropy."""
PENALTY = 0.5
"""Weight of the penalty on the squared distance of ensemble weights from equal ones, in samples."""
MIN_SLOPE = 0.01
"""Minimum slope of a calibration and minimum sum of ensemble weights: validation may flatten what training learned, never reverse it.
On a small validation set the fitted slope can be negative by chance, which would reverse every ranking of that fit."""

ALWAYS = 2.0
"""Above every confidence."""
ONE_SIDED = 1.645
"""Standard errors of a one-sided bound of 95 %."""


class CalibrationConfig(Settings):
    """Settings of calibration, thresholds and doubt. All are tried on left-out samples first, and kept only where they help there."""

    calibration: Literal["auto", "none", "temperature", "platt", "isotonic"] = "auto"
    """auto takes the best on left-out samples, and none where none lowers the loss by more than a standard error; isotonic only where
    there are many."""
    aim: Aim = "macro_f1"
    """Metric that thresholds maximise, where they raise it clearly on left-out samples (the interval of the gain lies above 0); else the
    most probable class is the answer. "cost" minimises `costs`, "none" keeps the most probable class."""
    costs: dict[str, float] = {}
    """Cost of a missed sample by class; other classes cost 1."""
    coverage: float = Field(0.9, gt=0, lt=1)
    """Share of samples, of each class, whose true class is among the plausible ones (conformal prediction). An answer that is not the
    single plausible class is unsure."""
    max_review_rate: float = Field(0.3, ge=0, lt=1)
    """Maximum share of samples sent to a reviewer, the least confident first; 0 sends none but those unlike anything learned."""


Weighting = Literal["one", "even", "fitted"]
"""Weights of a row: its one member as it is, the plain average, or fitted on left-out samples."""


@dataclass(frozen=True)
class FittedRow:
    """A row of the report, and what it answers to samples that neither its members nor its weights have seen.

    Attributes:
        combined: Weights, calibration, decision rule.
        probability: (samples, classes) left out.
        answers: (samples,) class index, by the decision rule.
        without: Gains that were not clear, so that what they would have paid for is not used: "thresholds", "calibration".
    """

    combined: CombinedClassifier
    probability: Probability
    answers: Int64[np.ndarray, " samples"]
    without: tuple[str, ...] = ()


def combine(
    members: Sequence[str],
    found: Mapping[str, LogProbability],
    present: Mapping[str, Bool[np.ndarray, " samples"]],
    left_out: LeftOut,
    prior: Float64[np.ndarray, " classes"],
    classes: Sequence[str],
    config: CalibrationConfig,
    weighting: Weighting = "fitted",
) -> FittedRow:
    """Return an ensemble of the members with calibration and decision rule.

    Args:
        members: Which of `found` take part.
        found: Log-probabilities by member, on left-out samples.
        present: By member, on left-out samples.
        left_out: Labels and units of these samples.
        prior: Logarithm of the share of each class in training.
        classes: Names.
        config: Settings of calibration and thresholds.
        weighting: How members are weighted.
    """
    labels = left_out.labels
    if weighting == "fitted":
        ensemble = fit_ensemble(members, found, present, labels, prior)
        logits = np.array(ensemble.logits(found, present))
        for on, out in left_out.held():
            part = fit_ensemble(members, _rows(found, on), _rows(present, on), labels[on], prior)
            logits[out] = part.logits(_rows(found, out), _rows(present, out))
    else:
        even = np.full(len(members), 1.0 / len(members))
        ensemble = ClassifierEnsemble(tuple(members), even, np.zeros(len(classes)), prior)
        logits = ensemble.logits(found, present)
    calibration, probability = calibrate(logits, left_out, config.calibration)
    costs = np.array([config.costs.get(name, 1.0) for name in classes])
    factor, answers, is_clear = choose_thresholds(probability, left_out, config.aim, costs)
    decision = doubt(DecisionRule(factor), probability, left_out, config)
    without = () if is_clear else ("thresholds",)
    return FittedRow(CombinedClassifier(ensemble, calibration, decision), probability, answers, without)


def _rows(values: Mapping[str, np.ndarray], chosen: Bool[np.ndarray, " samples"]) -> dict[str, np.ndarray]:
    return {name: value[chosen] for name, value in values.items()}


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


def calibrate(logits: LogProbability, left_out: LeftOut, kind: str) -> tuple[Calibration, Probability]:
    """Return a calibration, and the probabilities that calibrations fitted on the other parts give to each part.

    "auto" takes the kind of least cross-entropy to `targets` on the other parts, and none unless it is lower by more than its standard error.
    """
    labels, plain = left_out.labels, np.exp(log_softmax(logits))
    if kind != "auto":
        return _fit(kind, logits, labels), _held(kind, logits, left_out)  # type: ignore[arg-type]
    kinds: list[CalibrationKind] = ["temperature", "platt"]
    if len(labels) >= MIN_FOR_ISOTONIC:
        kinds.append("isotonic")
    if not left_out.can_hold_out:  # nothing can be tried: the smoothed targets are the safer choice
        return _fit("temperature", logits, labels), _fit("temperature", logits, labels).apply(logits)
    wanted = targets(labels, logits.shape[1])
    held: dict[str, Probability] = {name: _held(name, logits, left_out) for name in kinds}
    loss = {name: losses(one, wanted) for name, one in held.items()}
    best = min(kinds, key=lambda name: loss[name].mean())
    gain = left_out.loss_gain(losses(plain, wanted), loss[best])
    if gain.mean <= gain.error:
        return Calibration(), plain
    return _fit(best, logits, labels), held[best]


def _held(kind: CalibrationKind, logits: LogProbability, left_out: LeftOut) -> Probability:
    probability = _fit(kind, logits, left_out.labels).apply(logits)
    for on, out in left_out.held():
        probability[out] = _fit(kind, logits[on], left_out.labels[on]).apply(logits[out])
    return probability


def choose_thresholds(
    probability: Probability, left_out: LeftOut, aim: Aim, costs: Float64[np.ndarray, " classes"]
) -> tuple[Float64[np.ndarray, " classes"], Int64[np.ndarray, " samples"], bool]:
    """Return the factors of the decision rule, the answers to left-out samples, and whether the factors are of use.

    Factors fitted on the other parts must raise the aim clearly above that of the most probable class, else all are 1.
    """
    labels, ones = left_out.labels, np.ones(probability.shape[1])
    plain = np.argmax(probability, axis=1)
    if aim == "none":
        return ones, plain, True
    if aim == "cost":
        factor = choose_factors(probability, labels, aim, costs)
        return factor, np.argmax(probability * factor, axis=1), True
    answers = plain.copy()
    for on, out in left_out.held():
        answers[out] = np.argmax(probability[out] * choose_factors(probability[on], labels[on], aim, costs), axis=1)
    gain = left_out.gain(left_out.scores(probability, answers, aim), left_out.scores(probability, plain, aim))
    if not gain.is_clear:
        return ones, plain, False
    return choose_factors(probability, labels, aim, costs), answers, True


def doubt(
    decision: DecisionRule, probability: Probability, left_out: LeftOut, config: CalibrationConfig
) -> DecisionRule:
    """Return the decision rule with limits of plausible classes and the confidence below which a reviewer decides."""
    limits = conformal_limits(probability, left_out, config.coverage)
    if config.max_review_rate == 0:
        return replace(decision, limits=limits, coverage=config.coverage)
    every = replace(decision, limits=limits, coverage=config.coverage, confidence_threshold=ALWAYS)
    unsure, confidence = every.is_unsure(probability), decision.confidence(probability)
    num_units = len(np.unique(left_out.unit))
    rate = config.max_review_rate
    most = rate - ONE_SIDED * np.sqrt(rate * (1 - rate) / num_units)  # so that the rate is kept on other samples too
    count = max(0, int(most * len(probability)))
    if unsure.sum() <= count:
        return every
    lowest = np.sort(confidence[unsure])
    return replace(every, confidence_threshold=float(lowest[count]))


def conformal_limits(probability: Probability, left_out: LeftOut, coverage: float) -> Float64[np.ndarray, " classes"]:
    """Return the least probability at which each class is plausible, so that of new samples of each class `coverage` keep theirs.

    Units count alike, however many samples they have. A class of too few units for such a promise is always plausible (0).

    Source: Vovk, Conditional validity of inductive conformal predictors, ACML 2012 (by class); Lee, Barber & Willett, Distribution-free
    inference with hierarchical data, 2023 (units); Vovk, Cross-conformal predictors, 2015 (left-out answers of several fits).
    """
    limits = np.zeros(probability.shape[1])
    for k in range(len(limits)):
        own = left_out.labels == k
        _, unit, size = np.unique(left_out.unit[own], return_inverse=True, return_counts=True)
        order = np.argsort(probability[own, k])
        below = np.cumsum((1 / size)[unit][order]) - (1 / size)[unit][order]
        allowed = np.flatnonzero(below <= (1 - coverage) * (len(size) + 1) - 1 + 1e-9)
        if len(allowed):
            limits[k] = probability[own, k][order][allowed[-1]]
    return limits


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
    return float(losses(probability, wanted).mean())


def losses(probability: Probability, wanted: Probability) -> Float64[np.ndarray, " samples"]:
    """Return the cross-entropy of each sample to its target probabilities, in nats."""
    return np.asarray(-(wanted * np.log(np.maximum(probability, MIN_PROBABILITY))).sum(axis=1))


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
    product[:, k] = -1.0
    other = product.argmax(axis=1)
    of_sample = np.log(np.maximum(product[np.arange(len(labels)), other], TINY))
    of_sample -= np.log(np.maximum(probability[:, k], TINY))
    border = np.unique(np.clip(of_sample, -np.log1p(len(labels)), np.log1p(len(labels))))
    if len(border) > 200:
        border = np.quantile(border, np.linspace(0, 1, 201))
    tried = (border[1:] + border[:-1]) / 2
    scores = _scores_by_factor(tried, of_sample, labels, other, k, probability.shape[1], aim)
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


def _scores_by_factor(
    tried: Float64[np.ndarray, " tried"],
    border: Float64[np.ndarray, " samples"],
    labels: Int64[np.ndarray, " samples"],
    other: Int64[np.ndarray, " samples"],
    k: int,
    num_classes: int,
    aim: str,
) -> Float64[np.ndarray, " tried"]:
    """Return the score at each log factor of class `k`: the answer is `k` above a sample's border, `other` below.

    Only the samples between two factors change, so that all are scored in one pass over the samples.
    """
    first = np.searchsorted(tried, border, side="right")  # the first factor at which the sample is answered by k
    size = num_classes**2
    below, above = labels * num_classes + other, labels * num_classes + k  # cell of the confusion matrix
    moves = np.zeros((len(tried) + 1) * size)
    moves[:size] = np.bincount(below, minlength=size)
    moves += np.bincount(first * size + above, minlength=len(moves))
    moves -= np.bincount(first * size + below, minlength=len(moves))
    confusion = np.cumsum(moves.reshape(-1, num_classes, num_classes), axis=0)[:-1]
    found = from_confusion(confusion.astype(np.float64))
    return np.asarray(found["macro_f1" if aim == "macro_f1" else "accuracy"])


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
    slope, intercept = _platt(truth, odds)
    if slope >= MIN_SLOPE:
        return slope, intercept
    share = (truth.sum() + 1) / (len(truth) + 2)
    return MIN_SLOPE, float(np.log(share) - np.log1p(-share) - MIN_SLOPE * odds.mean())


def _platt(truth: Bool[np.ndarray, " samples"], odds: Float64[np.ndarray, " samples"]) -> tuple[float, float]:
    """Return slope and intercept by Newton's method, to Platt's targets: the same as `fit_platt`, a hundred times faster.

    Source: Lin, Lin & Weng, A note on Platt's probabilistic outputs for support vector machines, 2007.
    """
    centre, scale = float(odds.mean()), float(odds.std()) or 1.0
    x = np.stack([(odds - centre) / scale, np.ones(len(odds))], axis=1)
    yes, no = int(truth.sum()), int((~truth).sum())
    wanted = np.where(truth, (yes + 1) / (yes + 2), 1 / (no + 2))
    ridge = np.diag([1e-6, 1e-9])
    line = np.array([0.0, np.log((yes + 1) / (no + 1))])

    def loss(candidate: np.ndarray) -> float:
        raw = x @ candidate
        return float((np.logaddexp(0, raw) - wanted * raw).sum() + 0.5 * candidate @ ridge @ candidate)

    now = loss(line)
    for _ in range(100):
        chance = 0.5 * (1 + np.tanh(0.5 * (x @ line)))
        slope = x.T @ (chance - wanted) + ridge @ line
        curvature = (x * (chance * (1 - chance))[:, None]).T @ x + ridge
        step = np.linalg.solve(curvature, slope)
        size = 1.0
        while (then := loss(line - size * step)) > now and size > 1e-6:
            size /= 2
        line, before, now = line - size * step, now, then
        if before - now <= 1e-10 * (1 + abs(now)):
            break
    return float(line[0] / scale), float(line[1] - line[0] * centre / scale)


def _steps(truth: Bool[np.ndarray, " samples"], probability: Float64[np.ndarray, " samples"]) -> np.ndarray:
    if not truth.any():
        return np.array([[0.0, 1.0], [0.0, 1.0]])
    found = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(probability, truth.astype(np.float64))
    return np.stack([found.X_thresholds_, found.y_thresholds_]).astype(np.float64)
