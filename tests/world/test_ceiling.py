"""The probability of each choice, against how often the world draws it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from penchant.world import WorldConfig, make_world
from penchant.world.ceiling import choice_probabilities


def test_probabilities_are_those_the_world_draws_from(tmp_path: Path) -> None:
    truth = make_world(
        tmp_path / "world", WorldConfig(size="tiny", media=False, defects=False, num_users=2000, events_per_user=7)
    )
    events = truth.events().filter(pl.col("reason") != "skip")
    at = events["at"].dt.epoch("us").to_numpy()
    ids = truth.items["item_id"].to_list()
    probability = choice_probabilities(truth, events["user_id"].to_list(), at, ids)
    assert np.allclose(probability.sum(axis=1), 1, atol=1e-4)
    row = {item: number for number, item in enumerate(ids)}
    chosen = np.array([row[item] for item in events["item_id"]])
    # over all events, the expected number of choices of each item is the observed one; that no user chooses an item twice flattens it a little
    expected, observed = probability.sum(axis=0), np.bincount(chosen, minlength=len(ids))
    assert np.corrcoef(expected, observed)[0, 1] > 0.95
    # an item has a far higher probability for the user who chose it than by popularity, or for another user
    own = probability[np.arange(len(chosen)), chosen]
    assert np.log(own).mean() > np.log(expected / expected.sum())[chosen].mean() + 0.5
    assert (
        np.log(own).mean()
        > np.log(probability[np.arange(len(chosen)), np.roll(chosen, len(chosen) // 2)].clip(1e-9)).mean() + 1
    )


def test_items_before_their_release_and_unknown_ones_have_no_probability(tmp_path: Path) -> None:
    truth = make_world(tmp_path / "world", WorldConfig(size="tiny", media=False))
    late = truth.items.sort("released_on")["item_id"][-1]
    start = np.array([np.datetime64("2024-01-02", "us").astype(np.int64)])
    first, unknown = choice_probabilities(truth, [truth.users["user_id"][0]], start, [late, "no such item"])[0]
    assert first == unknown == 0
    later = start + 365 * 86_400_000_000
    assert choice_probabilities(truth, [truth.users["user_id"][0]], later, [late])[0, 0] > 0
