"""Bands at the shortest length, and members that a band leaves out."""

from __future__ import annotations

import numpy as np

from penchant.fusion.late import EnsembleWeights, band_starts


def test_a_start_at_the_shortest_length_is_dropped_and_the_others_stay() -> None:
    # the fifths of 250 ones and 250 twos are 1, 1, 2 and 2
    assert band_starts(np.repeat([1, 2], 250), 5) == (2,)


def test_a_member_that_a_band_does_not_name_has_no_weight_there() -> None:
    weights = EnsembleWeights({"a": 0.5, "b": 0.5}, (3,), ({"a": 1.0}, {"b": 1.0}))
    assert weights.of("a", np.array([2, 3])).tolist() == [1, 0]
    assert weights.of("b", np.array([2, 3])).tolist() == [0, 1]
