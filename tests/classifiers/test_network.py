"""Every named network learns from raw content what a person sees in it, and comes back from disk as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from penchant.classifiers.classifier import ContentBatch, make_classifier
from penchant.classifiers.network import NetworkClassifier, focal
from penchant.core.errors import ConfigError

from .conftest import Made, channel, learn

torch = pytest.importorskip("torch")

QUICK = {"epochs": 12, "patience": 12, "learning_rate": 0.01, "device": "cpu"}
READERS = [
    *(("text", net) for net in ("lstm", "transformer")),
    ("audio", "cnn"),
    ("signal", "gru"),
    *(pytest.param("text", net, marks=pytest.mark.slow) for net in ("gru", "rnn", "cnn")),
    *(pytest.param("audio", net, marks=pytest.mark.slow) for net in ("lstm", "rnn")),
    pytest.param("signal", "transformer", marks=pytest.mark.slow),
]
"""Each kind of net once, each modality once; the rest is slow: `networks` tests every net, `raw` prepares for all of them alike."""
OPTIONS: dict[str, dict[str, Any]] = {
    "text": {"max_length": 16},
    "audio": {"max_length": 24, "bands": 16},
    "signal": {"max_length": 60},
    "image": {"side": 16},
    "mesh": {"options": {"points": 64}},
}


def network(branches: dict[str, dict[str, Any]], **settings: Any) -> NetworkClassifier:
    table = {"model": "network", "dim": 16, "batch_size": 8, "trainer": QUICK, "branches": branches, **settings}
    made = make_classifier("net", table)
    assert isinstance(made, NetworkClassifier)
    return made


@pytest.mark.parametrize(("modality", "net"), READERS)
def test_sequences_of_each_modality_are_told_apart(modality: str, net: str, make: Callable[..., Made]) -> None:
    branch = {"modality": modality, "net": net, **OPTIONS[modality]}
    assert learn(network({"raw": branch}), make(modality, count=80)) >= 0.85


@pytest.mark.parametrize("modality", ["image", "mesh"])
def test_pictures_and_shapes_are_told_apart(modality: str, make: Callable[..., Made]) -> None:
    assert learn(network({"raw": {"modality": modality, **OPTIONS[modality]}}), make(modality)) >= 0.9


def test_sound_is_read_as_a_picture_too(make: Callable[..., Made]) -> None:
    branch = {"modality": "audio", "net": "picture_cnn", **OPTIONS["audio"]}
    assert learn(network({"raw": branch}), make("audio")) >= 0.9


@pytest.mark.parametrize("fusion", ["concat", pytest.param("gated", marks=pytest.mark.slow), "attention"])
def test_fused_networks_bear_missing_modalities_and_come_back_equal(fusion: str, make: Callable[..., Made]) -> None:
    made = make("text", "image", "audio")
    samples, batch, parts = made
    batch = ContentBatch(batch.catalog, {"vector": channel(samples, lacking=0.3)})
    branches = {m: {"modality": m, **OPTIONS[m]} for m in ("text", "image", "audio")}
    net = network({**branches, "frozen": {"channel": "vector"}}, fusion=fusion)
    assert learn(net, (samples, batch, parts)) >= 0.9
    again = network({**branches, "frozen": {"channel": "vector"}}, fusion=fusion).restore(net.arrays(), net.facts())
    np.testing.assert_array_equal(again.log_probability(batch), net.log_probability(batch))


@pytest.mark.parametrize("settings", [{"augment": {}}, pytest.param({"mixup": 0.2}, marks=pytest.mark.slow)])
def test_augmented_training_still_learns(settings: dict[str, Any], make: Callable[..., Made]) -> None:
    branches = {m: {"modality": m, **OPTIONS[m]} for m in ("text", "image", "audio", "signal")}
    assert learn(network(branches, **settings), make(*branches)) >= 0.8


@pytest.mark.parametrize(
    ("modality", "one", "other"),
    [
        ("text", {"text": {"synonym": 0.0}}, {"text": {"synonym": 0.99}}),
        ("audio", {"audio": {"speed": 0.0}}, {"audio": {"speed": 0.5}}),
    ],
)
def test_every_augmentation_changes_what_is_learned(
    modality: str, one: dict[str, Any], other: dict[str, Any], make: Callable[..., Made]
) -> None:
    if modality == "text":
        pytest.importorskip("gensim")
    made, branch = make(modality), {"raw": {"modality": modality, "net": "cnn", **OPTIONS[modality]}}
    short = {**QUICK, "epochs": 1}
    weights = []
    for augment in (one, one, other):
        net = network(branch, augment=augment, trainer=short)
        learn(net, made)
        weights.append(net.arrays()["out.weight"])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_words_start_from_word2vec_and_come_back_equal(make: Callable[..., Made]) -> None:
    pytest.importorskip("gensim")
    made = make("text")
    branch = {"text": {"modality": "text", "pretrain": True}}
    net = network(branch)
    assert learn(net, made) >= 0.9
    again = network(branch).restore(net.arrays(), net.facts())
    np.testing.assert_array_equal(again.log_probability(made[1]), net.log_probability(made[1]))


def test_what_else_is_in_a_batch_makes_no_difference(make: Callable[..., Made]) -> None:
    made = make("text")
    net = network({"text": {"modality": "text"}})
    learn(net, made)
    batch = made[1]
    alone = np.concatenate([net.log_probability(batch.take(np.array([row]))) for row in range(6)])
    np.testing.assert_allclose(alone, net.log_probability(batch.take(np.arange(6))), atol=1e-5)


def test_focal_loss_is_cross_entropy_at_gamma_0_and_looks_away_from_the_known() -> None:
    logits, target = torch.tensor([[4.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    plain = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 0]), reduction="none")
    torch.testing.assert_close(focal(logits, target, 0.0), plain)
    assert (focal(logits, target, 2.0) / plain)[0] < 0.001
    torch.testing.assert_close((focal(logits, target, 2.0) / plain)[1], torch.tensor(0.25))


def test_a_branch_of_nothing_says_so() -> None:
    with pytest.raises(ConfigError, match="either the frozen vectors of a channel or the raw content"):
        network({"x": {}})
    with pytest.raises(ConfigError, match="The network has no branches"):
        network({})


def test_an_unknown_channel_names_its_neighbours(make: Callable[..., Made]) -> None:
    samples, batch, _ = make("text")
    batch = ContentBatch(batch.catalog, {"vector": channel(samples)})
    with pytest.raises(ConfigError, match="There is no channel 'vectro'") as caught:
        network({"x": {"channel": "vectro"}}).modalities(batch)
    assert "vector" in caught.value.fix
