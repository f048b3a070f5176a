"""Texts in the write-ahead log of an SQLite file.

In: the path of the log. Out: every text value of every row in its pages, of transactions that are long done too: what a search of the disk would
find there. Format: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

HEADER, FRAME_HEADER = 32, 24
TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR = 13, 10, 2


def texts_in_log(path: Path) -> set[str]:
    """Return the text values of the rows in a write-ahead log; none where there is no log, or an empty one."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return set()
    if len(raw) < HEADER:
        return set()
    size = int.from_bytes(raw[8:12], "big")
    if size < 512:
        return set()
    starts = range(HEADER + FRAME_HEADER, len(raw) - size + 1, size + FRAME_HEADER)
    return {text for start in starts for text in _texts(raw[start : start + size])}


def _texts(page: bytes) -> Iterator[str]:
    """Yield the text values of a page of the b-tree; a text that continues on another page is left out."""
    start = 100 if page.startswith(b"SQLite format 3\0") else 0
    kind = page[start]
    if kind not in (TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR):
        return
    first = start + (12 if kind == INDEX_INTERIOR else 8)
    for n in range(int.from_bytes(page[start + 3 : start + 5], "big")):
        place = int.from_bytes(page[first + 2 * n : first + 2 * n + 2], "big")
        place += 4 if kind == INDEX_INTERIOR else 0  # the number of a child page
        try:
            _, place = _varint(page, place)  # bytes of the record
            if kind == TABLE_LEAF:
                _, place = _varint(page, place)  # row number
            yield from _record(page, place)
        except IndexError:  # the header of the record continues on another page
            continue


def _record(page: bytes, start: int) -> Iterator[str]:
    size, place = _varint(page, start)
    value = start + size
    while place < start + size:
        kind, place = _varint(page, place)
        length = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind] if kind < 12 else (kind - 12) // 2
        if kind >= 13 and kind % 2 and value + length <= len(page):
            yield page[value : value + length].decode("utf-8", "replace")
        value += length


def _varint(page: bytes, place: int) -> tuple[int, int]:
    """Return the number at a place, of 1 to 9 bytes, and the place after it."""
    number = 0
    for n in range(8):
        byte = page[place + n]
        number = number << 7 | byte & 127
        if byte < 128:
            return number, place + n + 1
    return number << 8 | page[place + 8], place + 9
