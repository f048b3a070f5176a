"""The right answers of a sample world.

In: the folder of a world. Out: what each item hides, what each user chooses by, why each event happened, and what was damaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl


@dataclass(frozen=True)
class WorldTruth:
    """What only the maker of the world knows; no model may read it.

    Attributes:
        folder: Of the world: items, interactions, users, images, sound.
        items: item_id, motif and colour (picture), topic (text), timbre and tempo (sound), circle (behaviour alone), season and
            appeal (popularity), released_on (day of 2024, 0 first), is_new, language, price, has_text, has_picture, has_sound.
        users: user_id, driver (motif, topic, timbre, mixture, circle), by_* (part of the choices by each reason), likes_* and
            later_* (favourites before and after `changes_on`, "sea|space", the dearest first), changes_on (null: never).
        defects: check (the finding it should become), item_id, user_id, file.
    """

    folder: Path
    items: pl.DataFrame
    users: pl.DataFrame
    defects: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the truth back from a world that was made before."""
        return cls(folder, *(_read(folder, name) for name in ("items", "users", "defects")))

    def events(self) -> pl.DataFrame:
        """Return user_id, item_id, at and the reason of every event: motif, topic, timbre, circle, trend, chance, skip, regret, robot."""
        return _read(self.folder, "events")

    def defect_counts(self) -> dict[str, int]:
        """Return how many defects each check should find."""
        return dict(self.defects.group_by("check").len().sort("check").iter_rows())

    def users_by(self, driver: str) -> list[str]:
        """Return the ids of the users who choose mainly by one thing."""
        return self.users.filter(pl.col("driver") == driver)["user_id"].to_list()


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table as its ending says, .csv or .parquet; times in CSV as 2024-05-01T12:00:00Z."""
    if path.suffix == ".parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")


def _read(folder: Path, name: str) -> pl.DataFrame:
    path = folder / "truth" / f"{name}.parquet"
    if path.exists():
        return pl.read_parquet(path)
    return pl.read_csv(path.with_suffix(".csv"), try_parse_dates=True)
