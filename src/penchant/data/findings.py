"""Findings: counted observations with their first examples.

In: a count, and any number of examples. Out: one `Finding`, or none for a count of 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from penchant.core.schema import Finding

MAX_EXAMPLES = 5

Owner = Callable[[int], str]
"""Returns the name of a row of a table in an example ("item 12")."""


def make_findings(
    check: str,
    count: int,
    total: int,
    action: str,
    *,
    examples: Iterable[str] = (),
    advice: str,
    severity: str = "info",
) -> list[Finding]:
    """Return one finding with at most `MAX_EXAMPLES` examples, or none where `count` is 0."""
    if not count:
        return []
    return [Finding(check, count, total, action, tuple(islice(examples, MAX_EXAMPLES)), advice, severity)]
