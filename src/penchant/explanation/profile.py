"""User profiles: interests with the events behind them.

In: a history, the catalog's attributes and topics, and the ensemble's contributions. Out: a `Profile`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float64

from penchant.core.notebook import table_html
from penchant.core.schema import Catalog, Histories
from penchant.explanation.topics import Topics

PRIOR_EVENTS = 5.0
"""Pseudo-events of the average user added to every user, so that two events do not make a strong interest."""
EVIDENCE = 3
CLEAR_TREND = 0.3
"""A share that changed by this much (log2, shrunk) between the halves of the events is said to rise or fade."""
Direction = Literal["rising", "fading", "steady"]


@dataclass(frozen=True)
class Interest:
    """One preference of a user.

    Attributes:
        kind: "attribute", "topic" or "number".
        name: Attribute column, "topic".
        value: The preferred value.
        share: Share of the user's events with it, in [0, 1] (for a number: the user's mean).
        expected: The same over all users.
        strength: log2 of share over expected, shrunk toward 0 by `PRIOR_EVENTS` (for a number: standard deviations).
        evidence: Titles of the events that count most.
    """

    kind: str
    name: str
    value: str
    share: float
    expected: float
    strength: float
    evidence: tuple[str, ...]
    trend: float = 0.0
    """log2 of the share in the later half of the events over that in the earlier half, shrunk toward 0; positive rises. 0 for a number."""

    @property
    def direction(self) -> Direction:
        """Whether it rises or fades, as far as that is clear."""
        if abs(self.trend) <= CLEAR_TREND:
            return "steady"
        return "rising" if self.trend > 0 else "fading"

    @property
    def weight(self) -> float:
        """Importance: strong and frequent before strong and rare."""
        frequency = 1.0 if self.kind == "number" else float(np.sqrt(max(self.share, 0.0)))
        return abs(self.strength) * frequency


@dataclass(frozen=True)
class Profile:
    """Interests, strongest first, with their evidence.

    Attributes:
        user_id: The user.
        num_events: Events behind it.
        interests: Strongest first.
        modalities: Channel to its share of the reasons behind the user's recommendations; sums to 1.
        recent: Titles of the latest events, newest first.
        disliked: Titles of the events with the most negative weight, at most three.
    """

    user_id: str
    num_events: int
    interests: tuple[Interest, ...]
    modalities: dict[str, float] = field(default_factory=dict)
    recent: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        interests = [{**asdict(interest), "direction": interest.direction} for interest in self.interests]
        return {**asdict(self), "interests": interests}

    def _repr_html_(self) -> str:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.modalities.items())
        return table_html(
            f"{self.user_id}: {self.num_events} events; reasons rest on {shares or 'nothing yet'}",
            ("interest", "value", "share", "others", "strength", "because of"),
            [
                (i.name, i.value, f"{i.share:.4g}", f"{i.expected:.4g}", f"{i.strength:+.2f}", "; ".join(i.evidence))
                for i in self.interests
            ],
        )


def item_weight(histories: Histories) -> Float64[np.ndarray, " items"]:
    """Return how much all users chose each item."""
    return np.bincount(histories.item_index, weights=np.maximum(histories.weight, 0), minlength=histories.num_items)


class ProfileBuilder:
    """Compares the events of one user with those of all users.

    Args:
        catalog: Items with attributes.
        weight: (items,) of `item_weight`; sets what is expected of an average user.
        topics: Content groups.
    """

    def __init__(self, catalog: Catalog, weight: Float64[np.ndarray, " items"], topics: Topics) -> None:
        self._titles = catalog.titles()
        self._facets = [_Facet(kind, name, table, weight) for kind, name, table in _facet_tables(catalog, topics)]
        self._numbers = {
            c: _number(catalog, c) for c in catalog.attribute_columns if catalog.table[c].dtype.is_numeric()
        }
        self._item_weight = weight

    def profile(self, history: Histories, *, modalities: dict[str, float] | None = None, limit: int = 12) -> Profile:
        """Return the interests of one user.

        Args:
            history: Exactly one user.
            modalities: Share of each channel in the reasons, from the ensemble's contributions.
            limit: Interests to keep.
        """
        found = [interest for facet in self._facets for interest in facet.interests(history, self._titles)]
        found += [i for name, values in self._numbers.items() if (i := self._number_interest(name, values, history))]
        found.sort(key=lambda interest: -interest.weight)
        recent = tuple(self._titles[i] for i in history.item_index[::-1][:10])
        lowest = np.argsort(history.weight, kind="stable")[:EVIDENCE]
        disliked = tuple(self._titles[history.item_index[e]] for e in lowest if history.weight[e] < 0)
        shares = modalities or {}
        return Profile(history.user_ids[0], history.num_events, tuple(found[:limit]), shares, recent, disliked)

    def _number_interest(self, name: str, values: Float64[np.ndarray, " items"], history: Histories) -> Interest | None:
        own = values[history.item_index]
        known = ~np.isnan(own) & (history.weight > 0)
        base = ~np.isnan(values) & (self._item_weight > 0)
        if known.sum() < 2 or base.sum() < 2:
            return None
        mean = float(np.average(values[base], weights=self._item_weight[base]))
        spread = float(np.sqrt(np.average((values[base] - mean) ** 2, weights=self._item_weight[base])))
        if spread == 0:
            return None
        own_mean = float(own[known].mean())
        shrunk = (own_mean - mean) / spread * known.sum() / (known.sum() + PRIOR_EVENTS)
        nearest = history.item_index[known][np.argsort(np.abs(own[known] - own_mean))[:EVIDENCE]]
        label = f"{'higher' if own_mean > mean else 'lower'} ({own_mean:,.4g}, others {mean:,.4g})"
        return Interest("number", name, label, own_mean, mean, float(shrunk), tuple(self._titles[i] for i in nearest))


class _Facet:
    """One way of grouping items by value: an attribute column, or the topics."""

    def __init__(self, kind: str, name: str, table: pl.DataFrame, weight: Float64[np.ndarray, " items"]) -> None:
        self.kind, self.name = kind, name
        self.rows = table["row"].to_numpy()
        values, self.codes = np.unique(table["value"].to_list(), return_inverse=True)
        self.values = [str(value) for value in values]
        self.expected = np.bincount(self.codes, weights=weight[self.rows], minlength=len(self.values)) / max(
            weight.sum(), 1e-12
        )

    def interests(self, history: Histories, titles: list[str]) -> list[Interest]:
        """Return the values that occur in the history more often than expected, at least twice."""
        own = np.zeros(len(titles))
        np.add.at(own, history.item_index, history.weight)
        share, shrunk, total = self._shares(own)
        trend = self._trend(history, share, len(titles))
        strength = np.log2(np.maximum(shrunk, 1e-9) / np.maximum(self.expected, 1e-9))
        often = (share * total >= 2) & (strength > 0.1)
        return [
            Interest(
                self.kind,
                self.name,
                self.values[v],
                float(share[v]),
                float(self.expected[v]),
                float(strength[v]),
                self._evidence(int(v), own, titles),
                float(trend[v]),
            )
            for v in np.flatnonzero(often)
        ]

    def _shares(
        self, own: Float64[np.ndarray, " items"], prior: Float64[np.ndarray, " values"] | None = None
    ) -> tuple[Float64[np.ndarray, " values"], Float64[np.ndarray, " values"], float]:
        """Return the share of each value, the share shrunk toward a prior (all users by default), and the positive weight."""
        prior = self.expected if prior is None else prior
        total = max(float(np.maximum(own, 0).sum()), 1e-12)
        share = np.bincount(self.codes, weights=own[self.rows], minlength=len(self.values)) / total
        return share, (np.maximum(share, 0) * total + PRIOR_EVENTS * prior) / (total + PRIOR_EVENTS), total

    def _trend(
        self, history: Histories, share: Float64[np.ndarray, " values"], num_items: int
    ) -> Float64[np.ndarray, " values"]:
        """Compare both halves of the events, each shrunk toward the share over all of them."""
        shrunk = []
        half = history.num_events // 2
        for part in (slice(0, half), slice(half, None)):
            own = np.zeros(num_items)
            np.add.at(own, history.item_index[part], history.weight[part])
            shrunk.append(self._shares(own, np.maximum(share, 0))[1])
        return np.log2(np.maximum(shrunk[1], 1e-9) / np.maximum(shrunk[0], 1e-9))

    def _evidence(self, value: int, own: Float64[np.ndarray, " items"], titles: list[str]) -> tuple[str, ...]:
        rows = self.rows[self.codes == value]
        best = rows[np.argsort(-own[rows], kind="stable")[:EVIDENCE]]
        return tuple(titles[i] for i in best if own[i] > 0)


def _facet_tables(catalog: Catalog, topics: Topics) -> list[tuple[str, str, pl.DataFrame]]:
    """Return (kind, name, rows of item and value); a list attribute gives one row for each of its values."""
    tables = [("attribute", column, table) for column, table in catalog.categories().items()]
    if topics.names:
        rows = np.flatnonzero(topics.labels >= 0)
        names = [topics.names[t] for t in topics.labels[rows]]
        tables.append(("topic", "topic", pl.DataFrame({"row": rows, "value": names})))
    return [(kind, name, table) for kind, name, table in tables if table.height]


def _number(catalog: Catalog, column: str) -> Float64[np.ndarray, " items"]:
    return catalog.table[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
