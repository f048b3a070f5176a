"""Results that several members need while they are fitted on the same events, such as the co-occurrences of items.

In: histories, a key, and how the result is computed. Out: the result, computed once for equal keys inside `sharing`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

from penchant.core.schema import Histories

MAX_BYTES = 1_000_000_000
"""Size of the arrays kept; a larger result is computed again."""

Result = TypeVar("Result", np.ndarray, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray])


@dataclass
class SharedResults:
    """Results by key, for one set of histories; those of other histories are not kept.

    Attributes:
        found: Key to result.
        train: The histories.
    """

    found: dict[Hashable, Any] = field(default_factory=dict)
    train: Histories | None = None


_CURRENT: ContextVar[SharedResults | None] = ContextVar("shared_results", default=None)


@contextmanager
def sharing(results: SharedResults) -> Iterator[None]:
    """Keep what is computed in this context in `results`."""
    token = _CURRENT.set(results)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def known(train: Histories, key: Hashable) -> Any:
    """Return a result that is kept for these histories, None where there is none."""
    results = _CURRENT.get()
    return None if results is None or results.train is not train else results.found.get(key)


def computed_once(train: Histories, key: Hashable, compute: Callable[[], Result]) -> Result:
    """Return the result of `compute`, which depends on these histories and the key alone; the caller does not change it.

    Outside `sharing` it is computed each time.
    """
    results = _CURRENT.get()
    if results is None:
        return compute()
    if results.train is not train:
        results.found, results.train = {}, train
    if key not in results.found:
        result = compute()
        if _bytes(result) + sum(map(_bytes, results.found.values())) > MAX_BYTES:
            return result
        results.found[key] = result
    kept: Result = results.found[key]
    return kept


def _bytes(result: np.ndarray | sparse.csr_array | tuple[np.ndarray, ...]) -> int:
    if isinstance(result, sparse.csr_array):
        result = (result.data, result.indices, result.indptr)
    return sum(part.nbytes for part in (result if isinstance(result, tuple) else (result,)))
