"""Why a score is what it is: the exact parts of it, from all scores or from those of candidates.

In: a history of one user and rows of items. Out: contributions that sum to the scores, reasons, what one network read, counterfactuals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int64

from penchant.core.schema import Content, Histories
from penchant.explanation.attribution import Attribution, Explanation, Method, attribute, explain
from penchant.explanation.counterfactual import Counterfactual
from penchant.explanation.reasons import Reason
from penchant.models.ensemble import Ensemble, UserScores
from penchant.recommender.candidates import ChosenScores, Shortlist
from penchant.recommender.counterfactuals import WhatIf
from penchant.recommender.lists import Edit
from penchant.recommender.lookup import CatalogLookup

if TYPE_CHECKING:
    from penchant.explanation.network_attribution import NetworkAttribution
    from penchant.models.sequence import Sequence as Network


@dataclass(frozen=True)
class Explainer:
    """Explains the scores of one ensemble.

    Attributes:
        ensemble: Members and weights.
        lookup: Items.
        content: The channels the members read.
        shortlist: Scores of chosen items, where the catalog is too large to score whole.
    """

    ensemble: Ensemble
    lookup: CatalogLookup
    content: Content
    shortlist: Shortlist

    def attribution(
        self,
        history: Histories,
        rows: Int64[np.ndarray, " chosen"],
        scores: ChosenScores | UserScores | None = None,
    ) -> Attribution:
        """Return what past events, channels and members add to the scores of some items.

        Args:
            history: One user.
            rows: The items.
            scores: Of this history, of candidates or of every item; None scores every item once more.
        """
        if isinstance(scores, ChosenScores):
            values = scores.contributions(rows)
        else:
            values = self.ensemble.contributions(history, rows, scores)
        return attribute(self.ensemble, history, rows, values)

    def reasons(self, history: Histories, rows: Int64[np.ndarray, " chosen"]) -> list[Reason]:
        """Return, for each item, the past items with the largest contributions."""
        return self.attribution(history, rows, self._few(history)).reasons() if len(rows) else []

    def explain(self, history: Histories, row: int, scores: UserScores | None = None) -> Explanation:
        """Return the exact contributions to one score; they sum to it.

        Args:
            history: One user.
            row: The item.
            scores: Of this history, where every item was scored already.
        """
        rows, few = np.array([row]), self._few(history)
        values = self.ensemble.contributions(history, rows, scores) if few is None else few.contributions(rows)
        return explain(self.ensemble, self.lookup.catalog, history, row, values)

    def _few(self, history: Histories) -> ChosenScores | None:
        """Return the scores of one user by candidates; None where every item is scored."""
        candidates = self.shortlist.found
        return None if candidates is None else candidates.scores(history)

    @cached_property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks over histories."""
        if all(member.removal != "increase" for member in self.ensemble.members.values()):
            return ()
        from penchant.explanation.network_attribution import networks_of  # torch is slow to import

        return tuple(networks_of(self.ensemble))

    def network(self, member: str | None) -> tuple[str, Network]:
        """Return one network over histories with its name; None takes the first.

        Raises:
            NotFoundError: There is no such network.
        """
        from penchant.explanation.network_attribution import pick_network  # torch is slow to import

        return pick_network(self.ensemble, member)

    def attribute(self, named: tuple[str, Network], history: Histories, row: int, method: Method) -> NetworkAttribution:
        """Return which past events, and which modality of them, a network's score comes from; errors as in `Recommender.attribute`."""
        from penchant.explanation.network_attribution import explain_network

        name, network = named
        ids, titles = self.lookup.items.ids, self.lookup.titles
        return explain_network(name, network, self.content, history, row, method, item_ids=ids, titles=titles)

    def counterfactual(
        self,
        history: Histories,
        item_id: str,
        k: int,
        edits: Sequence[Edit],
        max_sets: int,
        available: Bool[np.ndarray, " items"] | None,
    ) -> Counterfactual:
        """Return what would have to be different for an item to leave or enter the list; arguments as in `Recommender.counterfactual`."""
        asked = WhatIf(self.ensemble, self.lookup, self.content, history, edits, k, available)
        return asked.answer(item_id, max_sets)
