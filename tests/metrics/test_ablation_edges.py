"""Costs at the border of what timings can tell, and rows without a cost."""

from __future__ import annotations

import polars as pl
import pytest

from penchant.metrics.ablation import Arm, ablate, gains_by_group
from penchant.metrics.comparison import Cost
from penchant.metrics.slices import GroupLabels

WHOLE = frozenset({"behaviour", "text", "image", "sound"})


def arm(uses: frozenset[str], cost: Cost | None, values: tuple[float, ...] = (0.5, 0.25)) -> Arm:
    return Arm(uses, pl.DataFrame({"user_id": ["u0", "u1"], "ndcg@20": values}), cost)


def costs(*given: Cost | None) -> dict[str, Cost | None]:
    """Return the cost of each channel, the arms without it and with everything costing what is given."""
    whole, *others = given
    arms = [arm(WHOLE, whole)]
    arms += [arm(WHOLE - {channel}, cost) for channel, cost in zip(("text", "image", "sound"), others, strict=False)]
    return {value.channel: value.cost for value in ablate(arms, metric="ndcg@20").payoffs}


def test_a_cost_as_large_as_the_noise_is_no_cost_in_seconds_and_in_milliseconds() -> None:
    # without the image it took 8 s and 2 ms longer than with everything
    found = costs(Cost(60, 10), Cost(52, 7), Cost(68, 12), Cost(51, 8))
    assert found == {"text": Cost(0, 3), "image": Cost(0, 0), "sound": Cost(9, 0)}


def test_without_noise_every_cost_counts() -> None:
    found = costs(Cost(60, 10), Cost(59.5, 9.75), Cost(30, 5), Cost(60, 10))
    assert found == {"text": Cost(0.5, 0.25), "image": Cost(30, 5), "sound": Cost(0, 0)}


def test_an_arm_that_was_not_timed_has_no_cost_and_the_others_keep_theirs() -> None:
    assert costs(Cost(60, 10), None, Cost(50, 5)) == {"text": None, "image": Cost(10, 5)}
    assert costs(None, Cost(1, 1), None) == {"text": None, "image": None}


def test_gains_of_a_group_leave_out_channels_that_were_not_left_out() -> None:
    given = [arm(WHOLE, None), arm(WHOLE - {"behaviour"}, None, (0.25, 0.25)), arm(WHOLE - {"sound"}, None, (0.5, 0.0))]
    found = gains_by_group(given, GroupLabels(("a", "b"), pl.Series([0, 1]).to_numpy()), metric="ndcg@20")
    assert [(g.group, g.channel) for g in found] == [(g, c) for g in "ab" for c in ("behaviour", "sound")]
    assert [g.gain.mean for g in found] == pytest.approx([0.25, 0.0, 0.0, 0.25])


def test_one_arm_has_no_gain_by_group() -> None:
    labels = GroupLabels(("a",), pl.Series([0, 0]).to_numpy())
    assert gains_by_group([arm(WHOLE, None)], labels, metric="ndcg@20") == []
