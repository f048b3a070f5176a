"""Normalise labels.

In: a column of labels. Out: class names, and findings about repaired, misspelled and rare labels.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from penchant.core.errors import DataError, nearest
from penchant.core.messages import message
from penchant.core.schema import Finding, make_findings
from penchant.data.read.columns import read_ids
from penchant.data.read.tables import RawTable

MAX_SHARE_OF_CLASSES = 0.5
"""Where more than this share of the rows has a label of its own, and there are over `MANY_CLASSES`, the column is refused as no column of classes."""
MANY_CLASSES = 20
RARE = 3
"""A class with fewer samples cannot be in train, validation and test at once."""
TYPO_SHARE = 1 / 40
"""A class this much rarer than one with a similar name is likely a misspelling."""
TYPO_LIKENESS = 0.8


def read_labels(raw: RawTable, names: Mapping[str, str]) -> tuple[pl.Series, list[Finding]]:
    """Return each row's class, null where there is none.

    Spaces around a label, Unicode forms and upper case make no difference; the commonest spelling is kept.

    Args:
        raw: Holds a column `label`.
        names: Value to class; a value not named stays as it is.

    Raises:
        DataError: A value in `names` does not occur.
    """
    label, notes = read_ids(raw, "label")
    findings = [
        replace(note, check="labels.spelling", advice=message("spaces and Unicode forms were normalised"))
        for note in notes
    ]
    values = set(label.drop_nulls().unique().to_list())
    for value in names:
        if value not in values:
            raise DataError(
                f"No row has the label {value!r}, which [data.labels] names.",
                where=raw.name,
                fix=nearest(value, values),
            )
    label = label.replace(dict(names)) if names else label
    spelled, merged = _one_case(label)
    changed = spelled.ne_missing(label)
    findings += make_findings(
        "labels.case",
        int(changed.sum()),
        len(label),
        "repaired",
        examples=(message("{before} became {after}", before=repr(old), after=repr(new)) for old, new in merged),
        advice=message("labels that differ only by upper case are one class"),
    )
    return spelled.alias("label"), findings


def check_classes(label: pl.Series, name: str) -> tuple[tuple[str, ...], list[Finding]]:
    """Return the classes, sorted, and findings about them.

    Raises:
        DataError: No label, one class, or nearly as many as rows.
    """
    counts = dict(label.value_counts().sort("label").iter_rows())
    if len(counts) < 2:
        only = f"All {len(label):,} rows have the label {next(iter(counts))!r}" if counts else "No row has a label"
        raise DataError(
            f"{only}: there are no two classes to learn.",
            where=f"{name}, column label",
            fix="add samples of another class, or map the column that holds the classes: [data.columns] label",
        )
    if len(counts) > MANY_CLASSES and len(counts) > MAX_SHARE_OF_CLASSES * len(label):
        raise DataError(
            f"{len(label):,} rows have {len(counts):,} different labels: this is not a column of classes.",
            where=f"{name}, column label",
            fix="map the column that holds the classes: [data.columns] label",
        )
    rare = [value for value, count in counts.items() if count < RARE]
    findings = make_findings(
        "labels.rare",
        len(rare),
        len(counts),
        "kept",
        examples=(f"{value!r}: {counts[value]}" for value in rare),
        advice=message(
            "a class with fewer than {least} samples cannot be learned, chosen by and tested; add some, or rename it in [data.labels]",
            least=RARE,
        ),
        severity="warning",
    )
    return tuple(counts), findings + _typos(counts)


def _one_case(label: pl.Series) -> tuple[pl.Series, list[tuple[str, str]]]:
    """Give labels that differ by case alone the spelling that most rows have."""
    counts = label.drop_nulls().value_counts().sort("count", label.name, descending=[True, False])
    best: dict[str, str] = {}
    merged: list[tuple[str, str]] = []
    for value, _ in counts.iter_rows():
        kept = best.setdefault(value.casefold(), value)
        if kept != value:
            merged.append((value, kept))
    return (label.replace(dict(merged)) if merged else label), merged


def _typos(counts: Mapping[str, int]) -> list[Finding]:
    """Find rare classes whose name is nearly that of a common one; codes and short names are left alone."""
    pairs: list[tuple[str, str]] = []
    for value, count in counts.items():
        common = [other for other, number in counts.items() if count <= TYPO_SHARE * number]
        if len(value) < 4 or not value.isalpha():
            continue
        pairs += [(value, other) for other in difflib.get_close_matches(value, common, n=1, cutoff=TYPO_LIKENESS)]
    return make_findings(
        "labels.typo",
        sum(counts[value] for value, _ in pairs),
        sum(counts.values()),
        "kept",
        examples=(
            message(
                "{value} ({count}): if it means {other}, set {setting}",
                value=repr(value),
                count=counts[value],
                other=repr(other),
                setting=f'[data.labels] "{value}" = "{other}"',
            )
            for value, other in pairs
        ),
        advice=message("rare labels that look like a misspelled common one"),
        severity="warning",
    )
