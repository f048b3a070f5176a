"""THE FLOW of `task = "classification"`: from labelled files to an evaluated classifier with evidence for its answers. Read recommendation.py first.

In: one TOML file. Out: a folder with the trained classifier and its report.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.classifier import ContentBatch, make_classifier
from penchant.classifiers.course import HOURS_A_DAY, CourseConfig
from penchant.classifiers.inputs import ClassifierInputs, channels_of
from penchant.core.environment import versions
from penchant.core.errors import ConfigError, DataError, MissingExtraError, import_optional
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.schema import Catalog, Embeddings, Finding, Samples, SampleSplit
from penchant.data.align.timeline import problems_of
from penchant.data.clean.samples import check_sample_files, clean_samples
from penchant.data.media import split_key
from penchant.data.read.samples import SamplesConfig, read_samples, samples_from
from penchant.data.split.samples import SampleSplitConfig, sample_units, split_samples
from penchant.encoders import ENCODERS
from penchant.encoders.catalog import (
    PRECOMPUTED,
    ChannelConfig,
    check_channel,
    default_text_encoder,
    encode_catalog,
    estimate_encoding,
    item_channels,
)
from penchant.encoders.content import join_text
from penchant.encoders.ocr import read_samples_pictures
from penchant.encoders.precomputed import guess_modality
from penchant.encoders.transcript import TranscriptConfig, transcribe
from penchant.experiment.courses import CourseResults, measure_courses
from penchant.experiment.evaluate_classifiers import PACKAGES, ClassifierEvaluationConfig, assess, notes_within
from penchant.experiment.fit_classifiers import (
    ClassifierFitConfig,
    FittedClassifiers,
    default_classifiers,
    fit,
    fusion_tables,
    simple_tables,
)
from penchant.experiment.inside_classifiers import look_inside
from penchant.experiment.search import SearchConfig
from penchant.experiment.search_classifiers import search_classifiers
from penchant.metrics.classification_results import ClassificationResults
from penchant.pipelines.frame import (
    LearningSettings,
    RunCheck,
    StepTimer,
    Task,
    check_channels,
    check_known,
    encoding_lines,
    facts_of,
    gather,
    persist,
    stop_on_errors,
)
from penchant.reporting.courses import write_courses
from penchant.reporting.inside import ReportConfig
from penchant.reporting.report import ReportData, StepTime, write_report

SENTENCES = "sentences"
"""Channel of sentence vectors that a simple row reads where [content] has no channel of text."""
NOT_A_DIAGNOSIS = message(
    "This is not a diagnosis: it measures the similarity to recordings of others. A physician must decide."
)


class ClassificationConfig(LearningSettings):
    """Settings of a labelled task: the whole TOML file."""

    task: Literal["classification"] = "classification"
    """Kind of run."""
    name: str = "task"
    """Name of the run, and title of its report."""
    kind: Literal["sentiment", "moderation", "health", "other"] = "other"
    """health adds to every answer that it is no diagnosis; the other kinds add nothing."""
    data: SamplesConfig = SamplesConfig()
    """Where the data is."""
    split: SampleSplitConfig = SampleSplitConfig()
    """Train, validation, test; or folds, for small sets."""
    transcript: TranscriptConfig | None = None
    """Speech recogniser, whose transcripts become a text column; None transcribes nothing. An empty table takes the model that comes as a
    wheel. A classifier of text alone then reads voice notes too."""
    classifiers: dict[str, dict[str, Any]] | None = None
    """Classifiers by name; None takes n-grams of the text and a linear classifier for each channel."""
    model: Literal["auto"] | None = None
    """"auto" chooses classifiers, kinds of fusion and inner folds under the budget of [search], and gives the reasons; None takes `classifiers`."""
    search: SearchConfig = SearchConfig()
    """Budget of model = "auto"."""
    fit: ClassifierFitConfig = ClassifierFitConfig()
    """Settings of fit, fusion and calibration."""
    evaluation: ClassifierEvaluationConfig = ClassifierEvaluationConfig()
    """Settings of the evaluation."""
    report: ReportConfig = ReportConfig()
    """What the report shows of the inside of the models."""
    course: CourseConfig | None = None
    """Courses over time, for samples in windows ([data] window_hours): an early warning fitted and measured on left-out people. None fits none."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of every answer and report."""
        return {"health": (NOT_A_DIAGNOSIS,)}.get(self.kind, ())


def run(config: ClassificationConfig, data: Samples | None = None) -> list[TrainedClassifier]:
    """Run every step; one classifier, or with `evaluation.within` one for each value of that column.

    Args:
        config: Every setting.
        data: Samples already in memory, not cleaned; None reads the files that `config.data` names.

    Raises:
        PenchantError: With what is wrong, where, and how to fix it.
    """
    clock = StepTimer()
    with clock("read"):
        samples = read_samples(config.data) if data is None else data
        check_names(samples, config)
    with clock("clean"):
        pictures = config.inspected_pictures(samples.media_columns)
        samples = clean_samples(samples, config.clean, config.media, cache=config.cache / "media", pictures=pictures)
        samples = stop_on_errors(samples)
    with clock("encode"):
        samples = transcribe(samples, config.transcript, config.media, cache=config.cache / "transcripts")
        samples = read_samples_pictures(samples, config.ocr, config.media, cache=config.cache / "ocr")
        samples, batch, channels = encode(samples, config)
    trained, notes = [], (*config.notes, *notes_within(samples, config.evaluation.within))
    for own, part in split_by_value(samples, config):
        part_batch = batch if len(part) == len(samples) else batch.take(_rows_of(samples, part))
        trained.append(run_one(own, part, part_batch, channels, clock.stages, notes))
    return trained


def run_one(
    config: ClassificationConfig,
    samples: Samples,
    batch: ContentBatch,
    channels: Mapping[str, ChannelConfig],
    before: list[StepTime],
    notes: tuple[str, ...],
) -> TrainedClassifier:
    """Split, fit, evaluate and write, once content is encoded."""
    clock = StepTimer()
    with clock("split"):
        parts = split_samples(samples, config.split, config.seed)
    with clock("fit"):
        config, tables, reasons = choose_classifiers(config, samples, batch, parts)
        fitted = fit(
            tables,
            batch,
            samples.labels(),
            samples.classes,
            parts,
            config.fit,
            seed=config.seed,
            unit=sample_units(samples),
            metric=config.evaluation.metric,
        )
        fitted = replace(fitted, why=(*reasons, *fitted.why))
    with clock("evaluate"):
        report, results = assess(
            fitted,
            tables,
            batch,
            samples,
            parts,
            config.split,
            config.fit,
            config.evaluation,
            name=config.name,
            seed=config.seed,
            notes=notes,
        )
    courses = None
    if config.course is not None:
        with clock("courses"):
            courses = measured_courses(config, config.course, samples, batch, tables)
    trained = bundle(config, samples, batch, channels, tables, fitted, results)
    with clock("look inside"):
        report = look_inside(report, fitted, trained, samples, batch, parts, config.report)
    timed = replace(report, stages=(*before, *clock.stages))
    if courses is not None:
        trained = replace(trained, warning=courses.rule)
    return persist(trained, config.folder, partial(_write, timed, courses, config.notes))


def measured_courses(
    config: ClassificationConfig,
    course: CourseConfig,
    samples: Samples,
    batch: ContentBatch,
    tables: Mapping[str, Mapping[str, Any]],
) -> CourseResults:
    """Return the courses of left-out people and the rule of the early warning."""
    return measure_courses(
        tables,
        batch,
        samples,
        config.split,
        config.fit,
        course,
        window_hours=config.data.window_hours or HOURS_A_DAY,
        min_share=config.data.window_min_share,
        positive=config.evaluation.positive or samples.classes[-1],
        seed=config.seed,
        metric=config.evaluation.metric,
    )


def _write(report: ReportData, courses: CourseResults | None, notes: tuple[str, ...], folder: Path) -> None:
    """Write the pages beside a trained classifier."""
    write_report(report, folder)
    if courses is not None:
        write_courses(courses.courses, courses.labels, courses.lines(), notes, folder / "courses.html")
        text = json.dumps(courses.as_dict(), ensure_ascii=False, indent=1)
        (folder / "courses.json").write_text(text, encoding="utf-8")


def choose_classifiers(
    config: ClassificationConfig, samples: Samples, batch: ContentBatch, parts: SampleSplit
) -> tuple[ClassificationConfig, Mapping[str, Mapping[str, Any]], list[str]]:
    """Return the settings with those of the fit that were chosen, the classifiers, and the reasons; without model = "auto" nothing is chosen."""
    if config.model is None:
        return config, default_classifiers(batch) if config.classifiers is None else config.classifiers, []
    found = search_classifiers(
        batch,
        samples.labels(),
        samples.classes,
        parts,
        config.fit,
        config.search,
        unit=sample_units(samples),
        rounds=1 + config.split.folds * config.split.repeats,
    )
    return config.model_copy(update={"fit": found.fitting}), found.tables, found.reasons


def check(config: ClassificationConfig) -> RunCheck:
    """Return what is wrong with a run and what it will cost; nothing is cleaned, fitted or kept, and a few samples are encoded.

    Raises:
        PenchantError: The data cannot be read.
    """
    if config.data.align is not None:
        unreadable = gather(problems_of(config.data.align, config.data.path))
        if unreadable:
            return RunCheck(unreadable, [])
    samples = read_samples(config.data)
    catalog = samples.catalog()
    problems = gather(checks_of(samples, config))
    sizes = {"samples": f"{len(samples):,}", "classes": len(samples.classes)}
    lines: list[str] = [message("{samples} samples of {classes} classes, before cleaning", **sizes)]
    lines += [line for one in samples.findings if one.check.startswith("align.") for line in one.examples]
    if not problems:
        channels, _ = with_simple(samples, catalog, config)
        encodings = estimate_encoding(catalog, channels, cache=config.cache / "vectors", limits=config.media)
        lines += [*encoding_lines(encodings), message("fit and evaluate: not estimated")]
    return RunCheck(problems, lines)


TASK = Task(ClassificationConfig, run, ("samples",), lambda config, samples: samples_from(samples, config.data), check)


def check_names(samples: Samples, config: ClassificationConfig) -> None:
    """Check the names in the settings, before anything is cleaned, encoded or fitted.

    Raises:
        ConfigError: A class, column, classifier or setting of a classifier does not exist.
        DataError: None of the files in a column is there.
    """
    for one in checks_of(samples, config):
        one()


def checks_of(samples: Samples, config: ClassificationConfig) -> Iterator[Callable[[], object]]:
    """Yield each check of the settings against the data."""
    evaluation, costs = config.evaluation, config.fit.tune.costs
    positive = () if evaluation.positive is None else (evaluation.positive,)
    within = () if evaluation.within is None else (evaluation.within,)
    yield partial(check_known, "class", positive, samples.classes, where="evaluation.positive")
    yield partial(check_known, "class", costs, samples.classes, where="fit.tune.costs")
    yield partial(check_known, "column", within, samples.table.columns, where="evaluation.within")
    yield partial(_check_model, config)
    yield partial(check_sample_files, samples)
    will_grow = config.ocr is not None or config.transcript is not None
    for name, channel in (config.content or {}).items():
        yield partial(check_channel, samples.catalog(), name, channel, will_grow=will_grow)
    for name, table in (config.classifiers or {}).items():
        yield partial(make_classifier, name, table)
    yield partial(check_course, samples, config)


def check_course(samples: Samples, config: ClassificationConfig) -> None:
    """Check the settings of courses over time.

    Raises:
        ConfigError: The samples are no windows, or a class does not exist.
        MissingExtraError: The extra `health` is not installed.
    """
    if config.course is None:
        return
    if config.data.window_hours is None:
        raise ConfigError(
            "A course over time needs samples in windows.",
            where="course",
            fix='set [data] signals = "readings.csv" and window_hours = 24, or leave [course] out',
        )
    steady = () if config.course.steady is None else (config.course.steady,)
    check_known("class", steady, samples.classes, where="course.steady")
    import_optional("ruptures", "health")


def _check_model(config: ClassificationConfig) -> None:
    if config.model is not None and config.classifiers is not None:
        raise ConfigError(
            'model = "auto" chooses the classifiers, and [classifiers] names them.',
            where="the settings: model, classifiers",
            fix="leave one of them out",
        )


def encode(samples: Samples, config: ClassificationConfig) -> tuple[Samples, ContentBatch, dict[str, ChannelConfig]]:
    """Return the content with every frozen channel; unreadable files are among the findings of the samples.

    Raises:
        ConfigError: An encoder learns from all content at once: it would read test content and cannot encode new content.
    """
    catalog = samples.catalog()
    channels, noticed = with_simple(samples, catalog, config)
    for name, channel in channels.items():
        if channel.encoder != PRECOMPUTED and ENCODERS.load(channel.encoder).whole_catalog:
            raise ConfigError(
                f"The encoder {channel.encoder!r} learns from all content at once, test content too, and cannot encode new content.",
                where=f"content.{name}.encoder",
                fix='use a classifier that learns its vocabulary from train alone: [classifiers.NAME] model = "ngrams", or a network',
            )
    check_channels(config.classifiers or {}, channels, where="classifiers")
    embeddings, unread = encode_catalog(catalog, channels, cache=config.cache / "vectors", limits=config.media)
    return (
        replace(samples, findings=(*samples.findings, *noticed, *unread)),
        ContentBatch(catalog, embeddings, config.media),
        dict(channels),
    )


def with_simple(
    samples: Samples, catalog: Catalog, config: ClassificationConfig
) -> tuple[dict[str, ChannelConfig], list[Finding]]:
    """Return the channels with those that simple rows read, and a finding where encoding the texts would take too long.

    Added are statistics of the sound and sentence vectors of the text, each where there is such content and no channel reads it.
    """
    found = dict(item_channels(catalog, config.content))
    if not config.fit.simple:
        return found, []
    has_voice = "voice" in found or any(channel.encoder == "voice" for channel in found.values())
    if "audio" in catalog.media_columns and not has_voice:
        found["voice"] = ChannelConfig(encoder="voice", columns=[catalog.media_columns["audio"]])
    if not catalog.text_columns or config.fit.simple_minutes == 0 or SENTENCES in found:
        return found, []
    if any(_reads_text(name, channel) for name, channel in found.items()):
        return found, []
    texts = join_text(catalog, catalog.text_columns)
    channel = ChannelConfig(encoder=default_text_encoder(texts[:2000]), columns=list(catalog.text_columns))
    try:
        cost = estimate_encoding(catalog, {SENTENCES: channel}, cache=config.cache / "vectors", limits=config.media)
    except MissingExtraError as error:
        logger.info("  %s: left out (%s)", SENTENCES, str(error).splitlines()[0])
        return found, []
    minutes = cost[0].seconds / 60
    if minutes <= config.fit.simple_minutes:
        return {**found, SENTENCES: channel}, []
    advice = message(
        "encoding the texts would take about {minutes} minutes, more than fit.simple_minutes = {allowed}, so no simple row reads sentence "
        'vectors; name them to have the row: [content.{channel}] encoder = "{encoder}"',
        minutes=f"{minutes:.0f}",
        allowed=f"{config.fit.simple_minutes:g}",
        channel=SENTENCES,
        encoder=channel.encoder,
    )
    return found, [Finding("fit.sentences", cost[0].missing, len(samples), "kept", (), advice, "info")]


def _reads_text(name: str, channel: ChannelConfig) -> bool:
    if channel.encoder == PRECOMPUTED:
        return (channel.modality or guess_modality(f"{name} {channel.path.name if channel.path else ''}")) == "text"
    return ENCODERS.load(channel.encoder).modality == "text"


def split_by_value(samples: Samples, config: ClassificationConfig) -> list[tuple[ClassificationConfig, Samples]]:
    """Return the samples whole, or one part for each value of `evaluation.within`, with the settings of each.

    Raises:
        DataError: No value has samples of two classes.
    """
    column = config.evaluation.within
    if column is None:
        return [(config, samples)]
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
            fix="leave evaluation.within out, or add samples of every class from one source",
        )
    return found


def bundle(
    config: ClassificationConfig,
    samples: Samples,
    batch: ContentBatch,
    channels: Mapping[str, ChannelConfig],
    tables: Mapping[str, Mapping[str, Any]],
    fitted: FittedClassifiers,
    results: ClassificationResults,
) -> TrainedClassifier:
    """Return the best row on validation as a trained classifier."""
    ours = fitted.served
    every = {**simple_tables(batch, tables), **tables, **fusion_tables(batch, config.fit)}
    tables_of_members = {name: every[name] for name in ours.ensemble.members}
    facts = {
        **facts_of(config, versions(PACKAGES)),
        "task": config.task,
        "kind": config.kind,
        "row": fitted.ours,
        "seed": config.seed,
        "notes": list(config.notes),
        "test": {metric: interval.mean for metric, interval in results.ours.scores.items()},
    }
    return TrainedClassifier(
        samples.classes,
        {name: fitted.members[name] for name in ours.ensemble.members},
        tables_of_members,
        ours,
        ClassifierInputs(
            channels_of(_needed(batch, tables_of_members), channels),
            samples.text_columns,
            samples.media_columns,
            samples.attribute_columns,
            config.media,
            config.transcript,
            config.ocr,
            _table_of_signals(samples),
        ),
        facts,
        novelty=fitted.novelty,
    )


def _needed(batch: ContentBatch, tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Embeddings]:
    """Return the channels of a batch without sentence vectors that no member reads: a service would load their model for nothing."""
    read = {name for owner, table in tables.items() for name in _channels_in(owner, table)}
    return {name: one for name, one in batch.channels.items() if one.modality != "text" or name in read}


def _channels_in(owner: str, table: Mapping[str, Any]) -> list[str]:
    """Return the channels that a classifier or branch names; its own name stands for one where it names none."""
    if table.get("branches"):
        return [name for branch, inner in table["branches"].items() for name in _channels_in(branch, inner)]
    named = table.get("channels") or table.get("channel") or [owner]
    return [named] if isinstance(named, str) else list(named)


def _table_of_signals(samples: Samples) -> str | None:
    """Return the one file that holds every sample's readings by its id; None where there are several, or other keys."""
    column = samples.media_columns.get("signal")
    if column is None:
        return None
    known = samples.table.select("sample_id", place=column).drop_nulls("place")
    files = {split_key(place)[0] for place in known["place"]}
    same = all(split_key(place)[1] == key for key, place in known.iter_rows())
    return files.pop() if len(files) == 1 and same else None


def _rows_of(samples: Samples, part: Samples) -> np.ndarray:
    place = {key: row for row, key in enumerate(samples.sample_ids)}
    return np.array([place[key] for key in part.sample_ids], np.int64)
