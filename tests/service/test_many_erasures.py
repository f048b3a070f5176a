"""Erasures one after another leave the model that a fit without these users gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from penchant.core.schema import Histories
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender
from penchant.service import erasure
from penchant.service.security import Secret
from penchant.service.store import Store
from shop import TABLES, people

MEMBERS = {
    **TABLES,
    "neighbours": {"model": "item_knn"},
    "walk": {"model": "rp3beta"},
    "graph": {"model": "graph_filter"},
    "next": {"model": "transitions"},
    "session": {"model": "session_regression"},
    "prior": {"model": "content_prior"},
}
"""One of each kind of closed-form member."""


def larger(folder: Path, num_users: int) -> Recommender:
    """Save a bundle of more users and of all kinds of closed-form members over the folder."""
    bundle, histories = Recommender.load(folder), people(num_users)
    members = {name: make_member(name, table).fit(histories, bundle.content) for name, table in MEMBERS.items()}
    ensemble = Ensemble.build(members, EnsembleWeights(dict.fromkeys(MEMBERS, 0.1)), bundle.content)
    grown = replace(bundle, histories=histories, fitted=histories, ensemble=ensemble, tables=MEMBERS)
    return grown.save(folder)


@pytest.mark.parametrize(
    ("num_users", "num_erased"), [(40, 5), pytest.param(160, 100, marks=pytest.mark.slow, id="a hundred")]
)
def test_erasures_one_after_another_equal_a_fit_without_them(
    own_shop: Path, tmp_path: Path, num_users: int, num_erased: int
):
    before = larger(own_shop, num_users)
    store = Store.open(f"sqlite:///{tmp_path / 'state' / 'store.db'}")
    secret = Secret.read(tmp_path / "state" / "secret.key")
    erased = np.random.default_rng(5).permutation(num_users)[:num_erased]
    for user in erased:
        erasure.erase(store, secret, Recommender.load(own_shop), f"u{user}")
        assert erasure.finish(own_shop, store, secret) is not None
    after = Recommender.load(own_shop)
    assert len(after.histories) == num_users - num_erased

    kept = np.setdiff1d(np.arange(num_users), erased)
    others: Histories = before.histories.take(kept)
    for name, table in MEMBERS.items():
        fresh = make_member(name, table).fit(others, before.content)
        held = after.ensemble.members[name].arrays()
        for key, expected in fresh.arrays().items():
            assert held[key].shape == expected.shape, (name, key)
            assert np.abs(held[key].astype(np.float64) - expected).max(initial=0) <= 1e-6, (name, key)
    assert len(store.erasures()) == num_erased
    assert erasure.verify(own_shop, store, secret).is_clean
    store.close()
