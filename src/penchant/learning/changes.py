"""Two states of the events of all users beside each other.

In: histories of before and of now, or over two catalogs. Out: the users whose events differ; the same events over the other catalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from penchant.core.schema import Histories
from penchant.recommender.recommender import Recommender


def changed_users(before: Histories, after: Histories) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the users whose events differ: those of `before` that are gone or other now, and those of `after` that are new or other.

    Args:
        before: Histories of all users.
        after: Of the same catalog or of a larger one with the same first items, its users in any order.
    """
    place = {user: row for row, user in enumerate(before.user_ids)}
    rows = np.array([place.get(user, -1) for user in after.user_ids], np.int64)
    old, new = before.lengths(), after.lengths()
    differs = (rows < 0) | (new != np.where(rows < 0, -1, old[rows]))
    same_length = np.flatnonzero(~differs)
    if len(same_length):
        first, second = before.take(rows[same_length]), after.take(same_length)
        events = first.user_index()
        is_other = (first.item_index != second.item_index) | (first.at != second.at) | (first.weight != second.weight)
        differs[same_length] = np.bincount(events, is_other, len(same_length)) > 0
    come = np.flatnonzero(differs)
    gone = np.setdiff1d(np.arange(len(before)), rows[~differs])
    return gone, come


def on_rows_of(events: Histories, items: Sequence[str], others: Recommender) -> Histories:
    """Return the same events over the catalog of another recommender; those of items it does not have are left out."""
    if list(items) == others.catalog.item_ids:
        return events
    known = others.lookup.items
    rows = np.array([known.index(item) if item in known else -1 for item in items], np.int32)
    placed = rows[events.item_index]
    kept = events.where(placed >= 0)
    return replace(kept, item_index=placed[placed >= 0], num_items=len(others.catalog))
