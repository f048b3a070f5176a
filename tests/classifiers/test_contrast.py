"""A sentence model moved by contrast: pairs, what is learned, and that it comes back equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.classifiers.classifier import ContentBatch, TrainingSet, make_classifier
from penchant.core.schema import Catalog
from penchant.experiment.fit_classifiers import make_score_function

transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

from penchant.classifiers.contrast import ContrastClassifier, ContrastConfig, draw_pairs  # noqa: E402

WORDS = ["room", "staff", "food", "bed", "view", "good", "bad"]
SCORE = make_score_function("cross_entropy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny sentence model with random weights."""
    place = tmp_path_factory.mktemp("model")
    (place / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    transformers.BertTokenizer(str(place / "vocab.txt")).save_pretrained(place)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.set_seed(0)
    transformers.BertModel(transformers.BertConfig(vocab_size=12, **sizes)).save_pretrained(place)
    return place


def made(count: int = 60) -> tuple[ContentBatch, np.ndarray]:
    """Return texts of nine words of which one knows the label."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    texts = [" ".join(rng.permutation([*rng.choice(WORDS[:5], 8), WORDS[5 + label]])) for label in labels]
    return ContentBatch(
        Catalog(pl.DataFrame({"item_id": list(range(count)), "text": texts}), None, ("text",)), {}
    ), labels


def rows(labels: np.ndarray, first: int, last: int) -> TrainingSet:
    ones = np.ones(last - first)
    return TrainingSet(np.arange(first, last), labels[first:last], 2, ones, ones)


@pytest.mark.parametrize("rank", [0, 4])
def test_contrast_beats_frozen_vectors_and_comes_back_equal(rank: int, folder: Path) -> None:
    batch, labels = made()
    config = ContrastConfig(encoder=str(folder), rank=rank, pairs=40, learning_rate=3e-3, device="cpu")
    table = {"model": "contrast", **config.model_dump()}
    model: Any = make_classifier("few", table)
    model.fit(batch, rows(labels, 0, 30), rows(labels, 30, 40), SCORE, seed=0)
    assert model.is_moved
    model.refit(batch, rows(labels, 0, 40))
    new = batch.take(np.arange(40, 60))
    found = model.log_probability(new)
    assert (found.argmax(1) == labels[40:]).mean() >= 0.9
    changed = set(model.moved)
    assert all(("lora" in name) == bool(rank) for name in changed)
    again = ContrastClassifier(config, name="few").restore(model.arrays(), model.facts())
    np.testing.assert_allclose(again.log_probability(new), found, atol=1e-5)


def test_frozen_vectors_stay_where_moving_them_does_not_help(folder: Path) -> None:
    batch, labels = made()
    config = ContrastConfig(encoder=str(folder), pairs=1, max_pairs=2, learning_rate=1e-12, device="cpu")
    model: Any = ContrastClassifier(config, name="few")
    model.fit(batch, rows(labels, 0, 30), rows(labels, 30, 40), lambda truth, said: 0.5, seed=0)
    assert not model.is_moved
    assert set(model.arrays()) == {"weight", "bias"}
    plain = ContrastClassifier(config, name="few").restore(model.arrays(), model.facts())
    np.testing.assert_allclose(plain.log_probability(batch), model.log_probability(batch), atol=1e-5)


def test_pairs_are_half_of_one_class_and_classes_count_alike() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    pairs = draw_pairs(labels, 20, 1_000, np.random.default_rng(0))
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    np.testing.assert_array_equal(same, pairs[:, 2] == 1)
    assert 0.42 < same.mean() < 0.52  # a text is never paired with itself
    assert 0.4 < labels[pairs[:, 0]].mean() < 0.6
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(draw_pairs(np.zeros(5, np.int64), 20, 1_000, np.random.default_rng(0))) == 0
