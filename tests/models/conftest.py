"""Small histories written out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from penchant.core.schema import Histories

Make = Callable[..., Histories]
DAY = 86_400_000_000


@pytest.fixture
def make_histories() -> Make:
    """Return a function from lists of items (and of weights) to histories, one event a day."""

    def make(
        rows: Sequence[Sequence[int]], num_items: int, weights: Sequence[Sequence[float]] | None = None
    ) -> Histories:
        lengths = [len(row) for row in rows]
        items = np.array([i for row in rows for i in row], np.int32)
        said = np.ones(len(items)) if weights is None else np.array([w for row in weights for w in row])
        at = np.array([d * DAY for row in rows for d in range(len(row))], np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Histories([str(u) for u in range(len(rows))], offsets, items, at, said.astype(np.float32), num_items)

    return make


@pytest.fixture
def random_histories(make_histories: Make) -> Histories:
    """Return 40 users and 12 items, popular ones first, in random order, without repeats."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, 13)
    rows = [rng.choice(12, rng.integers(2, 8), replace=False, p=share / share.sum()) for _ in range(40)]
    return make_histories(rows, 12)
