"""Users of the sample world and their preferences.

In: their number and a seed. Out: for each user the share of choices by each reason, and preferred values before and after a drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float64, Int64

from penchant.core.seeds import generator
from penchant.world.items import ATTRIBUTES
from penchant.world.settings import DAYS, WorldPlan

REASONS = (*ATTRIBUTES, "trend", "chance")
"""Reasons of an event: one of the hidden attributes, popularity ("trend"), or a random choice ("chance")."""
DRIVERS: dict[str, tuple[float, tuple[float, ...]]] = {
    "motif": (0.25, (0.84, 0.0, 0.0, 0.07, 0.06, 0.03)),
    "topic": (0.25, (0.0, 0.84, 0.0, 0.07, 0.06, 0.03)),
    "timbre": (0.25, (0.0, 0.0, 0.84, 0.07, 0.06, 0.03)),
    "mixture": (0.15, (0.29, 0.29, 0.29, 0.04, 0.06, 0.03)),
    "circle": (0.10, (0.0, 0.0, 0.0, 0.91, 0.06, 0.03)),
}
"""User group: its share of users, and its distribution over `REASONS`."""
DRIFTING_SHARE = 0.2
"""Share of users who replace one of their two preferred values during the year."""
AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55+")


@dataclass(frozen=True)
class UserPopulation:
    """Users and their preferences.

    Attributes:
        table: Content of `truth/users`.
        shares: (users, reasons) share of choices by each of `REASONS`.
        likes: Attribute to (users, before and after the change, favourites) codes of values, the strongest preference first.
        changes_on: (users,) day of the drift; after the end of the year where there is none.
        joined_on, left_on: (users,) first and last active day.
    """

    table: pl.DataFrame
    shares: Float64[np.ndarray, "users reasons"]
    likes: dict[str, Int64[np.ndarray, "users times favourites"]]
    changes_on: Int64[np.ndarray, " users"]
    joined_on: Int64[np.ndarray, " users"]
    left_on: Int64[np.ndarray, " users"]

    def __len__(self) -> int:
        return self.table.height


def make_users(plan: WorldPlan, seed: int) -> UserPopulation:
    """Return all users."""
    rng = generator(seed, "world.people")
    count = plan.num_users
    kinds = list(DRIVERS)
    driver = rng.permutation(_quota(np.array([share for share, _ in DRIVERS.values()]), count))
    shares = np.array([DRIVERS[kinds[code]][1] for code in driver])
    joined = np.where(rng.random(count) < 0.6, rng.integers(0, 30, count), rng.integers(0, 280, count))
    left = np.where(rng.random(count) < 0.85, DAYS, joined + rng.integers(60, 250, count)).clip(max=DAYS)
    changes = (joined + rng.uniform(0.4, 0.75, count) * (left - joined)).astype(np.int64)
    changes = np.where(rng.random(count) < DRIFTING_SHARE, changes, DAYS + 1)
    likes = {name: _favourites(len(values), count, rng) for name, values in ATTRIBUTES.items()}
    for favourites in likes.values():
        favourites[changes > DAYS, 1] = favourites[changes > DAYS, 0]
    table = pl.DataFrame(
        {
            "user_id": [f"u{number:0{len(str(count))}d}" for number in range(1, count + 1)],
            "language": np.where(rng.random(count) < plan.chinese_share, "zh", "en"),
            "age_band": [AGE_BANDS[code] for code in rng.integers(0, len(AGE_BANDS), count)],
            "driver": [kinds[code] for code in driver],
            **{f"by_{reason}": shares[:, column] for column, reason in enumerate(REASONS)},
            "changes_on": pl.Series(changes).replace(DAYS + 1, None),
            **_named(likes, shares),
        }
    )
    return UserPopulation(table, shares, likes, changes, joined, left)


def _quota(shares: np.ndarray, count: int) -> Int64[np.ndarray, " users"]:
    """Return codes in the given shares, each at least once."""
    ends = np.round(np.cumsum(shares) / shares.sum() * count).astype(np.int64)
    return np.searchsorted(ends, np.arange(count), side="right")


def _favourites(num_values: int, count: int, rng: np.random.Generator) -> Int64[np.ndarray, "users 2 2"]:
    """Draw two preferred values, and a third that replaces one of them."""
    drawn = rng.random((count, num_values)).argsort(axis=1)[:, :3].astype(np.int64)
    after = drawn[:, :2].copy()
    after[np.arange(count), rng.integers(0, 2, count)] = drawn[:, 2]
    return np.stack([drawn[:, :2], after], axis=1)


def _named(likes: dict[str, np.ndarray], shares: np.ndarray) -> dict[str, pl.Series]:
    """Return preferences as text, "sea|space", before and after the drift; null where a user does not choose by the attribute."""
    out: dict[str, pl.Series] = {}
    for column, (name, values) in enumerate(ATTRIBUTES.items()):
        names = np.array(values)
        for time, prefix in enumerate(("likes", "later")):
            words = names[likes[name][:, time]]
            joined = pl.Series([f"{first}|{second}" for first, second in words])
            out[f"{prefix}_{name}"] = joined.set(pl.Series(shares[:, column] == 0), None)
    return out
