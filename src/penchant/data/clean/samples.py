"""Clean labelled samples.

In: `Samples` as they were read. Out: the same with normalised texts, every file opened once, labels unchanged, and findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, Samples, make_findings
from penchant.data.clean.dataset import CleanConfig
from penchant.data.clean.inspection import Inspector, inspect_media
from penchant.data.clean.media_facts import PictureReader
from penchant.data.clean.missing_files import check_files, none_usable, without
from penchant.data.clean.texts import clean_text, normalise_categories
from penchant.data.media import MediaLimits

CONTENT_KEY = "content"


def clean_samples(
    samples: Samples,
    config: CleanConfig,
    limits: MediaLimits,
    *,
    cache: Path | None = None,
    pictures: PictureReader | None = None,
) -> Samples:
    """Return the samples without damage; one without usable content is dropped.

    Args:
        samples: As read.
        config: Cleaning settings.
        limits: Of media files.
        cache: Folder of the facts of inspected media files.
        pictures: Receives every decoded picture, so that it is decoded once.

    Raises:
        DataError: No sample has any content left, or no file of a modality can be used.
        MissingExtraError: There is sound, and the extra `audio` is not installed.
    """
    ids = samples.table["sample_id"]

    def owner(row: int) -> str:
        return message("sample {id}", id=ids[row])

    table, findings = clean_text(samples.table, samples.text_columns, owner)
    table = normalise_categories(
        table, [name for name in samples.attribute_columns if name not in samples.text_columns]
    )
    check_sample_files(samples)
    inspector = Inspector(limits, config.media, cache, pictures)
    before = table
    table, about_media = inspect_media(table, samples.media_columns, owner, samples.media_root, inspector)
    _check_usable(samples, before, table, about_media)
    findings += about_media
    cleaned = replace(samples, table=table)
    cleaned, dropped = _with_content(cleaned)
    return replace(cleaned, findings=(*samples.findings, *findings, *dropped, *_contradictions(cleaned)))


def check_sample_files(samples: Samples) -> None:
    """Refuse a column of media of which no file is there.

    Raises:
        DataError: With the column, the number of files and the folder.
    """
    for modality, column in samples.media_columns.items():
        if samples.media_root is not None and column in samples.table.columns:
            check_files(samples.table[column], modality, samples.media_root, without(column, samples.media_columns))


def _check_usable(samples: Samples, before: pl.DataFrame, after: pl.DataFrame, findings: Sequence[Finding]) -> None:
    """Refuse a modality none of whose files can be used: nothing could be learned from it.

    Raises:
        DataError: With the column, the number of files, the folder and the reasons.
    """
    for modality, column in samples.media_columns.items():
        if column not in before.columns or not before[column].count() or after[column].count():
            continue
        reasons = {
            f.check.split(".")[1]: f.count
            for f in findings
            if f.check.startswith(f"{modality}.") and f.action == "masked"
        }
        leave_out = without(column, samples.media_columns)
        raise none_usable(before[column], modality, samples.media_root, reasons, leave_out)


def content_keys(samples: Samples) -> pl.Series:
    """Return a key that is equal for samples with equal texts and media paths; null for samples without content."""
    columns = [*samples.text_columns, *(c for c in samples.media_columns.values() if c in samples.table.columns)]
    if not columns:
        return pl.repeat(None, len(samples), dtype=pl.String, eager=True).alias(CONTENT_KEY)
    cells = [pl.col(column).cast(pl.String).fill_null("") for column in columns]
    key = pl.concat_str(cells, separator="\x1f")
    empty = pl.all_horizontal(cell == "" for cell in cells)
    return samples.table.select(pl.when(~empty).then(key).alias(CONTENT_KEY)).to_series()


def _with_content(samples: Samples) -> tuple[Samples, list[Finding]]:
    """Drop samples without any content."""
    columns = samples.catalog().table.columns[1:]
    has_any = samples.table.select(pl.any_horizontal(pl.col(column).is_not_null() for column in columns)).to_series()
    ids = samples.table["sample_id"].filter(~has_any)
    findings = make_findings(
        "samples.empty",
        len(ids),
        len(samples),
        "dropped",
        examples=(message("sample {id}", id=key) for key in ids),
        advice=message("no text and no usable file: these samples have no content"),
        severity="warning",
    )
    if len(ids) == len(samples):
        raise DataError(
            f"None of {len(samples):,} samples has usable content.",
            where=", ".join(columns),
            fix="correct [data] path, media_folder and the columns' mapping",
        )
    return replace(samples, table=samples.table.filter(has_any)), findings


def _contradictions(samples: Samples) -> list[Finding]:
    """Count samples of equal content that have different labels."""
    table = samples.table.select("sample_id", "label").with_columns(content_keys(samples)).drop_nulls(CONTENT_KEY)
    conflicting = (
        table.group_by(CONTENT_KEY, maintain_order=True)
        .agg("sample_id", "label")
        .filter(pl.col("label").list.n_unique() > 1)
    )
    return make_findings(
        "labels.contradiction",
        int(conflicting["sample_id"].list.len().sum()),
        len(samples),
        "kept",
        examples=(
            message(
                "samples {ids} are equal but called {labels}",
                ids=", ".join(ids[:3]),
                labels=" and ".join(sorted(set(labels))),
            )
            for ids, labels in conflicting.select("sample_id", "label").iter_rows()
        ),
        advice=message("equal content with different labels bounds what any model can reach: check these labels"),
        severity="warning",
    )
