"""Losses beside torch's own, and what each is made to do."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from penchant.networks import losses


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_chunked_softmax_equals_torch_with_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_CELLS", 3 * 11)  # three rows at a time, the last chunk short
    states, items = draw(8, 4).requires_grad_(), draw(11, 4, seed=1).requires_grad_()
    chosen = torch.tensor([0, 3, 10, 3, 5, 6, 7, 1])
    losses.softmax(states, items, chosen).mul(2).backward()
    ours = states.grad, items.grad
    states.grad = items.grad = None
    wanted = functional.cross_entropy(states @ items.T, chosen)
    torch.testing.assert_close(losses.softmax(states, items, chosen), wanted)
    wanted.mul(2).backward()
    torch.testing.assert_close(ours, (states.grad, items.grad))


def test_sampled_softmax_with_every_item_drawn_is_the_full_softmax() -> None:
    states, items = draw(6, 4), draw(9, 4, seed=1)
    chosen, sampled = torch.tensor([0, 3, 8, 3, 5, 6]), torch.arange(9)
    even = torch.full((9,), -math.log(9))  # each expected once in nine draws
    found = losses.sampled_softmax(states, items[chosen], items, chosen, sampled, even)
    torch.testing.assert_close(found, functional.cross_entropy(states @ items.T, chosen))


def test_sampled_softmax_never_punishes_the_choice_itself() -> None:
    states, items = draw(2, 4), draw(3, 4, seed=1)
    chosen, sampled = torch.tensor([1, 1]), torch.tensor([1, 1, 1])
    found = losses.sampled_softmax(states, items[chosen], items[sampled], chosen, sampled, torch.zeros(3))
    assert float(found) == pytest.approx(0, abs=1e-6)


def test_bce_equals_torch() -> None:
    right, wrong = draw(7), draw(7, 3, seed=1)
    binary = functional.binary_cross_entropy_with_logits
    wanted = binary(right, torch.ones(7)) + binary(wrong, torch.zeros(7, 3))
    torch.testing.assert_close(losses.bce(right, wrong), wanted)


def test_bpr_is_log_two_at_a_tie_and_falls_with_the_margin() -> None:
    level = torch.zeros(5)
    assert float(losses.bpr(level, torch.zeros(5, 2))) == pytest.approx(math.log(2))
    assert float(losses.bpr(level + 3, torch.zeros(5, 2))) < 0.1


def test_info_nce_is_small_only_where_views_belong_together() -> None:
    left = draw(16, 8)
    same, mixed = losses.info_nce(left, left * 5), losses.info_nce(left, left.roll(1, 0))
    assert float(same) < 0.1 < float(mixed)


def test_powered_softmax_is_the_power_of_the_probability_and_resolves_close_logits() -> None:
    logits = draw(3, 50)
    expected = torch.softmax(logits.double(), dim=1) ** 0.3
    torch.testing.assert_close(losses.powered_softmax(logits, 0.3).double(), expected, rtol=1e-5, atol=0)
    close = 2e-7 * torch.arange(1000, dtype=torch.float32)[None]
    assert len(torch.unique(losses.powered_softmax(close, 1.0))) > 900
    assert len(torch.unique(torch.exp(torch.log_softmax(close, dim=1)))) < 500
