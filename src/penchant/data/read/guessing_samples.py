"""Guess what labelled data a folder or a table holds.

In: a folder, or one table. Out: a `SamplesGuess`, from which `labelled_settings` writes the settings of a first run; None without labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Samples
from penchant.data.read.columns import PART_NAMES
from penchant.data.read.folders import read_class_folders
from penchant.data.read.guessing import as_text, few_values_first, folder_of_media
from penchant.data.read.known_names import named_like
from penchant.data.read.labels import MANY_CLASSES, MAX_SHARE_OF_CLASSES
from penchant.data.read.samples import SamplesConfig, published_parts, read_parts_of, read_samples
from penchant.data.read.tables import SUFFIXES, RawTable, read_table


@dataclass(frozen=True)
class SamplesGuess:
    """What labelled data is taken for.

    Attributes:
        config: What was recognised, as the settings say it; `path` is the table, or the folder.
        samples: Read with these settings.
        unused: Columns that nothing reads unless they are named, those of few values first.
        missing_media: Columns of media whose files were not found.
    """

    config: SamplesConfig
    samples: Samples
    unused: tuple[str, ...] = ()
    missing_media: tuple[str, ...] = ()


def guess_samples(data: Path) -> SamplesGuess | None:
    """Return what labelled data a path holds; None where no table has a column of labels and no folders are classes.

    Raises:
        DataError: A table cannot be read, or what has labels has nothing to learn them from.
    """
    found = _labelled_table(data)
    if found is None:
        return _class_folders(data)
    path, raw = found
    columns = _columns(raw)
    config = SamplesConfig(path=path, columns={ours: theirs for ours, theirs in columns.items() if ours != theirs})
    samples = read_samples(config)
    folder = path if path.is_dir() else path.parent
    home, missing = folder_of_media(folder, samples.table.select(samples.media_columns.values()))
    if home:
        config = config.model_copy(update={"media_folder": home})
        samples = read_samples(config)
    used = {*columns.values(), *samples.text_columns, *samples.media_columns.values(), *samples.attribute_columns}
    unused = few_values_first(raw.table, (c for c in raw.table.columns if c not in used))
    return SamplesGuess(config, samples, tuple(unused), missing)


def _labelled_table(data: Path) -> tuple[Path, RawTable] | None:
    """Return the path that settings name, and the table with labels behind it: a published split, or the table with the most labels."""
    if data.is_dir() and (parts := published_parts(data)):
        raw = as_text(read_parts_of(parts))
        return (data, raw) if _label(raw) is not None else None
    files = [data] if data.is_file() else sorted(p for p in data.iterdir() if p.name.lower().endswith(SUFFIXES))
    tables = {file: as_text(read_table(file)) for file in files}
    labelled = {
        file: raw.table.height - raw.table[label].null_count()
        for file, raw in tables.items()
        if (label := _label(raw)) is not None
    }
    if not labelled:
        return None
    file = max(labelled, key=lambda one: labelled[one])
    return file, tables[file]


def _class_folders(data: Path) -> SamplesGuess | None:
    if not data.is_dir() or any(p.name.lower().endswith(SUFFIXES) for p in data.iterdir()):
        return None
    try:
        read_class_folders(data)
    except DataError:
        return None
    config = SamplesConfig(path=data)
    return SamplesGuess(config, read_samples(config))


def _label(raw: RawTable) -> str | None:
    """Return the column with a name of labels that repeats few values."""
    for column in named_like("label", raw.table.columns):
        known = raw.table[column].drop_nulls()
        classes = known.n_unique()
        if classes > 1 and (classes <= MANY_CLASSES or classes <= MAX_SHARE_OF_CLASSES * len(known)):
            return column
    return None


def _spelled(values: pl.Series) -> set[str]:
    return {str(value).strip().lower() for value in values.drop_nulls().unique()}


def _columns(raw: RawTable) -> Mapping[str, str]:
    """Return the columns by standard name: the label, and ids, groups and parts where their values can be ones."""
    columns = {"label": str(_label(raw))}
    for standard in ("sample_id", "group", "part"):
        for column in named_like(standard, (c for c in raw.table.columns if c not in columns.values())):
            values = raw.table[column]
            fits = {
                "sample_id": values.null_count() == 0 and values.n_unique() == raw.table.height,
                "group": values.n_unique() < raw.table.height,
                "part": len(parts := _spelled(values)) > 1 and parts <= set(PART_NAMES),
            }
            if fits[standard]:
                columns[standard] = column
                break
    return columns
