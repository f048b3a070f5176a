"""Every backbone keeps the contract: causal where asked, blind to padding, trainable."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from penchant.networks import BACKBONES
from penchant.networks.backbones import Backbone, BackboneConfig, last_state

SIZE = BackboneConfig(dim=8, layers=2, heads=2, max_length=12, dropout=0.0)


PARTS = ("norm_attend", "norm_feed", "mix", "join", "feed.0", "feed.2")


def build(name: str, *, causal: bool) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = BACKBONES.load(name)(SIZE, causal=causal)
    return backbone.eval()


@pytest.fixture
def steps() -> torch.Tensor:
    return torch.randn(3, 9, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", BACKBONES.names())
def test_a_causal_state_never_sees_what_comes_later(name: str, steps: torch.Tensor) -> None:
    backbone, lengths = build(name, causal=True), torch.tensor([9, 9, 9])
    changed = steps.clone()
    changed[:, 5:] *= -2
    before, after = backbone(steps, lengths), backbone(changed, lengths)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("name", BACKBONES.names())
def test_the_other_way_sees_what_comes_later(name: str, steps: torch.Tensor) -> None:
    backbone, lengths = build(name, causal=False), torch.tensor([9, 9, 9])
    changed = steps.clone()
    changed[:, 1] *= -2
    assert not torch.allclose(backbone(steps, lengths)[:, 0], backbone(changed, lengths)[:, 0])


@pytest.mark.parametrize("name", BACKBONES.names())
@pytest.mark.parametrize("causal", [True, False])
def test_padding_changes_nothing_real(name: str, causal: bool, steps: torch.Tensor) -> None:
    backbone, lengths = build(name, causal=causal), torch.tensor([4, 9, 1])
    noise = steps.clone()
    noise[0, 4:], noise[2, 1:] = 7.0, -7.0
    left, right = backbone(steps, lengths), backbone(noise, lengths)
    torch.testing.assert_close(left[0, :4], right[0, :4])
    torch.testing.assert_close(last_state(left, lengths), last_state(right, lengths))


@pytest.mark.parametrize("name", BACKBONES.names())
def test_every_parameter_gets_a_gradient(name: str, steps: torch.Tensor) -> None:
    backbone = build(name, causal=True)
    backbone(steps, torch.tensor([9, 9, 9])).pow(2).sum().backward()
    for parameter, tensor in backbone.named_parameters():
        assert tensor.grad is not None, parameter


def test_order_matters_to_all_but_the_mean(steps: torch.Tensor) -> None:
    lengths = torch.tensor([9, 9, 9])
    turned = torch.cat([steps[:, :8].flip(1), steps[:, 8:]], dim=1)
    for name in BACKBONES.names():
        backbone = build(name, causal=True)
        same = torch.allclose(backbone(steps, lengths)[:, -1], backbone(turned, lengths)[:, -1], atol=1e-5)
        assert same == (name == "mean"), name


def test_a_gate_that_is_shut_lets_nothing_through(steps: torch.Tensor) -> None:
    backbone, lengths = build("ligr", causal=True), torch.tensor([9, 9, 9])
    open_before = backbone(steps, lengths)
    with torch.no_grad():
        for block in cast("Any", backbone).blocks:
            for gate in (block.gate_attend, block.gate_feed):
                gate.weight.zero_()
                gate.bias.fill_(-60.0)
    shut = backbone(steps, lengths)
    torch.testing.assert_close(shut, cast("Any", backbone).norm(steps))
    assert not torch.allclose(open_before, shut)


def test_a_transformer_of_an_earlier_version_is_read() -> None:
    names = set(build("transformer", causal=True).state_dict())
    block = {f"blocks.{b}.{part}.{kind}" for b in (0, 1) for part in PARTS for kind in ("weight", "bias")}
    assert names == block | {"distance", "norm.weight", "norm.bias"}
    assert names < set(build("ligr", causal=True).state_dict()) | {n for n in names if ".feed." in n}


@pytest.mark.parametrize("name", BACKBONES.names())
def test_wider_and_deeper_networks_are_said_to_take_more(name: str) -> None:
    kind, wide = BACKBONES.load(name), SIZE.model_copy(update={"dim": 16})
    assert 0 < kind.products(SIZE, 10) < kind.products(wide, 10)
    deep = SIZE.model_copy(update={"layers": 4})
    assert kind.products(deep, 10) >= kind.products(SIZE, 10)
    assert (kind.products(deep, 10) == kind.products(SIZE, 10)) == (name == "mean")


def test_only_attention_takes_more_of_a_longer_history() -> None:
    longer = {
        n for n in BACKBONES.names() if BACKBONES.load(n).products(SIZE, 200) > BACKBONES.load(n).products(SIZE, 50)
    }
    assert longer == {"transformer", "ligr"}
