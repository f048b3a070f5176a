"""Items that come one after the other: each costs its own rows, and the result is that of all at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hand_made import channel
from penchant.fusion.concat import Concat, ConcatConfig
from penchant.recommender.new_items import NewItem
from penchant.recommender.recommender import Recommender


@pytest.mark.parametrize("whiten", [False, True])
def test_row_that_is_added_is_fused_like_an_equal_row(whiten: bool):
    values = np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32)
    fusion = Concat(ConcatConfig(dim=5, whiten=whiten))
    before = {"words": channel("words", "text", values), "sound": channel("sound", "audio", values[:, :4] + 1)}
    twice = np.concatenate([values, values[[7, 3]]])
    grown = {"words": channel("words", "text", twice), "sound": channel("sound", "audio", twice[:, :4] + 1)}
    whole, found = fusion(before), fusion.fitted(before)(grown)
    assert whole is not None
    assert found is not None
    np.testing.assert_array_equal(found.values[:30], whole.values)
    np.testing.assert_allclose(found.values[30:], whole.values[[7, 3]], atol=1e-3)
    assert found.present.all()


def test_added_row_without_content_stays_empty():
    values = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    fuse = Concat(ConcatConfig(dim=3)).fitted({"words": channel("words", "text", values)})
    grown = channel("words", "text", np.concatenate([values, np.full((1, 4), 5)]))
    grown.present[9] = False
    found = fuse({"words": grown})
    assert found is not None
    assert not found.values[9].any()
    assert not found.usable[9]


def new_items(recommender: Recommender, count: int) -> list[NewItem]:
    rng = np.random.default_rng(1)
    dim = recommender.content.channels["sound"].dim
    return [
        NewItem(f"n{n}", {"title": f"{n}"}, {"sound": rng.standard_normal(dim).astype(np.float32)})
        for n in range(count)
    ]


def test_each_new_item_is_fused_without_the_others(shop: Path, monkeypatch: pytest.MonkeyPatch):
    recommender = Recommender.load(shop)
    learned: list[str] = []
    plain = Concat._block
    monkeypatch.setattr(Concat, "_block", lambda self, e: (learned.append(e.name), plain(self, e))[1])
    items = new_items(recommender, 6)
    vectors = [recommender.add_items(items[: n + 1]).content.fused for n in range(6)]
    assert learned == ["sound"], "the catalog is fused once, not for each item"
    for fused in vectors:
        assert fused is not None
        np.testing.assert_allclose(fused.values, vectors[-1].values[: len(fused.values)], atol=1e-6)
