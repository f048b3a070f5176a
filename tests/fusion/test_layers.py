"""Learned fusion: a missing modality has no say, whatever stands in its place."""

from __future__ import annotations

import pytest
import torch

from penchant.fusion import LAYERS
from penchant.fusion.layers import CrossAttentionLayer, FusionLayer, GatedLayer, drop_modalities


def build(name: str) -> FusionLayer:
    torch.manual_seed(0)
    layer: FusionLayer = LAYERS.load(name)(3, 8)
    return layer.eval()


@pytest.mark.parametrize("name", LAYERS.names())
def test_what_stands_in_a_missing_modality_is_never_read(name: str) -> None:
    layer, values = build(name), torch.randn(5, 3, 8)
    present = torch.tensor([[True, False, True]]).expand(5, 3)
    noise = values.clone()
    noise[:, 1] = 99
    torch.testing.assert_close(layer(values, present), layer(noise, present))


@pytest.mark.parametrize("name", LAYERS.names())
def test_nothing_there_is_zero_and_has_a_gradient_that_is_a_number(name: str) -> None:
    layer, values = build(name), torch.randn(2, 3, 8, requires_grad=True)
    present = torch.tensor([[False, False, False], [True, True, True]])
    fused = layer(values, present)
    assert (fused[0] == 0).all()
    fused.sum().backward()
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize("name", LAYERS.names())
def test_every_modality_that_is_there_has_a_say(name: str) -> None:
    layer, values = build(name), torch.randn(4, 3, 8)
    present = torch.ones(4, 3, dtype=torch.bool)
    for modality in range(3):
        changed = values.clone()
        changed[:, modality] *= -2
        assert not torch.allclose(layer(values, present), layer(changed, present))


def test_gate_shares_sum_to_one_over_what_is_there() -> None:
    layer = build("gated")
    assert isinstance(layer, GatedLayer)
    present = torch.tensor([[True, False, True], [False, True, False]])
    shares = layer.weights(torch.randn(2, 3, 8), present)
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    assert (shares[~present] == 0).all()


def test_dropping_keeps_one_and_invents_none() -> None:
    torch.manual_seed(0)
    present = torch.rand(2000, 3) < 0.6
    kept = drop_modalities(present, 0.5)
    assert (kept <= present).all()
    assert (kept.any(1) == present.any(1)).all()
    assert 0.4 < float(kept.sum() / present.sum()) < 0.8


def test_words_and_patches_are_read_where_they_are_real_and_present() -> None:
    layer = build("cross_attention")
    assert isinstance(layer, CrossAttentionLayer)
    tokens = [torch.randn(2, count, 8) for count in (4, 9, 1)]
    real = [torch.ones(2, count, dtype=torch.bool) for count in (4, 9, 1)]
    real[0][:, 3] = False
    present = torch.tensor([[True, True, False], [True, False, False]])
    fused = layer.fuse_tokens(tokens, real, present)
    changed = [one.clone() for one in tokens]
    changed[0][:, 3], changed[2][:] = 99, 99  # padding, and a modality that is not there
    torch.testing.assert_close(fused, layer.fuse_tokens(changed, real, present))
    changed[1][:, 5] += 3  # one patch, which only the first item has
    moved = layer.fuse_tokens(changed, real, present)
    assert not torch.allclose(fused[0], moved[0])
    torch.testing.assert_close(fused[1], moved[1])


def test_words_are_changed_by_the_patches_they_attend_to() -> None:
    layer = build("cross_attention")
    assert isinstance(layer, CrossAttentionLayer)
    with torch.no_grad():
        layer.join.prior[:] = torch.tensor([50.0, -50.0, -50.0])  # the answer is the vector of the words alone
    tokens = [torch.randn(1, count, 8) for count in (4, 9, 1)]
    real = [torch.ones(1, count, dtype=torch.bool) for count in (4, 9, 1)]
    both, alone = torch.tensor([[True, True, False]]), torch.tensor([[True, False, False]])
    assert not torch.allclose(layer.fuse_tokens(tokens, real, both), layer.fuse_tokens(tokens, real, alone))
