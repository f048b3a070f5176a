"""Counterfactuals of one user's list.

In: the ensemble, a history, the user's edits, the length of the list. Out: what would have to be different for an item to leave or enter it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from penchant.core.schema import Content, Histories
from penchant.explanation.attribution import attribute
from penchant.explanation.counterfactual import (
    Counterfactual,
    ProfileChange,
    Removal,
    needed_strength,
    smallest_removal,
)
from penchant.models.ensemble import Ensemble
from penchant.recommender.lists import Edit, RankingOptions
from penchant.recommender.lookup import CatalogLookup
from penchant.recommender.ranking import RankedList, rank


@dataclass(frozen=True)
class WhatIf:
    """Ranks one user's list under other events and other edits.

    Attributes:
        ensemble: Fitted members and weights.
        lookup: The catalog.
        content: Of the items.
        history: Exactly one user.
        edits: The user's own.
        k: Length of the list.
        available: Items that may be listed; None allows all.
    """

    ensemble: Ensemble
    lookup: CatalogLookup
    content: Content
    history: Histories
    edits: Sequence[Edit]
    k: int
    available: Bool[np.ndarray, " items"] | None = None

    def answer(self, item_id: str, max_sets: int) -> Counterfactual:
        """Return what would have to be different for one item.

        Raises:
            NotFoundError: There is no such item.
        """
        row = self.lookup.row(item_id)
        title = self.lookup.titles[row]
        place = _place(self._whole, row)
        found = Counterfactual(self.history.user_ids[0], item_id, title, self.k, place)
        if place is None:
            return found
        if place <= self.k:
            return self._leaving(found, row, max_sets)
        return self._entering(found, row)

    @cached_property
    def _scores(self) -> Float32[np.ndarray, " items"]:
        return self.ensemble.score(self.history)[0]

    @cached_property
    def _whole(self) -> RankedList:
        return self._ranked(self._scores, self.edits, len(self.lookup.items))

    def _ranked(self, scores: Float32[np.ndarray, " items"], edits: Sequence[Edit], k: int) -> RankedList:
        """Return a list; items of the whole history stay out of it, whatever events the scores know."""
        shown = np.ones(len(scores), bool) if self.available is None else self.available
        return rank(self.lookup, self.content, scores, self.history, edits, RankingOptions(k=k), shown)

    def _leaving(self, found: Counterfactual, row: int, max_sets: int) -> Counterfactual:
        def is_listed(variants: Histories) -> Bool[np.ndarray, " variants"]:
            scored = self.ensemble.score(variants)
            return np.array([bool((self._ranked(one, self.edits, self.k).rows == row).any()) for one in scored], bool)

        events, is_smallest, tried = smallest_removal(self.history, self._gain(row), is_listed, max_sets=max_sets)
        removal = None
        if events is not None:
            items = [int(self.history.item_index[event]) for event in events]
            named = tuple((self.lookup.items.ids[i], self.lookup.titles[i]) for i in items)
            removal = Removal(named, is_smallest, tried)
        return replace(found, removal=removal, num_tried=tried)

    def _gain(self, row: int) -> Float64[np.ndarray, " events"]:
        """Return what each event adds to the item beyond what it adds to the first item below the list."""
        below = self._whole.rows[self.k : self.k + 1]
        by_event = attribute(self.ensemble, self.history, np.array([row, *below])).by_event()[1:]
        return by_event[:, 0] - by_event[:, 1:].sum(1)

    def _entering(self, found: Counterfactual, row: int) -> Counterfactual:
        changes: list[ProfileChange] = []
        tried = 0
        for edit, edits, ranked in self._candidates(row):
            others = ranked.rows[ranked.pinned :]
            is_own = others == row
            scores = ranked.scores[ranked.pinned :].astype(np.float64)
            has_value = np.isin(others, self.lookup.rows_with(edit.name, edit.value))
            moves = ~has_value if edit.action == "more" else has_value
            strength = needed_strength(
                float(scores[is_own][0]),
                scores[~is_own],
                moves[~is_own],
                self.k - ranked.pinned,
                float(self._scores.std()) or 1.0,
            )
            if strength is None or (changes and strength >= changes[-1].strength):
                continue
            tried += 1
            asked = [*edits, Edit(edit.name, edit.value, edit.action, strength)]
            place = _place(self._ranked(self._scores, asked, self.k), row)
            if place is not None:
                changes.append(ProfileChange(edit.name, edit.value, edit.action, strength, place))
        return replace(found, change=changes[-1] if changes else None, num_tried=tried)

    def _candidates(self, row: int) -> Iterator[tuple[Edit, list[Edit], RankedList]]:
        """Yield edits, each with the user's own edits of other values, and the list under these.

        First more of each value of the item, then less of each value that only items above it have.
        """
        above: Int64[np.ndarray, " above"] = self._whole.rows[: int(np.flatnonzero(self._whole.rows == row)[0])]
        found = []
        for name, values in self.lookup.facets.items():
            for value, rows in values.items():
                if (rows == row).any():
                    found.append(("more", name, value))
                elif np.isin(above, rows).any():
                    found.append(("less", name, value))
        for action, name, value in sorted(found, key=lambda one: (one[0] != "more", one)):
            kept = [e for e in self.edits if (e.name, e.value) != (name, value)]
            is_same = len(kept) == len(self.edits)
            ranked = self._whole if is_same else self._ranked(self._scores, kept, len(self.lookup.items))
            if (ranked.rows == row).any():
                yield Edit(name, value, action), kept, ranked


def _place(ranked: RankedList, row: int) -> int | None:
    found = np.flatnonzero(ranked.rows == row)
    return int(found[0]) + 1 if len(found) else None
