"""Order of events with equal times: random, seeded, from the content of the event.

In: a seed. Out: an expression over events, and the order in which a user's events are sorted.
"""

from __future__ import annotations

import polars as pl

TIME_ORDER = ("at", "tie", "kind", "value")
"""Order of one user's events, for `tie_breaker` as `tie`; the last two decide only between events of one user, item and instant."""


def tie_breaker(seed: int) -> pl.Expr:
    """Return a number for each event that depends on the event and the seed, never on its place in the file.

    File order leaks: in MovieLens, events of one instant are sorted by item id. The hash may change between versions of Polars,
    so the order is reproducible under the versions of the lock.
    """
    return pl.struct("user_id", "item_id", "at").hash(seed)
