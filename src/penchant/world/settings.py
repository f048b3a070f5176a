"""How large the sample world is, and what is in it.

In: a size or single numbers. Out: a `Plan` with every number decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from penchant.core.config import Settings

DAYS = 366
"""The world is the leap year 2024, in UTC."""

Size = Literal["tiny", "small", "medium", "large"]


class Config(Settings):
    """A sample world."""

    size: Size = "small"
    """tiny: for tests, seconds. small: the demo. medium: a platform of thousands, with media. large: 50,000 items and ten
    million events in Parquet, without media."""
    num_users: int | None = Field(None, ge=20)
    """Users; None takes the size's number."""
    num_items: int | None = Field(None, ge=48)
    """Items; None takes the size's number."""
    events_per_user: float | None = Field(None, ge=6)
    """Events of a user on average; None takes the size's number."""
    seed: int = Field(0, ge=0)
    """Equal seeds and settings give equal files."""
    chinese_share: float = Field(0.3, ge=0, le=1)
    """Part of the items, and of the users, whose language is Chinese; the others' is English."""
    new_share: float = Field(0.25, ge=0, le=0.5)
    """Part of the items that comes out in the last weeks of the year, so that hardly anybody has touched them."""
    missing_share: float = Field(0.07, ge=0, le=0.9)
    """Part of the items without a picture; the same again without sound, and without text."""
    review_share: float = Field(0.05, ge=0, le=1)
    """Part of the events in which the user says something."""
    regret_share: float = Field(0.0, ge=0, le=0.5)
    """Part of the events in which a user takes an item that has nothing they like, and regrets it: only their words tell."""
    media: bool | None = None
    """Draw pictures and play sounds; None does so in all sizes but large."""
    defects: bool = True
    """Plant damage of every kind that cleaning counts; `truth/defects.csv` lists it."""


@dataclass(frozen=True)
class Plan:
    """The settings with every None decided."""

    num_users: int
    num_items: int
    events_per_user: float
    chinese_share: float
    new_share: float
    missing_share: float
    review_share: float
    regret_share: float
    media: bool
    defects: bool
    ending: Literal[".csv", ".parquet"]


SIZES: dict[Size, tuple[int, int, float]] = {
    "tiny": (180, 140, 16.0),
    "small": (1_400, 900, 26.0),
    "medium": (8_000, 3_000, 35.0),
    "large": (200_000, 50_000, 50.0),
}
"""Users, items, events of a user."""
MAX_CSV_EVENTS = 1_000_000
"""Larger tables are written as Parquet."""


def decide(config: Config) -> Plan:
    """Return every number of a world."""
    users, items, events = SIZES[config.size]
    users = config.num_users or users
    events = config.events_per_user or events
    return Plan(
        users,
        config.num_items or items,
        events,
        config.chinese_share,
        config.new_share,
        config.missing_share,
        config.review_share,
        config.regret_share,
        config.size != "large" if config.media is None else config.media,
        config.defects,
        ".csv" if users * events <= MAX_CSV_EVENTS else ".parquet",
    )
