"""User content of the sample world: reviews, photos, voice notes, avatars, and a region.

In: users with preferences and projects, and events. Out: columns of events and users, and the files they name.

- A project is announced in one event: a photo shows its motif, a review names its topic, or a voice note plays its timbre.
- The avatar of users who joined a circle is its badge: a motif for each circle.
- The region goes with the circle of users who choose by circle.

All other photos, voice notes, avatars, regions and plans have nothing to do with preferences, and other reviews name no topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.logs import track
from penchant.core.seeds import generator
from penchant.world.choices import START
from penchant.world.damage import write_sound
from penchant.world.drawing import COLOURS, draw_cover
from penchant.world.items import ATTRIBUTES
from penchant.world.projects import NONE, Projects
from penchant.world.sound import TEMPOS, play
from penchant.world.users import UserPopulation
from penchant.world.words import write_wish

IDLE_AVATAR_SHARE = 0.1
"""Share of the other users with an avatar; it shows any motif."""
IDLE_SHARE = 0.01
"""Share of the events of any user with a photo or voice note that has nothing to do with their preferences."""
REGIONS = ("north", "south", "east", "west", "coast", "hills", "river", "city")
REGION_TRUE = 0.7
"""Share of users who choose by circle and live in the region of their first circle; anybody else lives anywhere."""
PLANS = ("free", "basic", "plus")
"""Plans of a subscription; they have nothing to do with preferences."""


@dataclass(frozen=True)
class UserContentWriter:
    """Adds content to users and events, and writes the files they name.

    Attributes:
        folder: Of the world.
        population: Users and their preferences.
        projects: What they announce, and what avatars show.
        seed: Of the world; every piece of content has a random generator of its own.
    """

    folder: Path
    population: UserPopulation
    projects: Projects
    seed: int
    _announcements: list[pl.DataFrame] = field(default_factory=list)

    def announcements(self) -> pl.DataFrame:
        """Return user_id and at of the announcements among the events written so far."""
        return pl.concat(self._announcements)

    def users(self) -> pl.DataFrame:
        """Return user_id, region, plan and avatar."""
        table = self.population.table
        rng = generator(self.seed, "world.user_content.users")
        count = table.height
        by_circle = (table["driver"] == "circle").to_numpy() & (rng.random(count) < REGION_TRUE)
        own = self.population.likes["circle"][:, 0, 0] % len(REGIONS)
        region = np.where(by_circle, own, rng.integers(0, len(REGIONS), count))
        plan = rng.integers(0, len(PLANS), count)
        avatars: list[str | None] = []
        for user, user_id in enumerate(track(table["user_id"].to_list(), "avatars", count)):
            drawn = generator(self.seed, f"world.user_content.{user_id}")
            code = int(self.projects.avatar[user])
            if code == NONE and drawn.random() >= IDLE_AVATAR_SHARE:
                avatars.append(None)
                continue
            motif = _any("motif", drawn) if code == NONE else ATTRIBUTES["motif"][code]
            avatars.append(self._picture(f"avatars/{user_id}.jpg", motif, drawn))
        return table.select(
            "user_id",
            region=pl.Series([REGIONS[code] for code in region]),
            plan=pl.Series([PLANS[code] for code in plan]),
            avatar=pl.Series(avatars),
        )

    def events(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return events with `image` and `audio`, and with the words, photos and voice notes that announce projects."""
        is_of_year = pl.col("at").dt.year() == int(str(START)[:4])  # a damaged event may lie in another year
        events = events.with_columns(announces=pl.col("announces").fill_null(False) & is_of_year)
        self._announcements.append(events.filter("announces").select("user_id", "at"))
        known = {user_id: user for user, user_id in enumerate(self.population.table["user_id"])}
        day = events.select(pl.col("at").dt.ordinal_day() - 1).to_series().to_list()
        texts = events["text"].to_list()
        pictures: list[str | None] = [None] * events.height
        sounds: list[str | None] = [None] * events.height
        number: dict[str, int] = {}
        rows = zip(events["user_id"], events["kind"], events["announces"], strict=True)
        for row, (user_id, kind, announces) in enumerate(rows):
            if user_id not in known or kind == "skip":
                continue
            user, count = known[user_id], number.get(user_id, 0) + 1
            number[user_id] = count
            rng = generator(self.seed, f"world.user_content.{user_id}.{count}")
            channel, value = self.projects.announced(user, day[row]) if announces else ("", "")
            idle = rng.random(2) < IDLE_SHARE
            if channel == "review":
                texts[row] = write_wish(value, self.population.table["language"][user], rng)
            if channel == "photo" or idle[0]:
                motif = value if channel == "photo" else _any("motif", rng)
                pictures[row] = self._picture(f"photos/{user_id}-{count}.jpg", motif, rng)
            if channel == "voice" or idle[1]:
                timbre = value if channel == "voice" else _any("timbre", rng)
                sounds[row] = self._sound(f"voices/{user_id}-{count}.flac", timbre, rng)
        return events.with_columns(
            text=pl.Series(texts, dtype=pl.String),
            image=pl.Series(pictures, dtype=pl.String),
            audio=pl.Series(sounds, dtype=pl.String),
        )

    def _picture(self, path: str, motif: str, rng: np.random.Generator) -> str:
        (self.folder / path).parent.mkdir(exist_ok=True)
        draw_cover(motif, _one(tuple(COLOURS), rng), rng).save(self.folder / path, quality=85)
        return path

    def _sound(self, path: str, timbre: str, rng: np.random.Generator) -> str:
        (self.folder / path).parent.mkdir(exist_ok=True)
        write_sound(self.folder / path, play(timbre, _one(tuple(TEMPOS), rng), rng))
        return path


def _any(attribute: str, rng: np.random.Generator) -> str:
    return _one(ATTRIBUTES[attribute], rng)


def _one(values: tuple[str, ...], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]
