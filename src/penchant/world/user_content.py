"""User content of the sample world: reviews, photos, voice notes, avatars, and a region.

In: users with preferences, and events. Out: columns of events and users, and the files they name. Each kind of content shows one preference:

- reviews tell the topic of users who choose by topic (and of half of those who choose by a mixture),
- photos show the motif of half of the users who choose by motif, avatars that of the other half,
- voice notes play the timbre of users who choose by timbre,
- the region goes with the circle of users who choose by circle.

What anybody else writes, shows or says has nothing to do with their preferences.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.logs import track
from penchant.core.seeds import generator
from penchant.world.damage import write_sound
from penchant.world.drawing import COLOURS, draw_cover
from penchant.world.items import ATTRIBUTES
from penchant.world.sound import TEMPOS, play
from penchant.world.users import UserPopulation
from penchant.world.words import write_wish

CONTENT_SHARE = 0.12
"""Share of the events of a user with the photo, the voice note or the words that show what they choose by."""
IDLE_SHARE = 0.03
"""Share of the events of any user with a photo or voice note that has nothing to do with their preferences."""
SECOND_SHARE = 0.3
"""Share of a user's content that shows the second of their two favourites."""
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
        seed: Of the world; every piece of content has a random generator of its own.
    """

    folder: Path
    population: UserPopulation
    seed: int

    def users(self) -> pl.DataFrame:
        """Return user_id, region, plan and avatar."""
        table = self.population.table
        rng = generator(self.seed, "world.user_content.users")
        count = table.height
        by_circle = (table["driver"] == "circle").to_numpy() & (rng.random(count) < REGION_TRUE)
        own = self.population.likes["circle"][:, 0, 0] % len(REGIONS)
        region = np.where(by_circle, own, rng.integers(0, len(REGIONS), count))
        plan = rng.integers(0, len(PLANS), count)
        avatars = []
        for user, user_id in enumerate(track(table["user_id"].to_list(), "avatars", count)):
            drawn = generator(self.seed, f"world.user_content.{user_id}")
            shows = table["driver"][user] == "motif" and not self._shows_photos(user)
            motif = self._favourite("motif", user, 0, drawn) if shows else _any("motif", drawn)
            avatars.append(self._picture(f"avatars/{user_id}.jpg", motif, drawn))
        return table.select(
            "user_id",
            region=pl.Series([REGIONS[code] for code in region]),
            plan=pl.Series([PLANS[code] for code in plan]),
            avatar=pl.Series(avatars),
        )

    def events(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return events with `image` and `audio`, and with texts about the topic of those who choose by it."""
        known = {user_id: user for user, user_id in enumerate(self.population.table["user_id"])}
        day = events.select(pl.col("at").dt.ordinal_day() - 1).to_series().to_list()
        texts = events["text"].to_list()
        pictures: list[str | None] = [None] * events.height
        sounds: list[str | None] = [None] * events.height
        number: dict[str, int] = {}
        for row, (user_id, kind) in enumerate(zip(events["user_id"], events["kind"], strict=True)):
            if user_id not in known or kind == "skip":
                continue
            user, count = known[user_id], number.get(user_id, 0) + 1
            number[user_id] = count
            rng = generator(self.seed, f"world.user_content.{user_id}.{count}")
            after, driver = int(day[row] >= self.population.changes_on[user]), self.population.table["driver"][user]
            shares = rng.random(3)
            if driver in ("topic", "mixture") and shares[0] < CONTENT_SHARE:
                topic = self._favourite("topic", user, after, rng)
                texts[row] = write_wish(topic, self.population.table["language"][user], rng)
            shows = driver == "motif" and self._shows_photos(user)
            if shares[1] < (CONTENT_SHARE if shows else IDLE_SHARE):
                motif = self._favourite("motif", user, after, rng) if shows else _any("motif", rng)
                pictures[row] = self._picture(f"photos/{user_id}-{count}.jpg", motif, rng)
            if shares[2] < (CONTENT_SHARE if driver == "timbre" else IDLE_SHARE):
                timbre = self._favourite("timbre", user, after, rng) if driver == "timbre" else _any("timbre", rng)
                sounds[row] = self._sound(f"voices/{user_id}-{count}.flac", timbre, rng)
        return events.with_columns(
            text=pl.Series(texts, dtype=pl.String),
            image=pl.Series(pictures, dtype=pl.String),
            audio=pl.Series(sounds, dtype=pl.String),
        )

    def _shows_photos(self, user: int) -> bool:
        """Return whether a user who chooses by motif shows it in photos; the others show it in their avatar."""
        return user % 2 == 0

    def _favourite(self, attribute: str, user: int, after: int, rng: np.random.Generator) -> str:
        place = int(rng.random() < SECOND_SHARE)
        return ATTRIBUTES[attribute][self.population.likes[attribute][user, after, place]]

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
