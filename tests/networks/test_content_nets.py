"""Content networks are blind to padding and, where they should be, to order."""

from __future__ import annotations

import pytest
import torch

from penchant.networks.content_nets import (
    SEQUENCES,
    ContentNetConfig,
    PointNet,
    SequenceEncoder,
    SmallImageNet,
    WordEmbedding,
)

SIZE = ContentNetConfig(dim=8, dropout=0.0)


@pytest.mark.parametrize("pooling", ["max", "mean", "last", "attention"])
@pytest.mark.parametrize("net", SEQUENCES)
def test_padding_makes_no_difference(net: str, pooling: str) -> None:
    torch.manual_seed(0)
    reader = SequenceEncoder(SIZE.model_copy(update={"pooling": pooling}), net, WordEmbedding(20, 8), 12).eval()
    short = torch.tensor([[3, 4, 5]])
    padded = torch.tensor([[3, 4, 5, 0, 0, 0]])
    lengths = torch.tensor([3])
    torch.testing.assert_close(reader(short, lengths), reader(padded, lengths))


def test_words_of_word2vec_are_mapped_to_the_width_asked_for() -> None:
    table = WordEmbedding(5, 8, torch.ones(5, 3))
    assert table(torch.tensor([[1, 2]])).shape == (1, 2, 8)


def test_pictures_of_any_side_and_channels_become_one_vector() -> None:
    assert SmallImageNet(SIZE).eval()(torch.zeros(2, 3, 24, 24), torch.ones(2, dtype=torch.long)).shape == (2, 8)
    assert SmallImageNet(SIZE, channels=1).eval()(torch.zeros(2, 1, 30, 16), torch.ones(2, dtype=torch.long)).shape == (
        2,
        8,
    )


def test_the_order_of_points_makes_no_difference() -> None:
    net, points = PointNet(SIZE).eval(), torch.randn(2, 30, 6)
    mixed = points[:, torch.randperm(30)]
    torch.testing.assert_close(
        net(points, torch.ones(2, dtype=torch.long)), net(mixed, torch.ones(2, dtype=torch.long))
    )
