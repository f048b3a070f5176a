"""Order of events with equal times and of items with equal scores: random, seeded, from the event or item itself.

In: a seed. Out: an expression over events, the order in which a user's events are sorted, and a number for each item.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import UInt64

TIME_ORDER = ("at", "tie", "kind", "value")
"""Order of one user's events, for `tie_breaker` as `tie`; the last two decide only between events of one user, item and instant."""


def tie_breaker(seed: int) -> pl.Expr:
    """Return a number for each event that depends on the event and the seed, never on its place in the file.

    File order leaks: in MovieLens, events of one instant are sorted by item id. The hash may change between versions of Polars,
    so the order is reproducible under the versions of the lock.
    """
    return pl.struct("user_id", "item_id", "at").hash(seed)


def item_tie_order(item_ids: Sequence[str], seed: int) -> UInt64[np.ndarray, " items"]:
    """Return a number for each item that depends on its id and the seed: of equal scores the smaller number is listed first."""
    return pl.Series(item_ids, dtype=pl.String).hash(seed).to_numpy()
