"""What a store accepts: the same on every database.

In: a row for a table. Out: the row, every value of which every database stores as it is.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Float, Integer, LargeBinary, String, Table

from penchant.core.errors import DataError

MAX_KEY_BYTES = 2600
"""Bytes of all texts of one key together: PostgreSQL's index takes rows of at most a third of a page, 2,704 bytes with their own overhead."""
MAX_TEXT = 200_000_000
"""Characters of a column without a length of its own; PostgreSQL holds 1 GB, of at most four bytes a character."""


def checked(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row that every database stores as it is.

    SQLite keeps text of any length and turns NaN into NULL, PostgreSQL refuses both and a NUL; neither decides what is accepted.

    Raises:
        DataError: A value does not fit its column.
    """
    for name, (kind, least, most) in _limits(table).items():
        value = row.get(name)
        if value is None:
            continue
        if kind is str:
            fits = least <= len(value) <= most and "\x00" not in value and (value.isascii() or _is_encodable(value))
            rule = f"at most {most:,} characters, no NUL, no lone surrogate"
        elif kind is float:
            fits, rule = math.isfinite(value), "a finite number"
        else:
            fits, rule = least <= value <= most, f"a whole number from {least:,} to {most:,}"
        if not fits:
            raise DataError("A value cannot be stored.", where=f"{table.name}.{name}", fix=f"send {rule}")
    for names in _keys(table):
        key = [row.get(name) or "" for name in names]
        if 4 * sum(map(len, key)) > MAX_KEY_BYTES and sum(len(part.encode()) for part in key) > MAX_KEY_BYTES:
            raise DataError(
                "A key cannot be stored.",
                where=f"{table.name}: {', '.join(names)}",
                fix=f"send shorter texts: together at most {MAX_KEY_BYTES:,} bytes of UTF-8",
            )
    return row


@cache
def _keys(table: Table) -> list[list[str]]:
    """Return the text columns of each unique key."""
    keys = [list(table.primary_key.columns), *(list(index.columns) for index in table.indexes if index.unique)]
    return [[column.name for column in key if isinstance(column.type, String)] for key in keys]


@cache
def _limits(table: Table) -> dict[str, tuple[type, int, int]]:
    """Return the type of each column with the least and the largest value, or length of a text."""
    limits: dict[str, tuple[type, int, int]] = {}
    for column in table.columns:
        kind = column.type
        if isinstance(kind, String):
            limits[column.name] = (str, 0, kind.length or MAX_TEXT)
        elif isinstance(kind, Float):
            limits[column.name] = (float, 0, 0)
        elif isinstance(kind, Integer):
            bits = 63 if isinstance(kind, BigInteger) else 31
            limits[column.name] = (int, -(2**bits), 2**bits - 1)
        else:
            assert isinstance(kind, LargeBinary)
    return limits


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
