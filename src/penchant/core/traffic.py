"""Bytes that this process moved so far besides shards and results, which its node reports with its work.

In: what storage and a training of several nodes move. Out: sums that only rise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass
class Traffic:
    """Bytes moved.

    Attributes:
        fetched: From the storage.
        exchanged: Sent to the other processes of a training.
    """

    fetched: int = 0
    exchanged: int = 0


moved = Traffic()
"""Of this process since it began."""


def since(before: Traffic) -> Traffic:
    """Return what was moved after a copy was made."""
    return Traffic(moved.fetched - before.fetched, moved.exchanged - before.exchanged)


def so_far() -> Traffic:
    """Return a copy of what was moved."""
    return replace(moved)
