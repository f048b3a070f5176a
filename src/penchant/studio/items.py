"""The item page.

In: an item's row. Out: its texts and facts, the similarity of its neighbours in each modality, and the number of users who like it by topic,
without ids.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from jaxtyping import Int64

from penchant.core.schema import Histories
from penchant.fusion.concat import unit_rows
from penchant.recommender.recommender import Recommender
from penchant.service.snapshot import ServingSnapshot
from penchant.studio.cards import display_value

FEWEST = 3
"""A smaller group is not shown to a key without the scope personal: a count of one identifies a user."""
MAX_GROUPS, MAX_NAMED = 8, 12


class ItemSimilarity:
    """Compares items by channel; the mean of each channel is computed once for each model."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._means: tuple[Recommender | None, dict[str, np.ndarray]] = (None, {})

    def of(
        self, recommender: Recommender, row: int, others: Int64[np.ndarray, " others"]
    ) -> dict[str, list[float | None]]:
        """Return, for each channel, the cosine of one item and others; None where one of the two has no content."""
        found: dict[str, list[float | None]] = {}
        for name, mean in self._of(recommender).items():
            e = recommender.content.channels[name]
            usable = e.usable
            unit = unit_rows(e.rows(np.array([row, *others])) - mean)
            cosines = unit[1:] @ unit[0]
            found[name] = [
                float(c) if usable[row] and usable[o] else None for c, o in zip(cosines, others, strict=True)
            ]
        return found

    def _of(self, recommender: Recommender) -> dict[str, np.ndarray]:
        with self._lock:
            if self._means[0] is not recommender:
                channels = recommender.content.channels
                means = {name: e.values[e.usable].mean(0) for name, e in channels.items() if e.usable.any()}
                self._means = (recommender, means)
            return self._means[1]


def facts_of(recommender: Recommender, row: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return an item's texts and its attributes, each as (column, value)."""
    catalog = recommender.catalog
    texts = [(c, display_value(catalog.table[c][row], 1200)) for c in catalog.text_columns if c != catalog.title_column]
    attributes = [(c, display_value(catalog.table[c][row], 200)) for c in catalog.attribute_columns]
    label = int(recommender.topics.labels[row])
    topic = [("topic", recommender.topics.names[label])] if label >= 0 else []
    return [pair for pair in texts if pair[1]], [pair for pair in attributes if pair[1]] + topic


def likers(snapshot: ServingSnapshot, row: int, *, named: bool) -> dict[str, Any]:
    """Return how many users of the bundle like an item, by the topic they like best.

    Args:
        snapshot: Its bundle is read, without users who were erased since.
        row: The item.
        named: Whether ids may be shown, and groups of one or two.
    """
    histories, topics = snapshot.recommender.histories, snapshot.recommender.topics
    events = np.flatnonzero((histories.item_index == row) & (histories.weight > 0))
    users = np.unique(np.searchsorted(histories.offsets, events, side="right") - 1)
    if snapshot.subjects:
        users = np.array([u for u in users if not snapshot.is_erased(histories.user_ids[u])], np.int64)
    if not named and len(users) < FEWEST:
        return {"count": None, "groups": [], "ids": []}
    groups = _groups(histories.take(users), topics.labels, len(topics.names)) if len(users) else np.zeros(0, int)
    shown = [(topics.names[t], int(groups[t])) for t in np.argsort(-groups, kind="stable")[:MAX_GROUPS] if groups[t]]
    return {
        "count": len(users),
        "groups": [(name, count) for name, count in shown if named or count >= FEWEST],
        "ids": [histories.user_ids[u] for u in users[:MAX_NAMED]] if named else [],
    }


def _groups(histories: Histories, labels: np.ndarray, num_topics: int) -> np.ndarray:
    """Count users by the topic most of their events have."""
    if not num_topics:
        return np.zeros(0, int)
    topic = labels[histories.item_index]
    kept = topic >= 0
    cells = histories.user_index()[kept] * num_topics + topic[kept]
    weight = np.bincount(cells, histories.weight[kept], len(histories) * num_topics).reshape(len(histories), num_topics)
    best = weight.argmax(1)[weight.max(1) > 0]
    return np.bincount(best, minlength=num_topics)
