"""Evaluate classifiers on the test, once.

In: what was fitted on train and validation, and the division into parts or folds. Out: `ClassificationResults`, and the report around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from penchant.classifiers.classifier import ContentBatch
from penchant.core.config import Settings
from penchant.core.environment import hardware, versions
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.schema import Finding, Samples, SampleSplit
from penchant.data.split.samples import SampleSplitConfig, fold_samples
from penchant.experiment.calibration import LEAST, is_flat
from penchant.experiment.fit_classifiers import ClassifierFitConfig, FittedClassifiers, fit, look
from penchant.metrics.classification import evaluate_classification
from penchant.metrics.classification_results import ClassificationResults, ClassifierAnswers
from penchant.metrics.intervals import IntervalConfig
from penchant.metrics.within_folds import FoldOrder
from penchant.reporting.report import ChannelCoverage, ReportData

OURS = "penchant"
COMMONEST = message("the commonest class")
PACKAGES = ("penchant", "scikit-learn", "numpy", "polars")
Said = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Row to probabilities, answers and doubts."""


class ClassifierEvaluationConfig(Settings):
    """Evaluation settings of labelled tasks."""

    metric: Literal["accuracy", "macro_f1", "weighted_f1", "auc"] = "macro_f1"
    """Decides outcomes and the order of rows."""
    positive: str | None = None
    """Of two classes, which is looked for: its curves and costs are shown; None takes the last by name."""
    within: str | None = None
    """Column whose values are judged apart: each gets a classifier and a report of its own, and no pooled figure is given, since what
    depends on that column would be taken for skill (a microphone, a hospital)."""
    intervals: IntervalConfig = IntervalConfig()
    """How intervals are made."""
    language: Literal["en", "zh"] = "en"
    """Of the report."""


def assess(
    fitted: FittedClassifiers,
    tables: Mapping[str, Mapping[str, Any]],
    view: ContentBatch,
    samples: Samples,
    parts: SampleSplit,
    split: SampleSplitConfig,
    fit_config: ClassifierFitConfig,
    config: ClassifierEvaluationConfig,
    *,
    name: str,
    seed: int,
    notes: Sequence[str] = (),
) -> tuple[ReportData, ClassificationResults]:
    """Return everything measured on the test, for the report, and the scores in it.

    Args:
        fitted: Every row.
        tables: Settings of the classifiers, for folds, in each of which all is fitted anew.
        view: All samples.
        samples: The same with their labels.
        parts: Train, validation, test.
        split: How they were divided.
        fit_config: How they were fitted.
        config: What to measure.
        name: Of the run.
        seed: Of the run.
        notes: What a reader must know.
    """
    answers, rows, folds, flat = _tested(samples, view, tables, fitted, parts, split, fit_config, seed)
    judged = evaluate_classification(
        answers,
        samples.labels()[rows],
        samples.classes,
        ours=OURS,
        metric=config.metric,
        positive=config.positive,
        groups=samples.table["group"][rows].to_list() if "group" in samples.table.columns else None,
        folds=folds,
        config=config.intervals,
        notes=notes,
    )
    learnt = {"train_samples": len(parts.train), "validation_samples": len(parts.validation)}
    report = ReportData(
        name,
        datetime.now(UTC),
        seed,
        language=config.language,
        hardware=hardware(),
        versions=versions(PACKAGES),
        protocol=_protocol(parts, fitted, split, fit_config),
        sizes={"samples": len(samples), **learnt, "test_samples": judged.num_samples},
        findings=(*samples.findings, *flat, *parts.checks),
        coverage=tuple(
            ChannelCoverage(name, e.modality, len(e.present), int(e.present.sum())) for name, e in view.channels.items()
        ),
        labelled=judged,
    )
    return report, judged


def notes_within(samples: Samples, column: str | None) -> tuple[str, ...]:
    """Return why the values of a column are judged apart: what knowing that column alone would be worth."""
    if column is None or column not in samples.table.columns:
        return ()
    return (
        message(
            "Learned and measured within one {column} only. Pooled over every {column}, skill could not be told from recognising the "
            "{column}: whoever knows it and nothing else already reaches AUC {auc}.",
            column=column,
            auc=f"{_area_of(samples, column):.3f}",
        ),
    )


def _area_of(samples: Samples, column: str) -> float:
    """Return the AUC of guessing each class by how often it occurs with a value of a column, the mean over classes."""
    value = samples.table[column].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
    labels, together = samples.labels(), np.zeros(len(samples), np.int64)
    areas = []
    for k in np.unique(labels):
        share = np.bincount(value, labels == k) / np.maximum(np.bincount(value), 1)
        areas.append(FoldOrder.of(labels == k, share[value], together, together).areas(np.ones((1, 1)))[0])
    return float(np.mean(areas))


def _tested(
    samples: Samples,
    view: ContentBatch,
    tables: Mapping[str, Mapping[str, Any]],
    fitted: FittedClassifiers,
    parts: SampleSplit,
    split: SampleSplitConfig,
    fit_config: ClassifierFitConfig,
    seed: int,
) -> tuple[dict[str, ClassifierAnswers], np.ndarray, np.ndarray | None, list[Finding]]:
    """Return what every row says of samples it did not learn from, which these are, and by which fit (None: one fit judged all).

    With folds, everything is chosen and fitted anew in each of them, and each sample is judged once a repeat by what has not seen it.
    """
    if split.folds == 0:
        said, rows = _said(fitted, view.take(parts.test)), np.arange(len(parts.test))
        answers = _answers([(said, rows)], fitted, len(rows), len(samples.classes), 1)
        return answers, parts.test, None, _flat([is_flat(fitted.rows[fitted.ours])])
    labels, done, flat = samples.labels(), [], []
    folds = np.zeros((split.repeats, len(samples)), np.int64)
    for number, fold in enumerate(fold_samples(samples, split, seed)):
        logger.info("  fold %d of %d", number + 1, split.folds * split.repeats)
        one = fit(tables, view, labels, samples.classes, fold, fit_config, seed=seed + number)
        done.append((_said(one, view.take(fold.test)), fold.test))
        folds[number // split.folds, fold.test] = number
        flat.append(is_flat(one.rows[one.ours]))
    answers = _answers(done, fitted, len(samples), len(samples.classes), split.repeats)
    return answers, np.arange(len(samples)), folds, _flat(flat)


def _flat(fits: list[bool]) -> list[Finding]:
    """Note fits whose validation would turn the ranking round."""
    names = [message("fit {number}", number=number) for number, flat in enumerate(fits, 1) if flat]
    advice = message(
        "validation ranks the classes the other way round; the slope was held at {least}, so the order that training learned stays: "
        "bring more samples, or expect that nothing is learned here",
        least=f"{LEAST:g}",
    )
    return (
        [Finding("fit.flat", len(names), len(fits), "repaired", tuple(names[:5]), advice, "warning")] if names else []
    )


def _said(fitted: FittedClassifiers, view: ContentBatch) -> Said:
    found, there = look(fitted.members, view)
    said: Said = {}
    for name, row in fitted.rows.items():
        probability = row.probability(found, there)
        said[name] = probability, row.decision.answers(probability), row.decision.is_unsure(probability)
    count = len(fitted.rows[fitted.ours].ensemble.prior)
    commonest = np.full(len(view), int(np.argmax(fitted.rows[fitted.ours].ensemble.prior)))
    even = np.full(
        (len(view), count), 1 / count
    )  # its share moves against test's from fold to fold: no ranking is meant
    return {OURS: said[fitted.ours], **said, COMMONEST: (even, commonest, np.zeros(len(view), bool))}


def _answers(
    done: list[tuple[Said, np.ndarray]], fitted: FittedClassifiers, count: int, num_classes: int, repeats: int
) -> dict[str, ClassifierAnswers]:
    """Put the parts of one repeat side by side."""
    each = len(done) // repeats
    answers = {}
    roles = {
        OURS: "ours",
        COMMONEST: "baseline",
        **dict.fromkeys(fitted.alone, "alone"),
        **dict.fromkeys(fitted.fused, "fused"),
    }
    uses = {OURS: fitted.uses[fitted.ours], COMMONEST: (), **fitted.uses}
    for name in done[0][0]:
        probability = np.zeros((repeats, count, num_classes))
        answer, unsure = np.zeros((repeats, count), np.int64), np.zeros((repeats, count), bool)
        for number, (said, rows) in enumerate(done):
            repeat = number // each
            probability[repeat, rows], answer[repeat, rows], unsure[repeat, rows] = said[name]
        answers[name] = ClassifierAnswers(probability, answer, unsure, uses[name], roles.get(name, "member"))
    ours = answers[OURS].probability  # the row it was chosen as would only be compared with itself
    return {name: said for name, said in answers.items() if name == OURS or not np.array_equal(said.probability, ours)}


def _protocol(
    parts: SampleSplit, fitted: FittedClassifiers, split: SampleSplitConfig, fit_config: ClassifierFitConfig
) -> tuple[str, ...]:
    """Return how it was measured, in words."""
    divided = (
        message(
            "{folds} folds, drawn {times} time(s); in each, everything is chosen and fitted anew and every "
            "sample is judged by what has not seen it. Scores are means over repeats, intervals are over samples or groups. Rankings (AUC, curves) "
            "are compared within one fold only, weighted by pairs, since each fold has a scale of its own.",
            folds=split.folds,
            times=split.repeats,
        )
        if split.folds
        else message("A {kind} split; test is judged once.", kind=parts.kind)
    )
    chosen = message(
        "Strengths, epochs, the way of fusion (by {metric}), weights, calibration, thresholds (for {aim}) "
        "and the border of doubt are chosen on validation; nothing is chosen on test.",
        metric=fit_config.choose_by,
        aim=fit_config.tune.aim,
    )
    ways = ", ".join(f"{name} {fitted.scores[name]:.4f}" for name in (*fitted.alone, *fitted.fused))
    return divided, chosen, message("Validation liked {name} best: {scores}.", name=fitted.ours, scores=ways)
