"""From who asks to the list each gets.

In: some requests as of one moment. Out: their lists; whatever has to be scored for them is scored in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int64

from penchant.core.schema import Histories
from penchant.recommender.ranking import Ranked, rank
from penchant.recommender.snapshot import Served, joined, one_person
from penchant.service.schemas import Recommended, RecommendedList, SessionIn, Wishes
from penchant.service.store import now
from penchant.service.user_cache import Person


@dataclass(frozen=True)
class Visit:
    """One request for a list.

    Attributes:
        wishes: What it shall be like; a `SessionIn` brings an anonymous history with it.
        user_id: Who asks; None if nobody says.
        person: What is known of them; None likewise.
    """

    wishes: Wishes
    user_id: str | None = None
    person: Person | None = None


@dataclass(frozen=True)
class _Basis:
    """What a list rests on.

    Attributes:
        kind: The person's history, only the items in view, or nothing.
        history: What is known of the person, then what the request brings.
        unknown: Items of the request that are not in the catalog.
        scores: Known already if the request brings nothing.
    """

    kind: Literal["history", "context", "popularity"]
    history: Histories
    unknown: int
    scores: Float32[np.ndarray, " items"] | None


def lists(
    served: Served, available: Bool[np.ndarray, " items"], visits: Sequence[Visit]
) -> list[RecommendedList | Exception]:
    """Return everybody's list, or what went wrong with it: one person's wishes shall not fail another's.

    Args:
        served: The model.
        available: Whether an item may be shown.
        visits: Who asks for what.
    """
    bases = [_basis(served, visit) for visit in visits]
    new = [basis.history for basis in bases if basis.scores is None]
    scored = iter(served.scores(new) if new else [])
    answers: list[RecommendedList | Exception] = []
    for visit, basis in zip(visits, bases, strict=True):
        scores = next(scored) if basis.scores is None else basis.scores
        try:
            answers.append(_listed(served, available, visit, basis, scores))
        except Exception as error:
            answers.append(error)
    return answers


def _basis(served: Served, visit: Visit) -> _Basis:
    person, wishes = visit.person, visit.wishes
    known = person.history if person else Histories.empty(len(served.items))
    said = wishes.history if isinstance(wishes, SessionIn) else []
    touched, viewed = served.rows(said), served.rows(wishes.context)
    rows = np.concatenate([touched, viewed])
    has_history = known.num_events > 0 or len(touched) > 0
    return _Basis(
        kind="history" if has_history else "context" if len(viewed) else "popularity",
        history=_with_items(known, rows) if len(rows) else known,
        unknown=len(said) + len(wishes.context) - len(rows),
        scores=person.scores if person and not len(rows) else None,
    )


def _with_items(history: Histories, rows: Int64[np.ndarray, " rows"]) -> Histories:
    """Return the history with items appended as the latest events."""
    one = one_person(
        "", rows.astype(np.int32), np.full(len(rows), now()), np.ones(len(rows), np.float32), history.num_items
    )
    both = joined([history, one])
    return one_person(history.user_ids[0], both.item_index, both.at, both.weight, history.num_items)


def _listed(
    served: Served,
    available: Bool[np.ndarray, " items"],
    visit: Visit,
    basis: _Basis,
    scores: Float32[np.ndarray, " items"],
) -> RecommendedList:
    edits = visit.person.edits if visit.person else ()
    found = rank(served, scores, basis.history, edits, visit.wishes, available)
    why = served.reasons(basis.history, found.rows) if visit.wishes.reasons else [[]] * len(found.rows)
    return RecommendedList(
        user_id=visit.user_id,
        basis=basis.kind,
        events=basis.history.num_events,
        unknown_items=basis.unknown,
        bundle=served.mark,
        items=_items(served, found, why),
    )


def _items(served: Served, found: Ranked, why: Sequence[list[str]]) -> list[Recommended]:
    return [
        Recommended(
            item_id=served.items.ids[row],
            title=served.titles[row],
            score=float(score),
            rank=place + 1,
            reasons=said,
            pinned=place < found.pinned,
        )
        for place, (row, score, said) in enumerate(zip(found.rows, found.scores, why, strict=True))
    ]
