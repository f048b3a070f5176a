"""Small channels and weak directions, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hand_made import channel
from penchant.core.schema import Embeddings
from penchant.fusion.concat import Concat, ConcatConfig


def test_the_fused_vectors_name_the_encoders_they_come_from() -> None:
    fused = Concat()({name: channel(name, "text", [[1.0, 0], [0, 1], [2, 2]]) for name in ("plot", "still")})
    assert fused is not None
    assert (fused.name, fused.modality, fused.encoder) == ("fused", "fused", "plot+still")


@pytest.mark.parametrize("whiten", [False, True])
def test_two_items_stand_at_the_two_ends_of_one_direction(whiten: bool) -> None:
    values = np.array([[1, 2, 3, 4], [9, 9, 9, 9], [5, 2, 0, 4]], np.float32)
    pair = Embeddings("plot", "text", values, np.array([True, False, True]), "plot")
    fused = Concat(ConcatConfig(whiten=whiten))({"plot": pair})
    assert fused is not None
    assert fused.values.shape == (3, 4)
    assert not fused.values[1].any()
    assert not fused.values[:, 1:].any()
    np.testing.assert_allclose(np.abs(fused.values[[0, 2], 0]), 1, rtol=1e-6)
    assert fused.values[0, 0] == -fused.values[2, 0]


def test_whitening_drops_directions_below_a_thousandth_of_the_strongest() -> None:
    columns = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])  # centred, at right angles, equally long
    kept, dropped = ([100.0, 10.0, spread] for spread in (0.5, 0.05))
    for spreads, width in ((kept, 3), (dropped, 2)):
        values = (columns * spreads).tolist()
        fused = Concat(ConcatConfig(whiten=True))({"plot": channel("plot", "text", values)})
        assert fused is not None
        assert (np.abs(fused.values) > 1e-3).any(0).tolist() == [n < width for n in range(3)]
