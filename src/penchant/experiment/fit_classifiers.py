"""Fit, fuse and select classifiers.

In: a `ContentBatch`, labels and `SampleSplit`. Out: `FittedClassifiers`: every classifier, every row of the report, and the best fusion on validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64
from sklearn.metrics import roc_auc_score

from penchant.classifiers.classifier import (
    Classifier,
    ClassifierTables,
    ContentBatch,
    LogProbability,
    ScoreFunction,
    make_classifier,
    predict_members,
)
from penchant.classifiers.combined import CombinedClassifier
from penchant.core.config import Settings
from penchant.core.logs import logger
from penchant.core.messages import channel_names, message
from penchant.core.schema import SampleSplit
from penchant.experiment.calibration import CalibrationConfig, combine, cross_entropy, score_answers
from penchant.experiment.imbalance import ImbalanceConfig, training_set, unweighted

STACKING = "stacking"


class ClassifierFitConfig(Settings):
    """Fit settings of labelled tasks."""

    choose_by: Literal["auc", "accuracy", "macro_f1", "cross_entropy"] = "auc"
    """Validation metric that chooses settings and the kind of fusion; auc needs no threshold."""
    fusion: list[Literal["stacking", "concat", "gated", "attention"]] = ["stacking", "concat", "gated", "attention"]
    """Kinds of fusion tried where there is more than one modality: decision level, feature level (two), model level."""
    refit: bool = True
    """Once everything is chosen, fit classifiers without epochs on validation too; weights and thresholds stay."""
    imbalance: ImbalanceConfig = ImbalanceConfig()
    """Weights for rare classes and combinations of modalities."""
    tune: CalibrationConfig = CalibrationConfig()
    """Calibration, thresholds and review."""


@dataclass(frozen=True)
class FittedClassifiers:
    """The fitted classifiers.

    Attributes:
        members: Every classifier.
        rows: Every row of the report.
        uses: Row to the modalities it reads.
        ours: The row that a bundle holds.
        alone: Rows of one modality, which fusion is compared with.
        fused: Rows of several.
        scores: Row to its validation score.
        seconds: Classifier to its fitting time.
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
    batch: ContentBatch,
    labels: Int64[np.ndarray, " samples"],
    classes: Sequence[str],
    parts: SampleSplit,
    config: ClassifierFitConfig,
    *,
    seed: int,
) -> FittedClassifiers:
    """Fit every classifier on train, choose and weight them on validation; test rows are removed first.

    Args:
        tables: Name to settings; `model` names the classifier.
        batch: All samples.
        labels: Of all samples.
        classes: Names.
        parts: Rows of each part.
        config: Settings of fit, fusion and calibration.
        seed: Of networks.
    """
    both = np.sort(np.concatenate([parts.train, parts.validation]))
    batch, labels = batch.take(both), labels[both]
    train_rows, validation_rows = np.searchsorted(both, parts.train), np.searchsorted(both, parts.validation)
    count, present = len(classes), presence(batch)
    train = training_set(train_rows, labels[train_rows], count, present[train_rows], config.imbalance)
    validation = unweighted(validation_rows, labels[validation_rows], count)
    score_function = make_score_function(config.choose_by)
    members: dict[str, Classifier] = {}
    seconds: dict[str, float] = {}
    for name, table in {**tables, **fusion_tables(batch, config)}.items():
        began = perf_counter()
        members[name] = make_classifier(name, table).fit(batch, train, validation, score_function, seed=seed)
        seconds[name] = perf_counter() - began
        logger.info("  %s: fitted in %.1f s", name, seconds[name])
    found, there = predict_members(members, batch.take(validation_rows))
    prior = np.log((np.bincount(train.labels, minlength=count) + 0.5) / (len(train.labels) + 0.5 * count))
    ensembles, alone, fused = _ensemble_rows(members, batch, config)
    rows = {
        name: combine(names, found, there, validation.labels, prior, classes, config.tune)
        for name, names in ensembles.items()
    }
    scores = {
        name: score_function(validation.labels, np.log(np.maximum(row.probability(found, there), 1e-12)))
        for name, row in rows.items()
    }
    uses = {
        name: tuple(dict.fromkeys(m for member in names for m in members[member].modalities(batch)))
        for name, names in ensembles.items()
    }
    ours = max(fused or alone or tuple(rows), key=lambda name: scores[name])
    if config.refit:
        more = training_set(np.arange(len(both)), labels, count, present, config.imbalance)
        members = {name: member.refit(batch, more) for name, member in members.items()}
    return FittedClassifiers(members, rows, uses, ours, alone, fused, scores, seconds)


def default_classifiers(batch: ContentBatch) -> dict[str, dict[str, Any]]:
    """Return n-grams where there is text, and a linear classifier for each channel of frozen vectors."""
    tables: dict[str, dict[str, Any]] = {}
    if batch.catalog.text_columns:
        tables["ngrams"] = {"model": "ngrams"}
    tables |= {name: {"model": "linear", "channels": [name]} for name in batch.channels}
    return tables


def fusion_tables(batch: ContentBatch, config: ClassifierFitConfig) -> dict[str, dict[str, Any]]:
    """Return a network over all frozen vectors for each kind of fusion but stacking; none with a single modality."""
    if len({e.modality for e in batch.channels.values()}) < 2:
        return {}
    branches = {name: {"channel": name} for name in batch.channels}
    return {
        kind: {"model": "network", "fusion": kind, "branches": branches} for kind in config.fusion if kind != STACKING
    }


def presence(batch: ContentBatch) -> Bool[np.ndarray, "samples modalities"]:
    """Return which modality each sample has."""
    modalities = sorted({e.modality for e in batch.channels.values()})
    columns = [
        np.any([e.present for e in batch.channels.values() if e.modality == modality], axis=0)
        for modality in modalities
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(batch), 0), bool)


def make_score_function(kind: str) -> ScoreFunction:
    """Return the function that scores log-probabilities on labels; higher is better."""

    def score_function(labels: Int64[np.ndarray, " samples"], found: LogProbability) -> float:
        if kind == "cross_entropy":
            return -cross_entropy(np.exp(found), labels)
        if kind == "auc":
            areas = [roc_auc_score(labels == k, found[:, k]) for k in np.unique(labels) if not (labels == k).all()]
            return float(np.mean(areas)) if areas else 0.0
        return score_answers(labels, found.argmax(axis=1), kind)

    return score_function


def _ensemble_rows(
    members: Mapping[str, Classifier], batch: ContentBatch, config: ClassifierFitConfig
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], tuple[str, ...]]:
    """Return the members of each row, and which rows are of one modality, which fused.

    There is a row for each classifier, one for all classifiers of a modality, and one for all of them.
    """
    by_modality: dict[str, list[str]] = {}
    several = []
    for name, member in members.items():
        reads = member.modalities(batch)
        if len(reads) == 1:
            by_modality.setdefault(reads[0], []).append(name)
        else:
            several.append(name)
    ensembles: dict[str, tuple[str, ...]] = {name: (name,) for name in members}
    alone = []
    for modality, names in by_modality.items():
        row = message("{channels} alone", channels=channel_names([modality])) if len(names) > 1 else names[0]
        ensembles[row] = tuple(names)
        alone.append(row)
    fused = list(several)
    if len(by_modality) > 1 and STACKING in config.fusion:
        ensembles[STACKING] = tuple(name for names in by_modality.values() for name in names)
        fused.append(STACKING)
    return ensembles, tuple(alone), tuple(fused)
