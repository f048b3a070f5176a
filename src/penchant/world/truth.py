"""The truth of a sample world.

In: the folder of a world. Out: hidden attributes of items, preferences of users, reasons of events, and inserted defects.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl


@dataclass(frozen=True)
class WorldTruth:
    """The truth behind a world; no model may read it.

    Attributes:
        folder: Of the world: items, interactions, users, images, sound.
        items: item_id, motif and colour (picture), topic (text), timbre and tempo (sound), circle (behaviour alone), season and
            popularity, released_on (day of 2024, 0 first), is_new, language, price, has_text, has_picture, has_sound.
        users: user_id, driver (motif, topic, timbre, mixture, circle), by_* (share of choices by each reason), likes_* and
            later_* (favourites before and after `changes_on`, "sea|space", the strongest first), changes_on (null: never).
        defects: check (the finding it should become), item_id, user_id, file.
    """

    folder: Path
    items: pl.DataFrame
    users: pl.DataFrame
    defects: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the truth of an existing world."""
        return cls(folder, *(_read(folder, name) for name in ("items", "users", "defects")))

    def events(self) -> pl.DataFrame:
        """Return user_id, item_id, at and the reason of every event: motif, topic, timbre, circle, trend, chance, skip, regret, robot."""
        return _read(self.folder, "events")

    def projects(self) -> pl.DataFrame:
        """Return the interests that users show in a world with user content, before choices tell them.

        Columns: user_id, channel (photo, review, voice, avatar), attribute, value, starts_on and ends_on (days of 2024, 0 first), announced_at
        (null: an avatar, which is there from starts_on on).
        """
        return _read(self.folder, "projects")

    def users_showing(self, channel: str) -> list[str]:
        """Return the ids of the users who show an interest in a channel of user content."""
        return self.projects().filter(pl.col("channel") == channel)["user_id"].unique(maintain_order=True).to_list()

    def defect_counts(self) -> dict[str, int]:
        """Return the number of defects that each check should find."""
        return dict(self.defects.group_by("check").len().sort("check").iter_rows())

    def users_by(self, driver: str) -> list[str]:
        """Return the ids of the users of one group."""
        return self.users.filter(pl.col("driver") == driver)["user_id"].to_list()


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table in the format of its suffix, .csv or .parquet; times in CSV as 2024-05-01T12:00:00Z."""
    if path.suffix == ".parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")


def _read(folder: Path, name: str) -> pl.DataFrame:
    path = folder / "truth" / f"{name}.parquet"
    if path.exists():
        return pl.read_parquet(path)
    return pl.read_csv(path.with_suffix(".csv"), try_parse_dates=True)
