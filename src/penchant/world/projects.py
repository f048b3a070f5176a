"""Coming interests of the users of a sample world: what they announce before the first choice, and what their avatar tells.

In: users with preferences. Out: `Projects`: who starts to care about what, on which day, and in which channel they announce it.

A project is an interest of some weeks in one value of an attribute that is no favourite of the user. It begins with an announcement: beside a
choice of something else the user posts a photo, writes, or says what they plan. The choices after it follow the project in part. So until a
few of them are made, only the announcement tells the interest. An avatar is the badge of a circle that the user joined: from the day on which
they put it up, many choices come from it, though no picture, text or sound of an item shows its circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from jaxtyping import Bool, Int64

from penchant.core.seeds import generator
from penchant.world.items import ATTRIBUTES
from penchant.world.settings import DAYS
from penchant.world.users import REASONS, UserPopulation

ANNOUNCED_IN = {"photo": "motif", "review": "topic", "voice": "timbre"}
"""Channel of an announcement to the attribute it shows."""
AVATAR, AVATAR_ATTRIBUTE = "avatar", "circle"
SHOWING_SHARE = 0.4
"""Share of users who show something in a channel, drawn for each channel by itself: the parts overlap."""
WINDOW_DAYS = 45
"""Days from the beginning of a project to that of the next."""
PROJECT_SHARE = 0.75
"""Share of such windows in which a user who announces in some channel has a project."""
FOLLOWED_SHARE = 0.8
"""Share of the choices after an announcement that follow the project."""
AVATAR_SHARE = 0.7
"""Share of all other choices that follow what the avatar shows, once it is there."""
OLD_AVATAR_SHARE, LATEST_AVATAR = 0.5, 0.9
"""Share of avatars as old as the account; the others are put up before this share of a user's active days has passed."""
NONE = -1


@dataclass(frozen=True)
class Projects:
    """Coming interests by user and window of time, and what avatars show.

    Attributes:
        attribute: (users, windows) place of the project's attribute in `ATTRIBUTES`, -1 without a project.
        value: (users, windows) code of the value the project is about.
        begins: (users,) days that the windows of a user are earlier than those of the year, 0 to `WINDOW_DAYS`.
        avatar: (users,) code of the circle whose badge the avatar is; -1 where it tells nothing.
        avatar_since: (users,) day on which the avatar was put up.
    """

    attribute: Int64[np.ndarray, "users windows"]
    value: Int64[np.ndarray, "users windows"]
    begins: Int64[np.ndarray, " users"]
    avatar: Int64[np.ndarray, " users"]
    avatar_since: Int64[np.ndarray, " users"]

    @classmethod
    def draw(cls, population: UserPopulation, seed: int) -> Self:
        """Return the projects of a world's users."""
        rng = generator(seed, "world.projects")
        count, windows = len(population), DAYS // WINDOW_DAYS + 2
        names = list(ATTRIBUTES)
        shows = np.asarray(rng.random((count, len(ANNOUNCED_IN))) < SHOWING_SHARE)
        turn = np.where(shows[:, None, :], rng.random((count, windows, len(ANNOUNCED_IN))), -1.0).argmax(2)
        attribute = np.array([names.index(name) for name in ANNOUNCED_IN.values()])[turn]
        has_project = np.asarray(shows.any(1))[:, None] & (rng.random((count, windows)) < PROJECT_SHARE)
        value = np.zeros((count, windows), np.int64)
        for name in ANNOUNCED_IN.values():
            drawn = _strange(population.likes[name], len(ATTRIBUTES[name]), windows, rng)
            value = np.where(attribute == names.index(name), drawn, value)
        own = _strange(population.likes[AVATAR_ATTRIBUTE], len(ATTRIBUTES[AVATAR_ATTRIBUTE]), 1, rng)[:, 0]
        active = population.left_on - population.joined_on
        is_new = rng.random(count) >= OLD_AVATAR_SHARE
        since = population.joined_on + LATEST_AVATAR * rng.random(count) * active * is_new
        return cls(
            np.where(has_project, attribute, NONE),
            np.where(has_project, value, NONE),
            rng.integers(0, WINDOW_DAYS, count),
            np.where(rng.random(count) < SHOWING_SHARE, own, NONE),
            since.astype(np.int64),
        )

    def window(self, user: Int64[np.ndarray, " events"], day: Int64[np.ndarray, " events"]) -> np.ndarray:
        """Return the window of time of each event."""
        return np.asarray((day + self.begins[user]) // WINDOW_DAYS)

    def follow(
        self,
        user: Int64[np.ndarray, " events"],
        day: Int64[np.ndarray, " events"],
        reason: Int64[np.ndarray, " events"],
        is_chosen: Bool[np.ndarray, " events"],
        rng: np.random.Generator,
    ) -> tuple[Int64[np.ndarray, " events"], Int64[np.ndarray, " events"], Bool[np.ndarray, " events"]]:
        """Return the reasons with projects and avatars followed, the value each follows (-1: a favourite), and whether an event announces.

        Args:
            user: Of each event, sorted.
            day: Ascending within a user.
            reason: Place in `REASONS`.
            is_chosen: Whether the event is neither a skip nor regretted; others stay as they are.
            rng: Decides which choices follow.
        """
        window = self.window(user, day)
        attribute, value = self.attribute[user, window], self.value[user, window]
        has_project = (attribute != NONE) & is_chosen
        announces = np.zeros(len(user), bool)
        rows = np.flatnonzero(has_project)
        key = user[rows] * self.attribute.shape[1] + window[rows]
        announces[rows[np.unique(key, return_index=True)[1]]] = True
        shares = rng.random((2, len(user)))
        follows = has_project & ~announces & (shares[0] < FOLLOWED_SHARE)
        has_avatar = (self.avatar[user] != NONE) & (day >= self.avatar_since[user])
        by_avatar = has_avatar & is_chosen & ~follows & (shares[1] < AVATAR_SHARE)
        reason = np.where(by_avatar, REASONS.index(AVATAR_ATTRIBUTE), np.where(follows, attribute, reason))
        target = np.where(by_avatar, self.avatar[user], np.where(follows, value, NONE))
        return reason, target, announces

    def announced(self, user: int, day: int) -> tuple[str, str]:
        """Return the channel and the value of the project that a user has on a day."""
        window = (day + int(self.begins[user])) // WINDOW_DAYS
        attribute = list(ATTRIBUTES)[self.attribute[user, window]]
        channel = next(channel for channel, name in ANNOUNCED_IN.items() if name == attribute)
        return channel, ATTRIBUTES[attribute][self.value[user, window]]

    def table(self, population: UserPopulation, announcements: pl.DataFrame) -> pl.DataFrame:
        """Return `truth/projects`: user_id, channel, attribute, value, starts_on and ends_on (days of the year), announced_at.

        Args:
            population: The users.
            announcements: user_id, at of each event that announces.
        """
        ids = population.table["user_id"]
        user = {user_id: number for number, user_id in enumerate(ids)}
        rows = []
        for user_id, at in announcements.unique().sort("user_id", "at").iter_rows():
            number, day = user[user_id], at.timetuple().tm_yday - 1
            channel, value = self.announced(number, day)
            starts = (day + int(self.begins[number])) // WINDOW_DAYS * WINDOW_DAYS - int(self.begins[number])
            ends = min(starts + WINDOW_DAYS, DAYS)
            rows.append((user_id, channel, ANNOUNCED_IN[channel], value, max(starts, 0), ends, at))
        for number in np.flatnonzero(self.avatar != NONE).tolist():
            value = ATTRIBUTES[AVATAR_ATTRIBUTE][self.avatar[number]]
            rows.append((ids[number], AVATAR, AVATAR_ATTRIBUTE, value, int(self.avatar_since[number]), DAYS, None))
        return pl.DataFrame(rows, schema=PROJECT_SCHEMA, orient="row")


PROJECT_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "channel": pl.String,
    "attribute": pl.String,
    "value": pl.String,
    "starts_on": pl.Int64,
    "ends_on": pl.Int64,
    "announced_at": pl.Datetime("us", "UTC"),
}


def _strange(
    likes: Int64[np.ndarray, "users times favourites"], num_values: int, count: int, rng: np.random.Generator
) -> Int64[np.ndarray, "users count"]:
    """Draw values that are no favourites of a user, before or after a change of them."""
    order = rng.random((len(likes), count, num_values))
    np.put_along_axis(
        order, np.broadcast_to(likes.reshape(len(likes), 1, -1), (len(likes), count, likes[0].size)), -1.0, 2
    )
    return np.asarray(order.argmax(2), np.int64)
