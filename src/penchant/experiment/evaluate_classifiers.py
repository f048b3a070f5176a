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
from penchant.experiment.calibration import LEAST, is_reversed
from penchant.experiment.fit_classifiers import ClassifierFitConfig, FittedClassifiers, fit, log_probabilities
from penchant.metrics.classification import evaluate_classification
from penchant.metrics.classification_results import ClassificationResults, ClassifierAnswers
from penchant.metrics.intervals import IntervalConfig
from penchant.metrics.within_folds import FoldOrder
from penchant.reporting.report import ChannelCoverage, ReportData

OURS = "penchant"
COMMONEST = message("the commonest class")
PACKAGES = ("penchant", "scikit-learn", "numpy", "polars")
RowAnswers = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Row to probabilities, answers and which answers are unsure."""


class ClassifierEvaluationConfig(Settings):
    """Evaluation settings of labelled tasks."""

    metric: Literal["accuracy", "macro_f1", "weighted_f1", "auc"] = "macro_f1"
    """Decides outcomes and the order of rows."""
    positive: str | None = None
    """Of two classes, the positive one: its curves and costs are shown; None takes the last by name."""
    within: str | None = None
    """Column whose values are evaluated apart: each gets a classifier and a report of its own, and no pooled figure is given, since
    what depends on that column would count as skill (a microphone, a hospital)."""
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
    """Return the report of everything measured on the test, and the results in it.

    Args:
        fitted: Every row.
        tables: Settings of the classifiers; with folds, all is fitted again in each.
        view: All samples.
        samples: The same with their labels.
        parts: Train, validation, test.
        split: How they were divided.
        fit_config: How they were fitted.
        config: What to measure.
        name: Of the run.
        seed: Of the run.
        notes: For the reader.
    """
    answers, rows, folds, flat = _tested(samples, view, tables, fitted, parts, split, fit_config, seed)
    results = evaluate_classification(
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
        sizes={"samples": len(samples), **learnt, "test_samples": results.num_samples},
        findings=(*samples.findings, *flat, *parts.checks),
        coverage=tuple(
            ChannelCoverage(name, e.modality, len(e.present), int(e.present.sum())) for name, e in view.channels.items()
        ),
        labelled=results,
    )
    return report, results


def notes_within(samples: Samples, column: str | None) -> tuple[str, ...]:
    """Return why the values of a column are evaluated apart: the AUC of knowing that column alone."""
    if column is None or column not in samples.table.columns:
        return ()
    return (
        message(
            "Fitted and measured within one {column} only. Pooled over every {column}, skill could not be distinguished from recognising "
            "the {column}: the {column} alone already gives AUC {auc}.",
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
    """Return every row's answers on samples it did not learn from, these samples, and the fit of each (None: one fit).

    With folds, everything is selected and fitted again in each of them, and each sample is scored once a repeat by a fit without it.
    """
    if split.folds == 0:
        given, rows = _row_answers(fitted, view.take(parts.test)), np.arange(len(parts.test))
        answers = _answers([(given, rows)], fitted, len(rows), len(samples.classes), 1)
        return answers, parts.test, None, _flat([is_reversed(fitted.rows[fitted.ours])])
    labels, done, flat = samples.labels(), [], []
    folds = np.zeros((split.repeats, len(samples)), np.int64)
    for number, fold in enumerate(fold_samples(samples, split, seed)):
        logger.info("  fold %d of %d", number + 1, split.folds * split.repeats)
        one = fit(tables, view, labels, samples.classes, fold, fit_config, seed=seed + number)
        done.append((_row_answers(one, view.take(fold.test)), fold.test))
        folds[number // split.folds, fold.test] = number
        flat.append(is_reversed(one.rows[one.ours]))
    answers = _answers(done, fitted, len(samples), len(samples.classes), split.repeats)
    return answers, np.arange(len(samples)), folds, _flat(flat)


def _flat(fits: list[bool]) -> list[Finding]:
    """Return a finding of the fits whose validation would reverse the ranking."""
    names = [message("fit {number}", number=number) for number, flat in enumerate(fits, 1) if flat]
    advice = message(
        "validation ranks the classes in reverse order; the slope was held at {least}, so that the order learned in training stays: "
        "bring more samples, or expect that nothing is learned here",
        least=f"{LEAST:g}",
    )
    return (
        [Finding("fit.flat", len(names), len(fits), "repaired", tuple(names[:5]), advice, "warning")] if names else []
    )


def _row_answers(fitted: FittedClassifiers, view: ContentBatch) -> RowAnswers:
    found, there = log_probabilities(fitted.members, view)
    rows: RowAnswers = {}
    for name, row in fitted.rows.items():
        probability = row.probability(found, there)
        rows[name] = probability, row.decision.answers(probability), row.decision.is_unsure(probability)
    count = len(fitted.rows[fitted.ours].ensemble.prior)
    commonest = np.full(len(view), int(np.argmax(fitted.rows[fitted.ours].ensemble.prior)))
    # even, since the shares of a fold's train and test move against each other: no ranking is meant
    even = np.full((len(view), count), 1 / count)
    return {OURS: rows[fitted.ours], **rows, COMMONEST: (even, commonest, np.zeros(len(view), bool))}


def _answers(
    done: list[tuple[RowAnswers, np.ndarray]], fitted: FittedClassifiers, count: int, num_classes: int, repeats: int
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
        for number, (given, rows) in enumerate(done):
            repeat = number // each
            probability[repeat, rows], answer[repeat, rows], unsure[repeat, rows] = given[name]
        answers[name] = ClassifierAnswers(probability, answer, unsure, uses[name], roles.get(name, "member"))
    ours = answers[OURS].probability  # the row that ours is would only be compared with itself
    return {name: own for name, own in answers.items() if name == OURS or not np.array_equal(own.probability, ours)}


def _protocol(
    parts: SampleSplit, fitted: FittedClassifiers, split: SampleSplitConfig, fit_config: ClassifierFitConfig
) -> tuple[str, ...]:
    """Return the protocol in sentences."""
    divided = (
        message(
            "{folds} folds, drawn {times} time(s); in each, everything is selected and fitted again and every "
            "sample is scored by a fit that has not seen it. Scores are means over repeats, intervals are over samples or groups. Rankings (AUC, curves) "
            "are compared within one fold only, weighted by pairs, since each fold has a scale of its own.",
            folds=split.folds,
            times=split.repeats,
        )
        if split.folds
        else message("A {kind} split; the test is evaluated once.", kind=parts.kind)
    )
    chosen = message(
        "Strengths, epochs, the way of fusion (by {metric}), weights, calibration, thresholds (for {aim}) "
        "and the confidence below which a reviewer decides are chosen on validation; nothing is chosen on test.",
        metric=fit_config.choose_by,
        aim=fit_config.tune.aim,
    )
    ways = ", ".join(f"{name} {fitted.scores[name]:.4f}" for name in (*fitted.alone, *fitted.fused))
    return divided, chosen, message("Best on validation was {name}: {scores}.", name=fitted.ours, scores=ways)
