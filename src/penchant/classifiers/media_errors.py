"""Media files that cannot be read, with the reason.

In: content and who tried to read it. Out: for each row the error of each modality whose file is no good, so that an answer can name it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import polars as pl

from penchant.classifiers.classifier import ContentBatch
from penchant.core.errors import MediaError
from penchant.core.schema import Catalog, Finding
from penchant.data.media import MediaLimits
from penchant.encoders.content import WORKERS, RawContent, find_content

Unread = dict[str, MediaError]
"""Modality to why its file could not be read, of one row."""
GIVEN = "the content given"


def none_unread(count: int) -> list[Unread]:
    """Return as many rows in which everything could be read."""
    return [{} for _ in range(count)]


def both(one: Sequence[Unread], other: Sequence[Unread]) -> list[Unread]:
    """Return what could not be read by either."""
    return [{**a, **b} for a, b in zip(one, other, strict=True)]


def watched(content: RawContent) -> tuple[RawContent, Mapping[int, MediaError]]:
    """Return the same content, and a table that fills with the errors of the rows that are loaded from it."""
    errors: dict[int, MediaError] = {}

    def load(row: int) -> Any:
        try:
            return content.load(row)
        except MediaError as error:
            errors[row] = error
            raise

    return replace(content, load=load), errors


def refused(content: RawContent, row: int, channel: str, failures: Sequence[str]) -> MediaError:
    """Return the error of a file that can be opened, and that the encoder of a channel can do nothing with."""
    place = content.place(row)
    reason = next((said.removeprefix(f"{place}: ") for said in failures if said.startswith(f"{place}: ")), "no reason")
    return MediaError(
        f"The encoder of {channel!r} can do nothing with this file: {reason}.",
        where=place,
        fix="convert it to a common format; until then it counts as missing",
    )


def without_unreadable(view: ContentBatch, modalities: Collection[str]) -> tuple[ContentBatch, list[Unread]]:
    """Return a view in which files that cannot be opened are missing, and why they are.

    Args:
        view: Content.
        modalities: Of the files tried, each of which is opened once more for it: those that a network reads by itself, where a file
            counts as there until it is opened.
    """
    table, unread = view.catalog.table, none_unread(len(view))
    for modality in sorted(set(modalities) & set(view.catalog.media_columns)):
        content = find_content(view.catalog, [], modality, view.limits, where=GIVEN)
        errors = _tried(content, range(len(view)))
        for row, error in errors.items():
            unread[row][modality] = error
        cell = pl.col(view.catalog.media_columns[modality])
        table = table.with_columns(pl.when(pl.Series([row not in errors for row in range(len(view))])).then(cell))
    return replace(view, catalog=replace(view.catalog, table=table)), unread


def why_wordless(
    files: Catalog, modality: str, words: Sequence[str | None], findings: Sequence[Finding], limits: MediaLimits
) -> list[Unread]:
    """Return why no words came of files: a silent sound and a picture without print are no error.

    Args:
        files: Sounds that were listened to, or pictures that were read.
        modality: Which of the two.
        words: (rows,) what came of them.
        findings: What was noticed; unless a file failed, none is opened again.
        limits: Of media files.
    """
    unread = none_unread(len(files))
    if any(finding.check.endswith(".failed") for finding in findings):
        content = find_content(files, [], modality, limits, where=GIVEN)
        for row, error in _tried(content, (row for row, said in enumerate(words) if not said)).items():
            unread[row][modality] = error
    return unread


def _tried(content: RawContent, rows: Iterable[int]) -> dict[int, MediaError]:
    """Open files, and return the errors of those that cannot be."""

    def error_of(row: int) -> tuple[int, MediaError | None]:
        try:
            content.load(row)
        except MediaError as error:
            return row, error
        return row, None

    given = [row for row in rows if content.keys[row] is not None]
    with ThreadPoolExecutor(WORKERS) as pool:
        return {row: error for row, error in pool.map(error_of, given) if error is not None}
