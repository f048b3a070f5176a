"""The shape of a CSV file: what separates its cells, what its header names, and which rows are short.

In: UTF-8 bytes of a file, or the table read from them. Out: a separator, unique column names, numbers without decimal commas, and findings.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import polars as pl

from penchant.core.messages import message
from penchant.core.schema import MAX_EXAMPLES, Finding, make_findings

SEPARATORS = (",", ";", "\t", "|")
LOOKED_AT = 100
"""Rows that are looked at to find the separator."""
SAMPLE_BYTES = 500_000
REGULAR = 0.5
"""Share of these rows that must have as many cells as the header for the usual separator to stay."""
COMMA_NUMBER = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?$"
"""A number with a decimal comma, as files with semicolons have: 1.234,50."""


def find_separator(raw: bytes, usual: str, quote: str | None) -> str:
    """Return what separates the cells: `usual` where the first rows fit it, else the separator by which they are most regular."""
    sample = raw[:SAMPLE_BYTES].decode("utf-8", "replace")
    if len(raw) > SAMPLE_BYTES:
        sample = sample[: sample.rfind("\n") + 1]
    regular = {}
    for mark in dict.fromkeys((usual, *SEPARATORS)):
        widths = [len(cells) for cells in islice(_rows(sample, mark, quote), LOOKED_AT) if cells]
        if widths and widths[0] > 1:
            share = sum(width == widths[0] for width in widths[1:]) / max(len(widths) - 1, 1)
            regular[mark] = (share, widths[0])
    if usual in regular and regular[usual][0] >= REGULAR:
        return usual
    return max(regular, key=lambda mark: regular[mark], default=usual)


def header_names(raw: bytes, separator: str, quote: str | None, name: str) -> tuple[list[str], list[Finding]]:
    """Return unique names without outer spaces for the columns of a header, and a finding where it names a column twice.

    The first column of a name keeps it; the next is called `price (2)`, and one without a name `column 3`.
    """
    cells = [cell.strip() for cell in next(_rows(raw[:SAMPLE_BYTES].decode("utf-8", "replace"), separator, quote), [])]
    names: list[str] = []
    again: list[str] = []
    for place, cell in enumerate(cells, start=1):
        new, number = cell or f"column {place}", 1
        while new in names:
            number += 1
            new = f"{cell} ({number})"
        if number > 1:
            again.append(message("{table} line 1, column {place}: {column}", table=name, place=place, column=new))
        names.append(new)
    return names, make_findings(
        "files.duplicate_header",
        len(again),
        len(cells),
        "repaired",
        examples=again,
        advice=message("the header names a column twice; the second one was given a new name: give each its own"),
        severity="warning",
    )


def short_rows(raw: bytes, table: pl.DataFrame, separator: str, quote: str | None, name: str) -> list[Finding]:
    """Return a finding about rows with fewer cells than the header, by line; the missing cells were read as empty."""
    if table.width < 2 or not table[table.columns[-1]].null_count():
        return []  # a short row leaves its last cell empty
    count = 0
    examples: list[str] = []
    lines = csv.reader(
        io.TextIOWrapper(io.BytesIO(raw), "utf-8", newline=""), delimiter=separator, quoting=_quoting(quote)
    )
    try:
        for cells in lines:
            if 0 < len(cells) < table.width:
                count += 1
                if len(examples) < MAX_EXAMPLES:
                    examples.append(
                        message(
                            "{table} line {line}: {cells} of {width} cells",
                            table=name,
                            line=lines.line_num,
                            cells=len(cells),
                            width=table.width,
                        )
                    )
    except csv.Error:  # a cell beyond the module's limit, or a NUL: Polars has read the file all the same
        pass
    return make_findings(
        "files.short_row",
        count,
        table.height,
        "kept",
        examples=examples,
        advice=message(
            "these rows have fewer cells than the header; the missing ones were read as empty: correct the lines"
        ),
        severity="warning",
    )


def without_decimal_commas(table: pl.DataFrame, name: str) -> tuple[pl.DataFrame, list[Finding]]:
    """Return the table with `1.234,50` written as `1234.50` in columns that hold such numbers alone, and a finding that names them."""
    columns = [column for column in table.columns if _has_decimal_commas(table[column])]
    numbers = (
        pl.col(c).str.strip_chars().str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
        for c in columns
    )
    return table.with_columns(numbers), make_findings(
        "files.decimal_comma",
        len(columns),
        table.width,
        "repaired",
        examples=(f"{name}: {column}" for column in columns),
        advice=message("the comma of these numbers was read as a decimal point"),
    )


def separator_finding(separator: str, name: str) -> Finding:
    """Return the finding that the cells of a file are separated by something else than its ending says."""
    shown = {"\t": message("tabs")}.get(separator, f"“{separator}”")
    return Finding(
        "files.separator", 1, 1, "kept", (name,), message("its cells are separated by {separator}", separator=shown)
    )


def _has_decimal_commas(values: pl.Series) -> bool:
    known = values.drop_nulls().str.strip_chars()
    return bool(known.head(LOOKED_AT).str.contains(COMMA_NUMBER).all()) and bool(
        known.str.contains(COMMA_NUMBER).all() and known.str.contains(",", literal=True).any()
    )


def _rows(text: str, separator: str, quote: str | None) -> Iterator[Sequence[str]]:
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=_quoting(quote))
    except csv.Error:  # a cell beyond the module's limit, or a NUL
        return


def _quoting(quote: str | None) -> Literal[0, 3]:
    return csv.QUOTE_NONE if quote is None else csv.QUOTE_MINIMAL
