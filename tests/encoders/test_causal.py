"""Pooled states of a tiny causal model with random weights, compared with the states themselves; SmolLM2 when there is time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penchant.core.errors import EncoderError
from penchant.encoders.causal import CausalLM, CausalLMConfig, SmolLM2, SmolLM2Config

TEXT = "robots fight in space"


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a GPT-2 of two layers whose tokenizer has no padding of its own, as most causal ones."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {word: n for n, word in enumerate(["<end>", *TEXT.split(), "the", "雨"])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("gpt")
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<end>", eos_token="<end>").save_pretrained(folder)
    GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=2, n_head=2, n_positions=12)).save_pretrained(folder)
    return folder


def encode(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    encoder = CausalLM(CausalLMConfig(model=str(folder), **options))
    return encoder.encode([encoder.prepare(text) for text in texts])


def states(folder: Path, layer: int) -> np.ndarray:
    """Return (tokens, dim) of `TEXT`, straight from the library."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        out = AutoModel.from_pretrained(folder).eval()(tokens, output_hidden_states=True)
    return (out.last_hidden_state if layer == 2 else out.hidden_states[layer])[0].numpy()


@pytest.mark.parametrize(("depth", "layer"), [(1.0, 2), (0.5, 1), (0.0, 0)])
def test_states_are_pooled_as_asked(gpt: Path, depth: float, layer: int) -> None:
    own = states(gpt, layer)
    place = np.arange(1, len(own) + 1)[:, None]
    wanted = {"mean": own.mean(0), "last": own[-1], "weighted": (own * place).sum(0) / place.sum()}
    longer = "the robots fight in space the 雨 雨"
    for pooling, vector in wanted.items():
        found = encode(gpt, [TEXT, longer], pooling=pooling, depth=depth)
        np.testing.assert_allclose(found[0], vector, rtol=1e-4, atol=1e-5)


def test_long_and_empty_texts_have_vectors(gpt: Path) -> None:
    found = encode(gpt, ["", "robots " * 2_000_000, "😀 مرحبا"])
    assert found.shape == (3, 8)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[1], encode(gpt, ["robots " * 12])[0])


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot be loaded"):
        encode(tmp_path, [TEXT])


def test_smollm2_is_known_by_its_wheel_and_not_by_where_its_copy_lies(tmp_path: Path) -> None:
    marks = [SmolLM2(SmolLM2Config(cache=tmp_path / name)).fingerprint() for name in ("a", "b")]
    assert marks[0] == marks[1]
    assert SmolLM2(SmolLM2Config(pooling="mean")).fingerprint() != marks[0]


@pytest.mark.slow
def test_smollm2_puts_alike_texts_near_and_reads_its_copy_again(tmp_path: Path) -> None:
    texts = ["The dog chased a cat up the tree.", "A puppy ran after a kitten.", "Quarterly tax report for 2023"]
    found = []
    for _ in range(2):
        encoder = SmolLM2(SmolLM2Config(cache=tmp_path))
        found.append(encoder.encode([encoder.prepare(text) for text in texts]))
    np.testing.assert_array_equal(*found)
    vectors = found[0] - found[0].mean(0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]
    (next(tmp_path.rglob("*.safetensors"))).write_bytes(b"damaged")
    again = SmolLM2(SmolLM2Config(cache=tmp_path))
    np.testing.assert_array_equal(again.encode([again.prepare(texts[0])])[0].shape, (576,))
