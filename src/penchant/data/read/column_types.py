"""Infer the type of each column: text, media or attribute.

In: a table of items and the columns named in the settings. Out: its text, media and attribute columns, and a `Finding` about guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from penchant.core.errors import MediaError
from penchant.core.messages import message
from penchant.core.schema import Finding, make_findings
from penchant.data.media.limits import MEDIA_ENDINGS, resolve
from penchant.data.media.signals import split_key

LONG_TEXT = 25
"""Bytes. A column with longer texts on average is text; eight Chinese characters hold as much as 25 Latin letters."""
FEW_ROWS = 20
"""In a smaller table most categories occur once."""
LOOKED_AT = 100
"""Values of a column that are looked at to see whether they are files."""
SIGNAL_NAMES = ("signal", "signals")
"""A column of such a name may hold files of signals."""


@dataclass(frozen=True)
class ColumnTypes:
    """Columns by type; a column may have no type."""

    text: tuple[str, ...] = ()
    media: dict[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def infer_column_types(
    table: pl.DataFrame,
    text: Sequence[str] | None,
    media: dict[str, str] | None,
    attributes: Sequence[str] | None,
    title: str | None,
    root: Path | None = None,
) -> ColumnTypes:
    """Return the given column types, and inferred ones where None.

    Args:
        table: Items or samples.
        text: Columns of text.
        media: Modality to column.
        attributes: Columns of categories and numbers.
        title: Column of titles.
        root: Folder of media: of several columns of one modality, the one with most files there is taken; None takes the first.
    """
    files = _media_columns(table)
    pictures = dict(media) if media is not None else {m: _with_most_files(table, c, root) for m, c in files.items()}
    paths = {column for columns in files.values() for column in columns} if media is None else set()
    named = {"item_id", *pictures.values(), *paths, *(text or ()), *(attributes or ())}
    free = [column for column in table.columns if column not in named]
    words = tuple(text) if text is not None else tuple(c for c in free if c == title or _is_long_text(table[c]))
    rest = [column for column in free if column not in words and column != title]
    unused = [column for column in paths if column not in {*pictures.values(), *(text or ()), *(attributes or ())}]
    categories = tuple(attributes) if attributes is not None else tuple(c for c in rest if _is_attribute(table[c]))
    places = () if media is not None else (f"{column} ({modality})" for modality, column in pictures.items())
    guesses = (
        message("text: {columns}", columns=", ".join(words) if text is None else ""),
        message("media: {columns}", columns=", ".join(places)),
        message("attributes: {columns}", columns=", ".join(categories) if attributes is None else ""),
        message("not used: {columns}", columns=", ".join([*(c for c in rest if c not in categories), *sorted(unused)])),
    )
    named_guesses = tuple(guess for guess in guesses if guess.values["columns"])
    advice = message(
        "types of these columns were inferred from their values; to set them, name them in [data] text, media and attributes"
    )
    findings = make_findings(
        "items.roles", len(named_guesses), len(table.columns), "kept", examples=named_guesses, advice=advice
    )
    return ColumnTypes(words, pictures, categories, tuple(findings))


def as_attributes(table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Turn text that holds numbers alone into numbers; codes with leading zeros stay text."""
    return table.with_columns(_number(table[column]) for column in columns if table[column].dtype == pl.String)


def split_lists(table: pl.DataFrame, separators: dict[str, str]) -> pl.DataFrame:
    """Turn "Action|Comedy" into a list; an empty cell is null, a column of lists stays as it is."""
    for column, separator in separators.items():
        if isinstance(table[column].dtype, pl.List):
            continue
        parts = pl.col(column).cast(pl.String).str.split(separator).list.eval(pl.element().str.strip_chars())
        parts = parts.list.eval(pl.element().filter(pl.element() != ""))
        table = table.with_columns(pl.when(parts.list.len() > 0).then(parts).alias(column))
    return table


def _number(values: pl.Series) -> pl.Series:
    text = values.str.strip_chars()
    padded = text.str.contains(r"^-?0\d").any()
    for dtype in (pl.Int64, pl.Float64):
        number = text.cast(dtype, strict=False)
        if not padded and number.count() and number.null_count() == (text.is_null() | (text == "")).sum():
            return number.alias(values.name)
    return values


def _media_columns(table: pl.DataFrame) -> dict[str, list[str]]:
    """Return, for each modality, the columns whose values end like its files; web addresses are not fetched and so are no media.

    Files of signals end like any table, so a column of them is inferred only where it is called `signal`.
    """
    columns: dict[str, list[str]] = {}
    for column in table.columns:
        if table[column].dtype != pl.String:
            continue
        first = table[column].drop_nulls().head(LOOKED_AT).str.to_lowercase()
        for modality, endings in MEDIA_ENDINGS.items():
            if modality == "signal" and column.strip().lower() not in SIGNAL_NAMES:
                continue
            files = first.str.replace(r"#[^#]*$", "") if modality == "signal" else first  # file.csv#key
            matches = sum(int(files.str.ends_with(ending).sum()) for ending in endings)
            if matches > 0.8 * len(first) and not first.str.contains("://", literal=True).any():
                columns.setdefault(modality, []).append(column)
    return columns


def _with_most_files(table: pl.DataFrame, columns: Sequence[str], root: Path | None) -> str:
    """Return the column most of whose first values are files below the folder; of equals, the first."""
    if root is None or len(columns) == 1:
        return columns[0]

    def exists(relative: str) -> bool:
        try:
            return resolve(root, split_key(relative)[0]).is_file()
        except MediaError:
            return False

    return max(columns, key=lambda column: sum(map(exists, table[column].drop_nulls().head(LOOKED_AT))))


def _is_long_text(values: pl.Series) -> bool:
    known = values.drop_nulls()
    if values.dtype != pl.String or len(known) == 0:
        return False
    mean = known.str.len_bytes().mean()
    address = known.head(100).str.contains(r"^\w+://\S+$").all()
    return isinstance(mean, float) and mean > LONG_TEXT and known.n_unique() > len(known) / 4 and not address


def _is_attribute(values: pl.Series) -> bool:
    """Return whether a column is numbers, lists, flags, or text whose values repeat."""
    if values.dtype.is_numeric() or values.dtype == pl.Boolean:
        return True
    if isinstance(values.dtype, pl.List):
        return values.dtype.inner == pl.String
    known = values.drop_nulls()
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum) or len(known) == 0:
        return False
    numbers = _number(known.cast(pl.String)).dtype.is_numeric()
    return numbers or len(known) <= FEW_ROWS or known.n_unique() <= 0.9 * len(known)
