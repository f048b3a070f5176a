"""Counterfactuals: what would have to be different for an item to leave a user's list, or to enter it.

In: one user's history, what each event adds to the item, and functions that rank again. Out: the smallest set of past events found without
which the item is not in the list, or the smallest edit of the profile that brings it in. Nothing is returned that ranking again did not confirm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, islice
from math import ceil, comb
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from penchant.core.messages import Message, message
from penchant.core.notebook import table_html
from penchant.core.schema import Histories

MAX_SETS = 2_000
"""Sets of events that are tried at most."""
MAX_EXACT = 3
"""Sets of up to so many events are tried one by one, where `MAX_SETS` allows."""
MAX_PREFIXES = 64
"""Sets of strongest events that are tried first; where a history is longer, their sizes are spaced."""
SCORED_AT_ONCE = 128
STEP = 0.01
"""Strengths of edits are rounded up to this, in standard deviations of a score."""
MAX_STRENGTH = 5.0
"""The largest strength that an edit may have."""

IsListed = Callable[[Histories], Bool[np.ndarray, " variants"]]
"""Whether the item is in the list of each variant of a user's history."""


@dataclass(frozen=True)
class Removal:
    """Past events without which the item is not in the list.

    Attributes:
        events: (item id, title) of each, in the order of time.
        is_smallest: Whether every smaller set was tried, and kept the item in the list.
        num_tried: Sets of events that were ranked again.
    """

    events: tuple[tuple[str, str], ...]
    is_smallest: bool
    num_tried: int


@dataclass(frozen=True)
class ProfileChange:
    """One edit of the profile that brings the item in.

    Attributes:
        name: An attribute, or "topic".
        value: Its value.
        action: "more" or "less".
        strength: In standard deviations of a score, rounded up to `STEP`.
        rank: The item's place with it, 1 is best.
    """

    name: str
    value: str
    action: str
    strength: float
    rank: int


@dataclass(frozen=True)
class Counterfactual:
    """What would have to be different for one item and one user.

    Attributes:
        user_id: The user.
        item_id: The item.
        title: Its title.
        k: Length of the list.
        rank: The item's place, 1 is best; None where it cannot be listed (it is in the history, withdrawn, or never wanted).
        removal: For an item in the list: the events without which it is not; None where no tried set does it.
        change: For an item outside: the smallest single edit that brings it in; None where none does it.
        num_tried: Sets of events, or edits, that were ranked again.
    """

    user_id: str
    item_id: str
    title: str
    k: int
    rank: int | None
    removal: Removal | None = None
    change: ProfileChange | None = None
    num_tried: int = 0

    @property
    def text(self) -> Message:
        """The answer as a sentence that a reader's language can render."""
        known: Mapping[str, Any] = {"title": _quoted(self.title), "k": self.k}
        if self.rank is None:
            return message(
                "{title} cannot be in the list: it is in the history, withdrawn, or refused by the user.", **known
            )
        if self.change is not None:
            return self._entering(self.change, known)
        if self.rank > self.k:
            return message("No single edit of the profile brings {title} into the list of {k}.", **known)
        if self.removal is not None:
            return self._leaving(self.removal, known)
        if not self.num_tried:
            return message("{title} is in the list of {k} without any past event: there is no history.", **known)
        return message(
            "{title} stays in the list of {k} without any of the {count} sets of past events that were tried.",
            **known,
            count=self.num_tried,
        )

    @staticmethod
    def _entering(change: ProfileChange, known: Mapping[str, Any]) -> Message:
        edit = {"value": change.value, "strength": f"{change.strength:.2f}", "rank": change.rank}
        if change.action == "more":
            return message(
                "{title} would be at place {rank} of the list of {k} with more of {value} (strength {strength}).",
                **known,
                **edit,
            )
        return message(
            "{title} would be at place {rank} of the list of {k} with less of {value} (strength {strength}).",
            **known,
            **edit,
        )

    @staticmethod
    def _leaving(removal: Removal, known: Mapping[str, Any]) -> Message:
        titles = tuple(_quoted(title) for _, title in removal.events)
        if removal.is_smallest:
            return message(
                "{title} would not be in the list of {k} without {titles}; no smaller set of past events does this.",
                titles=titles,
                **known,
            )
        return message(
            "{title} would not be in the list of {k} without {titles}; not all smaller sets were tried.",
            titles=titles,
            **known,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        removal = None
        if self.removal is not None:
            events = [{"item_id": item_id, "title": title} for item_id, title in self.removal.events]
            removal = {**asdict(self.removal), "events": events}
        return {**asdict(self), "removal": removal, "text": str(self.text)}

    def _repr_html_(self) -> str:
        return table_html(f"{self.title} for {self.user_id}", (str(self.text),), [])


def smallest_removal(
    history: Histories,
    gain: Float64[np.ndarray, " events"],
    is_listed: IsListed,
    *,
    max_sets: int = MAX_SETS,
) -> tuple[tuple[int, ...] | None, bool, int]:
    """Return the events whose removal drops an item, whether every smaller set was tried, and how many sets were.

    First the strongest 1, 2, ... events are removed until the item drops, and events that are not needed are taken back. Then all sets
    of up to `MAX_EXACT` events that are smaller are tried, the strongest events first. Every set is ranked again, so that the
    answer is right also where contributions do not say what a removal does.

    Args:
        history: Exactly one user, in whose list the item is.
        gain: What each event adds to the item, more than to the items that would take its place.
        is_listed: Ranks variants of the history.
        max_sets: Sets tried at most.

    Source: Tran et al., Counterfactual explanations for neural recommenders, SIGIR 2021; theirs are searched by influence alone.
    """
    search = _Search(history, is_listed, max_sets)
    order = np.argsort(-gain, kind="stable")
    sizes = np.unique(np.linspace(min(1, len(order)), len(order), min(len(order), MAX_PREFIXES)).astype(int))
    found = search.first(tuple(order[:size].tolist()) for size in sizes)
    if found is not None:
        found = _needed(found, search)
    complete = 0  # all sets of up to so many events were tried
    for size in range(1, min(MAX_EXACT, len(order) if found is None else len(found) - 1) + 1):
        if comb(len(order), size) > search.left:
            break
        smaller = search.first(combinations(order.tolist(), size))
        if smaller is not None:
            found = smaller
            break
        complete = size
    is_smallest = found is not None and complete >= len(found) - 1
    return None if found is None else tuple(sorted(found)), is_smallest, search.num_tried


def _needed(found: tuple[int, ...], search: _Search) -> tuple[int, ...]:
    """Return the set without the events that can be taken back, the weakest first."""
    for event in reversed(found):
        fewer = tuple(one for one in found if one != event)
        if fewer and search.left > 0 and search.first([fewer]) is not None:
            found = fewer
    return found


class _Search:
    """Ranks a history without sets of events, in batches, and counts the sets."""

    def __init__(self, history: Histories, is_listed: IsListed, max_sets: int) -> None:
        self._history, self._is_listed, self._max = history, is_listed, max_sets
        self.num_tried = 0

    @property
    def left(self) -> int:
        return self._max - self.num_tried

    def first(self, sets: Iterator[tuple[int, ...]] | Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        """Return the first of some sets of events without which the item is not in the list."""
        remaining, size = iter(sets), 8
        while batch := list(islice(remaining, min(size, self.left))):
            self.num_tried += len(batch)
            listed = self._is_listed(Histories.joined([without_events(self._history, one) for one in batch]))
            if not listed.all():
                return batch[int(np.argmin(listed))]
            size = SCORED_AT_ONCE  # the first few often suffice
        return None


def without_events(history: Histories, events: Sequence[int]) -> Histories:
    """Return one user's history without some events, given by their places in it."""
    keep = np.ones(history.num_events, bool)
    keep[list(events)] = False
    return history.where(keep)


def needed_strength(
    target: float,
    others: Float64[np.ndarray, " items"],
    moves: Bool[np.ndarray, " items"],
    free: int,
    deviation: float,
) -> float | None:
    """Return the smallest strength of an edit with which the item is among the first `free`, rounded up to `STEP`; None where none does.

    An edit shifts all items of a value alike, so that it moves the target past one part of the others (`moves`) and changes nothing
    in its order with the rest.

    Args:
        target: Score of the item.
        others: Scores of all other items that may be listed.
        moves: Which of them the edit brings the target nearer to: with "more of a value" those without it, with "less of a value" those with it.
        free: Places of the list.
        deviation: Standard deviation of all scores: the unit of a strength.
    """
    room = free - int((others[~moves] >= target).sum())
    above = np.sort(others[moves & (others >= target)])[::-1]
    if room <= 0:
        return None
    if len(above) < room:
        return STEP
    strength = STEP * ceil((above[room - 1] - target) / deviation / STEP + 1e-6)
    return round(max(strength, STEP), 2) if strength <= MAX_STRENGTH else None


def _quoted(title: str) -> Message:
    return message("“{title}”", title=title)
