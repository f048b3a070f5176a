from __future__ import annotations

import numpy as np
import pytest

from penchant.core.schema import Embeddings
from penchant.fusion import FUSIONS
from penchant.fusion.concat import Concat, ConcatConfig


@pytest.fixture
def channels() -> dict[str, Embeddings]:
    rng = np.random.default_rng(0)
    out = {}
    for name, dim, missing in (("words", 12, [3, 9]), ("picture", 5, [4, 9])):
        values = rng.normal(size=(40, dim)) * np.geomspace(1, 0.05, dim) + 5
        values[missing] = 0
        present = ~np.isin(np.arange(40), missing)
        out[name] = Embeddings(name, "text", values.astype(np.float32), present, name)
    return out


def test_it_is_in_the_table() -> None:
    assert FUSIONS.load("concat") is Concat


@pytest.mark.parametrize("whiten", [False, True])
def test_rows_are_unit_and_missing_blocks_are_zero(channels, whiten: bool) -> None:
    fused = Concat(ConcatConfig(dim=6, whiten=whiten))(channels)
    assert fused.values.shape == (40, 6 + 5)
    assert fused.values.dtype == np.float32
    norms = np.linalg.norm(fused.values, axis=1)
    np.testing.assert_allclose(norms[fused.usable], 1, rtol=1e-5)
    assert not fused.values[3, :6].any()
    assert not fused.values[4, 6:].any()
    assert fused.present.tolist() == [i != 9 for i in range(40)]


def test_the_cosine_of_whole_items_is_the_mean_over_channels(channels) -> None:
    fused = Concat(ConcatConfig(dim=64))(channels).values
    cosines = []
    for e in channels.values():
        rows = e.values - e.values[e.usable].mean(0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        cosines.append(rows[0] @ rows[1])
    assert fused[0] @ fused[1] == pytest.approx(np.mean(cosines), abs=1e-4)


def test_whitening_gives_every_direction_the_same_spread(channels) -> None:
    words = {"words": channels["words"]}
    plain, white = (Concat(ConcatConfig(dim=6, whiten=w))(words).values for w in (False, True))

    def ratio(rows: np.ndarray) -> float:
        spread = rows[channels["words"].present].std(0)
        return float(spread.max() / spread.min())

    assert ratio(white) < 1.5 < ratio(plain)


def test_filled_in_rows_are_usable_and_marked(channels) -> None:
    words = channels["words"]
    imputed = np.zeros(40, bool)
    imputed[9] = True
    values = words.values.copy()
    values[9] = 1
    fused = Concat()({"words": Embeddings("words", "text", values, words.present, "w", imputed)})
    assert fused.usable[9]
    assert not fused.present[9]
    assert np.linalg.norm(fused.values[9]) == pytest.approx(1, rel=1e-5)


def test_it_repeats_itself(channels) -> None:
    np.testing.assert_array_equal(Concat()(channels).values, Concat()(channels).values)


def test_nothing_to_fuse_is_nothing() -> None:
    assert Concat()({}) is None


def test_a_channel_with_one_item_has_no_direction() -> None:
    lonely = Embeddings("words", "text", np.ones((3, 4), np.float32), np.array([True, False, False]), "w")
    assert not Concat()({"words": lonely}).values.any()
