"""Fit, fuse and select classifiers.

In: a `ContentBatch`, labels and `SampleSplit`. Out: `FittedClassifiers`: every classifier, every row of the report, and the best on validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64
from sklearn.metrics import roc_auc_score

from penchant.classifiers.classifier import Classifier, ContentBatch, Judge, LogProbability
from penchant.classifiers.combined import CombinedClassifier
from penchant.classifiers.factory import ClassifierTables, make_classifier
from penchant.core.config import Settings
from penchant.core.logs import logger
from penchant.core.messages import channel_names, message
from penchant.core.schema import SampleSplit
from penchant.experiment.calibration import CalibrationConfig, combine, cross_entropy, score_answers
from penchant.experiment.imbalance import ImbalanceConfig, plain, training_set

STACKING = "stacking"


class ClassifierFitConfig(Settings):
    """Fit settings of labelled tasks."""

    choose_by: Literal["auc", "accuracy", "macro_f1", "cross_entropy"] = "auc"
    """Metric by which settings and the fusion are chosen on validation; auc needs no threshold."""
    fusion: list[Literal["stacking", "concat", "gated", "attention"]] = ["stacking", "concat", "gated", "attention"]
    """Fusions tried where there is more than one modality: decision level, feature level (two), model level."""
    refit: bool = True
    """After selection, fit classifiers without epochs on validation too; weights and thresholds stay."""
    imbalance: ImbalanceConfig = ImbalanceConfig()
    """Weights of rare classes and combinations."""
    tune: CalibrationConfig = CalibrationConfig()
    """Calibration, thresholds and review."""


@dataclass(frozen=True)
class FittedClassifiers:
    """The fitted classifiers.

    Attributes:
        members: Every classifier.
        rows: Every row of the report.
        uses: Row to the modalities it reads.
        ours: The row that a bundle uses.
        alone: Rows of one modality, which fusion must beat.
        fused: Rows of several.
        scores: Row to its validation score.
        seconds: Classifier to the time of its fit.
    """

    members: Mapping[str, Classifier]
    rows: Mapping[str, CombinedClassifier]
    uses: Mapping[str, tuple[str, ...]]
    ours: str
    alone: tuple[str, ...]
    fused: tuple[str, ...]
    scores: Mapping[str, float]
    seconds: Mapping[str, float]


def fit(
    tables: ClassifierTables,
    view: ContentBatch,
    labels: Int64[np.ndarray, " samples"],
    classes: Sequence[str],
    parts: SampleSplit,
    config: ClassifierFitConfig,
    *,
    seed: int,
) -> FittedClassifiers:
    """Fit every classifier on train, select and weight on validation; rows of the test are removed first.

    Args:
        tables: Name to settings; `model` says which classifier.
        view: All samples.
        labels: Of all samples.
        classes: Names.
        parts: Rows of each part.
        config: How.
        seed: Of networks.
    """
    both = np.sort(np.concatenate([parts.train, parts.validation]))
    view, labels = view.take(both), labels[both]
    train_rows, validation_rows = np.searchsorted(both, parts.train), np.searchsorted(both, parts.validation)
    count, present = len(classes), presence(view)
    train = training_set(train_rows, labels[train_rows], count, present[train_rows], config.imbalance)
    validation = plain(validation_rows, labels[validation_rows], count)
    score = make_score_function(config.choose_by)
    members: dict[str, Classifier] = {}
    seconds: dict[str, float] = {}
    for name, table in {**tables, **fusion_tables(view, config)}.items():
        began = perf_counter()
        members[name] = make_classifier(name, table).fit(view, train, validation, score, seed=seed)
        seconds[name] = perf_counter() - began
        logger.info("  %s: fitted in %.1f s", name, seconds[name])
    found, there = log_probabilities(members, view.take(validation_rows))
    prior = np.log((np.bincount(train.labels, minlength=count) + 0.5) / (len(train.labels) + 0.5 * count))
    teams, alone, fused = _teams(members, view, config)
    rows = {
        name: combine(team, found, there, validation.labels, prior, classes, config.tune)
        for name, team in teams.items()
    }
    scores = {
        name: score(validation.labels, np.log(np.maximum(row.probability(found, there), 1e-12)))
        for name, row in rows.items()
    }
    uses = {
        name: tuple(dict.fromkeys(m for member in team for m in members[member].modalities(view)))
        for name, team in teams.items()
    }
    ours = max(fused or alone or tuple(rows), key=lambda name: scores[name])
    if config.refit:
        everything = training_set(np.arange(len(both)), labels, count, present, config.imbalance)
        members = {name: member.refit(view, everything) for name, member in members.items()}
    return FittedClassifiers(members, rows, uses, ours, alone, fused, scores, seconds)


def log_probabilities(
    members: Mapping[str, Classifier], view: ContentBatch
) -> tuple[dict[str, LogProbability], dict[str, Bool[np.ndarray, " samples"]]]:
    """Return each classifier's log-probabilities, and which samples have content it reads."""
    found = {name: member.log_probability(view) for name, member in members.items()}
    return found, {name: member.present(view) for name, member in members.items()}


def default_classifiers(view: ContentBatch) -> dict[str, dict[str, Any]]:
    """Return n-grams where there are words, and a linear classifier over each channel's frozen vectors."""
    tables: dict[str, dict[str, Any]] = {}
    if view.catalog.text_columns:
        tables["ngrams"] = {"model": "ngrams"}
    tables |= {name: {"model": "linear", "channels": [name]} for name in view.channels}
    return tables


def fusion_tables(view: ContentBatch, config: ClassifierFitConfig) -> dict[str, dict[str, Any]]:
    """Return a network over all frozen vectors for each fusion but stacking; none where there is one modality."""
    if len({e.modality for e in view.channels.values()}) < 2:
        return {}
    branches = {name: {"channel": name} for name in view.channels}
    return {
        name: {"model": "network", "fusion": name, "branches": branches} for name in config.fusion if name != STACKING
    }


def presence(view: ContentBatch) -> Bool[np.ndarray, "samples modalities"]:
    """Return which modality each sample has."""
    modalities = sorted({e.modality for e in view.channels.values()})
    columns = [
        np.any([e.present for e in view.channels.values() if e.modality == modality], axis=0) for modality in modalities
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(view), 0), bool)


def make_score_function(kind: str) -> Judge:
    """Return the function that scores log-probabilities; higher is better."""

    def score(labels: Int64[np.ndarray, " samples"], found: LogProbability) -> float:
        if kind == "cross_entropy":
            return -cross_entropy(np.exp(found), np.eye(found.shape[1])[labels])
        if kind == "auc":
            areas = [roc_auc_score(labels == k, found[:, k]) for k in np.unique(labels) if not (labels == k).all()]
            return float(np.mean(areas)) if areas else 0.0
        return score_answers(labels, found.argmax(axis=1), kind)

    return score


def _teams(
    members: Mapping[str, Classifier], view: ContentBatch, config: ClassifierFitConfig
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], tuple[str, ...]]:
    """Return the members of each row (each classifier, all of one modality, all of them), the rows alone, and the fused rows."""
    by_modality: dict[str, list[str]] = {}
    several = []
    for name, member in members.items():
        reads = member.modalities(view)
        if len(reads) == 1:
            by_modality.setdefault(reads[0], []).append(name)
        else:
            several.append(name)
    teams: dict[str, tuple[str, ...]] = {name: (name,) for name in members}
    alone = []
    for modality, names in by_modality.items():
        row = message("{channels} alone", channels=channel_names([modality])) if len(names) > 1 else names[0]
        teams[row] = tuple(names)
        alone.append(row)
    fused = list(several)
    if len(by_modality) > 1 and STACKING in config.fusion:
        teams[STACKING] = tuple(name for names in by_modality.values() for name in names)
        fused.append(STACKING)
    return teams, tuple(alone), tuple(fused)
