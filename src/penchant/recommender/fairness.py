"""Whom a recommender's lists favour, measured on users of its bundle.

In: a recommender, the attribute that names a provider, the attribute whose mix a list should keep. Out: exposure by provider, and popularity lift and
miscalibration with intervals over users. What users chose is all of their history: it measures the lists that are served now, not a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from penchant.core.errors import DataError, NotFoundError, nearest
from penchant.core.messages import Message, message
from penchant.core.notebook import table_html
from penchant.metrics.beyond_accuracy import exposure, gini
from penchant.metrics.fairness import GroupExposure, group_exposure, miscalibration, popularity_lift
from penchant.metrics.intervals import Interval, mean_interval
from penchant.metrics.slices import GroupLabels

if TYPE_CHECKING:
    from penchant.recommender.recommender import Recommender

USERS = 1000
MAX_GROUPS = 10
"""Groups that are shown, those with most attention for what users chose first and last."""


@dataclass(frozen=True)
class Fairness:
    """Whom the lists favour.

    Attributes:
        k: Length of the lists.
        num_users: Users whose lists were made.
        item_gini: Inequality of exposure over all items; `item_gini_events` of what users chose.
        lift: How much more popular lists are than what users chose, mean over users: 0 is as popular.
        provider: The attribute that names providers; "" where none was asked for.
        exposure: By provider.
        value: The attribute whose mix is compared; "" where none was asked for.
        divergence: Miscalibration of its mix, mean over users, in nats.
    """

    k: int
    num_users: int
    item_gini: float
    item_gini_events: float
    lift: Interval
    provider: str = ""
    exposure: GroupExposure | None = None
    value: str = ""
    divergence: Interval | None = None

    def lines(self) -> list[Message]:
        """Return the findings as sentences."""
        found = [
            message(
                "Attention over items: Gini {shown}, of what users chose {chosen}.",
                shown=f"{self.item_gini:.3f}",
                chosen=f"{self.item_gini_events:.3f}",
            ),
            message(
                "Popularity of the lists against what users chose: {mean} [{low}, {high}]; above 0 the popular becomes more popular.",
                mean=f"{self.lift.mean:+.1%}",
                low=f"{self.lift.low:+.1%}",
                high=f"{self.lift.high:+.1%}",
            ),
        ]
        if self.divergence is not None:
            found.append(
                message(
                    "Miscalibration of {name}: {mean} [{low}, {high}] nats; 0 where a list has the mix of the history.",
                    name=self.value,
                    mean=f"{self.divergence.mean:.3f}",
                    low=f"{self.divergence.low:.3f}",
                    high=f"{self.divergence.high:.3f}",
                )
            )
        if self.exposure is not None:
            found.append(
                message(
                    "Attention over {name}: Gini {shown}, of what users chose {chosen}.",
                    name=self.provider,
                    shown=f"{self.exposure.gini:.3f}",
                    chosen=f"{self.exposure.gini_events:.3f}",
                )
            )
        return found

    def rows(self) -> list[tuple[str, float, float, float, float]]:
        """Return group, share of the catalog, of what users chose, of attention, and attention over choices; the most favoured first."""
        if self.exposure is None:
            return []
        e = self.exposure
        rows = list(zip(e.names, e.catalog, e.events, e.exposure, e.ratio(), strict=True))
        ordered = sorted((r for r in rows if np.isfinite(r[4])), key=lambda r: -r[4])
        shown = ordered if len(ordered) <= MAX_GROUPS else [*ordered[: MAX_GROUPS // 2], *ordered[-MAX_GROUPS // 2 :]]
        return [(name, float(a), float(b), float(c), float(d)) for name, a, b, c, d in shown]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        names = ("group", "catalog", "events", "exposure", "ratio")

        def plain(interval: Interval | None) -> dict[str, float] | None:
            return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high}

        return {
            "k": self.k,
            "users": self.num_users,
            "item_gini": self.item_gini,
            "item_gini_events": self.item_gini_events,
            "popularity_lift": plain(self.lift),
            "provider": self.provider,
            "groups": [dict(zip(names, row, strict=True)) for row in self.rows()],
            "value": self.value,
            "miscalibration": plain(self.divergence),
            "text": [str(line) for line in self.lines()],
        }

    def _repr_html_(self) -> str:
        rows = [(r[0], *(f"{v:.3f}" for v in r[1:])) for r in self.rows()]
        return table_html("; ".join(self.lines()), ("group", "catalog", "chosen", "attention", "ratio"), rows)


def fairness(
    recommender: Recommender, k: int, provider: str | None, value: str | None, *, users: int = USERS, seed: int = 0
) -> Fairness:
    """Return whom the lists of some users favour.

    Args:
        recommender: With histories of users.
        k: Length of the lists.
        provider: An attribute of the items; None measures no providers.
        value: An attribute whose mix a list should keep; None measures none.
        users: How many, drawn at random among those with a history.
        seed: Of the draw and of the intervals.

    Raises:
        NotFoundError: There is no such attribute.
        DataError: No user has a history.
    """
    histories = recommender.histories
    known = np.flatnonzero(histories.lengths() > 0)
    if not len(known):
        raise DataError("No user of the bundle has a history.", where="the bundle", fix="choose a bundle with users")
    asked = histories.take(np.random.default_rng(seed).permutation(known)[:users])
    ranked = np.concatenate([recommender.ensemble.recommend(part, k).item_index for part in asked.batches(256)])
    popularity = np.bincount(histories.item_index, minlength=histories.num_items)
    rows = asked.user_index(), asked.item_index
    shown = None if provider is None else group_exposure(ranked, _groups(recommender, provider), popularity)
    mixed = None if value is None else miscalibration(ranked, *rows, _mix(recommender, value))
    return Fairness(
        k,
        len(asked),
        gini(exposure(ranked, histories.num_items)),
        gini(popularity),
        mean_interval(popularity_lift(ranked, *rows, popularity / len(histories))),
        provider or "",
        shown,
        value or "",
        None if mixed is None else mean_interval(mixed),
    )


def _facet(recommender: Recommender, name: str) -> dict[str, np.ndarray]:
    facets = recommender.lookup.facets
    if name not in facets:
        raise NotFoundError(f"There is no item attribute {name!r}.", where="attribute", fix=nearest(name, facets))
    return dict(facets[name])


def _groups(recommender: Recommender, name: str) -> GroupLabels:
    """Return the value of each item; of several the one that most items have."""
    code = np.full(len(recommender.lookup.items), -1, np.int64)
    values = sorted(_facet(recommender, name).items(), key=lambda pair: len(pair[1]))
    for number, (_, rows) in enumerate(values):
        code[rows] = number
    return GroupLabels(tuple(value for value, _ in values), code)


def _mix(recommender: Recommender, name: str) -> Float64[np.ndarray, "items values"]:
    values = _facet(recommender, name)
    mix = np.zeros((len(recommender.lookup.items), len(values)))
    for column, rows in enumerate(values.values()):
        mix[rows, column] = 1
    return np.asarray(mix / np.maximum(mix.sum(1, keepdims=True), 1), np.float64)
