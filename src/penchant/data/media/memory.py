"""A budget of memory for decoding.

In: how much memory a file takes while it is decoded, from its header. Out: its turn, so that files decoded at the same time together stay
within the budget.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DECODING_BYTES = 400_000_000
"""Memory of all files that one process decodes at the same time; a larger file is decoded alone."""


class MemoryBudget:
    """Memory that threads reserve before they use it.

    Args:
        max_bytes: Reserved at the same time. A larger reservation waits until nothing else is reserved.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._alone: Path | None = None
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, num_bytes: int) -> Iterator[None]:
        """Wait until there is room, in order of arrival; not to be nested in one thread."""
        with _locked(self._alone if num_bytes > self._max_bytes else None), self._room(num_bytes):
            yield

    def divide(self, count: int, shared: str | None) -> None:
        """Make this the budget of one of several processes that share it: what is larger than its share is decoded by one of them at a time.

        Args:
            count: How many they are.
            shared: A file that all of them can lock; None where there is none.
        """
        self._max_bytes = max(1, self._max_bytes // count)
        self._alone = None if shared is None else Path(shared)

    @contextmanager
    def _room(self, num_bytes: int) -> Iterator[None]:
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + num_bytes <= self._max_bytes)
            self._held += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held -= num_bytes
                self._changed.notify()


@contextmanager
def _locked(file: Path | None) -> Iterator[None]:
    """Hold a lock that the system takes back where this process dies; none without a file."""
    if file is None:
        yield
        return
    import fcntl  # where there is a file to share, there is this

    with file.open("rb") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


DECODING = MemoryBudget(DECODING_BYTES)
"""Of this process."""


def divide_memory(count: int, shared: str | None) -> None:
    """Divide the budget of decoding among several processes; see `MemoryBudget.divide`."""
    DECODING.divide(count, shared)
