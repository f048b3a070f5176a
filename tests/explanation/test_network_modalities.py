"""Shapley values of a network's parts sum to its log-probability, and name the channel that a user chooses by."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.core.errors import ConfigError
from penchant.core.schema import BEHAVIOUR, LATEST, Content, Embeddings, Histories
from penchant.explanation.modalities import ModalityEvidence
from penchant.explanation.network_modalities import Coalitions, network_modality_evidence
from penchant.models.sequence import Sequence

ITEMS, LENGTH, USERS = 60, 12, 300
KIND = {"image": np.arange(ITEMS) % 3, "text": np.arange(ITEMS) // 3 % 4}
"""Independent of each other: half of the users choose by the picture, half by the words."""


def histories() -> Histories:
    rng = np.random.default_rng(0)
    items = []
    for user in range(USERS):
        kind = KIND["image" if user % 2 else "text"]
        own = np.flatnonzero(kind == rng.integers(kind.max() + 1))
        items.append(rng.permutation(own)[:LENGTH])
    at = np.concatenate([np.arange(len(one), dtype=np.int64) * 1_000_000 for one in items])
    offsets = np.cumsum([0, *map(len, items)])
    flat = np.concatenate(items).astype(np.int32)
    return Histories([f"u{n}" for n in range(USERS)], offsets, flat, at, np.ones(len(flat), np.float32), ITEMS)


def content() -> Content:
    rng = np.random.default_rng(1)
    found = {}
    for name, kind in KIND.items():
        values = (3 * np.eye(kind.max() + 1)[kind] + 0.1 * rng.normal(size=(ITEMS, kind.max() + 1))).astype(np.float32)
        found[name] = Embeddings(name, name, values, np.ones(ITEMS, bool), "test")
    return Content(found)


@pytest.fixture(scope="module")
def network() -> Sequence:
    settings = {"dim": 24, "layers": 1, "epochs": 25, "learning_rate": 0.02, "dropout": 0.0, "max_length": 12}
    dropped = {"modality_dropout": 0.3, "id_dropout": 0.3, "held_out_users": 0}
    return Sequence(name="net", backbone="mean", **settings, **dropped).fit(histories(), content())


def test_the_values_sum_to_the_log_probability_above_that_of_a_random_item(network: Sequence) -> None:
    coalitions, some = Coalitions(network, content()), histories().rows(0, 3).requested(LATEST)
    assert coalitions.parts == ("image", "text", BEHAVIOUR)
    told = np.log(network.score(some)) / network.config.sharpness
    np.testing.assert_allclose(coalitions.shapley(some).sum(0) - np.log(ITEMS), told, atol=1e-3)


def test_the_channel_that_a_user_chooses_by_is_named(network: Sequence) -> None:
    coalitions, users = Coalitions(network, content()), histories()
    named = [network_modality_evidence(coalitions, users.rows(user, user + 1)).named for user in range(30)]
    right = [name == ("image" if user % 2 else "text") for user, name in enumerate(named)]
    assert np.mean(right) > 0.8


def test_a_single_choice_says_nothing(network: Sequence) -> None:
    one = histories().rows(0, 1)
    found = network_modality_evidence(Coalitions(network, content()), one.where(np.arange(one.num_events) == 0))
    assert found == ModalityEvidence({}, 0)
    assert found.named == BEHAVIOUR


def test_too_many_parts_are_refused() -> None:
    one = content().channels["image"]
    many = Content({f"c{n}": one for n in range(8)})
    member = Sequence(name="net", backbone="mean", dim=8, layers=1, epochs=1, held_out_users=0).fit(histories(), many)
    with pytest.raises(ConfigError, match="reads 9 parts of an item"):
        Coalitions(member, many)
