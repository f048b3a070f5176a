"""Requests for recommendation lists, and the lists.

In: options and edits, checked. Out: `ListRequest` for `Recommender.recommend_many`, `RecommendationList` as its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from penchant.core.config import Settings
from penchant.core.notebook import table_html
from penchant.core.schema import MAX_ID, Histories
from penchant.models.ensemble import UserScores

DOCUMENTED = ConfigDict(use_attribute_docstrings=True)
"""An attribute's docstring is its description in OpenAPI."""


def _printable(text: str) -> str:
    """Refuse control characters and lone surrogates, which databases and logs do not accept."""
    if any(ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF or 127 <= ord(c) < 160 for c in text):
        raise ValueError("holds a control character")
    return text


def _one_direction(text: str) -> str:
    """Refuse characters that change the direction of text: an id with them looks like another one on pages and in terminals."""
    if any(c in _DIRECTIONS for c in text):
        raise ValueError("holds a control character of text direction")
    return text


_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Unicode's Bidi_Control."""
Printable = AfterValidator(_printable)
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID), Printable, AfterValidator(_one_direction)]
Pair = Annotated[str, Field(max_length=2 * MAX_ID + 1, pattern=r"^[^:]+:.+$", examples=["genres:Comedy"])]
Signed = Annotated[str, Field(max_length=2 * MAX_ID + 12, pattern=r"^[^:]+:.+:-?\d{1,6}(\.\d+)?$")]
Bound = Annotated[str, Field(max_length=MAX_ID + 24, pattern=r"^[^:]+:-?\d+(\.\d+)?$", examples=["price:10"])]


class RankingOptions(Settings):
    """Which items a list may hold, and how they are ranked."""

    k: Annotated[int, Field(ge=1)] = 10
    """Length of the list."""
    where: Annotated[list[Pair], Field(max_length=50)] = []
    """NAME:VALUE, an attribute the items must have; several values of one name are alternatives."""
    at_least: Annotated[list[Bound], Field(max_length=20)] = []
    """NAME:NUMBER, a lower bound of a number such as price; items without the number are left out."""
    at_most: Annotated[list[Bound], Field(max_length=20)] = []
    """NAME:NUMBER, an upper bound."""
    allow: Annotated[list[Id], Field(max_length=10_000)] = []
    """Only these items; empty allows all."""
    deny: Annotated[list[Id], Field(max_length=10_000)] = []
    """Never these items."""
    seen: bool = False
    """Whether items of the history may come again."""
    one_per: Annotated[Id, Field(examples=["series"])] | None = None
    """An attribute of which the list holds at most one item a value, the best one: the code of a product's variants, a series, an author; `title` for
    items of equal titles. Items without a value are not limited."""
    per_group: Annotated[int, Field(ge=1, le=100)] = 1
    """With `one_per`: so many items of one value instead of one, such as two of each provider."""
    new_groups: bool = False
    """With `one_per`: leave out items that share its value with an item of the history, such as another size of what the user has."""
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0 ranks by score alone, 1 avoids similar items above all."""
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0 ranks by score alone, 1 gives the list the mix of the user's history above all: of the values of `calibrate_by`."""
    calibrate_by: Annotated[Id, Field(examples=["genres"])] = "topic"
    """The attribute, or `topic`, whose mix `calibration` keeps."""
    repeat: Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=50)] = []
    """Kinds of event after which an item may come again, such as `view`: items of whose events all are of these kinds. Histories hold weights, so kinds of
    equal weight are alike; `seen` lets everything come again."""
    boost: Annotated[list[Signed], Field(max_length=50)] = []
    """NAME:VALUE:AMOUNT adds to the score of such items, `item:ID:AMOUNT` to one; 1 is one standard deviation of a score."""
    context: Annotated[list[Id], Field(max_length=50)] = []
    """Items in view right now: read as the latest events of this request, and not stored."""
    circumstances: Annotated[list[Pair], Field(max_length=20)] = []
    """NAME:VALUE, a circumstance of the request that the bundle learned about: `device:tablet`, `weekday:Monday`. What it never saw is counted."""
    reasons: bool = False
    """Add reasons by past event; costs some milliseconds."""


class ExplorationConfig(Settings):
    """How served lists explore."""

    policy: Literal["none", "epsilon", "thompson"] = "none"
    """`none` shows the best items; `epsilon` does, but for a share of lists in random order; `thompson` ranks with weights of the members that are drawn
    for each list, and a share of lists in random order too."""
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of lists that are the candidates in random order: what makes every candidate possible at every place."""
    candidates: Annotated[int, Field(ge=2, le=1000)] = 30
    """The best so many items take part; at least as many as the list is long."""
    draws: Annotated[int, Field(ge=1, le=1000)] = 32
    """`thompson`: how many draws of the weights there are; each list takes one."""
    spread: Annotated[float, Field(gt=0, le=3)] = 0.5
    """`thompson`: standard deviation of a member's weight among the draws, as a share of the weight."""
    seed: int = 0
    """Seed of the draws of weights."""

    @property
    def is_on(self) -> bool:
        return self.policy != "none"


@dataclass(frozen=True, slots=True)
class Edit:
    """A user's edit of one of their interests.

    Attributes:
        name: "item", or an attribute.
        value: The item's id, or the attribute's value.
        action: more, less, never or pin.
        strength: How much more or less.
    """

    name: str
    value: str
    action: str
    strength: float = 1.0


def last_edits(edits: Sequence[Edit]) -> list[Edit]:
    """Return the last edit of each value."""
    return list({(e.name, e.value): e for e in edits}.values())


@dataclass(frozen=True)
class ListRequest:
    """One request for a list.

    Attributes:
        options: Filters, boosts, diversity, items in view.
        user_id: The user; None for an anonymous history.
        history: The user's events; None where there are none.
        edits: The user's own.
        scores: Of `history`, by `Ensemble.scored`, where they were computed already.
        items: An anonymous history: item ids, oldest first.
        vectors: What was written, shown or said with each of `items`: channel to vector; () where there is nothing.
        exploration: How the list explores; None where what was served is not logged.
        list_id: Of the list that is logged: the key of the random draw.
    """

    options: RankingOptions
    user_id: str | None = None
    history: Histories | None = None
    edits: Sequence[Edit] = ()
    scores: UserScores | None = None
    items: Sequence[str] = ()
    vectors: Sequence[Mapping[str, Float32[np.ndarray, " dim"]]] = ()
    exploration: ExplorationConfig | None = None
    list_id: str = ""


@dataclass(frozen=True)
class RecommendedItem:
    """One item of a list."""

    __pydantic_config__ = DOCUMENTED

    item_id: str
    """The item."""
    title: str
    """Its title."""
    score: float
    """Higher is better; comparable within one list."""
    rank: int
    """1 is best."""
    reasons: tuple[str, ...] = ()
    """Past events with the largest contributions; empty where reasons were not requested."""
    pinned: bool = False
    """Whether the user pinned it."""


@dataclass(frozen=True)
class RecommendationList:
    """A ranked list and its basis."""

    __pydantic_config__ = DOCUMENTED

    user_id: str | None
    """The user."""
    basis: Literal["history", "context", "content", "popularity"]
    """What was ranked by: the user's history, only the items in view, only what the user is (attributes, an avatar), or popularity."""
    events: int
    """Events of the history that were read."""
    unknown_items: int
    """Named items that are not in the catalog."""
    bundle: str
    """Fingerprint of the bundle."""
    items: tuple[RecommendedItem, ...]
    """Best first."""
    unknown_circumstances: int = 0
    """Named circumstances that the bundle learned nothing about."""
    list_id: str = ""
    """Name of the list in the log of served lists; empty where lists are not logged."""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[RecommendedItem]:
        return iter(self.items)

    def __getitem__(self, place: int) -> RecommendedItem:
        return self.items[place]

    def _repr_html_(self) -> str:
        rows = [(s.rank, s.item_id, s.title, f"{s.score:.3f}", "; ".join(s.reasons)) for s in self.items]
        caption = f"For {self.user_id}, from {self.events} events"
        return table_html(caption, ("", "item", "title", "score", "why"), rows)
