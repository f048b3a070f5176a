"""What happens when a recommender learns from what it has shown: a feedback loop on the sample world over 20 rounds.

In: the truth of a world. In each round every user sees a list and chooses from it, or looks for themselves; the members are fitted again on everything.
Users choose by their true preferences, which stay as they are. Out: a Markdown table of the first and the last round for each recommender, and for users without
one; mean and range over seeds.

    python benchmarks/feedback_loop.py --world runs/world-small --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.schema import Content, Histories
from penchant.metrics.beyond_accuracy import coverage, gini
from penchant.models.ensemble import on_one_scale, tie_order_of_rows, top_k
from penchant.models.member import make_member
from penchant.world.choices import FAVOURITE_UTILITY
from penchant.world.items import ATTRIBUTES
from penchant.world.truth import WorldTruth

ROUNDS, K, FIRST = 20, 10, 5
"""Rounds, length of a list, and choices without any list that each user begins with."""
ALONE = 0.3
"""Share of choices in which a user looks for themselves, in the whole catalog."""
ARMS: dict[str, dict[str, Mapping[str, Any]]] = {
    "no recommender": {},
    "popularity": {"popularity": {"model": "popularity"}},
    "item_knn": {"item_knn": {"model": "item_knn"}},
    "ease": {"ease": {"model": "ease", "regularisation": 50.0}},
    "ease and 20 % drawn at random": {"ease": {"model": "ease", "regularisation": 50.0}},
}
EXPLORED = {"ease and 20 % drawn at random": 2}
"""Places of a list that hold items drawn at random."""
MEASURES = ("Gini of choices", "share of the catalog chosen", "utility of a choice", "choices that two users share")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    truth, began = WorldTruth.read(given.world), time.process_time()
    print(f"| recommender | {' | '.join(f'{m}, round 1 / {ROUNDS}' for m in MEASURES)} |")
    print("|---" * (len(MEASURES) + 1) + "|")
    for name, tables in ARMS.items():
        found = np.array(
            [simulate(truth, name, tables, given.users, seed) for seed in given.seeds]
        )  # (seeds, rounds, measures)
        cells = []
        for measure in range(len(MEASURES)):
            ends = found[:, [0, -1], measure]
            low, high = ends[:, 1].min(), ends[:, 1].max()
            cells.append(f"{ends[:, 0].mean():.3f} / **{ends[:, 1].mean():.3f}** [{low:.3f}, {high:.3f}]")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n{given.users} users, {ROUNDS} rounds, seeds {given.seeds}; {time.process_time() - began:.0f} s CPU")


def simulate(
    truth: WorldTruth, name: str, tables: Mapping[str, Mapping[str, Any]], users: int, seed: int
) -> np.ndarray:
    """Return (rounds, measures) of one arm."""
    rng = np.random.default_rng(seed)
    people = truth.users.sample(min(users, truth.users.height), seed=seed)
    utility = utilities(truth.items, people)
    chosen = choose(utility, np.zeros(utility.shape, bool), None, rng)[:, None]
    had = np.zeros(utility.shape, bool)
    rows = np.arange(len(utility))
    had[rows, chosen[:, 0]] = True
    for _ in range(FIRST - 1):
        more = choose(utility, had, None, rng)
        had[rows, more] = True
        chosen = np.column_stack([chosen, more])
    found = []
    for _ in range(ROUNDS):
        listed = lists(chosen, utility.shape[1], tables, had, EXPLORED.get(name, 0), rng) if tables else None
        now = choose(utility, had, listed, rng)
        had[rows, now] = True
        chosen = np.column_stack([chosen, now])
        shown = np.bincount(now, minlength=utility.shape[1])
        pairs = rng.integers(len(rows), size=(2000, 2))
        common = np.mean([np.intersect1d(chosen[a], chosen[b]).size / chosen.shape[1] for a, b in pairs if a != b])
        found.append([gini(shown), coverage(shown), float(utility[rows, now].mean()), common])
    return np.array(found)


def utilities(items: pl.DataFrame, people: pl.DataFrame) -> np.ndarray:
    """Return (users, items) true utility: favourites of the attributes that a user chooses by, and what no content explains."""
    total = np.tile(items["popularity"].to_numpy(), (people.height, 1))
    for name in ATTRIBUTES:
        values = np.array(items[name].to_list())
        for user, (share, likes) in enumerate(people.select(f"by_{name}", f"likes_{name}").iter_rows()):
            for value, strength in zip((likes or "").split("|"), FAVOURITE_UTILITY, strict=False):
                total[user, values == value] += share * strength
    return total


def choose(utility: np.ndarray, had: np.ndarray, listed: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Return the item that each user chooses: from their list, or, alone or without one, from the whole catalog."""
    noisy = np.where(had, -np.inf, utility + rng.gumbel(size=utility.shape))
    if listed is not None:
        offered = np.zeros(utility.shape, bool)
        np.put_along_axis(offered, listed, True, 1)
        alone = rng.random(len(utility)) < ALONE
        noisy = np.where(offered | alone[:, None], noisy, -np.inf)
    return np.asarray(noisy.argmax(1))


def lists(
    chosen: np.ndarray,
    num_items: int,
    tables: Mapping[str, Mapping[str, Any]],
    had: np.ndarray,
    explored: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return (users, K) item rows of members that are fitted to all choices so far."""
    users, length = chosen.shape
    at = np.tile(np.arange(length), users) * 3_600_000_000
    ids = [f"u{n}" for n in range(users)]
    weight = np.ones(users * length, np.float32)
    offsets = np.arange(0, users * length + 1, length)
    histories = Histories(ids, offsets, chosen.ravel().astype(np.int32), at, weight, num_items)
    scores = np.zeros(had.shape, np.float32)
    for name, table in tables.items():
        scores += on_one_scale(make_member(name, table).fit(histories, Content.NONE), histories).values
    scores[had] = -np.inf
    found = top_k(scores, K, ids, tie_order_of_rows(num_items)).item_index.astype(np.int64)
    if explored:
        drawn = np.where(had, -np.inf, rng.random(had.shape)).argsort(1)[:, -explored:]
        found[:, -explored:] = drawn
    return found


if __name__ == "__main__":
    main()
