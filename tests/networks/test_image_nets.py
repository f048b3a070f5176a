"""What a vision model is started as, and what may move in it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penchant.networks.content_nets import ContentNetConfig
from penchant.networks.image_nets import VisionModel, VisionNet, untrained

pytest.importorskip("transformers")

SIZE = ContentNetConfig(dim=8, dropout=0.0)
TINY = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


def test_an_untrained_resnet_is_resnet_50_of_the_paper() -> None:
    vision = untrained("resnet", None, {}, where="test")
    assert (vision.config["depths"], vision.config["layer_type"]) == ([3, 4, 6, 3], "bottleneck")
    assert (vision.side, vision.is_pretrained) == (64, False)


def test_what_is_held_does_not_move_and_statistics_learned_before_stay() -> None:
    vision = untrained("resnet", 32, TINY, where="test")
    net = VisionNet(SIZE, VisionModel.of({**vision.as_dict(), "is_pretrained": True}))
    norms = [layer for layer in net.body.modules() if isinstance(layer, nn.BatchNorm2d)]
    net.hold(True)
    net.train()(torch.randn(4, 3, 32, 32), torch.ones(4)).sum().backward()
    assert all(parameter.grad is None for parameter in net.body.parameters())
    net.hold(False)
    net.train()(torch.randn(4, 3, 32, 32), torch.ones(4)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.body.parameters())
    assert all(int(norm.num_batches_tracked) == 0 for norm in norms)


def test_untrained_networks_learn_their_statistics() -> None:
    net = VisionNet(SIZE, untrained("resnet", 32, TINY, where="test"))
    net.train()(torch.randn(4, 3, 32, 32), torch.ones(4))
    assert all(int(layer.num_batches_tracked) == 1 for layer in net.body.modules() if isinstance(layer, nn.BatchNorm2d))
