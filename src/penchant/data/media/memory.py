"""A budget of memory for decoding.

In: how much memory a file takes while it is decoded, from its header. Out: its turn, so that files decoded at the same time together stay
within the budget.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, num_bytes: int) -> Iterator[None]:
        """Wait until there is room, in order of arrival; not to be nested in one thread."""
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + num_bytes <= self._max_bytes)
            self._held += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held -= num_bytes
                self._changed.notify()


DECODING = MemoryBudget(DECODING_BYTES)
"""Of this process."""
