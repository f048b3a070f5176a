"""What a row promises, checked on folds that took no part in choosing it, and whether the test keeps it.

In: log-probabilities of left-out samples, from which weights, calibration, thresholds and doubt are chosen. Out: the aim with and without
thresholds, calibration error and coverage on folds left out of that choice too, and a finding where a test differs from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import binomtest, chi2_contingency

from penchant.classifiers.classifier import LogProbability
from penchant.classifiers.combined import Probability
from penchant.core.messages import message
from penchant.core.schema import Finding
from penchant.experiment.calibration import CalibrationConfig, FittedRow, Weighting, combine
from penchant.experiment.left_out import LeftOut, Metric
from penchant.metrics.interest import reliability

RARE = 0.001
"""Probability below which a difference of test and left-out samples is not put down to chance."""
CONFIDENT = 20
"""Samples of a band of confidence from which on its share of right answers is compared."""
BANDS = 10


@dataclass(frozen=True)
class ChoiceMaterial:
    """What weights, calibration, thresholds and doubt of every row are chosen on.

    Attributes:
        found: Log-probabilities of the left-out samples by classifier.
        present: Which of them each classifier can answer.
        left_out: Labels, units and folds.
        prior: Logarithm of the share of each class in training.
        classes: Names.
        rows: Row to its classifiers and how they are weighted.
    """

    found: Mapping[str, LogProbability]
    present: Mapping[str, Bool[np.ndarray, " samples"]]
    left_out: LeftOut
    prior: Float64[np.ndarray, " classes"]
    classes: Sequence[str]
    rows: Mapping[str, tuple[tuple[str, ...], Weighting]]

    def take(self, rows: Int64[np.ndarray, " rows"]) -> ChoiceMaterial:
        """Return some of the samples."""
        own = self.left_out
        part = replace(
            own,
            labels=own.labels[rows],
            unit=np.unique(own.unit[rows], return_inverse=True)[1],
            fold=own.fold[rows],
        )
        return replace(
            self,
            found={name: value[rows] for name, value in self.found.items()},
            present={name: value[rows] for name, value in self.present.items()},
            left_out=part,
        )


@dataclass(frozen=True)
class PromiseCheck:
    """What a row did on folds that took no part in its choice.

    Attributes:
        metric: What thresholds aim at.
        with_thresholds: Mean of the metric over all these samples, answers by thresholds where they were chosen.
        without: The same of the most probable class.
        calibration_error: Expected calibration error of the answer's probability.
        uncalibrated_error: The same before calibration.
        promised: Share of samples whose class is promised to be plausible.
        kept: The same, counted.
        probability: (samples, classes).
        labels: (samples,).
    """

    metric: Metric
    with_thresholds: float
    without: float
    calibration_error: float
    uncalibrated_error: float
    promised: float
    kept: float
    probability: Probability
    labels: Int64[np.ndarray, " samples"]

    @property
    def thresholds_help(self) -> bool:
        """Whether thresholds did not lower what they aim at."""
        return self.with_thresholds >= self.without

    @property
    def calibration_helps(self) -> bool:
        """Whether calibration did not raise the calibration error by more than a hundredth."""
        return self.calibration_error <= self.uncalibrated_error + 0.01

    def sentences(self) -> tuple[str, ...]:
        """Return the check in words."""
        return (
            message(
                "On {count} samples left out of these choices too: {metric} {tuned} with the thresholds and {plain} without, calibration error "
                "{error} ({before} uncalibrated), plausible classes promised for {promised} and kept for {kept}.",
                count=f"{len(self.labels):,}",
                metric=self.metric,
                tuned=f"{self.with_thresholds:.4f}",
                plain=f"{self.without:.4f}",
                error=f"{self.calibration_error:.3f}",
                before=f"{self.uncalibrated_error:.3f}",
                promised=f"{self.promised:.2f}",
                kept=f"{self.kept:.3f}",
            ),
        )


def check_promises(row: str, material: ChoiceMaterial, config: CalibrationConfig) -> PromiseCheck | None:
    """Choose weights, calibration, thresholds and doubt on all but one part of the left-out samples, and try them on that part, in turn.

    None where a class has too few units for that.
    """
    left_out, num_classes = material.left_out, len(material.classes)
    if not left_out.can_hold_out:
        return None
    members, weighting = material.rows[row]
    raw, probability = np.zeros((2, len(left_out), num_classes))
    answers, plausible = np.zeros(len(left_out), np.int64), np.zeros(len(left_out), bool)
    for on, out in left_out.held():
        part, asked = material.take(np.flatnonzero(on)), material.take(np.flatnonzero(out))
        made = combine(
            members, part.found, part.present, part.left_out, material.prior, material.classes, config, weighting
        ).combined
        plain = replace(made, calibration=replace(made.calibration, kind="none"))
        raw[out] = plain.probability(asked.found, asked.present)
        probability[out] = made.probability(asked.found, asked.present)
        answers[out] = made.decision.answers(probability[out])
        plausible[out] = made.decision.plausible(probability[out])[np.arange(out.sum()), asked.left_out.labels]
    metric: Metric = "macro_f1" if config.aim == "macro_f1" else "accuracy"
    scores = [
        float(left_out.scores(probability, said, metric)[0]) for said in (answers, np.argmax(probability, axis=1))
    ]
    return PromiseCheck(
        metric,
        scores[0],
        scores[1],
        calibration_error(probability, left_out.labels),
        calibration_error(raw, left_out.labels),
        config.coverage,
        float(plausible.mean()),
        probability,
        left_out.labels,
    )


def keep_promises(
    row: str, fitted: FittedRow, material: ChoiceMaterial, config: CalibrationConfig
) -> tuple[FittedRow, PromiseCheck | None]:
    """Return a row without the thresholds that lower their own aim on folds left out, or the calibration that makes probabilities worse there.

    What the settings ask for by name (costs, a kind of calibration) stays.
    """
    held = check_promises(row, material, config)
    if held is None:
        return fitted, None
    changed: dict[str, str] = {}
    if config.aim in ("accuracy", "macro_f1") and not held.thresholds_help:
        changed["aim"] = "none"
    if config.calibration == "auto" and not held.calibration_helps:
        changed["calibration"] = "none"
    if not changed:
        return fitted, held
    plainer, (members, weighting) = config.model_copy(update=changed), material.rows[row]
    again = combine(
        members,
        material.found,
        material.present,
        material.left_out,
        material.prior,
        material.classes,
        plainer,
        weighting,
    )
    return again, check_promises(row, material, plainer)


def calibration_error(probability: Probability, labels: Int64[np.ndarray, " samples"]) -> float:
    """Return the expected calibration error of the most probable class."""
    said = probability.argmax(axis=1)
    return reliability(said == labels, probability.max(axis=1)).error


def compare_with_test(
    held: PromiseCheck,
    probability: Probability,
    labels: Int64[np.ndarray, " samples"],
    plausible: Bool[np.ndarray, " samples"],
    classes: Sequence[str],
    num_units: int | None = None,
) -> list[Finding]:
    """Return a finding where the test is unlike the left-out samples, so that what was chosen on these does not hold there.

    Two things are compared: how often each class occurs, and how often answers of the same probability are right. Where the second differs
    and the first does not, another rule or another source made the labels of the test. The comparison changes no answer.

    Args:
        held: Of the row, on left-out samples.
        probability: (samples, classes) of the test.
        labels: Of the test.
        plausible: Whether the true class of each test sample is plausible.
        classes: Names.
        num_units: Independent units of the test, which count as so many samples; None takes each sample for itself.
    """
    findings = []
    few = 1.0 if num_units is None else num_units / max(len(labels), 1)
    counts = np.stack([np.bincount(one, minlength=len(classes)) for one in (held.labels, labels)])
    counts = counts[:, counts.sum(axis=0) > 0]
    shares = counts / counts.sum(axis=1, keepdims=True)
    farthest = int(np.abs(shares[0] - shares[1]).argmax())
    classes_differ = counts.shape[1] > 1 and chi2_contingency(few * counts).pvalue < RARE
    if classes_differ:
        advice = message(
            "classes occur in other shares in the test than in the samples that everything was chosen on ({name}: {test} against {held}): "
            "probabilities and thresholds suit the old shares; let [split] draw both parts from the same samples, or choose on newer labels",
            name=classes[farthest],
            test=f"{shares[1, farthest]:.3f}",
            held=f"{shares[0, farthest]:.3f}",
        )
        findings.append(Finding("test.class_shares", len(labels), len(labels), "kept", (), advice, "warning"))
    expected = _right_at_same_confidence(held, probability)
    right = int((probability.argmax(axis=1) == labels).sum())
    chance = binomtest(
        round(few * right), max(1, round(few * len(labels))), float(np.clip(expected, 1e-9, 1 - 1e-9))
    ).pvalue
    if chance < RARE and right < expected * len(labels):
        advice = message(
            "answers of the same probability are right less often in the test ({right}) than in left-out samples ({expected}), so probabilities "
            "and the promise of doubt do not hold there (kept {kept} of {promised}): the labels of the test follow another rule or come from another "
            "source; label a part of the new source and put it into validation",
            right=f"{right / len(labels):.3f}",
            expected=f"{expected:.3f}",
            kept=f"{plausible.mean():.3f}",
            promised=f"{held.promised:.2f}",
        )
        findings.append(Finding("test.other_labels", len(labels) - right, len(labels), "kept", (), advice, "warning"))
    return findings


def _right_at_same_confidence(held: PromiseCheck, probability: Probability) -> float:
    """Return the share of right answers of left-out samples, weighted to the confidences of other samples."""
    confidence, other = held.probability.max(axis=1), probability.max(axis=1)
    right = held.probability.argmax(axis=1) == held.labels
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, BANDS + 1)[1:-1]))
    band, asked = np.searchsorted(edges, confidence), np.searchsorted(edges, other)
    total = 0.0
    for number in range(len(edges) + 1):
        own = band == number
        share = right[own].mean() if own.sum() >= CONFIDENT else right.mean()
        total += float(share) * float((asked == number).mean())
    return total
