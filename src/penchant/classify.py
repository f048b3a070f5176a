"""THE FLOW of `task = "classification"`: from labelled files to a classifier that is evaluated and says why. Read pipeline.py first.

In: one TOML file. Out: a folder with the trained classifier and its report.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings, read_toml
from penchant.core.errors import ConfigError, DataError, nearest
from penchant.core.logs import logger, step
from penchant.core.schema import Finding, Parts, Samples
from penchant.data.cleaning import Config as CleanConfig
from penchant.data.folds import Config as SplitConfig
from penchant.data.folds import fold_samples, split_samples
from penchant.data.media import MediaLimits
from penchant.data.sample_cleaning import clean_samples
from penchant.data.samples import SamplesConfig, read_samples
from penchant.encoders import ENCODERS
from penchant.encoders.catalog import PRECOMPUTED, ChannelConfig, default_channels, encode_catalog
from penchant.encoders.ocr import OcrConfig, read_samples_pictures
from penchant.encoders.transcript import TranscriptConfig, transcribe
from penchant.evaluation.intervals import Config as IntervalConfig
from penchant.evaluation.labelled import Answers, Labelled, judge
from penchant.evaluation.report import Coverage, ReportData, write_report
from penchant.evaluation.report import Stage as Timed
from penchant.evaluation.within import FoldOrder
from penchant.models.classifiers.classifier import View
from penchant.models.classifiers.trained import TrainedClassifier, channels_of
from penchant.pipeline import Clock, beside, stop_on_errors
from penchant.training.calibration import LEAST, is_flat
from penchant.training.classification import Config as FitConfig
from penchant.training.classification import Fitted, default_classifiers, fit, fusion_tables, look

OURS = "penchant"
COMMONEST = "the commonest class"
NOT_A_DIAGNOSIS = (
    "This is not a diagnosis: it says how alike this is to recordings of others, and a physician must judge."
)
PACKAGES = ("penchant", "scikit-learn", "numpy", "polars")


class EvaluationConfig(Settings):
    """What is measured."""

    metric: Literal["accuracy", "macro_f1", "weighted_f1", "auc"] = "macro_f1"
    """Decides verdicts and the order of rows."""
    positive: str | None = None
    """Of two classes, which is looked for: its curves and costs are shown; None takes the last by name."""
    within: str | None = None
    """Column whose values are judged apart: each gets a classifier and a report of its own, and no pooled figure is given, since what
    depends on that column would be taken for skill (a microphone, a hospital)."""
    intervals: IntervalConfig = IntervalConfig()
    """How intervals are made."""
    language: Literal["en", "zh"] = "en"
    """Of the report."""


class ClassifyConfig(Settings):
    """One run of a labelled task: the whole TOML file."""

    task: Literal["classification"] = "classification"
    """What kind of run this is."""
    name: str = "task"
    """What the report is headed."""
    seed: int = 0
    """Decides splits, draws and networks; equal seeds give equal numbers."""
    output: Path | None = None
    """Folder of the classifier; None is runs/NAME. Relative to where the command is given."""
    cache: Path = Path("runs/cache")
    """Folder of what need not be computed twice: vectors, inspected media."""
    kind: Literal["sentiment", "moderation", "health", "other"] = "other"
    """health adds to every answer that it is no diagnosis; moderation that doubtful posts go to a person."""
    data: SamplesConfig = SamplesConfig()
    """Where the data is."""
    media: MediaLimits = MediaLimits()
    """What a media file may be."""
    clean: CleanConfig = CleanConfig()
    """What is repaired or dropped."""
    split: SplitConfig = SplitConfig()
    """Train, validation, test; or folds, for small sets."""
    transcript: TranscriptConfig | None = None
    """Who writes down what is said in sound, so that it joins the words; None leaves sound a sound. An empty table takes what comes as a
    wheel, and a classifier of words alone then answers to a voice note too."""
    ocr: OcrConfig | None = None
    """Read what stands written in pictures; it joins the words. None leaves it in the picture."""
    content: dict[str, ChannelConfig] | None = None
    """Frozen channels by name; None reads every modality there is with encoders that need no hub; an empty table reads none."""
    classifiers: dict[str, dict[str, Any]] | None = None
    """Classifiers by name; None takes n-grams of words and a hyperplane over each channel."""
    fit: FitConfig = FitConfig()
    """How they are fitted, fused, calibrated."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What is measured."""

    @property
    def folder(self) -> Path:
        return self.output or Path("runs") / self.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What every answer and report says beside its numbers."""
        return {"health": (NOT_A_DIAGNOSIS,)}.get(self.kind, ())


def run(config: ClassifyConfig) -> list[TrainedClassifier]:
    """Do the whole of it; one classifier, or with `evaluation.within` one for each value of that column.

    Raises:
        PenchantError: With what is wrong, where, and how to mend it.
    """
    clock = Clock()
    with clock("read"):
        samples = read_samples(config.data)
    with clock("clean"):
        samples = stop_on_errors(clean_samples(samples, config.clean, config.media, cache=config.cache / "media"))
    with clock("encode"):
        samples = transcribe(samples, config.transcript, config.media, cache=config.cache / "transcripts")
        samples = read_samples_pictures(samples, config.ocr, config.media, cache=config.cache / "ocr")
        samples, view, channels = encode(samples, config)
    finished, told = [], notes(config, samples)
    for own, part in apart(samples, config):
        seen = view if len(part) == len(samples) else view.take(_rows_of(samples, part))
        finished.append(run_one(own, part, seen, channels, clock.stages, told))
    return finished


def run_one(
    config: ClassifyConfig,
    samples: Samples,
    view: View,
    channels: Mapping[str, ChannelConfig],
    before: list[Timed],
    told: tuple[str, ...],
) -> TrainedClassifier:
    """Split, fit, evaluate and write, once content is encoded."""
    clock = Clock()
    with clock("split"):
        parts = split_samples(samples, config.split, config.seed)
        tables = default_classifiers(view) if config.classifiers is None else config.classifiers
    with clock("fit"):
        labels = samples.labels()
        fitted = fit(tables, view, labels, samples.classes, parts, config.fit, seed=config.seed)
    with clock("evaluate"):
        answers, rows, folds, flat = test(samples, view, tables, fitted, parts, config)
        samples = replace(samples, findings=(*samples.findings, *flat))
        judged = judge(
            answers,
            labels[rows],
            samples.classes,
            ours=OURS,
            metric=config.evaluation.metric,
            positive=config.evaluation.positive,
            groups=samples.table["group"][rows].to_list() if "group" in samples.table.columns else None,
            folds=folds,
            config=config.evaluation.intervals,
            notes=told,
        )
    with step("write"), tempfile.TemporaryDirectory() as scratch:
        write_report(report(config, samples, view, parts, fitted, judged, [*before, *clock.stages]), Path(scratch))
        return bundle(config, samples, view, channels, tables, fitted, judged).save(config.folder, report=Path(scratch))


def read_config(path: Path) -> ClassifyConfig:
    """Return the settings of a TOML file; data and vectors are looked for beside it.

    Raises:
        ConfigError: The file is missing, no TOML, or holds a setting that does not exist.
    """
    return beside(ClassifyConfig.read(read_toml(path), where=path.name), path.parent)


def encode(samples: Samples, config: ClassifyConfig) -> tuple[Samples, View, dict[str, ChannelConfig]]:
    """Return every frozen channel; what could not be read is among the samples' findings.

    Raises:
        ConfigError: An encoder learns from all content at once, so it would see test content and could not read new content.
    """
    catalog = samples.catalog()
    channels = default_channels(catalog) if config.content is None else config.content
    for name, channel in channels.items():
        if channel.encoder != PRECOMPUTED and ENCODERS.load(channel.encoder).whole_catalog:
            raise ConfigError(
                f"The encoder {channel.encoder!r} learns from all content at once, test content too, and cannot read new content.",
                where=f"content.{name}.encoder",
                fix='use a classifier that learns words from train alone: [classifiers.NAME] model = "ngrams", or a network',
            )
    embeddings, noticed = encode_catalog(catalog, channels, cache=config.cache / "vectors", limits=config.media)
    return (
        replace(samples, findings=(*samples.findings, *noticed)),
        View(catalog, embeddings, config.media),
        dict(channels),
    )


def apart(samples: Samples, config: ClassifyConfig) -> list[tuple[ClassifyConfig, Samples]]:
    """Return the samples whole, or one part for each value of `evaluation.within`, with the settings of each.

    Raises:
        ConfigError: There is no such column.
    """
    column = config.evaluation.within
    if column is None:
        return [(config, samples)]
    if column not in samples.table.columns:
        raise ConfigError(
            f"There is no column {column!r}.", where="evaluation.within", fix=nearest(column, samples.table.columns)
        )
    found = []
    for value in sorted(samples.table[column].drop_nulls().cast(pl.String).unique().to_list()):
        rows = np.flatnonzero((samples.table[column].cast(pl.String) == value).fill_null(False).to_numpy())
        if samples.table["label"][rows].n_unique() < 2:
            logger.warning("  %s = %s has one class only and is left out", column, value)
            continue
        own = config.model_copy(update={"name": f"{config.name}-{value}", "output": config.folder / value})
        found.append((own, samples.take(rows)))
    if not found:
        raise DataError(
            f"No value of {column!r} has samples of two classes.",
            where="evaluation.within",
            fix="leave evaluation.within out, or bring samples of every class from one source",
        )
    return found


def test(
    samples: Samples,
    view: View,
    tables: Mapping[str, Mapping[str, Any]],
    fitted: Fitted,
    parts: Parts,
    config: ClassifyConfig,
) -> tuple[dict[str, Answers], np.ndarray, np.ndarray | None, list[Finding]]:
    """Return what every row says of samples it did not learn from, which these are, and by which fit (None: one fit judged all).

    With folds, everything is chosen and fitted anew in each of them, and each sample is judged once a repeat by what has not seen it.
    """
    if config.split.folds == 0:
        said, rows = _said(fitted, view.take(parts.test)), np.arange(len(parts.test))
        answers = _answers([(said, rows)], fitted, len(rows), len(samples.classes), 1)
        return answers, parts.test, None, _flat([is_flat(fitted.rows[fitted.ours])])
    labels, done, flat = samples.labels(), [], []
    folds = np.zeros((config.split.repeats, len(samples)), np.int64)
    for number, fold in enumerate(fold_samples(samples, config.split, config.seed)):
        logger.info("  fold %d of %d", number + 1, config.split.folds * config.split.repeats)
        one = fit(tables, view, labels, samples.classes, fold, config.fit, seed=config.seed + number)
        done.append((_said(one, view.take(fold.test)), fold.test))
        folds[number // config.split.folds, fold.test] = number
        flat.append(is_flat(one.rows[one.ours]))
    answers = _answers(done, fitted, len(samples), len(samples.classes), config.split.repeats)
    return answers, np.arange(len(samples)), folds, _flat(flat)


def _flat(fits: list[bool]) -> list[Finding]:
    """Note fits whose validation would turn the ranking round."""
    names = [f"fit {number}" for number, flat in enumerate(fits, 1) if flat]
    advice = (
        f"validation ranks the classes the other way round; the slope was held at {LEAST:g}, so the order that training learned stays: "
        "bring more samples, or expect that nothing is learned here"
    )
    return (
        [Finding("fit.flat", len(names), len(fits), "repaired", tuple(names[:5]), advice, "warning")] if names else []
    )


Said = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Row to probabilities, answers and doubts."""


def _said(fitted: Fitted, view: View) -> Said:
    found, there = look(fitted.members, view)
    said: Said = {}
    for name, row in fitted.rows.items():
        probability = row.probability(found, there)
        said[name] = probability, row.decision.answers(probability), row.decision.is_unsure(probability)
    count = len(fitted.rows[fitted.ours].stack.prior)
    commonest = np.full(len(view), int(np.argmax(fitted.rows[fitted.ours].stack.prior)))
    even = np.full(
        (len(view), count), 1 / count
    )  # its share moves against test's from fold to fold: no ranking is meant
    return {OURS: said[fitted.ours], **said, COMMONEST: (even, commonest, np.zeros(len(view), bool))}


def _answers(
    done: list[tuple[Said, np.ndarray]], fitted: Fitted, count: int, num_classes: int, repeats: int
) -> dict[str, Answers]:
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
        answers[name] = Answers(probability, answer, unsure, uses[name], roles.get(name, "member"))
    ours = answers[OURS].probability  # the row it was chosen as would only be compared with itself
    return {name: said for name, said in answers.items() if name == OURS or not np.array_equal(said.probability, ours)}


def bundle(
    config: ClassifyConfig,
    samples: Samples,
    view: View,
    channels: Mapping[str, ChannelConfig],
    tables: Mapping[str, Mapping[str, Any]],
    fitted: Fitted,
    judged: Labelled,
) -> TrainedClassifier:
    """Return the row that validation likes best, with what it needs."""
    ours = fitted.rows[fitted.ours]
    every = {**tables, **fusion_tables(view, config.fit)}
    facts = {
        "name": config.name,
        "task": config.task,
        "kind": config.kind,
        "row": fitted.ours,
        "seed": config.seed,
        "settings": fingerprint(config),
        "notes": list(config.notes),
        "test": {metric: interval.mean for metric, interval in judged.ours.scores.items()},
        "versions": {package: version(package) for package in PACKAGES},
    }
    return TrainedClassifier(
        samples.classes,
        {name: fitted.members[name] for name in ours.stack.members},
        {name: every[name] for name in ours.stack.members},
        ours,
        channels_of(view.channels, channels),
        samples.text_columns,
        samples.media_columns,
        samples.attribute_columns,
        facts,
        config.media,
        config.transcript,
        config.ocr,
    )


def notes(config: ClassifyConfig, samples: Samples) -> tuple[str, ...]:
    """Return what a reader of the report must know."""
    within = config.evaluation.within
    if within is None or within not in samples.table.columns:
        return config.notes
    return (
        *config.notes,
        f"Learned and measured within one {within} only. Pooled over every {within}, skill could not be told from recognising the "
        f"{within}: whoever knows it and nothing else already reaches AUC {_area_of(samples, within):.3f}.",
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


def report(
    config: ClassifyConfig,
    samples: Samples,
    view: View,
    parts: Parts,
    fitted: Fitted,
    judged: Labelled,
    stages: list[Timed],
) -> ReportData:
    """Return everything measured, for the report."""
    learnt = {"train_samples": len(parts.train), "validation_samples": len(parts.validation)}
    return ReportData(
        config.name,
        datetime.now(UTC),
        config.seed,
        language=config.evaluation.language,
        hardware=f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
        versions={package: version(package) for package in PACKAGES},
        protocol=protocol(config, parts, fitted),
        sizes={"samples": len(samples), **learnt, "test_samples": judged.num_samples},
        findings=(*samples.findings, *parts.checks),
        coverage=tuple(
            Coverage(name, e.modality, len(e.present), int(e.present.sum())) for name, e in view.channels.items()
        ),
        labelled=judged,
        stages=tuple(stages),
    )


def protocol(config: ClassifyConfig, parts: Parts, fitted: Fitted) -> tuple[str, ...]:
    """Return how it was measured, in words."""
    split = (
        f"{config.split.folds} folds, drawn {config.split.repeats} time(s); in each, everything is chosen and fitted anew and every "
        "sample is judged by what has not seen it. Scores are means over repeats, intervals are over samples or groups. Rankings (AUC, curves) "
        "are compared within one fold only, weighted by pairs, since each fold has a scale of its own."
        if config.split.folds
        else f"A {parts.kind} split; test is judged once."
    )
    chosen = (
        f"Strengths, epochs, the way of fusion (by {config.fit.choose_by}), weights, calibration, thresholds (for {config.fit.tune.aim}) "
        "and the border of doubt are chosen on validation; nothing is chosen on test."
    )
    ways = ", ".join(f"{name} {fitted.scores[name]:.4f}" for name in (*fitted.alone, *fitted.fused))
    return split, chosen, f"Validation liked {fitted.ours} best: {ways}."


def _rows_of(samples: Samples, part: Samples) -> np.ndarray:
    place = {key: row for row, key in enumerate(samples.sample_ids)}
    return np.array([place[key] for key in part.sample_ids], np.int64)
