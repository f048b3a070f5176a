"""Heads and units that do nothing are taken out without a change of scores; a pruned network is smaller, and its bundle works like any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penchant
from compression.test_onnx_export import NETWORK, with_network
from penchant.compression.network_pruning import prunable, without_least
from penchant.models.member import make_member
from penchant.models.sequence import Sequence
from penchant.recommender.recommender import Recommender

BLOCK = "network.backbone.blocks."
TABLE = {**NETWORK, "backbone": "transformer", "heads": 4}


def network(shop: Path, table: dict[str, Any]) -> Sequence:
    member = with_network(shop, table).ensemble.members["net"]
    assert isinstance(member, Sequence)
    return member


def idle(arrays: dict[str, np.ndarray], *, is_gated: bool) -> dict[str, np.ndarray]:
    """Return a network in which the last two of four heads, and every other unit, add nothing."""
    arrays = {name: array.copy() for name, array in arrays.items()}
    for number in range(2):
        block = f"{BLOCK}{number}."
        arrays[f"{block}join.weight"][:, 8:] = 0
        arrays[f"{block}feed.{'fall' if is_gated else 2}.weight"][:, ::2] = 0
    return arrays


@pytest.mark.parametrize("backbone", ["transformer", "ligr"])
def test_what_adds_nothing_is_taken_out_without_a_change(shop: Path, backbone: str) -> None:
    table = {**TABLE, "backbone": backbone}
    member, histories = network(shop, table), Recommender.load(shop).histories
    before = make_member("net", table).restore(idle(member.arrays(), is_gated=backbone == "ligr"))
    arrays, settings = without_least(before, 0.5)
    assert settings == {"heads": 2, "head_dim": 4, "feed_units": 32}
    after = make_member("net", {**table, **settings}).restore(arrays)
    np.testing.assert_allclose(after.score(histories), before.score(histories), rtol=1e-4, atol=1e-6)
    sizes = [sum(a.nbytes for n, a in m.arrays().items() if n.startswith(BLOCK)) for m in (before, after)]
    assert sizes[1] < (0.75 if backbone == "ligr" else 0.55) * sizes[0]
    again, settings = without_least(after, 0.5)  # a pruned network can be pruned
    assert settings == {"heads": 1, "head_dim": 4, "feed_units": 16}
    assert make_member("net", {**table, **settings}).restore(again).score(histories).shape == (40, 24)


def test_one_head_and_one_unit_stay(shop: Path) -> None:
    assert without_least(network(shop, TABLE), 0.999)[1] == {"heads": 1, "head_dim": 4, "feed_units": 1}


def test_a_bundle_with_a_pruned_network_is_served_and_explained(shop: Path, tmp_path: Path) -> None:
    recommender = with_network(shop, TABLE)
    assert prunable(recommender) == ["net"]
    assert not prunable(Recommender.load(shop))
    small = penchant.compress(
        recommender, tmp_path / "small", max_loss=1e9, entries=[], members=[], codes=[], prune=[0.5], requests=3
    )
    assert [str(p.name) for p in small.results.points] == [
        "as it is, all members",
        "as it is, all members; networks without 50 % of their units",
    ]
    loaded = small.recommender
    assert loaded.facts["compression"]["pruned"] == 0.5
    assert loaded.tables["net"]["feed_units"] == 32
    assert small.results.memory[1]["members"] < small.results.memory[0]["members"]
    best = loaded.recommend("u0", 1)[0]
    assert sum(loaded.explain("u0", best.item_id).by_member.values()) == pytest.approx(best.score, abs=1e-5)
