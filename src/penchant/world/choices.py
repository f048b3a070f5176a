"""Events of the sample world.

In: items with hidden attributes, users with preferences. Out: events, each with its true reason.

An event first draws a reason from the user's shares, then an item from a softmax over utility: preference for its value of that
attribute, base popularity, season and newness. No user chooses an item twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64, Int64

from penchant.world.items import ATTRIBUTES, SEASONS
from penchant.world.projects import NONE, Projects
from penchant.world.settings import DAYS
from penchant.world.users import REASONS, UserPopulation

FAVOURITE_UTILITY = (4.2, 3.0)
"""Utility of the first and second favourite value; any other value has 0."""
SEASON_SWING = 0.3
NEWNESS, NEWNESS_DAYS = 2.3, 40
"""Utility of an item on its release, and the days until this utility is zero."""
FORTNIGHT = 14
SKIP_SHARE = 0.1
"""Share of events in which a user skips a popular item without any attribute they like."""
MAX_DRAWS = 30
"""Number of redraws when the item was already chosen or violates the reason; after that the event is dropped."""
KINDS = ("view", "click", "like", "cart", "purchase")
REASONED_KINDS = np.array([0.08, 0.32, 0.32, 0.08, 0.20])
RANDOM_KINDS = np.array([0.40, 0.40, 0.10, 0.04, 0.06])
REGRETTED_KINDS = np.array([0.0, 0.45, 0.0, 0.1, 0.45])
"""Probabilities of `KINDS` for events with an attribute as reason, for trend or chance (a random choice), and for regretted ones."""
START = np.datetime64("2024-01-01T00:00:00", "us")


@dataclass(frozen=True)
class AttributeSampler:
    """Items sorted by one attribute with cumulative weights, so that a draw is one binary search.

    Attributes:
        order: (items,) item rows sorted by value.
        ends: (values + 1,) where each value begins in `order`.
        running: (fortnights * items + 1,) cumulative weights, one fortnight after the other.
    """

    order: Int64[np.ndarray, " items"]
    ends: Int64[np.ndarray, " ends"]
    running: Float64[np.ndarray, " cells"]

    @classmethod
    def build(
        cls, codes: Int64[np.ndarray, " items"], num_values: int, weights: Float64[np.ndarray, "fortnights items"]
    ) -> Self:
        """Return the sampler of one attribute."""
        order = np.argsort(codes, kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=num_values))])
        return cls(order, ends, np.concatenate([[0.0], np.cumsum(weights[:, order].ravel())]))

    def draw(
        self,
        fortnight: Int64[np.ndarray, " events"],
        favour: Float64[np.ndarray, "events values"] | None,
        rng: np.random.Generator,
    ) -> Int64[np.ndarray, " events"]:
        """Return an item row for each event; `favour` multiplies the weight of each value (None: equal)."""
        start = fortnight * len(self.order)
        edges = self.running[start[:, None] + self.ends[None, :]]  # (events, values + 1)
        mass = np.diff(edges, axis=1)
        if favour is not None:
            mass = mass * favour
        total = np.cumsum(mass, axis=1)
        value = (rng.random(len(start))[:, None] * total[:, -1:] >= total).sum(1).clip(max=mass.shape[1] - 1)
        rows = np.arange(len(start))
        low, high = edges[rows, value], edges[rows, value + 1]
        cell = np.searchsorted(self.running, low + rng.random(len(start)) * (high - low), side="right") - 1
        first = start + self.ends[value]
        return self.order[np.clip(cell, first, start + self.ends[value + 1] - 1) - start]


@dataclass(frozen=True)
class ItemSampler:
    """Samplers of the items available in each fortnight, one for each reason, and the items' values."""

    samplers: dict[str, AttributeSampler]
    codes: dict[str, Int64[np.ndarray, " items"]]

    @classmethod
    def build(cls, items: pl.DataFrame) -> Self:
        """Return the samplers, from the weight of every item in every fortnight."""
        day = np.arange(0, DAYS, FORTNIGHT)[:, None]
        age = day - items["released_on"].to_numpy()[None, :]
        season = _codes(items["season"], SEASONS)[None, :]
        swing = SEASON_SWING * np.cos(2 * np.pi * (day / DAYS - (season + 0.9) / 4))
        newness = NEWNESS * np.exp(-np.maximum(age, 0) / NEWNESS_DAYS) * (items["released_on"].to_numpy() > 0)
        is_released = age >= 0
        weights = np.exp(items["popularity"].to_numpy()[None, :] + swing + newness) * is_released
        codes = {name: _codes(items[name], values) for name, values in ATTRIBUTES.items()}
        none = np.zeros(items.height, np.int64)
        samplers = {name: AttributeSampler.build(code, len(ATTRIBUTES[name]), weights) for name, code in codes.items()}
        samplers |= {
            "trend": AttributeSampler.build(none, 1, weights),
            "chance": AttributeSampler.build(none, 1, is_released.astype(np.float64)),
        }
        return cls(samplers, codes)


def draw_events(
    population: UserPopulation,
    users: Int64[np.ndarray, " chosen"],
    sampler: ItemSampler,
    events_per_user: float,
    rng: np.random.Generator,
    regret_share: float = 0.0,
    projects: Projects | None = None,
) -> pl.DataFrame:
    """Return the events of some users: user_index, item_index, at (seconds, naive UTC), kind, reason; by user, then time.

    With projects, `announces` says which events announce one.

    Memory: about 300 bytes for each event.
    """
    user, second = _visits(population, users, events_per_user, rng)
    day = second // 86_400
    reason = _by_shares(population.shares[user], rng)
    skipped = rng.random(len(user)) < SKIP_SHARE
    regretted = np.zeros(len(user), bool)
    if regret_share:
        regretted = (rng.random(len(user)) < regret_share) & ~skipped
    unliked = skipped | regretted
    reason[unliked] = REASONS.index("trend")
    target, announces = np.full(len(user), NONE), np.zeros(len(user), bool)
    if projects is not None:
        reason, target, announces = projects.follow(user, day, reason, ~unliked, rng)
    item = np.full(len(user), -1, np.int64)
    open_events = np.arange(len(user))
    after = (day >= population.changes_on[user]).astype(np.int64)
    num_items = len(sampler.codes["topic"])
    for _ in range(MAX_DRAWS):
        item[open_events] = _choose(
            population,
            user[open_events],
            after[open_events],
            day[open_events] // FORTNIGHT,
            reason[open_events],
            target[open_events],
            sampler,
            rng,
        )
        wrong = ~_first_time(user * num_items + item)
        wrong |= unliked & _is_liked(population, user, after, item, sampler)
        open_events = np.flatnonzero(wrong)
        if len(open_events) == 0:
            break
    kind = np.where(
        reason < len(ATTRIBUTES), _pick(REASONED_KINDS, len(user), rng), _pick(RANDOM_KINDS, len(user), rng)
    )
    if regret_share:
        kind = np.where(regretted, _pick(REGRETTED_KINDS, len(user), rng), kind)
    names = np.array([*REASONS, "skip", "regret"])
    reason_code = np.where(skipped, len(REASONS), np.where(regretted, len(REASONS) + 1, reason))
    table = pl.DataFrame(
        {
            "user_index": user.astype(np.int32),
            "item_index": item.astype(np.int32),
            "at": START + second.astype("timedelta64[s]"),
            "kind": np.where(skipped, "skip", np.array(KINDS)[kind]),
            "reason": names[reason_code],
        }
    )
    if projects is not None:
        table = table.with_columns(announces=announces)
    kept = np.ones(len(user), bool)
    kept[open_events] = False
    return table.filter(pl.Series(kept))


def _visits(
    population: UserPopulation, users: np.ndarray, events_per_user: float, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " events"], Int64[np.ndarray, " events"]]:
    """Return the user and the second of each event, sorted by user and time: a few events per session, mostly in the evening."""
    spread = 0.45
    mean = events_per_user / np.exp(spread**2 / 2)
    count = np.maximum(6, np.round(mean * np.exp(rng.normal(0, spread, len(users))))).astype(np.int64)
    sessions = np.maximum(2, np.round(count / 3.5)).astype(np.int64)
    owner = np.repeat(np.arange(len(users)), sessions)
    joined, left = population.joined_on[users][owner], population.left_on[users][owner]
    day = np.floor(joined + rng.random(len(owner)) * (left - joined)).astype(np.int64)
    hour = np.where(rng.random(len(owner)) < 0.65, rng.normal(20, 1.6, len(owner)), rng.normal(13, 3, len(owner)))
    begin = day * 86_400 + (np.clip(hour, 0.2, 22.5) * 3600).astype(np.int64)
    event_owner = np.repeat(np.arange(len(users)), count)
    first = np.cumsum(sessions) - sessions
    session = first[event_owner] + np.floor(rng.random(len(event_owner)) * sessions[event_owner]).astype(np.int64)
    order = np.lexsort((begin[session], event_owner))
    event_owner, session = event_owner[order], session[order]
    pause = 20 + rng.exponential(110, len(session)).astype(np.int64)
    elapsed = np.cumsum(pause)
    starts = np.flatnonzero(np.diff(session, prepend=-1))
    base = np.repeat(elapsed[starts] - pause[starts], np.diff(np.append(starts, len(session))))
    second = np.minimum(begin[session] + elapsed - base, DAYS * 86_400 - 1)
    user = users[event_owner]
    order = np.lexsort((second, user))
    return user[order], second[order]


def _choose(
    population: UserPopulation,
    user: np.ndarray,
    after: np.ndarray,
    fortnight: np.ndarray,
    reason: np.ndarray,
    target: np.ndarray,
    sampler: ItemSampler,
    rng: np.random.Generator,
) -> Int64[np.ndarray, " events"]:
    """Return an item for each event by its reason, and by the value it follows where that is no favourite."""
    item = np.zeros(len(user), np.int64)
    for code, name in enumerate(REASONS):
        rows = np.flatnonzero(reason == code)
        favour = None
        if name in ATTRIBUTES:
            favour = np.ones((len(rows), len(ATTRIBUTES[name])))
            favourites = population.likes[name][user[rows], after[rows]]
            for place, strength in enumerate(FAVOURITE_UTILITY):
                favour[np.arange(len(rows)), favourites[:, place]] = np.exp(strength)
            follows = np.flatnonzero(target[rows] != NONE)
            favour[follows] = 1
            favour[follows, target[rows[follows]]] = np.exp(FAVOURITE_UTILITY[0])
        item[rows] = sampler.samplers[name].draw(fortnight[rows], favour, rng)
    return item


def _is_liked(
    population: UserPopulation, user: np.ndarray, after: np.ndarray, item: np.ndarray, sampler: ItemSampler
) -> Bool[np.ndarray, " events"]:
    """Return whether the item has a favourite value of an attribute the user chooses by."""
    liked = np.zeros(len(user), bool)
    for column, name in enumerate(ATTRIBUTES):
        match = (population.likes[name][user, after] == sampler.codes[name][item][:, None]).any(1)
        liked |= match & (population.shares[user, column] > 0)
    return liked


def _first_time(keys: Int64[np.ndarray, " events"]) -> Bool[np.ndarray, " events"]:
    """Return whether no earlier row has the same key."""
    first = np.zeros(len(keys), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def _by_shares(shares: Float64[np.ndarray, "events reasons"], rng: np.random.Generator) -> Int64[np.ndarray, " events"]:
    return (rng.random(len(shares))[:, None] >= np.cumsum(shares, axis=1)[:, :-1]).sum(1)


def _pick(shares: Float64[np.ndarray, " kinds"], count: int, rng: np.random.Generator) -> Int64[np.ndarray, " events"]:
    return rng.choice(len(shares), count, p=shares)


def _codes(column: pl.Series, values: tuple[str, ...]) -> Int64[np.ndarray, " items"]:
    return column.replace_strict(list(values), list(range(len(values)))).to_numpy().astype(np.int64)
