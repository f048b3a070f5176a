"""What a network read of a history is what it computed with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penchant.core.schema import BEHAVIOUR, Content, Embeddings, Histories
from penchant.explanation.history_reading import SHOWN, inner_states, read_history
from penchant.models.sequence import Sequence

ITEMS, LENGTH = 20, 15


def histories() -> Histories:
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(ITEMS)[:LENGTH] for _ in range(60)]).astype(np.int32)
    at = np.tile(np.arange(LENGTH, dtype=np.int64) * 1_000_000, 60)
    offsets = np.arange(61, dtype=np.int64) * LENGTH
    return Histories([f"u{n}" for n in range(60)], offsets, items, at, np.ones(len(items), np.float32), ITEMS)


def content() -> Content:
    values = np.random.default_rng(1).normal(size=(ITEMS, 4)).astype(np.float32)
    return Content({"text": Embeddings("text", "text", values, np.ones(ITEMS, bool), "test")})


def fitted(backbone: str) -> Sequence:
    settings = {"dim": 8, "layers": 2, "epochs": 2, "dropout": 0.0, "max_length": 14, "held_out_users": 0}
    return Sequence(name="net", backbone=backbone, **settings).fit(histories(), content())


def test_attention_sums_to_one_with_the_start_and_is_blind_to_what_it_does_not_attend_to() -> None:
    network, one = fitted("transformer"), histories().rows(3, 4)
    found = inner_states(network, one)
    assert found.shape == (14, 2)  # the window, the blocks
    assert (found >= 0).all()
    assert (found.sum(0) < 1).all()  # the rest is on the start token
    assert network.network is not None
    with_bias = network.network.backbone
    reach = (with_bias.distance.shape[1] - 1) // 2
    with_bias.distance.data[:, reach + 3] = -1e9  # no step attends to that three before it
    hidden = inner_states(network, one)
    assert hidden[-4] == pytest.approx([0, 0], abs=1e-6)
    assert hidden[-3].min() > 1e-6


def test_the_state_of_a_mean_moves_less_with_every_event() -> None:
    network, one = fitted("mean"), histories().rows(0, 1)
    same = replace(one, item_index=np.full(LENGTH, 4, np.int32))
    moved = inner_states(network, same)
    assert moved.shape == (14, 1)
    assert moved[0, 0] > 5 * moved[-1, 0]


def test_a_reading_has_the_latest_events_the_states_and_the_parts() -> None:
    titles = [f"title {n}" for n in range(ITEMS + 1)]
    one = replace(histories().rows(0, 1), num_items=ITEMS + 1)  # a catalog that has grown since
    found = read_history("net", fitted("transformer"), content(), one, 2, titles)
    assert found.columns == ("attention, block 1", "attention, block 2", "text", BEHAVIOUR)
    assert found.events == tuple(titles[row] for row in one.item_index[-SHOWN:])
    assert found.values.shape == (SHOWN, 4)
    strongest = [[found.strength(row, column) for column in range(4)] for row in range(SHOWN)]
    assert np.abs(strongest).max(0)[:2] == pytest.approx([1, 1])
    assert np.abs(strongest)[:, 2:].max() == pytest.approx(1)
