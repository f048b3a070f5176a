"""Media files that cannot be read, with the reason.

In: content. Out: for each row the error of each modality whose file is unreadable, so that a prediction can name it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from penchant.classifiers.classifier import ContentBatch
from penchant.core.errors import MediaError
from penchant.core.schema import Catalog, Finding
from penchant.data.clean.inspection import InspectionConfig
from penchant.data.media import MediaLimits
from penchant.encoders.content import WORKERS, RawContent, find_content

Unread = dict[str, MediaError]
"""Modality to the error of its file, of one row."""
GIVEN = "the content given"
EMPTY = InspectionConfig()
"""What is blank or silent, as in the inspection of files before training."""
BLANK_SIDE = 64


def none_unread(count: int) -> list[Unread]:
    """Return as many rows in which everything could be read."""
    return [{} for _ in range(count)]


def both(one: Sequence[Unread], other: Sequence[Unread]) -> list[Unread]:
    """Return the errors of both."""
    return [{**a, **b} for a, b in zip(one, other, strict=True)]


def watched(content: RawContent) -> tuple[RawContent, Mapping[int, MediaError]]:
    """Return the same content, and a table that collects the errors of the rows loaded from it."""
    errors: dict[int, MediaError] = {}

    def load(row: int) -> Any:
        try:
            return _not_empty(content.load(row), content.place(row))
        except MediaError as error:
            errors[row] = error
            raise

    return replace(content, load=load), errors


def _not_empty(raw: Any, place: str) -> Any:
    """Return a picture or a sound, unless it is blank or silent: such files are missing in training too.

    Raises:
        MediaError: It is blank or silent.
    """
    if isinstance(raw, Image.Image):
        small = raw.copy()
        small.thumbnail((BLANK_SIDE, BLANK_SIDE))
        is_empty, what = (
            float(np.asarray(small.convert("RGB")).std(axis=(0, 1)).max()) < EMPTY.blank_deviation,
            "picture shows a single colour",
        )
    elif isinstance(raw, np.ndarray) and raw.ndim == 1:
        power = float(np.square(raw, dtype=np.float64).mean()) if len(raw) else 0.0
        is_empty, what = 10 * np.log10(max(power, 1e-20)) < EMPTY.silence_loudness, "sound is silent"
    else:
        return raw
    if is_empty:
        raise MediaError(f"The {what}.", where=place, fix="give another file; until then it counts as missing")
    return raw


def refused(content: RawContent, row: int, channel: str, failures: Sequence[str]) -> MediaError:
    """Return the error of a file that can be opened but not encoded."""
    place = content.place(row)
    reason = next((text.removeprefix(f"{place}: ") for text in failures if text.startswith(f"{place}: ")), "no reason")
    return MediaError(
        f"The encoder of {channel!r} cannot encode this file: {reason}.",
        where=place,
        fix="convert it to a common format; until then it counts as missing",
    )


def without_unreadable(batch: ContentBatch, modalities: Collection[str]) -> tuple[ContentBatch, list[Unread]]:
    """Return a batch in which unreadable files are missing, and their errors.

    Args:
        batch: Content.
        modalities: Of the files to try, each of which is opened once more: those that a network reads itself, where a file
            counts as present until it is opened.
    """
    table, unread = batch.catalog.table, none_unread(len(batch))
    for modality in sorted(set(modalities) & set(batch.catalog.media_columns)):
        content = find_content(batch.catalog, [], modality, batch.limits, where=GIVEN)
        errors = _tried(content, range(len(batch)))
        for row, error in errors.items():
            unread[row][modality] = error
        cell = pl.col(batch.catalog.media_columns[modality])
        table = table.with_columns(pl.when(pl.Series([row not in errors for row in range(len(batch))])).then(cell))
    return replace(batch, catalog=replace(batch.catalog, table=table)), unread


def why_wordless(
    files: Catalog, modality: str, words: Sequence[str | None], findings: Sequence[Finding], limits: MediaLimits
) -> list[Unread]:
    """Return the errors of files without text; a silent sound and a picture without print are no error.

    Args:
        files: Sounds that were transcribed, or pictures that were read.
        modality: "audio" or "image".
        words: (rows,) the text of each.
        findings: Of the reading; unless a file failed, none is opened again.
        limits: Of media files.
    """
    unread = none_unread(len(files))
    if any(finding.check.endswith(".failed") for finding in findings):
        content = find_content(files, [], modality, limits, where=GIVEN)
        for row, error in _tried(content, (row for row, text in enumerate(words) if not text)).items():
            unread[row][modality] = error
    return unread


def _tried(content: RawContent, rows: Iterable[int]) -> dict[int, MediaError]:
    """Open files, and return the errors of unreadable ones."""

    def error_of(row: int) -> tuple[int, MediaError | None]:
        try:
            _not_empty(content.load(row), content.place(row))
        except MediaError as error:
            return row, error
        return row, None

    given = [row for row in rows if content.keys[row] is not None]
    with ThreadPoolExecutor(WORKERS) as pool:
        return {row: error for row, error in pool.map(error_of, given) if error is not None}
