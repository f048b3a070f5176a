"""The default members can be made, and more is tried with few events."""

from __future__ import annotations

import pytest

from hand_made import channel
from penchant.core.schema import Content
from penchant.experiment.defaults import FEW_EVENTS, baseline_tables, default_members
from penchant.experiment.selection import without_grid
from penchant.models.member import make_member

CONTENT = Content(
    {"plot": channel("plot", "text", [[0, 1], [1, 0]]), "year": channel("year", "attribute", [[1], [2]])},
    channel("fused", "text", [[0, 1], [1, 0]]),
)


@pytest.mark.parametrize("has_time", [False, True])
@pytest.mark.parametrize("num_events", [1, FEW_EVENTS + 1])
def test_every_value_of_every_grid_makes_a_member(has_time: bool, num_events: int) -> None:
    for name, table in default_members(CONTENT, has_time=has_time, num_events=num_events).items():
        first = without_grid(table)
        for setting, values in table.items():
            for value in values if first[setting] != values else [values]:
                make_member(name, {**first, setting: value})


def test_members_that_read_times_are_left_out_without_them() -> None:
    timed = set(default_members(CONTENT, has_time=True)) - set(default_members(CONTENT, has_time=False))
    assert timed == {
        "ease_recent",
        "transitions",
        "sessions",
        "returns",
        "recent",
        "rising",
        "arrivals",
        "ease_now",
        "like_now",
    }


def test_with_many_events_no_setting_is_tried_that_needs_a_costly_fit() -> None:
    few, many = (default_members(CONTENT, has_time=True, num_events=n) for n in (FEW_EVENTS, FEW_EVENTS + 1))
    more = {name: set(few[name]) - set(many[name]) for name in few}
    assert {name: grid for name, grid in more.items() if grid} == {
        "item_knn": {"target_exponent"},
        "graph": {"ideal_weight"},
        "transitions": {"backward", "window"},
    }


def test_baselines_tell_items_apart() -> None:
    known = set(baseline_tables(CONTENT, has_time=True))
    assert known == {"Popularity", "ItemKNN", "EASE", "Recent popularity", "Content kNN"}
    assert set(baseline_tables(Content(), has_time=False)) == {"Popularity", "ItemKNN", "EASE"}
    assert set(baseline_tables(CONTENT, has_time=True, without_history=True)) == {"Popularity", "Recent popularity"}
    new = baseline_tables(CONTENT, has_time=True, among_new=True)
    assert set(new) == {"Content kNN", "Content ridge", "Random order"}
    assert new["Content kNN"]["channel"] == ["plot", "fused"]
    assert set(baseline_tables(Content(), has_time=True, among_new=True)) == {"Random order"}
