"""Whole numbers that are codes, and categories that group a few items each.

In: a table of items and its columns. Out: the columns whose numbers have no meaning in their size, and those of small groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from jaxtyping import Int64

FEWEST, MOST = 2, 50
"""Items that share a code."""
MIN_SHARE = 0.5
"""Of the items with a value: so many are in groups of that size."""
MIN_GROUPS = 10
SAMPLE = 2000
"""Items compared with others."""
MIN_GAIN = 0.05
"""By which items of one value are more alike than random ones."""
NEAR_SHARE = 1 / 3
"""Of that gain: what items of neighbouring values have where the size of a number says nothing."""
WORD = re.compile(r"\w+")


def find_codes(table: pl.DataFrame, attributes: Sequence[str], text: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of whole numbers that group items as a code does.

    Items of one value are alike in the other columns, and items of the next value hardly more than random ones: a code. Items of close
    prices or years are alike: a quantity. Without text or another attribute nothing can be compared, and no column is a code.
    """
    candidates = [column for column in attributes if _is_whole(table[column]) and is_grouped(table[column])]
    return tuple(c for c in candidates if _is_code(table, c, [*text, *(a for a in attributes if a not in candidates)]))


def is_grouped(values: pl.Series) -> bool:
    """Return whether most items with a value share it with 1 to 49 others."""
    known = values.drop_nulls()
    sizes = known.value_counts()["count"]
    small = sizes.filter((sizes >= FEWEST) & (sizes <= MOST))
    return len(small) >= MIN_GROUPS and int(small.sum()) >= MIN_SHARE * len(known)


def is_category(values: pl.Series) -> bool:
    """Return whether a column holds one text value for each item."""
    return values.dtype in (pl.String, pl.Categorical, pl.Enum)


def as_categories(table: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Turn numbers into text, whole ones without a decimal point."""
    return table.with_columns(
        (pl.col(c).cast(pl.Int64) if _is_whole(table[c]) else pl.col(c)).cast(pl.String) for c in columns
    )


def _is_whole(values: pl.Series) -> bool:
    if values.dtype.is_integer():
        return True
    known = values.drop_nulls()
    return values.dtype.is_float() and len(known) > 0 and bool((known.is_finite() & (known == known.floor())).all())


def _is_code(table: pl.DataFrame, column: str, others: Sequence[str]) -> bool:
    known = table.filter(pl.col(column).is_not_null())
    values = known[column].cast(pl.Int64).to_numpy()
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(values)), values))
    starts = np.flatnonzero(np.diff(values[order], prepend=values.min() - 1))
    ends = np.append(starts[1:], len(order))
    sizes = ends - starts
    groups = np.flatnonzero((sizes >= FEWEST) & (sizes <= MOST))
    chosen = rng.permutation(groups)[:SAMPLE]
    first, twin = order[starts[chosen]], order[starts[chosen] + 1]
    near = order[np.where(ends[chosen] < len(order), ends[chosen] % len(order), starts[chosen] - 1)]
    content = _words(known, others)
    same, close, chance = (
        _alike(content, first, second) for second in (twin, near, rng.integers(0, len(order), len(first)))
    )
    return same - chance > MIN_GAIN and close - chance < NEAR_SHARE * (same - chance)


def _words(table: pl.DataFrame, columns: Sequence[str]) -> list[frozenset[str]]:
    """Return what each item has in some columns: words of texts, and other values as they are."""
    rows: list[set[str]] = [set() for _ in range(table.height)]
    for name in columns:
        for row, value in zip(rows, table[name].to_list(), strict=True):
            if isinstance(value, str):
                row.update(f"{name}:{word}" for word in WORD.findall(value.lower()))
            elif isinstance(value, list):
                row.update(f"{name}:{one}" for one in value)
            elif value is not None:
                row.add(f"{name}:{value}")
    return [frozenset(row) for row in rows]


def _alike(
    content: Sequence[frozenset[str]], first: Int64[np.ndarray, " pairs"], second: Int64[np.ndarray, " pairs"]
) -> float:
    """Return the mean Jaccard similarity of pairs."""
    pairs = ((content[a], content[b]) for a, b in zip(first.tolist(), second.tolist(), strict=True))
    return float(np.mean([len(a & b) / max(len(a | b), 1) for a, b in pairs]))
