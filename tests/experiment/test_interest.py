"""Pairs for the yes-or-no question."""

from __future__ import annotations

import numpy as np

from penchant.core.schema import Histories
from penchant.experiment.interest import make_pairs

USERS, ITEMS = 50, 30


def histories(rng: np.random.Generator, events: int) -> Histories:
    items = np.concatenate([rng.choice(ITEMS, events, replace=False) for _ in range(USERS)]).astype(np.int32)
    offsets = np.arange(USERS + 1, dtype=np.int64) * events
    return Histories(
        [f"u{u}" for u in range(USERS)],
        offsets,
        items,
        np.zeros(len(items), np.int64),
        np.ones(len(items), np.float32),
        ITEMS,
    )


def test_too_many_choices_keep_whole_users_within_the_limit() -> None:
    rng = np.random.default_rng(0)
    known, truth = histories(rng, 3), histories(rng, 4)
    pairs = make_pairs(known, truth, seed=0, max_pairs=80)
    wanted = pairs.user_index[pairs.label]
    assert 30 <= len(wanted) <= 40
    assert (np.bincount(wanted)[np.unique(wanted)] == 4).all()


def test_a_drawn_no_was_never_touched() -> None:
    rng = np.random.default_rng(1)
    known, truth = histories(rng, 8), histories(rng, 8)
    pairs = make_pairs(known, truth, seed=0, max_pairs=10_000)
    touched = {(u, i) for h in (known, truth) for u, i in zip(h.user_index(), h.item_index, strict=True)}
    refused = zip(pairs.user_index[~pairs.label], pairs.item_index[~pairs.label], strict=True)
    assert not touched & set(refused)
