"""Fit, fuse and select classifiers.

In: a `ContentBatch`, labels and `SampleSplit`. Out: `FittedClassifiers`: every classifier, every row of the report, and which fusion validation likes best.
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
from penchant.experiment.imbalance import ImbalanceConfig, training_set, plain

STACKING = "stacking"


class ClassifierFitConfig(Settings):
    """Fit settings of labelled tasks."""

    choose_by: Literal["auc", "accuracy", "macro_f1", "cross_entropy"] = "auc"
    """What settings, and the way of fusion, are chosen by on validation; auc needs no threshold."""
    fusion: list[Literal["stacking", "concat", "gated", "attention"]] = ["stacking", "concat", "gated", "attention"]
    """Ways of fusion tried where there is more than one modality: decision level, feature level (two), model level."""
    refit: bool = True
    """Once everything is chosen, classifiers without epochs learn from validation too; weights and thresholds stay."""
    imbalance: ImbalanceConfig = ImbalanceConfig()
    """What is done for rare classes and combinations."""
    tune: CalibrationConfig = CalibrationConfig()
    """Calibration, thresholds and doubts."""


@dataclass(frozen=True)
class FittedClassifiers:
    """The fitted classifiers.

    Attributes:
        members: Every classifier.
        rows: Every row of the report.
        uses: Row to the modalities it looks at.
        ours: The row a bundle answers with.
        alone: Rows of one modality that fusion must beat.
        fused: Rows of several.
        scores: Row to how validation likes it.
        seconds: Classifier to what fitting took.
    """

    members: Mapping[str, Classifier]
    rows: Mapping[str, CombinedClassifier]
    uses: Mapping[str, tuple[str, ...]]
    ours: str
    alone: tuple[str, ...]
    fused: tuple[str, ...]
    scores: Mapping[str, float]
    seconds: Mapping[str, float]

    def look(self, view: ContentBatch) -> tuple[dict[str, LogProbability], dict[str, Bool[np.ndarray, " samples"]]]:
        """Return each classifier's logarithms of probability, and where it had anything to judge by."""
        return look(self.members, view)


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
    """Fit every classifier on train, choose and weigh on validation; rows of the test are cut off first.

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
    judge = make_score_function(config.choose_by)
    members: dict[str, Classifier] = {}
    seconds: dict[str, float] = {}
    for name, table in {**tables, **fusion_tables(view, config)}.items():
        began = perf_counter()
        members[name] = make_classifier(name, table).fit(view, train, validation, judge, seed=seed)
        seconds[name] = perf_counter() - began
        logger.info("  %s: fitted in %.1f s", name, seconds[name])
    found, there = look(members, view.take(validation_rows))
    prior = np.log((np.bincount(train.labels, minlength=count) + 0.5) / (len(train.labels) + 0.5 * count))
    teams, alone, fused = _teams(members, view, config)
    rows = {
        name: combine(team, found, there, validation.labels, prior, classes, config.tune)
        for name, team in teams.items()
    }
    scores = {
        name: judge(validation.labels, np.log(np.maximum(row.probability(found, there), 1e-12)))
        for name, row in rows.items()
    }
    uses = {
        name: tuple(dict.fromkeys(m for member in team for m in members[member].modalities(view)))
        for name, team in teams.items()
    }
    ours = max(fused or alone or tuple(rows), key=lambda name: scores[name])
    if config.refit:
        more = training_set(np.arange(len(both)), labels, count, present, config.imbalance)
        members = {name: member.refit(view, more) for name, member in members.items()}
    return FittedClassifiers(members, rows, uses, ours, alone, fused, scores, seconds)


def look(
    members: Mapping[str, Classifier], view: ContentBatch
) -> tuple[dict[str, LogProbability], dict[str, Bool[np.ndarray, " samples"]]]:
    """Return each classifier's logarithms of probability, and where it had anything to judge by."""
    found = {name: member.log_probability(view) for name, member in members.items()}
    return found, {name: member.present(view) for name, member in members.items()}


def default_classifiers(view: ContentBatch) -> dict[str, dict[str, Any]]:
    """Return n-grams where there are words, and a hyperplane over each channel's frozen vectors."""
    tables: dict[str, dict[str, Any]] = {}
    if view.catalog.text_columns:
        tables["ngrams"] = {"model": "ngrams"}
    tables |= {name: {"model": "linear", "channels": [name]} for name in view.channels}
    return tables


def fusion_tables(view: ContentBatch, config: ClassifierFitConfig) -> dict[str, dict[str, Any]]:
    """Return a network over all frozen vectors for each way of fusion that is one; none where one modality is all there is."""
    if len({e.modality for e in view.channels.values()}) < 2:
        return {}
    branches = {name: {"channel": name} for name in view.channels}
    return {way: {"model": "network", "fusion": way, "branches": branches} for way in config.fusion if way != STACKING}


def presence(view: ContentBatch) -> Bool[np.ndarray, "samples modalities"]:
    """Return which modality each sample has."""
    modalities = sorted({e.modality for e in view.channels.values()})
    columns = [
        np.any([e.present for e in view.channels.values() if e.modality == modality], axis=0) for modality in modalities
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(view), 0), bool)


def make_score_function(kind: str) -> Judge:
    """Return how good logarithms of probability are; higher is better."""

    def judge(labels: Int64[np.ndarray, " samples"], found: LogProbability) -> float:
        if kind == "cross_entropy":
            return -cross_entropy(np.exp(found), labels)
        if kind == "auc":
            areas = [roc_auc_score(labels == k, found[:, k]) for k in np.unique(labels) if not (labels == k).all()]
            return float(np.mean(areas)) if areas else 0.0
        return score_answers(labels, found.argmax(axis=1), kind)

    return judge


def _teams(
    members: Mapping[str, Classifier], view: ContentBatch, config: ClassifierFitConfig
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], tuple[str, ...]]:
    """Return who works together in each row: each classifier, all of one modality, all of them; and which are alone, which fused."""
    by_modality: dict[str, list[str]] = {}
    several = []
    for name, member in members.items():
        looks = member.modalities(view)
        if len(looks) == 1:
            by_modality.setdefault(looks[0], []).append(name)
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
