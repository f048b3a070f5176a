"""Rows of numbers from tables of events."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.core.schema import Interactions, Vocabulary
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import build_histories
from penchant.data.read.sources import from_tables

ITEMS = Vocabulary(["a", "b", "c", "d"])
BASE = 1_700_000_000


def interactions(*rows: tuple[Any, ...], columns: tuple[str, ...] = ("user_id", "item_id", "at")) -> Interactions:
    return from_tables(pl.DataFrame(rows, schema=columns, orient="row")).interactions


def test_each_user_has_events_oldest_first() -> None:
    table = interactions(("v", "c", BASE + 9), ("u", "b", BASE + 5), ("v", "a", BASE + 1), ("v", "b", BASE + 4))
    found = build_histories(table, ITEMS, HistoriesConfig())
    assert found.user_ids == ["u", "v"]
    assert found.offsets.tolist() == [0, 1, 4]
    assert found.item_index.tolist() == [1, 0, 1, 2]
    assert found.at.tolist() == [(BASE + s) * 1_000_000 for s in (5, 1, 4, 9)]
    assert found.num_items == 4
    assert [a.dtype for a in (found.item_index, found.at, found.weight)] == [np.int32, np.int64, np.float32]
    assert found.matrix().toarray().tolist() == [[0, 1, 0, 0], [1, 1, 1, 0]]


def test_given_users_keep_their_order_and_their_empty_rows() -> None:
    table = interactions(("u", "a", BASE), ("v", "b", BASE + 1))
    found = build_histories(table, ITEMS, HistoriesConfig(), users=["new", "v"])
    assert found.user_ids == ["new", "v"]
    assert found.lengths().tolist() == [0, 1]
    assert found.item_index.tolist() == [1]


def test_unknown_items_are_left_out() -> None:
    found = build_histories(interactions(("u", "z", BASE), ("u", "a", BASE)), ITEMS, HistoriesConfig())
    assert found.item_index.tolist() == [0]


def test_kinds_weigh_what_the_settings_say(caplog: pytest.LogCaptureFixture) -> None:
    kinds = ("like", "dislike", "neither", "view", "wave", "cart")
    rows = [("u", "abcdab"[n], BASE + n, kind) for n, kind in enumerate(kinds)]
    table = interactions(*rows, columns=("user_id", "item_id", "at", "kind"))
    with caplog.at_level(logging.WARNING, "penchant"):
        for _ in range(2):
            found = build_histories(table, ITEMS, HistoriesConfig(kinds={"Cart": 3.0}))
    assert found.weight.tolist() == [1.0, -1.0, 0.5, 1.0, 3.0]
    assert [r.getMessage() for r in caplog.records] == [
        "Events of kind 'wave' weigh 1 each; set their weights in [histories] kinds."
    ]


def test_values_scale_weights_when_asked() -> None:
    rows = [("u", "a", BASE, 5.0), ("u", "b", BASE + 1, 2.5), ("u", "c", BASE + 2, None), ("u", "d", BASE + 3, 9.0)]
    table = interactions(*rows, columns=("user_id", "item_id", "at", "value"))
    assert build_histories(table, ITEMS, HistoriesConfig(values=True)).weight.tolist() == [1.0, 0.5, 1.0, 1.0]
    assert build_histories(table, ITEMS, HistoriesConfig(values=True, full_value=10.0)).weight[1] == 0.25
    assert build_histories(table, ITEMS, HistoriesConfig()).weight.tolist() == [1.0] * 4


def test_counts_weigh_by_their_logarithm_when_asked() -> None:
    rows = [("u", "a", BASE, 99.0), ("u", "b", BASE + 1, 9.0), ("u", "c", BASE + 2, None), ("u", "d", BASE + 3, 9999.0)]
    table = interactions(*rows, ("u", "d", BASE + 4, 0.0), columns=("user_id", "item_id", "at", "value"))
    found = build_histories(table, ITEMS, HistoriesConfig(values="log", full_value=99)).weight
    assert found.tolist() == pytest.approx([1.0, 0.5, 1.0, 2.0])


def test_only_the_latest_events_are_kept() -> None:
    table = interactions(*[("u", item, BASE + n) for n, item in enumerate("abcd")], ("v", "a", BASE))
    found = build_histories(table, ITEMS, HistoriesConfig(max_events=2))
    assert found.item_index.tolist() == [2, 3, 0]


def test_ties_are_broken_by_the_seed_and_not_by_the_file() -> None:
    rows = [(f"u{u}", item, BASE) for u in range(50) for item in "abcd"]
    table = interactions(*rows)
    shuffled = Interactions(table.table.sample(fraction=1, shuffle=True, seed=1))
    first = build_histories(table, ITEMS, HistoriesConfig(), seed=0).item_index.reshape(50, 4)
    assert (build_histories(shuffled, ITEMS, HistoriesConfig(), seed=0).item_index.reshape(50, 4) == first).all()
    assert (build_histories(table, ITEMS, HistoriesConfig(), seed=1).item_index.reshape(50, 4) != first).any()
    assert np.bincount(first[:, -1], minlength=4).max() < 26  # 12.5 expected, standard deviation 3


def test_events_without_a_time_come_first() -> None:
    table = interactions(("u", "a", BASE), ("u", "b", None), ("u", "c", None))
    found = build_histories(table, ITEMS, HistoriesConfig())
    assert found.item_index.tolist()[-1] == 0
    assert found.at.tolist() == [0, 0, BASE * 1_000_000]


def test_histories_of_the_test_part_are_the_truth() -> None:
    table = interactions(("v", "c", BASE), ("v", "c", BASE + 1), ("u", "a", BASE + 2))
    found = build_histories(table, ITEMS, HistoriesConfig(), users=["u", "v", "w"])
    assert (found.matrix().toarray() > 0).tolist() == [
        [True, False, False, False],
        [False, False, True, False],
        [False] * 4,
    ]
