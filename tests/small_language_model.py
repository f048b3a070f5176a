"""A language model whose every word can be foreseen."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLLOWS = {
    "robots": "they",
    "they": "fight",
    "fight": "far",
    "far": ".",
    ".": "<end>",
    "love": "Paris",
    "Paris": "is",
    "is": "far",
    "silence": "silence",
}
"""The word it writes after each; after any other it ends."""


@pytest.fixture(scope="session")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a Llama whose blocks add nothing, so that the last word alone decides the next."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<end>", "<unknown>", *dict.fromkeys([*FOLLOWS, *FOLLOWS.values()])]
    words = list(dict.fromkeys(words))
    vocabulary = {word: n for n, word in enumerate(words)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("parrot")
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unknown>", eos_token="<end>").save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 8, "num_attention_heads": 1, "num_key_value_heads": 1}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = LlamaConfig(vocab_size=len(words), num_hidden_layers=2, max_position_embeddings=64, **size, **ends)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "o_proj" in name or "down_proj" in name:
                weight.zero_()
        torch.nn.init.eye_(model.get_input_embeddings().weight)
        model.lm_head.weight.zero_()
        for word, number in vocabulary.items():
            model.lm_head.weight[vocabulary[FOLLOWS.get(word, "<end>")], number] = 1
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def short_sighted(parrot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a GPT-2 that has 64 learned places and always writes "fight far." after any word."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("short")
    tokenizer = AutoTokenizer.from_pretrained(parrot)
    tokenizer.save_pretrained(folder)
    words = tokenizer.get_vocab()
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    config = GPT2Config(
        vocab_size=len(words), n_positions=64, n_embd=16, n_layer=1, n_head=1, tie_word_embeddings=False, **ends
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "c_proj" in name or "wpe" in name:
                weight.zero_()
        torch.nn.init.eye_(model.transformer.wte.weight)
        model.lm_head.weight.zero_()
        for word, number in words.items():
            model.lm_head.weight[words[FOLLOWS.get(word, "<end>")], number] = 1
    model.save_pretrained(folder)
    return folder
