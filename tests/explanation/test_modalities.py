"""The channel that a person chooses by is found where likeness in it is mostly of another kind, and nothing is found of who chooses at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penchant.core.schema import BEHAVIOUR, Content, Embeddings, Histories
from penchant.explanation.modalities import ChannelTastes, ModalityEvidence, latest_choices, modality_evidence

ITEMS, GROUPS, EVENTS = 240, 6, 12
CHANNELS = ("picture", "words")


def tables(num_users: int) -> tuple[Content, Histories]:
    """Return items with a taste and a larger background in each channel, and users: every third chooses by pictures, by words, or at random."""
    rng = np.random.default_rng(0)
    kinds = {name: rng.integers(0, GROUPS, ITEMS) for name in CHANNELS}
    channels = {}
    for name, kind in kinds.items():
        background = 8 * rng.normal(size=(GROUPS, 20))[rng.integers(0, GROUPS, ITEMS)]
        values = rng.normal(size=(GROUPS, 20))[kind] + background + 0.3 * rng.normal(size=(ITEMS, 20))
        present = rng.random(ITEMS) < 0.9
        values = np.where(present[:, None], values, 0).astype(np.float32)
        channels[name] = Embeddings(name, "text", values, present, name)
    items = []
    for user in range(num_users):
        wanted = kinds[CHANNELS[user % 3]] == rng.integers(0, GROUPS) if user % 3 < 2 else np.zeros(ITEMS, bool)
        weight = np.where(wanted, 20.0, 1.0)
        items.append(rng.choice(ITEMS, EVENTS, replace=False, p=weight / weight.sum()))
    count = num_users * EVENTS
    users = Histories(
        [f"u{number}" for number in range(num_users)],
        np.arange(0, count + 1, EVENTS),
        np.concatenate(items).astype(np.int32),
        np.tile(np.arange(EVENTS), num_users),
        np.ones(count, np.float32),
        ITEMS,
    )
    return Content(channels), users


@pytest.fixture(scope="module")
def shop() -> tuple[Content, Histories]:
    return tables(150)


def named(content: Content, users: Histories) -> np.ndarray:
    tastes = ChannelTastes.of(content, users)
    return np.array([modality_evidence(tastes, users.rows(u, u + 1)).named for u in range(len(users))])


def test_the_channel_that_a_user_chooses_by_is_named(shop: tuple[Content, Histories]) -> None:
    content, users = shop
    found = named(content, users)
    for place, name in enumerate((*CHANNELS, BEHAVIOUR)):
        assert (found[place::3] == name).mean() > 0.85, name


def test_what_a_user_chose_does_not_say_what_is_alike() -> None:
    content, users = tables(60)
    assert (named(content, users)[2::3] == BEHAVIOUR).mean() >= 0.8


def test_items_without_the_channel_are_not_looked_at(shop: tuple[Content, Histories]) -> None:
    content, users = shop
    nothing = replace(content.channels["picture"], present=np.zeros(ITEMS, bool))
    found = modality_evidence(ChannelTastes.of(Content({"picture": nothing}), users), users.rows(0, 1))
    assert found == ModalityEvidence({"picture": 0.0}, EVENTS)
    assert found.named == BEHAVIOUR


def test_one_choice_says_nothing(shop: tuple[Content, Histories]) -> None:
    content, users = shop
    one = users.rows(0, 1).where(np.arange(EVENTS) == 3)
    assert not len(latest_choices(one))
    assert modality_evidence(ChannelTastes.of(content, users), one) == ModalityEvidence({}, 0)


def test_a_user_who_is_not_known_has_evidence_too(shop: tuple[Content, Histories]) -> None:
    content, users = shop
    new = replace(users.rows(1, 2), user_ids=["new"])
    assert modality_evidence(ChannelTastes.of(content, users), new).named == "words"
