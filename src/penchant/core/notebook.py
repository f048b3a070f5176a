"""Tables for notebooks.

In: a caption and rows of values. Out: an HTML table for `_repr_html_`, all text escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table_html(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; a value is shown as `str` gives it."""
    head = _row("th", columns)
    return f"<table><caption>{escape(caption)}</caption>{head}{''.join(_row('td', row) for row in rows)}</table>"


def _row(cell: str, values: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(str(value))}</{cell}>' for value in values)}</tr>"
