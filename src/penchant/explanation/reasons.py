"""How a reason is worded.

In: the past items that contribute most to one score. Out: one sentence, as a message that a reader's language can render.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from penchant.core.messages import Message, message

MAX_NAMED = 2
"""Past items that one reason names."""


@dataclass(frozen=True)
class Reason:
    """Why one item is in the list.

    Attributes:
        items: Rows of the past items whose events contribute most, each item once, the strongest first; only positive contributions.
        is_popular: Whether the prior of the score is positive, or there are no events.
    """

    items: tuple[int, ...]
    is_popular: bool

    def text(self, titles: Sequence[str]) -> Message:
        """Return the reason as a sentence.

        Args:
            titles: Of every item of the catalog.
        """
        named = [message("“{title}”", title=title) for title in dict.fromkeys(titles[item] for item in self.items)]
        if named:
            return message("because of {titles}", titles=reduce(_both, named))
        return message("liked by many") if self.is_popular else message("the closest there is to your taste so far")


def asked_reason(action: str, value: str) -> Message:
    """Return the reason that a user asked for it: more, less or always (`pin`) of a value or item."""
    if action == "more":
        return message("the user asked for more of {value}", value=value)
    if action == "less":
        return message("although the user asked for less of {value}", value=value)
    return message("the user always wants {value}", value=value)


def _both(first: Message, second: Message) -> Message:
    return message("{first} and {second}", first=first, second=second)
