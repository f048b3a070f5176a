"""What a network over graphs does beside the contract in tests/checks."""

from __future__ import annotations

import numpy as np

from penchant.core.schema import Content, Histories
from penchant.models.graph_network import GraphNetwork, GraphNetworkConfig

ITEMS, EVENTS = 30, 6
SMALL = {"dim": 8, "epochs": 40, "neighbours": 5, "batch_users": 50, "channels": []}


def visitors(users: int, groups: int, seed: int = 0) -> Histories:
    """Everyone touches some items of the group they belong to; one group is pure chance."""
    rng = np.random.default_rng(seed)
    size = ITEMS // groups
    rows = np.stack([u % groups * size + rng.choice(size, EVENTS, replace=False) for u in range(users)])
    offsets = np.arange(users + 1, dtype=np.int64) * EVENTS
    at = np.tile(np.arange(EVENTS, dtype=np.int64), users)
    ids = [str(u) for u in range(users)]
    return Histories(ids, offsets, rows.ravel().astype(np.int32), at, np.ones(rows.size, np.float32), ITEMS)


def make(**options: object) -> GraphNetwork:
    return GraphNetwork(GraphNetworkConfig(**{**SMALL, **options}), name="net")


def test_people_get_what_their_group_touches() -> None:
    member = make().fit(visitors(300, groups=3), Content())
    asked = visitors(30, groups=3, seed=1)
    scores = member.score(asked)
    scores[asked.user_index(), asked.item_index] = -np.inf
    groups = scores.argmax(1) // (ITEMS // 3)
    assert (groups == np.arange(30) % 3).all()


def test_it_stops_when_others_are_foretold_no_better() -> None:
    member = make().fit(visitors(200, groups=1), Content())
    history = member.training_history
    assert len(history.losses) < SMALL["epochs"]
    assert history.best == int(np.argmax(history.scores))


def test_nobody_held_back_takes_the_last_epoch() -> None:
    history = make(held_out_users=0, epochs=5).fit(visitors(200, groups=1), Content()).training_history
    assert (len(history.losses), history.best) == (5, 4)
