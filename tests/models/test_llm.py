"""A language model as user model, on a tiny Llama with random weights, beside the contract in tests/checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from penchant.core.errors import ArtifactError, ConfigError, EncoderError
from penchant.core.schema import Content, Embeddings, Histories
from penchant.models.llm import LanguageModel, LanguageModelConfig, LanguageModelReader, SoftTokens
from penchant.networks.backbones import BackboneConfig
from penchant.networks.sequences import recent_windows

ITEMS = 12
WORDS = ("<end>", "the", "user", "liked")
SMALL = {
    "dim": 8,
    "epochs": 30,
    "learning_rate": 0.03,
    "batch_events": 128,
    "dropout": 0.0,
    "id_dropout": 0.0,
    "modality_dropout": 0.0,
    "max_length": 8,
    "held_out_users": 0,
}


def save_llama(folder: Path, seed: int = 0) -> Path:
    """Write a Llama of two layers and four words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    plain = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<end>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<end>", eos_token="<end>").save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(WORDS), num_hidden_layers=2, max_position_embeddings=64, **size)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))


def walkers(users: int = 60, events: int = 6) -> Histories:
    """Everyone goes round the ring of items, one step at a time, from a place of their own."""
    rows = (np.arange(events) + np.arange(users)[:, None]) % ITEMS
    offsets = np.arange(users + 1, dtype=np.int64) * events
    at = np.tile(np.arange(events, dtype=np.int64) * 1_000_000, users)
    weight = np.ones(rows.size, np.float32)
    return Histories([str(u) for u in range(users)], offsets, rows.ravel().astype(np.int32), at, weight, ITEMS)


def content(*, without_words: int = -1) -> Content:
    rng = np.random.default_rng(0)
    present = np.arange(ITEMS) != without_words
    words = Embeddings("words", "text", rng.normal(size=(ITEMS, 6)).astype(np.float32), present, "words")
    everyone = np.ones(ITEMS, bool)
    sound = Embeddings("sound", "audio", rng.normal(size=(ITEMS, 5)).astype(np.float32), everyone, "sound")
    return Content({"words": words, "sound": sound})


def make(folder: Path, **options: object) -> LanguageModel:
    return LanguageModel(LanguageModelConfig(**{**SMALL, "language_model": str(folder), **options}), name="llm")


def hits(member: LanguageModel) -> float:
    scores = member.score(walkers(ITEMS))
    return float((scores.argmax(1) == (np.arange(ITEMS) + 6) % ITEMS).mean())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tokens": "modalities"},
        {"tokens": "modalities", "use_ids": False},
        {"lora_rank": 2, "prompt": "the user liked"},
        {"layers": 1, "loss": "sampled_softmax", "negatives": 20},
    ],
)
def test_it_learns_what_follows(llama: Path, options: dict[str, object]) -> None:
    assert hits(make(llama, **options).fit(walkers(), content())) > 0.9


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_language_model_stays_as_it_was_and_only_lora_is_trained(llama: Path, lora_rank: int) -> None:
    member = make(llama, epochs=2, lora_rank=lora_rank).fit(walkers(), content())
    assert member.network is not None
    weights = dict(member.network.backbone.model.named_parameters())
    fresh = dict(make(llama, lora_rank=lora_rank)._backbone().model.named_parameters())
    changed = {name for name in weights if not torch.equal(weights[name], fresh[name])}
    assert all("lora_B" in name or "lora_A" in name for name in changed)
    assert bool(changed) == bool(lora_rank)


@pytest.mark.parametrize("options", [{}, {"tokens": "modalities"}, {"lora_rank": 2}, {"weights": "bfloat16"}])
def test_restored_scores_are_equal_and_hold_no_frozen_weights(llama: Path, options: dict[str, object]) -> None:
    member = make(llama, epochs=2, **options).fit(walkers(), content(without_words=3))
    arrays = {name: array.copy() for name, array in member.arrays().items()}
    twin = make(llama, **options).restore(arrays)
    np.testing.assert_array_equal(twin.score(walkers(5)), member.score(walkers(5)))
    kept = [name for name in arrays if ".model." in name]
    assert all("lora" in name for name in kept)
    assert bool(kept) == ("lora_rank" in options)


def test_another_language_model_is_refused(llama: Path, tmp_path: Path) -> None:
    arrays = make(llama, epochs=1).fit(walkers(), content()).arrays()
    other = save_llama(tmp_path / "other", seed=1)
    with pytest.raises(ArtifactError, match=r"Its weights are \w{16}, it was trained with \w{16}"):
        make(other).restore(arrays)
    with pytest.raises(ArtifactError, match="cannot be read without its language model"):
        make(tmp_path / "nowhere").restore(arrays)


def test_a_checkpoint_goes_on_and_one_of_another_language_model_does_not(llama: Path, tmp_path: Path) -> None:
    def fit(folder: Path) -> LanguageModel:
        member = make(folder, epochs=2, lora_rank=2)
        member.checkpoint = tmp_path / "kept"
        return member.fit(walkers(), content())

    first, again = fit(llama), fit(llama)
    assert again.training_history.seconds == first.training_history.seconds  # read back, not trained
    np.testing.assert_array_equal(again.score(walkers(3)), first.score(walkers(3)))
    other = fit(save_llama(tmp_path / "other", seed=1))
    assert other.training_history.seconds != first.training_history.seconds


def test_a_missing_channel_is_as_if_its_token_never_stood_there(llama: Path) -> None:
    member = make(llama, epochs=1, tokens="modalities").fit(walkers(), content(without_words=3))
    network = member.network
    assert isinstance(network, SoftTokens)
    reader: LanguageModelReader = network.backbone
    one = recent_windows(walkers(1, 6), np.array([0]), 8)  # items 0 to 5; item 3 has no words
    with torch.no_grad():
        steps, real = network.event_tokens(member.vectors[one.items], one)
        assert (~real).sum() == 1
        masked = reader(steps, one.lengths, real)[0][real[0]]
        shorter = reader(steps[:, real[0]], one.lengths)[0]
    np.testing.assert_allclose(masked.numpy(), shorter.numpy(), atol=1e-5)


def test_a_state_knows_nothing_of_what_comes_later(llama: Path) -> None:
    reader = make(llama, prompt="the user liked")._backbone().eval()
    steps = torch.randn(1, 6, 8)
    changed = steps.clone()
    changed[:, 4:] = 0
    with torch.no_grad():
        first, other = (reader(s, torch.tensor([6])) for s in (steps, changed))
    np.testing.assert_allclose(first[:, :4].numpy(), other[:, :4].numpy(), atol=1e-5)
    assert not np.allclose(first[:, 4:].numpy(), other[:, 4:].numpy(), atol=1e-3)


def test_soft_tokens_come_in_the_size_of_the_models_own(llama: Path) -> None:
    reader = make(llama)._backbone()
    own = float(reader.model.get_input_embeddings().weight.square().mean().sqrt())
    steps = 0.5 * torch.randn(4000, 8)
    assert float(reader.into(steps).detach().square().mean().sqrt()) == pytest.approx(own, rel=0.05)


def test_users_and_events_beyond_the_limits_are_scored_but_not_learned_from(llama: Path) -> None:
    member = make(llama, epochs=1, max_users=10, max_events=3)
    some = member._some(walkers(60))
    assert len(some) == 10
    assert (some.lengths() == 3).all()
    first = int(some.user_ids[0])
    np.testing.assert_array_equal(some.item_index[:3], (np.arange(3, 6) + first) % ITEMS)
    assert member.fit(walkers(60), content()).score(walkers(60)).shape == (60, ITEMS)


def test_fitting_twice_forgets_the_first(llama: Path) -> None:
    options = {"epochs": 2, "held_out_users": 10}
    member = make(llama, **options).fit(walkers(), content())
    first = member.training_history
    assert member.fit(walkers(), content()).training_history.scores == first.scores


def test_any_architecture_of_transformers_is_read(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=2, n_head=2, n_positions=64)).save_pretrained(tmp_path)
    options = {"lora_rank": 2, "tokens": "modalities", "layers": 1}
    member = make(tmp_path, epochs=2, **options).fit(walkers(), content(without_words=3))
    assert np.isfinite(member.score(walkers(3))).all()


def test_history_longer_than_the_model_reads_is_refused(llama: Path) -> None:
    with pytest.raises(ConfigError, match="A history of 30 events takes 91 tokens, the language model reads 64"):
        make(llama, tokens="modalities", max_length=30).fit(walkers(), content())


def test_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="There is no folder"):
        make(tmp_path / "nowhere").fit(walkers(), content())


def test_reader_of_a_narrow_model_takes_wide_steps(llama: Path) -> None:
    model = make(llama)._backbone().model
    reader = LanguageModelReader(model, "mark", [], BackboneConfig(dim=40))
    assert reader(torch.randn(2, 3, 40), torch.tensor([3, 3])).shape == (2, 3, 40)
