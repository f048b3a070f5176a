"""The exact reasons of one score.

In: the stack's terms. Out: contributions by past event, by channel and by member, each summing to the score, and sentences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from penchant.core.messages import Message, message
from penchant.core.schema import BEHAVIOUR, Catalog, Histories
from penchant.models.ensemble import Stack, Term

MIXED = "mixed content"
"""Where one member reads several channels and cannot tell them apart."""


@dataclass(frozen=True)
class Explanation:
    """Why one item has its score for one person.

    Attributes:
        user_id: The person.
        item_id: The item.
        title: What to call it.
        score: Sum of all contributions.
        by_event: (item id, title, contribution) for each past event, largest first.
        by_channel: "behaviour" or a content channel to its contribution.
        by_member: Member to its contribution.
        prior: The part that no event of this person caused (popularity and the like).
    """

    user_id: str
    item_id: str
    title: str
    score: float
    by_event: tuple[tuple[str, str, float], ...]
    by_channel: dict[str, float]
    by_member: dict[str, float]
    prior: float

    def reasons(self, limit: int = 2) -> list[str]:
        """Return the events that speak for the item, as a person would say it."""
        return [reason([title for _, title, value in self.by_event[:limit] if value > 0], self.prior)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return {
            "user_id": self.user_id,
            "item_id": self.item_id,
            "title": self.title,
            "score": self.score,
            "prior": self.prior,
            "by_event": [{"item_id": i, "title": t, "contribution": v} for i, t, v in self.by_event],
            "by_channel": self.by_channel,
            "by_member": self.by_member,
            "reasons": self.reasons(),
        }


def reason(titles: Iterable[str], prior: float) -> str:
    """Return why an item has its place, as a person would say it.

    Args:
        titles: Of the past events that speak for it, the strongest first.
        prior: What no event caused.
    """
    named = [message("“{title}”", title=title) for title in titles]
    if named:
        return message("because of {titles}", titles=reduce(_both, named))
    return message("liked by many") if prior > 0 else message("the closest there is to your taste so far")


def _both(first: Message, second: Message) -> Message:
    return message("{first} and {second}", first=first, second=second)


def explain(stack: Stack, catalog: Catalog, history: Histories, item_index: int) -> Explanation:
    """Return the additive contributions to one score; they sum to it up to float32 rounding.

    Args:
        stack: Fitted members and weights.
        catalog: For ids and titles.
        history: Exactly one user.
        item_index: The item in question.
    """
    terms = stack.terms(history, item_index)
    titles, ids = catalog.titles(), catalog.item_ids
    events = np.zeros(history.num_events)
    for term in terms:
        if term.event >= 0:
            events[term.event] += term.value
    order = np.argsort(-events, kind="stable")
    rows = history.item_index[order]
    return Explanation(
        user_id=history.user_ids[0],
        item_id=ids[item_index],
        title=titles[item_index],
        score=float(sum(term.value for term in terms)),
        by_event=tuple((ids[i], titles[i], float(v)) for i, v in zip(rows, events[order], strict=True)),
        by_channel=_grouped(terms, lambda term: term.channels[0] if len(term.channels) == 1 else MIXED),
        by_member=_grouped(terms, lambda term: term.member),
        prior=float(sum(term.value for term in terms if term.event < 0)),
    )


def channel_shares(explanations: list[Explanation]) -> dict[str, float]:
    """Return each channel's share of the positive reasons behind several scores; sums to 1, or is empty."""
    total: dict[str, float] = defaultdict(float)
    for explanation in explanations:
        for channel, value in explanation.by_channel.items():
            total[channel] += max(value, 0.0)
    whole = sum(total.values())
    if whole <= 0:
        return {}
    ordered = sorted(total.items(), key=lambda pair: (pair[0] != BEHAVIOUR, -pair[1]))
    return {channel: value / whole for channel, value in ordered}


def _grouped(terms: list[Term], key: Any) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for term in terms:
        total[key(term)] += term.value
    return dict(sorted(total.items(), key=lambda pair: -abs(pair[1])))
