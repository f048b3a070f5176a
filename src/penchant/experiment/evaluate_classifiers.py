"""Evaluate classifiers on the test, once.

In: classifiers fitted on train and validation, and the split into parts or folds. Out: `ClassificationResults`, and the report around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.classifier import ContentBatch, predict_members
from penchant.core.config import Settings
from penchant.core.environment import hardware, versions
from penchant.core.errors import DataError, nearest
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.schema import Finding, Samples, SampleSplit
from penchant.data.split.samples import SampleSplitConfig, fold_samples, sample_units
from penchant.experiment.calibration import MIN_SLOPE, is_flat
from penchant.experiment.fit_classifiers import ClassifierFitConfig, FittedClassifiers, fit
from penchant.experiment.left_out import Metric
from penchant.experiment.promises import compare_with_test
from penchant.metrics.classification import evaluate_classification
from penchant.metrics.classification_results import ClassificationResults, ClassifierAnswers
from penchant.metrics.intervals import IntervalConfig
from penchant.metrics.within_folds import FoldOrder
from penchant.reporting.report import ChannelCoverage, ReportData

OURS = "penchant"
COMMONEST = message("the most frequent class")
PACKAGES = ("penchant", "scikit-learn", "numpy", "polars")
BEST_SIMPLE = message("the best simple row on validation")


class RowAnswer(NamedTuple):
    """One row's answers to some samples.

    Attributes:
        probability: (samples, classes).
        answer: (samples,) class index.
        is_unsure: (samples,).
        plausible: (samples, classes).
    """

    probability: np.ndarray
    answer: np.ndarray
    is_unsure: np.ndarray
    plausible: np.ndarray


RowAnswers = dict[str, RowAnswer]


class ClassifierEvaluationConfig(Settings):
    """Evaluation settings of labelled tasks."""

    metric: Literal["accuracy", "macro_f1", "weighted_f1", "auc"] = "macro_f1"
    """Metric of the comparison: it decides outcomes and the order of rows."""
    positive: str | None = None
    """Positive class of two, whose curves and costs are shown; None takes the last by name."""
    within: str | None = None
    """Column whose values get a classifier and a report each. No pooled figure is given, since recognising the value (a microphone, a
    hospital) would count as skill."""
    intervals: IntervalConfig = IntervalConfig()
    """Settings of intervals."""
    language: Literal["en", "zh"] = "en"
    """Of the report."""


def assess(
    fitted: FittedClassifiers,
    tables: Mapping[str, Mapping[str, Any]],
    batch: ContentBatch,
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
    """Return the report on the test, and the classification results in it.

    Args:
        fitted: Every row.
        tables: Settings of the classifiers, which are fitted again in each fold.
        batch: All samples.
        samples: The same with their labels.
        parts: Train, validation, test.
        split: Settings of the split.
        fit_config: Settings of the fit.
        config: Settings of the evaluation.
        name: Of the run.
        seed: Of the run.
        notes: For the reader.
    """
    answers, rows, folds, flat = answers_on_test(
        samples, batch, tables, fitted, parts, split, fit_config, seed, config.metric
    )
    unlike = [] if folds is not None else _unlike(fitted, answers[OURS], samples, rows)
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
        simple=BEST_SIMPLE if BEST_SIMPLE in answers else None,
        promised=fitted.rows[fitted.ours].decision.coverage,
    )
    fitted_on = {"train_samples": len(parts.train), "validation_samples": len(parts.validation)}
    report = ReportData(
        name,
        datetime.now(UTC),
        seed,
        language=config.language,
        hardware=hardware(),
        versions=versions(PACKAGES),
        protocol=_protocol(parts, fitted, split, fit_config),
        sizes={"samples": len(samples), **fitted_on, "test_samples": results.num_samples},
        findings=(*samples.findings, *flat, *unlike, *parts.checks),
        coverage=tuple(
            ChannelCoverage(name, e.modality, len(e.present), int(e.present.sum()))
            for name, e in batch.channels.items()
        ),
        labelled=results,
    )
    return report, results


def evaluate_table(
    trained: TrainedClassifier, table: pl.DataFrame, root: Path, columns: Mapping[str, str] | None = None
) -> ClassificationResults:
    """Return the results of a trained classifier on new labelled content.

    Args:
        trained: From `TrainedClassifier.load`.
        table: Columns as in training, `label` among them; rows without a label are left out.
        root: Folder the paths of media are below.
        columns: Our columns' names to the table's.

    Raises:
        DataError: There is no column of labels, or a label that the classifier does not know.
    """
    columns = columns or {}
    label = columns.get("label", "label")
    if label not in table.columns:
        raise DataError(
            f"The table has no column {label!r}.", where=", ".join(table.columns[:10]), fix="--column label=YOURS"
        )
    table = table.filter(pl.col(label).is_not_null())
    known = {name: number for number, name in enumerate(trained.classes)}
    labels = table[label].cast(pl.String).str.strip_chars().to_list()
    for value in labels:
        if value not in known:
            raise DataError(
                f"The classifier does not know the class {value!r}.",
                where=f"column {label!r}",
                fix=nearest(value, known),
            )
    said = trained.predict_table(table, root=root, evidence=False, columns=columns)
    probability = np.array([[one.probabilities[name] for name in trained.classes] for one in said])
    answer = np.array([known[one.label] for one in said], np.int64)
    unsure = np.array([one.is_unsure for one in said], bool)
    group = columns.get("group", "group")
    return evaluate_classification(
        {
            OURS: ClassifierAnswers(
                probability[None], answer[None], unsure[None], tuple(trained.inputs.modalities), "ours"
            )
        },
        np.array([known[value] for value in labels], np.int64),
        trained.classes,
        ours=OURS,
        groups=table[group].cast(pl.String).to_list() if group in table.columns else None,
        notes=trained.facts.get("notes", ()),
    )


def notes_within(samples: Samples, column: str | None) -> tuple[str, ...]:
    """Return the reason for separate classifiers: the AUC that the column alone reaches."""
    if column is None or column not in samples.table.columns:
        return ()
    return (
        message(
            "Fitted and measured within one {column} only. Pooled over all of them, skill and recognition of the {column} could not be "
            "separated: the {column} alone reaches AUC {auc}.",
            column=column,
            auc=f"{_area_of(samples, column):.3f}",
        ),
    )


def _area_of(samples: Samples, column: str) -> float:
    """Return the mean AUC over classes of predicting each class by its share at a value of the column."""
    value = samples.table[column].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
    labels, together = samples.labels(), np.zeros(len(samples), np.int64)
    areas = []
    for k in np.unique(labels):
        share = np.bincount(value, labels == k) / np.maximum(np.bincount(value), 1)
        areas.append(FoldOrder.of(labels == k, share[value], together, together).areas(np.ones((1, 1)))[0])
    return float(np.mean(areas))


def answers_on_test(
    samples: Samples,
    batch: ContentBatch,
    tables: Mapping[str, Mapping[str, Any]],
    fitted: FittedClassifiers,
    parts: SampleSplit,
    split: SampleSplitConfig,
    fit_config: ClassifierFitConfig,
    seed: int,
    metric: Metric,
) -> tuple[dict[str, ClassifierAnswers], np.ndarray, np.ndarray | None, list[Finding]]:
    """Return the answers of every row on held-out samples, the rows of these, their fold (None: one fit answered all), and findings.

    With folds, everything is chosen and fitted again in each, and each sample is classified once per repeat by a fit without it.
    """
    if split.folds == 0:
        test_answers, rows = _row_answers(fitted, batch.take(parts.test)), np.arange(len(parts.test))
        answers = _answers([(test_answers, rows)], fitted, len(rows), len(samples.classes), 1)
        return answers, parts.test, None, _flat([is_flat(fitted.rows[fitted.ours])])
    labels, unit, done, flat = samples.labels(), sample_units(samples), [], []
    folds = np.zeros((split.repeats, len(samples)), np.int64)
    for number, fold in enumerate(fold_samples(samples, split, seed)):
        logger.info("  fold %d of %d", number + 1, split.folds * split.repeats)
        one = fit(
            tables, batch, labels, samples.classes, fold, fit_config, seed=seed + number, unit=unit, metric=metric
        )
        done.append((_row_answers(one, batch.take(fold.test)), fold.test))
        folds[number // split.folds, fold.test] = number
        flat.append(is_flat(one.rows[one.ours]))
    answers = _answers(done, fitted, len(samples), len(samples.classes), split.repeats)
    return answers, np.arange(len(samples)), folds, _flat(flat)


def _unlike(fitted: FittedClassifiers, ours: ClassifierAnswers, samples: Samples, rows: np.ndarray) -> list[Finding]:
    """Return findings where the test is unlike the samples that everything was chosen on."""
    if fitted.held is None or ours.plausible is None:
        return []
    labels = samples.labels()[rows]
    return compare_with_test(
        fitted.held,
        ours.probability[0],
        labels,
        ours.plausible[0][np.arange(len(rows)), labels],
        samples.classes,
        len(np.unique(sample_units(samples)[rows])),
    )


def _flat(fits: list[bool]) -> list[Finding]:
    """Return the finding that counts fits whose validation would reverse the ranking."""
    names = [message("fit {number}", number=number) for number, flat in enumerate(fits, 1) if flat]
    advice = message(
        "validation reverses the ranking of training; the slope was held at {least}, so the order that training learned stays: "
        "add samples, or expect that there is nothing to learn",
        least=f"{MIN_SLOPE:g}",
    )
    return (
        [Finding("fit.flat", len(names), len(fits), "repaired", tuple(names[:5]), advice, "warning")] if names else []
    )


def _row_answers(fitted: FittedClassifiers, batch: ContentBatch) -> RowAnswers:
    found, there = predict_members(fitted.members, batch)
    novel = np.zeros(len(batch), bool) if fitted.novelty is None else fitted.novelty.is_novel(batch)
    answers: RowAnswers = {}
    for name, row in {**fitted.rows, OURS: fitted.served}.items():
        probability, decision = row.probability(found, there), row.decision
        answers[name] = RowAnswer(
            probability,
            decision.answers(probability),
            decision.is_unsure(probability) | novel,
            decision.plausible(probability),
        )
    count = len(fitted.rows[fitted.ours].ensemble.prior)
    commonest = np.full(len(batch), int(np.argmax(fitted.rows[fitted.ours].ensemble.prior)))
    even = np.full(
        (len(batch), count), 1 / count
    )  # equal probabilities: class shares vary from fold to fold and would give a ranking
    none = RowAnswer(even, commonest, np.zeros(len(batch), bool), np.ones((len(batch), count), bool))
    best_simple: RowAnswers = {BEST_SIMPLE: answers[fitted.simple[0]]} if fitted.simple else {}
    return {OURS: answers.pop(OURS), **best_simple, **answers, COMMONEST: none}


def _answers(
    done: list[tuple[RowAnswers, np.ndarray]], fitted: FittedClassifiers, count: int, num_classes: int, repeats: int
) -> dict[str, ClassifierAnswers]:
    """Join the folds of each repeat; a row that some fold could not fit is left out."""
    each = len(done) // repeats
    answers = {}
    roles = {
        **dict.fromkeys(fitted.simple, "simple"),
        OURS: "ours",
        BEST_SIMPLE: "simple",
        COMMONEST: "baseline",
        **dict.fromkeys(fitted.fused, "fused"),
        **dict.fromkeys(fitted.alone, "alone"),
    }
    uses = {OURS: fitted.uses[fitted.ours], BEST_SIMPLE: (), COMMONEST: (), **fitted.uses}
    for name in done[0][0]:
        if any(name not in part for part, _ in done):
            continue
        probability = np.zeros((repeats, count, num_classes))
        plausible = np.zeros((repeats, count, num_classes), bool)
        answer, unsure = np.zeros((repeats, count), np.int64), np.zeros((repeats, count), bool)
        for number, (part, rows) in enumerate(done):
            place = number // each, rows
            probability[place], answer[place] = part[name].probability, part[name].answer
            unsure[place], plausible[place] = part[name].is_unsure, part[name].plausible
        answers[name] = ClassifierAnswers(
            probability, answer, unsure, uses.get(name, ()), roles.get(name, "member"), plausible
        )
    kept = (OURS, BEST_SIMPLE)
    ours = answers[OURS]  # a row equal to ours is left out
    return {
        name: row
        for name, row in answers.items()
        if name in kept
        or not (np.array_equal(row.probability, ours.probability) and np.array_equal(row.answer, ours.answer))
    }


def _protocol(
    parts: SampleSplit, fitted: FittedClassifiers, split: SampleSplitConfig, fit_config: ClassifierFitConfig
) -> tuple[str, ...]:
    """Return the protocol as sentences."""
    divided = (
        message(
            "{folds} folds, drawn {times} time(s); in each, everything is chosen and fitted again, and every "
            "sample is classified by a fit without it. Scores are means over repeats, intervals are over samples or groups. Rankings (AUC, curves) "
            "are compared within one fold only, weighted by pairs, since scores of folds have different scales.",
            folds=split.folds,
            times=split.repeats,
        )
        if split.folds
        else message("A {kind} split; test is evaluated once.", kind=parts.kind)
    )
    chosen = message(
        "Strengths, epochs, the row (by {metric}), weights, calibration, thresholds (for {aim}) and doubt are chosen on {count} left-out "
        "samples; nothing is chosen on test.",
        metric=fit_config.choose_by,
        aim=fit_config.tune.aim,
        count=f"{fitted.num_left_out:,}",
    )
    named = dict.fromkeys((*fitted.alone, *fitted.fused, *fitted.simple))
    best = message("Taken: {name}.", name=fitted.ours)
    each = (
        message("On left-out samples {name}: {score}.", name=name, score=f"{fitted.scores[name]:.4f}") for name in named
    )
    held = () if fitted.held is None else fitted.held.sentences()
    return (divided, chosen, best, *fitted.why, *held, *each)
