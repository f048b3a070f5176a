"""A bundle made ready to answer many: what is looked up by name is looked up once.

In: a `Bundle`. Out: rows of items, users and attribute values; histories of people; scores; reasons.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Float64, Int64

from penchant.core.artifacts import MANIFEST, fingerprint
from penchant.core.errors import nearest
from penchant.core.schema import BEHAVIOUR, Histories, Vocabulary
from penchant.data.histories import KIND_WEIGHTS
from penchant.data.histories import Config as HistoriesConfig
from penchant.explanation.attribution import Explanation, explain, reason
from penchant.explanation.profile import Profile, Profiler
from penchant.recommender.bundle import Bundle
from penchant.service.http_errors import NotFoundError
from penchant.service.store import Event

ITEM, TOPIC = "item", "topic"


@dataclass(frozen=True)
class Served:
    """One version of the model, never changed.

    Attributes:
        bundle: What answers.
        mark: Fingerprint of the bundle's manifest; equal for every process that serves the same.
        grown: Ids of items that came after the bundle was made.
    """

    bundle: Bundle
    mark: str
    grown: tuple[str, ...] = ()
    items: Vocabulary = field(init=False)
    titles: list[str] = field(init=False)
    users: dict[str, int] = field(init=False)
    facets: dict[str, dict[str, Int64[np.ndarray, " rows"]]] = field(init=False)
    numbers: dict[str, Float64[np.ndarray, " items"]] = field(init=False)

    def __post_init__(self) -> None:
        catalog = self.bundle.catalog
        set_once = object.__setattr__
        set_once(self, "items", Vocabulary(catalog.item_ids))
        set_once(self, "titles", catalog.titles())
        set_once(self, "users", {user: row for row, user in enumerate(self.bundle.histories.user_ids)})
        set_once(self, "facets", _facets(self.bundle))
        set_once(self, "numbers", _numbers(self.bundle))

    @classmethod
    def of(cls, bundle: Bundle) -> Served:
        """Return the bundle ready to answer; the first person to ask shall not wait for what is computed once."""
        served = cls(bundle, bundle_mark(bundle))
        if len(bundle.histories):
            served.profile(bundle.histories.rows(0, 1), served.scores([bundle.histories.rows(0, 1)])[0])
        return served

    def row(self, item_id: str) -> int:
        """Return an item's row.

        Raises:
            NotFoundError: There is no such item.
        """
        if item_id not in self.items:
            raise NotFoundError(
                f"There is no item {item_id!r}.", where="the catalog", fix="PUT it first, or name another item"
            )
        return self.items.index(item_id)

    def rows(self, item_ids: Sequence[str]) -> Int64[np.ndarray, " known"]:
        """Return the rows of those items that exist."""
        found = [self.items.index(i) for i in item_ids if i in self.items]
        return np.array(found, np.int64)

    def rows_with(self, name: str, value: str) -> Int64[np.ndarray, " rows"]:
        """Return the items that have a value; none has a value nobody knows.

        Raises:
            NotFoundError: There is no such attribute.
        """
        if name == ITEM:
            return self.rows([value])
        if name not in self.facets:
            raise NotFoundError(
                f"There is no attribute {name!r}.", where="the catalog", fix=nearest(name, [*self.facets, ITEM])
            )
        return self.facets[name].get(value, np.zeros(0, np.int64))

    def number(self, name: str) -> Float64[np.ndarray, " items"]:
        """Return a number of every item, NaN where it has none.

        Raises:
            NotFoundError: There is no such number.
        """
        if name not in self.numbers:
            fix = nearest(name, self.numbers) if self.numbers else "leave at_least and at_most out"
            raise NotFoundError(f"There is no number {name!r}.", where="the catalog", fix=fix)
        return self.numbers[name]

    # people

    def history(self, user_id: str, events: Sequence[Event], *, base: bool = True) -> Histories:
        """Return one person's events in time: those the bundle knows, and those that came since.

        An event the bundle learned from already counts once. Events of unknown items and of kinds that weigh nothing are
        left out.

        Args:
            user_id: Who.
            events: Of the store.
            base: Whether to read the bundle's own; not after an erasure.
        """
        known = self._base(user_id) if base else Histories.empty(len(self.items), user_id)
        weight = {name: self._weight(name) for name in {e.kind for e in events}}
        new = [
            (self.items.index(e.item_id), e.at, weight[e.kind] * self._value(e))
            for e in events
            if e.item_id in self.items
        ]
        new = [row for row in new if row[2] != 0]
        if new:
            held = set(zip(known.item_index.tolist(), known.at.tolist(), strict=True))
            new = [row for row in new if (row[0], row[1]) not in held]
        if not new:
            return known
        item = np.concatenate([known.item_index, np.array([row[0] for row in new], np.int32)])
        at = np.concatenate([known.at, np.array([row[1] for row in new], np.int64)])
        weights = np.concatenate([known.weight, np.array([row[2] for row in new], np.float32)])
        order = np.argsort(at, kind="stable")
        if self._reading.max_events is not None:
            order = order[-self._reading.max_events :]
        return one_person(user_id, item[order], at[order], weights[order], len(self.items))

    def _base(self, user_id: str) -> Histories:
        row = self.users.get(user_id)
        if row is None:
            return Histories.empty(len(self.items), user_id)
        return self.bundle.histories.rows(row, row + 1)

    @cached_property
    def _reading(self) -> HistoriesConfig:
        return HistoriesConfig.read(dict(self.bundle.facts.get("histories", {})), where="the bundle's facts")

    def _weight(self, kind: str) -> float:
        weights = {**KIND_WEIGHTS, **{k.strip().lower(): w for k, w in self._reading.kinds.items()}}
        return weights.get(kind.strip().lower(), 1.0)

    def _value(self, event: Event) -> float:
        if not self._reading.values or event.value is None:
            return 1.0
        return min(max(event.value / self._reading.full_value, 0.0), 1.0)

    # answers

    def scores(self, histories: Sequence[Histories]) -> list[Float32[np.ndarray, " items"]]:
        """Return everyone's scores from one pass; a person's do not depend on who else is asked for."""
        scores = self.bundle.stack.score(joined(histories))
        return [row.copy() for row in scores]  # a row kept in the cache must not keep the whole group's

    def reasons(self, history: Histories, rows: Int64[np.ndarray, " chosen"]) -> list[list[str]]:
        """Return, for each item, the past events that speak for it."""
        if len(rows) == 0:
            return []
        total = self.bundle.stack.contributions(history, rows).sum(0)  # (1 + events, chosen)
        said = []
        for column in total.T:
            best = np.argsort(-column[1:], kind="stable")[:2]
            speaking = [self.titles[history.item_index[e]] for e in best if column[1 + e] > 0]
            said.append([reason(dict.fromkeys(speaking), column[0])])
        return said

    def explain(self, history: Histories, item_id: str) -> Explanation:
        """Return the exact additive contributions to one score."""
        return explain(self.bundle.stack, self.bundle.catalog, history, self.row(item_id))

    def profile(self, history: Histories, scores: Float32[np.ndarray, " items"]) -> Profile:
        """Return what one person cares about, and what the reasons behind their best ten items rest on."""
        best = np.argsort(-scores, kind="stable")[: 10 + history.num_events]
        best = best[~np.isin(best, history.item_index)][:10]
        return self._profiler.profile(history, modalities=self._shares(history, best))

    @cached_property
    def _profiler(self) -> Profiler:
        return Profiler(self.bundle.catalog, self.bundle.histories, self.bundle.topics)

    def _shares(self, history: Histories, rows: Int64[np.ndarray, " chosen"]) -> dict[str, float]:
        """Return each channel's share of the positive reasons; a member that mixes channels counts as "mixed content"."""
        by_member = self.bundle.stack.contributions(history, rows).sum(1)  # (members, chosen)
        total: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(rows)))
        for name, values in zip(self.bundle.stack.members, by_member, strict=True):
            channels = self.bundle.stack.channels[name]
            total[channels[0] if len(channels) == 1 else "mixed content"] += values
        positive = {name: float(np.maximum(values, 0).sum()) for name, values in total.items()}
        whole = sum(positive.values())
        ordered = sorted(positive.items(), key=lambda pair: (pair[0] != BEHAVIOUR, -pair[1]))
        return {name: value / whole for name, value in ordered} if whole > 0 else {}


def bundle_mark(bundle: Bundle) -> str:
    """Return the fingerprint of the bundle's manifest, which names every file's checksum."""
    if bundle.folder is None:
        return fingerprint(dict(bundle.facts))
    return fingerprint((bundle.folder / MANIFEST).read_bytes())


def one_person(
    user_id: str,
    item_index: np.ndarray,
    at: np.ndarray,
    weight: np.ndarray,
    num_items: int,
) -> Histories:
    """Return the history of one person from their events, oldest first."""
    return Histories([user_id], np.array([0, len(item_index)], np.int64), item_index, at, weight, num_items)


def joined(histories: Sequence[Histories]) -> Histories:
    """Return several people's histories as one."""
    if len(histories) == 1:
        return histories[0]
    ends = np.cumsum([h.num_events for h in histories])
    return Histories(
        [user for h in histories for user in h.user_ids],
        np.concatenate([[0], ends]).astype(np.int64),
        np.concatenate([h.item_index for h in histories]),
        np.concatenate([h.at for h in histories]),
        np.concatenate([h.weight for h in histories]),
        histories[0].num_items,
    )


def mask_of(rows: Int64[np.ndarray, " rows"], num_items: int) -> Bool[np.ndarray, " items"]:
    """Return the mask of some rows."""
    mask = np.zeros(num_items, bool)
    mask[rows] = True
    return mask


def _facets(bundle: Bundle) -> dict[str, dict[str, np.ndarray]]:
    """Return attribute to value to the rows that have it; topics are an attribute too."""
    found = {}
    for column, table in bundle.catalog.categories().items():
        groups = table.group_by("value").agg("row")
        found[column] = {value: np.array(rows, np.int64) for value, rows in groups.iter_rows()}
    labels = bundle.topics.labels
    found[TOPIC] = {name: np.flatnonzero(labels == t) for t, name in enumerate(bundle.topics.names)}
    return found


def _numbers(bundle: Bundle) -> dict[str, Float64[np.ndarray, " items"]]:
    table = bundle.catalog.table
    return {
        c: table[c].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        for c in table.columns
        if table[c].dtype.is_numeric()
    }
