"""Read labelled samples: a table, a table with media, or one folder per class.

In: a path and what its columns mean, or a known layout. Out: `Samples`, not yet cleaned, with findings about labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, Samples, make_findings
from penchant.data import LABELLED
from penchant.data.align.streams import AlignConfig
from penchant.data.align.timeline import align_streams
from penchant.data.media.limits import MEDIA_ENDINGS
from penchant.data.read.column_types import as_attributes, infer_column_types
from penchant.data.read.columns import PART_NAMES, read_ids, read_parts, rename, require
from penchant.data.read.folders import read_class_folders
from penchant.data.read.labels import check_classes, read_labels
from penchant.data.read.tables import RawTable, as_raw, find_file, read_table
from penchant.data.read.windows import WINDOW_START, divided

SAMPLE_FILES = ("samples", "data", "dataset", "labels")
STANDARD = ("sample_id", "label", "group", "part", WINDOW_START)
"""Columns that are never content."""


class SamplesConfig(Settings):
    """Where labelled data is and what its columns mean."""

    format: str = "files"
    """"files" for your own table or folder, or a known layout: mm_sentiment, zh_sentiment, cold, davidson, memes, depresjon, cough."""
    path: Path = Path()
    """The table (CSV, Parquet, JSON lines), or a folder: of samples.*, data.*, train.* and test.*, or of one folder for each class."""
    columns: dict[str, str] = {}
    """Standard names of the columns to those of the file: sample_id, label, group, part. Without sample_id, rows are numbered."""
    labels: dict[str, str] = {}
    """Values of the label column to the classes they mean, for example "1" = "happy"; values not named stay as they are."""
    text: list[str] | None = None
    """Text columns; None takes those with long texts."""
    media: dict[str, str] | None = None
    """Modality (image, audio, video, mesh, signal) to the column with a path below `media_folder`; None infers it from file endings."""
    media_folder: str = ""
    """Folder of media, below `path`."""
    attributes: list[str] = []
    """Columns with categories or numbers to learn from; none unless named, since a column may reveal the label."""
    align: AlignConfig | None = None
    """Streams of different clocks and rates (tables, sounds, videos) below `path`, brought onto one time axis; each step becomes a row, and the
    other settings name its columns. None reads `path` as it is."""
    signals: str | None = None
    """One table below `path` with every sample's readings: a column with the sample's id, one with times, one for each channel."""
    window_hours: float | None = Field(None, gt=0)
    """Divide the readings of `signals` into windows of so many hours, each a sample with the label of the whole, so that there is a course over
    time; 24 gives days. The windows of one signal stay together in every split. None takes each signal as a whole."""
    window_min_share: float = Field(0.75, gt=0, le=1)
    """Readings that a window needs, as a share of those at the signal's usual step."""


def read_samples(config: SamplesConfig) -> Samples:
    """Return labelled data, not yet cleaned.

    Raises:
        ConfigError: The format is unknown.
        DataError: A file or column is missing, or the labels cannot be learned from.
    """
    if not config.path.exists():
        raise DataError(
            f"There is no file or folder {config.path.name!r}.", where=str(config.path), fix="correct [data] path"
        )
    samples: Samples = LABELLED.load(config.format)(config)
    return samples


def read_sample_files(config: SamplesConfig) -> Samples:
    """Read your own table, or a folder that holds one."""
    if config.align is not None:
        found = align_streams(config.align, config.path, config.media_folder)
        return assemble_samples(config, RawTable(found.table, "data.align", findings=found.findings))
    if config.path.is_file():
        config, path = config.model_copy(update={"path": config.path.parent}), config.path
        return assemble_samples(config, read_table(path))
    single = find_file(config.path, SAMPLE_FILES)
    if single is not None:
        return assemble_samples(config, read_table(single))
    parts = published_parts(config.path)
    if parts:
        return assemble_samples(config, read_parts_of(parts))
    raw = read_class_folders(config.path)
    media = {modality: modality for modality in MEDIA_ENDINGS if modality in raw.table.columns}
    text = ["text"] if "text" in raw.table.columns else []
    return assemble_samples(config.model_copy(update={"media": media, "text": text}), raw)


def samples_from(table: Any, config: SamplesConfig | None = None) -> Samples:
    """Return samples from a pandas, Polars or Arrow table, with the same settings as files.

    Raises:
        DataError: As for files.
    """
    return assemble_samples(config or SamplesConfig(), as_raw(table, "samples"))


def published_parts(folder: Path) -> dict[str, Path]:
    """Return the tables of a published split (train.csv, test.csv) by part; none where the folder has no such split."""
    return {part: file for part in ("train", "validation", "test") if (file := _part_file(folder, part))}


def read_parts_of(files: Mapping[str, Path]) -> RawTable:
    """Return the tables of a published split as one; the file decides the part, and a column of parts is ignored."""
    raws = {part: read_table(path) for part, path in files.items()}
    tables = [raw.table.with_columns(part=pl.lit(part)) for part, raw in raws.items()]
    findings = tuple(finding for raw in raws.values() for finding in raw.findings)
    name = " + ".join(raw.name for raw in raws.values())
    return RawTable(pl.concat(tables, how="diagonal_relaxed"), name, findings=findings)


def assemble_samples(config: SamplesConfig, raw: RawTable) -> Samples:
    """Check a raw table and bind it to `Samples`; every converter ends here.

    Raises:
        DataError: There is no label column, nothing to learn from, or only one class.
    """
    raw = rename(raw, config.columns, ("label",), "data.columns")
    for setting, columns in (("text", config.text or ()), ("media", (config.media or {}).values())):
        for column in columns:
            require(raw, column, f"[data] {setting}")
    for column in config.attributes:
        require(raw, column, "[data] attributes")
    label, findings = read_labels(raw, config.labels)
    named, notes = _keys(raw)
    table = raw.table.with_columns(named).with_columns(label=label)
    if config.signals is not None:
        table = table.with_columns(signal=pl.format("{}#{}", pl.lit(config.signals), "sample_id"))
    known, more = _known(raw, table)
    if config.window_hours is not None:
        if config.signals is None:
            raise DataError(
                "Windows are taken of the readings in one table, and there is none.",
                where="[data] window_hours",
                fix='name it: signals = "readings.csv"',
            )
        known, sparse = divided(known, config.path, config.signals, config.window_hours, config.window_min_share)
        more = [*more, *sparse]
    classes, about_classes = check_classes(known["label"], raw.name)
    return _bind(config, raw, known, classes, (*raw.findings, *findings, *notes, *more, *about_classes))


def _bind(
    config: SamplesConfig,
    raw: RawTable,
    table: pl.DataFrame,
    classes: tuple[str, ...],
    findings: tuple[Finding, ...],
) -> Samples:
    """Assign content columns to their types; those not named are inferred."""
    media = config.media
    if config.signals is not None:
        media = {**(media or {}), "signal": "signal"}
    root = config.path / config.media_folder
    content = table.drop(STANDARD, strict=False)
    roles = infer_column_types(content, config.text, media, config.attributes, None, root)
    if not (roles.text or roles.media or roles.attributes):
        raise DataError(
            "No column holds text, media or attributes to learn from.",
            where=raw.name,
            fix='name one: [data] text = ["..."], or [data.media] image = "..."',
        )
    table = as_attributes(table, [name for name in roles.attributes if name not in roles.text])
    first = [name for name in STANDARD if name in table.columns]
    table = table.select(*first, pl.exclude(first))
    named = tuple(replace(finding, check=finding.check.replace("items.", "samples.")) for finding in roles.findings)
    return Samples(table, classes, roles.text, roles.media, roles.attributes, root, (*findings, *named))


def _keys(raw: RawTable) -> tuple[list[pl.Series], list[Finding]]:
    """Read ids, groups and parts, which are then `str`; rows without an id are numbered."""
    columns: list[pl.Series] = []
    findings: list[Finding] = []
    if "sample_id" not in raw.table.columns:
        numbers = pl.Series("sample_id", range(raw.first_row, raw.first_row + raw.table.height))
        columns.append(numbers.cast(pl.String))
    for name in ("sample_id", "group"):
        if name in raw.table.columns:
            ids, notes = read_ids(raw, name)
            columns.append(ids.alias(name))
            findings += notes
    if "part" in raw.table.columns:
        columns.append(read_parts(raw, "part").alias("part"))
    return columns, findings


def _known(raw: RawTable, table: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Leave out rows without an id or a label, and all but the first of one id."""
    findings: list[Finding] = []
    checks = {
        "labels.missing": (
            pl.col("label").is_null(),
            message("rows without a label are used neither for training nor for testing"),
        ),
        "ids.missing": (pl.col("sample_id").is_null(), message("every row needs an id")),
        "samples.duplicate": (
            pl.col("sample_id").is_not_null() & ~pl.col("sample_id").is_first_distinct(),
            message("keep one row for each {key}; the first was taken", key="sample_id"),
        ),
    }
    dropped = table.select(**{check: condition for check, (condition, _) in checks.items()})
    for check, (_, advice) in checks.items():
        rows = dropped[check].arg_true()
        places = (raw.place(row, "label" if check == "labels.missing" else "sample_id") for row in rows.head(5))
        findings += make_findings(
            check, len(rows), table.height, "dropped", examples=places, advice=advice, severity="warning"
        )
    return table.filter(~dropped.select(pl.any_horizontal(pl.all())).to_series()), findings


def _part_file(folder: Path, part: str) -> Path | None:
    return find_file(folder, tuple(name for name, means in PART_NAMES.items() if means == part))
