"""Settings of the sample world.

In: a size, or single numbers. Out: a `WorldPlan` with every number set.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penchant.core.config import Settings

DAYS = 366
"""Length of the world in days: the leap year 2024, in UTC."""

Size = Literal["tiny", "small", "medium", "large"]


class WorldConfig(Settings):
    """Settings of one sample world."""

    size: Size = "small"
    """tiny: for tests, seconds. small: the demo. medium: a platform of thousands, with media. large: 50,000 items and ten
    million events in Parquet, without media."""
    num_users: int | None = Field(None, ge=20)
    """Number of users; None takes that of the size."""
    num_items: int | None = Field(None, ge=48)
    """Number of items; None takes that of the size."""
    events_per_user: float | None = Field(None, ge=6)
    """Mean number of events per user; None takes that of the size."""
    seed: int = Field(0, ge=0)
    """Equal seeds and settings give equal files."""
    chinese_share: float = Field(0.3, ge=0, le=1)
    """Share of items and of users whose language is Chinese; the others' is English."""
    new_share: float = Field(0.25, ge=0, le=0.5)
    """Share of items released in the last weeks of the year, so that they have few events."""
    missing_share: float = Field(0.07, ge=0, le=0.9)
    """Share of items without image; the same share lacks sound, and the same lacks text."""
    review_share: float = Field(0.05, ge=0, le=1)
    """Share of events with a review."""
    regret_share: float = Field(0.0, ge=0, le=0.5)
    """Share of events in which a user chooses an item without any attribute they like and regrets it; only the review shows it."""
    user_content: bool = False
    """Let users announce coming interests in photos, reviews and voice notes, show avatars, and live in a region; needs media."""
    media: bool | None = None
    """Generate images and sounds; None does so in all sizes but large."""
    defects: bool = True
    """Insert defects of every kind that cleaning counts; `truth/defects.csv` lists them."""


class WorldPlan(WorldConfig):
    """The settings with every None replaced."""

    num_users: int
    num_items: int
    events_per_user: float
    media: bool
    ending: Literal[".csv", ".parquet"]
    """Format of the tables."""


SIZES: dict[Size, tuple[int, int, float]] = {
    "tiny": (180, 140, 16.0),
    "small": (1_400, 900, 26.0),
    "medium": (8_000, 3_000, 35.0),
    "large": (200_000, 50_000, 50.0),
}
"""Number of users, of items, mean events per user."""
MAX_CSV_EVENTS = 1_000_000
"""Larger tables are written as Parquet."""


def decide(config: WorldConfig) -> WorldPlan:
    """Return the settings with every None replaced."""
    users, items, events = SIZES[config.size]
    users, events = config.num_users or users, config.events_per_user or events
    values = {
        **dict(config),
        "num_users": users,
        "num_items": config.num_items or items,
        "events_per_user": events,
        "media": config.size != "large" if config.media is None else config.media,
        "ending": ".csv" if users * events <= MAX_CSV_EVENTS else ".parquet",
    }
    return WorldPlan(**values)
