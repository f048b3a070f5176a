"""Models by folder or hub id: what is loaded is whole and known by its bytes, and what is not says why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

from penchant.core.errors import EncoderError, MissingExtraError
from penchant.encoders import ENCODERS
from penchant.encoders.encoder import Encoder
from penchant.encoders.image import TransformersImage, TransformersImageConfig
from penchant.language.hub import hub_commit, package_folder

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
ANY_MODEL = ("sentence_transformers", "transformers_text", "transformers_image", "transformers_audio")


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """Return a ViT with a head for classes and no pooler, as most of them are published."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    folder = tmp_path / "classifier"
    ViTForImageClassification(config).save_pretrained(folder)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def image_encoder(folder: Path) -> TransformersImage:
    return TransformersImage(TransformersImageConfig(model=str(folder)))


def encode(encoder: Encoder) -> np.ndarray:
    return encoder.encode([encoder.prepare(PICTURE)])


def test_classifier_without_pooler_gives_equal_vectors_at_every_start(classifier: Path) -> None:
    np.testing.assert_array_equal(encode(image_encoder(classifier)), encode(image_encoder(classifier)))


def test_model_with_missing_weights_is_refused(classifier: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(classifier / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layernorm" not in name and "query" not in name}
    assert len(kept) < len(weights)
    save_file(kept, classifier / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"lacks [0-9]+ of its weights, first") as caught:
        image_encoder(classifier).load()
    assert "random weights would carry no information" in caught.value.fix


def test_same_files_in_another_folder_are_the_same_model(classifier: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(classifier, moved)
    assert image_encoder(moved).fingerprint() == image_encoder(classifier).fingerprint()
    config = moved / "config.json"
    config.write_text(config.read_text() + " ")
    assert image_encoder(moved).fingerprint() != image_encoder(classifier).fingerprint()


def test_thin_picture_keeps_its_channels(classifier: Path) -> None:
    """Three pixels high looks like three channels to a processor that guesses."""
    encoder = image_encoder(classifier)
    thin = Image.fromarray(np.tile(np.array([[[250, 20, 20]]], np.uint8), (3, 60, 1)))
    prepared = encoder.prepare(thin)
    assert prepared.shape == (3, 32, 32)
    assert prepared[0].mean() > 0.5 > prepared[1].mean()


@pytest.mark.parametrize("name", ANY_MODEL)
def test_folder_of_something_else_is_explained(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("no model here")
    cls: Any = ENCODERS.load(name)
    with pytest.raises(EncoderError, match="cannot be loaded: ") as caught:
        cls(cls.config_class(model=str(tmp_path))).load()
    assert caught.value.where == f"model = {str(tmp_path)!r}"
    assert "give the folder of a downloaded model" in caught.value.fix


@pytest.mark.parametrize("name", ANY_MODEL)
def test_folder_that_is_not_there_is_explained(tmp_path: Path, name: str) -> None:
    cls: Any = ENCODERS.load(name)
    with pytest.raises(EncoderError, match="There is no folder"):
        cls(cls.config_class(model=str(tmp_path / "absent"))).fingerprint()


@pytest.mark.parametrize("name", ANY_MODEL)
def test_hub_out_of_reach_is_told_with_the_mend(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    cls: Any = ENCODERS.load(name)
    with pytest.raises(EncoderError, match="The model 'nobody/nothing' cannot be loaded") as caught:
        cls(cls.config_class(model="nobody/nothing")).fingerprint()
    assert "download it once where there is a network" in caught.value.fix


def test_downloaded_commit_is_known_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--somebody--something"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert hub_commit("somebody/something", "main") == commit


def test_missing_package_gives_the_install_line() -> None:
    with pytest.raises(MissingExtraError, match="The package 'no_such_package' is not installed") as caught:
        package_folder("no_such_package", "audio")
    assert caught.value.fix == "pip install 'penchant[audio]'"
