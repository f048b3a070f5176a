"""From requests to lists: what each list is based on, its scores, its order, and its reasons.

In: `ListRequest`s. Out: the `RecommendationList` of each, or the error in it. Histories that lack scores are scored in one pass; a list of a large
catalog is made from candidates where its filters allow it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from penchant.core.errors import NotFoundError
from penchant.core.schema import Content, Histories
from penchant.explanation.attribution import Attribution
from penchant.explanation.reasons import Reason, asked_reason
from penchant.models.ensemble import Ensemble, UserScores
from penchant.recommender.candidates import ChosenScores, Shortlist
from penchant.recommender.explainer import Explainer
from penchant.recommender.exploration import ServedPlaces, explore
from penchant.recommender.lists import Edit, ListRequest, RankingOptions, RecommendationList, RecommendedItem
from penchant.recommender.lookup import ITEM, CatalogLookup
from penchant.recommender.ranking import RankedList, asked_for, pool_size, rank, shifts_scores, shown_items
from penchant.recommender.user_histories import UserHistories

Mask = Bool[np.ndarray, " items"]


@dataclass(frozen=True)
class _Ranked:
    """A list, and the scores that it was made from, of candidates or of every item."""

    list: RankedList
    scores: ChosenScores | UserScores


@dataclass(frozen=True)
class _Basis:
    """What a list is based on.

    Attributes:
        history: The user's, with what the request adds to it.
        scores: Of the history, where they were computed already.
        facts: Fields of the list.
    """

    history: Histories
    scores: UserScores | None
    facts: dict[str, Any]


@dataclass(frozen=True)
class ListBuilder:
    """Makes the lists of one recommender.

    Attributes:
        ensemble: What scores.
        lookup: Items.
        content: Of the items, for diversity.
        users: Their histories.
        shortlist: Candidates, where the catalog is too large to score whole.
        explainer: Of the reasons.
        mark: Fingerprint of the bundle, which each list names.
    """

    ensemble: Ensemble
    lookup: CatalogLookup
    content: Content
    users: UserHistories
    shortlist: Shortlist
    explainer: Explainer
    mark: str

    def build(
        self,
        requests: Sequence[ListRequest],
        available: Mask,
        served: Callable[[ListRequest, ServedPlaces], None],
    ) -> list[RecommendationList | Exception]:
        """Return the list of each request, or the error in it; arguments as in `Recommender.recommend_many`."""
        bases = [self._basis(request) for request in requests]
        ready: list[_Ranked | Exception | None] = [
            self._among_candidates(basis.history, request.edits, request.options, available)
            if basis.scores is None
            and request.exploration is None  # what explores draws from scores of the whole catalog
            else None
            for request, basis in zip(requests, bases, strict=True)
        ]
        new = [b.history for b, found in zip(bases, ready, strict=True) if b.scores is None and found is None]
        scored = self.ensemble.scored(Histories.joined(new)) if new else None
        of_new = iter(()) if scored is None else scored.each()
        answers: list[RecommendationList | Exception] = []
        for request, basis, found in zip(requests, bases, ready, strict=True):
            try:
                places = None
                if found is None:
                    scores = next(of_new) if basis.scores is None else basis.scores
                    found, places = self._chosen(request, basis.history, scores, available)
                if isinstance(found, Exception):
                    raise found
                items = self._listed(request, basis.history, found)
                basis.facts["list_id"] = request.list_id if places is not None else ""
                events = basis.history.num_events
                answers.append(RecommendationList(**basis.facts, events=events, bundle=self.mark, items=items))
                if places is not None:
                    served(request, places)
            except Exception as error:
                answers.append(error)
        return answers

    def best(
        self,
        history: Histories,
        k: int,
        scores: UserScores | None = None,
    ) -> Attribution:
        """Return what a user's best items come from, without filters and edits.

        Args:
            history: One user.
            k: How many items.
            scores: Of the history, where they were computed already.
        """
        options, every = RankingOptions(k=k), np.ones(len(self.lookup.items), bool)
        found = self._among_candidates(history, (), options, every) if scores is None else None
        if isinstance(found, Exception):
            raise found
        if found is None:
            (scores,) = self.ensemble.scored(history).each() if scores is None else (scores,)
            found = _Ranked(rank(self.lookup, self.content, scores.values, history, (), options, every), scores)
        return self.explainer.attribution(history, found.list.rows, found.scores)

    def _basis(self, request: ListRequest) -> _Basis:
        """Return the history a list is based on, its scores if they were computed, and facts about it."""
        known = self.users.nobody() if request.history is None else request.history
        touched, viewed = self.lookup.rows(request.items), self.lookup.rows(request.options.context)
        rows = np.concatenate([touched, viewed]).astype(np.int32)
        has_history = known.num_events > 0 or len(touched) > 0
        asked, unknown = known.under(dict(pair.split(":", 1) for pair in request.options.circumstances))
        bases = {"history": has_history, "context": len(viewed) > 0, "content": _has_content(known)}
        basis = next((name for name, is_given in bases.items() if is_given), "popularity")
        facts = {
            "user_id": request.user_id,
            "basis": basis,
            "unknown_items": len(request.items) + len(request.options.context) - len(rows),
            "unknown_circumstances": unknown,
        }
        if not len(rows):
            is_asked_alike = len(request.options.circumstances) == unknown
            return _Basis(asked, request.scores if is_asked_alike else None, facts)
        now = np.full(len(rows), time.time_ns() // 1000)  # microseconds: the items come after every event
        vectors = [one for item, one in zip(request.items, request.vectors, strict=False) if item in self.lookup.items]
        vectors += [{}] * (len(rows) - len(vectors))
        return _Basis(asked.appended(rows, now, np.ones(len(rows), np.float32), vectors), None, facts)

    def _chosen(
        self, request: ListRequest, history: Histories, scores: UserScores, available: Mask
    ) -> tuple[_Ranked, ServedPlaces | None]:
        """Return the list from the scores of all items, and what it was chosen from where it is logged."""

        def ranked(options: RankingOptions) -> RankedList:
            repeat = self.users.repeat_weights(options.repeat)
            values, edits = scores.values, request.edits
            return rank(self.lookup, self.content, values, history, edits, options, available, repeat=repeat)

        found, config = ranked(request.options), request.exploration
        if config is None:
            return _Ranked(found, scores), None
        size = max(request.options.k, config.candidates)
        wide = ranked(request.options.model_copy(update={"k": size, "diversity": 0.0, "calibration": 0.0}))
        key = f"{request.user_id}\n{request.list_id}"
        explored, places = explore(self.lookup.items.ids, self.ensemble, history, found, wide, config, key)
        return _Ranked(explored, scores), places

    def _among_candidates(
        self, history: Histories, edits: Sequence[Edit], options: RankingOptions, available: Mask
    ) -> _Ranked | Exception | None:
        """Return the list from candidates, or the error in its options; None where every item must be scored."""
        few = self.shortlist.found
        if few is None or shifts_scores(edits, options):
            return None
        try:
            repeat = self.users.repeat_weights(options.repeat)
            shown = shown_items(self.lookup, history, edits, options, available, repeat)
            found = few.for_list(history, pool_size(options), shown.mask)
            if found is None:
                return None
            scores, rows = found
            rows = np.union1d(rows, shown.pins) if len(shown.pins) else rows
            few_scores = scores.of(rows)
            ranked = rank(
                self.lookup, self.content, few_scores, history, edits, options, available, rows=rows, shown=shown
            )
        except NotFoundError as error:
            return error
        return None if len(ranked.rows) < options.k and len(rows) < shown.mask.sum() else _Ranked(ranked, scores)

    def _listed(
        self,
        request: ListRequest,
        history: Histories,
        ranked: _Ranked,
    ) -> tuple[RecommendedItem, ...]:
        """Return the items of a list with titles, and with reasons where they were asked for."""
        found = ranked.list
        ids, titles = self.lookup.items.ids, self.lookup.titles
        why: list[Reason] = []
        if request.options.reasons and len(found.rows):
            why = self.explainer.attribution(history, found.rows, ranked.scores).reasons()
        return tuple(
            RecommendedItem(
                item_id=ids[row],
                title=titles[row],
                score=float(found.scores[place]),
                rank=place + 1,
                reasons=self._reasons(why[place], request.edits, int(row)) if why else (),
                pinned=place < found.pinned,
            )
            for place, row in enumerate(found.rows)
        )

    def _reasons(self, why: Reason, edits: Sequence[Edit], row: int) -> tuple[str, ...]:
        """Return the past items behind a score, then the user's own edits that moved it."""
        titles = self.lookup.titles
        asked = [
            asked_reason(e.action, titles[row] if e.name == ITEM else e.value)
            for e in asked_for(self.lookup, edits, row)
        ]
        return (why.text(titles), *asked)


def _has_content(history: Histories) -> bool:
    """Return whether anything is known of what a user is."""
    channels = history.user_channels.values()
    return any(c.embeddings.of == "users" and bool((c.row >= 0).any()) for c in channels)
