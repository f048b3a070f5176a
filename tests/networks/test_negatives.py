"""Negatives come from where the settings say, and each item as often as its probability says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from penchant.core.schema import Histories
from penchant.networks import losses
from penchant.networks.negatives import Negatives

COUNTS = [40, 25, 20, 9, 5, 1, 0]
"""Times each item was chosen; the last one never."""


def histories(weight: float = 1.0) -> Histories:
    items = np.repeat(np.arange(len(COUNTS)), COUNTS).astype(np.int32)
    return Histories(
        ["u"], np.array([0, len(items)]), items, np.arange(len(items)), np.full(len(items), weight, np.float32), 7
    )


def negatives(count: int, *, power: float = 0.5, in_batch: float = 0.0, weight: float = 1.0) -> Negatives:
    torch.manual_seed(0)
    return Negatives(histories(weight), count, power, in_batch, torch.device("cpu"))


@pytest.mark.parametrize("in_batch", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("power", [0.0, 0.5])
def test_items_are_drawn_as_often_as_their_probability_says(power: float, in_batch: float) -> None:
    some = negatives(100_000, power=power, in_batch=in_batch)
    drawn = some.draw(torch.from_numpy(histories().item_index.astype(np.int64)))
    assert len(drawn) == 100_000
    share = np.bincount(drawn.numpy(), minlength=7) / len(drawn)
    np.testing.assert_allclose(share, some.log_probability.exp().numpy(), atol=0.006)
    assert share[6] == 0  # nobody chose it


def test_the_share_of_the_batch_comes_from_the_batch() -> None:
    drawn = negatives(400, power=0.0, in_batch=0.25).draw(torch.tensor([5]))
    assert int((drawn[:100] != 5).sum()) == 0
    assert len(torch.unique(drawn[100:])) == 6


def test_with_nothing_chosen_every_item_is_drawn_alike() -> None:
    some = negatives(70_000, weight=-1.0)
    share = np.bincount(some.draw(torch.tensor([0])).numpy(), minlength=7) / 70_000
    np.testing.assert_allclose(share, 1 / 7, atol=0.006)
    np.testing.assert_allclose(some.log_probability.exp().numpy(), 1 / 7, rtol=1e-5)


@pytest.mark.parametrize(("power", "in_batch"), [(0.5, 0.0), (0.0, 0.5), (1.0, 1.0)])
@pytest.mark.parametrize("target", [0, 5])
def test_the_sum_over_the_catalog_is_estimated_without_bias(power: float, in_batch: float, target: int) -> None:
    """For a rare target too: were it corrected as negatives are, its loss would be far too low."""
    some, batch = (
        negatives(4, power=power, in_batch=in_batch),
        torch.from_numpy(histories().item_index.astype(np.int64)),
    )
    drawing = torch.Generator().manual_seed(1)
    state, items = torch.randn(1, 4, generator=drawing) / 2, torch.randn(6, 4, generator=drawing) / 2
    chosen, total = torch.tensor([target]), 0.0
    for _ in range(6_000):
        drawn = some.draw(batch)
        loss = losses.sampled_softmax(state, items[chosen], items[drawn], chosen, drawn, some.log_probability)
        total += float(loss.exp()) / 6_000
    wanted = functional.cross_entropy(state @ items.T, chosen).exp()
    assert total == pytest.approx(float(wanted), rel=0.07)
