"""Every entry of the encoders' table keeps the contract; the ones that take any model run on tiny random ones.

In: one sample of settings and content for each entry. Out: a failure that names the entry and the broken promise.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from penchant.core.errors import ConfigError, EncoderError
from penchant.core.schema import MODALITIES
from penchant.data.media import MediaLimits, Signal, open_video
from penchant.data.media.alignment import make_stream
from penchant.encoders import ENCODERS
from penchant.encoders.encoder import Encoder, encode_one

TEXTS = [
    "A quiet film about two sisters and the sea",
    "侦探在雨夜追查一桩旧案",
    "Robots fight in space while the city sleeps, and nobody knows who built them or why they came",
]


@dataclass(frozen=True)
class Sample:
    """How to try one encoder."""

    raws: Callable[[], list[Any]]
    options: Callable[[Path], dict[str, Any]] = lambda _: {}
    other: Callable[[Path], dict[str, Any]] | None = None
    """Settings that must change the fingerprint."""


def pictures() -> list[Any]:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    return [noise, Image.new("RGB", (3, 90), "red"), Image.linear_gradient("L").convert("RGB")]


def sounds() -> list[Any]:
    rng = np.random.default_rng(0)
    times = np.arange(24_000) / 16_000
    tone = np.sin(2 * np.pi * 440 * times)
    return [x.astype(np.float32) * 0.2 for x in (tone, rng.standard_normal(40_000), tone[:9_000] * times[:9_000])]


def videos() -> list[Any]:
    """Write three clips: one with sound, one without, one of sound alone."""
    folder = Path(tempfile.mkdtemp())
    write_clip(folder / "a.mp4", colour=(200, 30, 30), pitch=440)
    write_clip(folder / "b.mp4", colour=(30, 200, 30), pitch=None)
    write_clip(folder / "c.mp4", colour=None, pitch=880)
    return [open_video(folder / name, MediaLimits()) for name in ("a.mp4", "b.mp4", "c.mp4")]


def write_clip(path: Path, *, colour: tuple[int, int, int] | None, pitch: int | None) -> None:
    """Write two seconds of a bar that grows over one colour, of a tone, or of both."""
    import av

    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=10) if colour else None
        sound = out.add_stream("aac", rate=16_000, layout="mono") if pitch else None
        if picture is not None:
            picture.codec_context.thread_count = 1
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            for number in range(20):
                pixels = np.full((48, 64, 3), colour, np.uint8)
                pixels[:, : 3 * number] = 255
                out.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            out.mux(picture.encode(None))
        if sound is not None:
            tone = (np.sin(2 * np.pi * (pitch or 0) * np.arange(32_000) / 16_000) * 8000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            for part in av.AudioResampler(format="fltp", layout="mono", rate=16_000, frame_size=1024).resample(frame):
                out.mux(sound.encode(part))
            out.mux(sound.encode(None))


def meshes() -> list[Any]:
    from trimesh import creation

    return [creation.box((1, 2, 3)), creation.icosphere(2), creation.torus(1.0, 0.2)]


def signals() -> list[Any]:
    """Three days of readings by the minute, one with gaps."""
    at = np.arange(3 * 1440) * 60.0 + 1.7e9
    rng = np.random.default_rng(0)
    day = 100 * np.maximum(np.sin(2 * np.pi * at / 86_400), 0)
    made = [day, day * rng.random(len(at)), np.where(rng.random(len(at)) < 0.1, np.nan, rng.random(len(at)))]
    return [Signal(make_stream(at, values)[0], ("activity",), is_dated=True) for values in made]


def word_file(folder: Path) -> dict[str, Any]:
    """Write vectors of some words, one line of them broken."""
    path = folder / "glove.txt"
    if not path.exists():
        rng = np.random.default_rng(0)
        words = ("the", "film", "侦探", "a", "robots", "space", "雨夜", "sea")
        lines = [" ".join([word, *(f"{x:.4f}" for x in rng.standard_normal(8))]) for word in words]
        path.write_text("\n".join([*lines[:3], "broken 1.0 x", *lines[3:]]), encoding="utf-8")
    return {"path": str(path)}


def smollm2(folder: Path) -> dict[str, Any]:
    return {"cache": str(folder / "plain")}


def rows() -> list[Any]:
    return [json.dumps(r) for r in ({"genre": "战争", "year": 1}, {"genre": "战争", "year": 5}, {"genre": "war"})]


def exported(models: Path, *, int8: bool = False) -> dict[str, Any]:
    """Export the small sentence model, its weights as int8 where asked."""
    from penchant.compression.onnx_export import write_encoder

    folder = models / ("onnx-int8" if int8 else "onnx")
    if not folder.exists():
        plain = make("sentence_transformers", model("sentence")(models))
        write_encoder("text", "sentence_transformers", plain, TEXTS, folder, int8=int8)
    return {"model": str(folder)}


def model(name: str) -> Callable[[Path], dict[str, Any]]:
    return lambda models: {"model": str(models / name)}


SAMPLES = {
    "minilm": Sample(lambda: TEXTS, other=lambda _: {"max_tokens": 4}),
    "e5": Sample(lambda: TEXTS),
    "sentence_transformers": Sample(
        lambda: TEXTS, model("sentence"), lambda p: {**model("sentence")(p), "max_tokens": 3}
    ),
    "onnx_text": Sample(lambda: TEXTS, exported, lambda p: exported(p, int8=True)),
    "transformers_text": Sample(lambda: TEXTS, model("bert"), lambda p: {**model("bert")(p), "max_tokens": 3}),
    "transformers_text causal": Sample(lambda: TEXTS, model("gpt")),
    "transformers_text clip": Sample(lambda: TEXTS, model("clip")),
    "aspects": Sample(lambda: [*TEXTS, *TEXTS], other=lambda _: {"neutral": 0.2}),
    "tfidf": Sample(lambda: [*TEXTS, *TEXTS], other=lambda _: {"names": True}),
    "word2vec": Sample(
        lambda: [*TEXTS, *TEXTS, *TEXTS], lambda _: {"dim": 8}, lambda _: {"dim": 8, "weighting": "mean"}
    ),
    "word_file": Sample(lambda: TEXTS, word_file, lambda p: {**word_file(p), "weighting": "mean"}),
    "causal_lm": Sample(lambda: TEXTS, model("gpt"), lambda p: {**model("gpt")(p), "pooling": "last"}),
    "causal_lm middle": Sample(lambda: TEXTS, lambda p: {**model("gpt")(p), "depth": 0.5, "pooling": "last"}),
    "smollm2": Sample(lambda: TEXTS, smollm2, lambda p: {**smollm2(p), "depth": 0.5}),
    "attributes": Sample(rows, other=lambda _: {"bumps": 5}),
    "codes": Sample(rows, other=lambda _: {"dim": 64}),
    "efficientnet": Sample(pictures, other=lambda _: {"side": 192}),
    "nudity": Sample(pictures, other=lambda _: {"side": 256}),
    "transformers_image": Sample(pictures, model("vit"), model("resnet")),
    "transformers_image resnet": Sample(pictures, model("resnet")),
    "transformers_image clip": Sample(pictures, model("clip")),
    "mel": Sample(sounds, other=lambda _: {"bands": 32}),
    "voice": Sample(sounds, other=lambda _: {"bands": 32}),
    "whisper": Sample(sounds),
    "whisper_layers": Sample(sounds),
    "transformers_audio": Sample(sounds, model("wav2vec"), lambda p: {**model("wav2vec")(p), "max_seconds": 1.0}),
    "transformers_audio clap": Sample(sounds, model("clap")),
    "transformers_audio clap fused": Sample(sounds, model("clap-fused")),
    "transformers_audio ast": Sample(sounds, model("ast")),
    "video": Sample(videos, lambda _: {"frames": 2}, lambda _: {"frames": 3}),
    "shape": Sample(meshes, other=lambda _: {"bins": 16}),
    "signal": Sample(signals, other=lambda _: {"step_seconds": 120.0}),
    "precomputed": Sample(lambda: [[1.0, 2.0], [3.0, 4.0], [0.5, 0.0]]),
}


SLOW = ("smollm2", "onnx_text")
"""Unpacking its file takes 20 s of two cores; two exports take as long."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of tiny models with random weights."""
    import torch

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("models")
    save_text(root)
    save_image(root)
    save_audio(root)
    return root


def save_text(root: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertModel,
        CLIPConfig,
        CLIPModel,
        GPT2Config,
        GPT2Model,
        PreTrainedTokenizerFast,
    )

    words = sorted({w for text in TEXTS for w in text.split()} | {"侦", "探", "雨"})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="[UNK]", pad_token="[PAD]", eos_token="[UNK]", model_max_length=12
    )
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    made = {
        "bert": BertModel(BertConfig(vocab_size=64, **small), add_pooling_layer=False),
        "gpt": GPT2Model(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=16)),
        "clip": CLIPModel(
            CLIPConfig(
                text_config={"vocab_size": 64, "eos_token_id": 1, "max_position_embeddings": 16, **small},
                vision_config={"image_size": 32, "patch_size": 8, **small},
                projection_dim=8,
            )
        ),
    }
    for name, network in made.items():
        network.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    transformer = Transformer(str(root / "bert"))
    pooling = Pooling(transformer.get_embedding_dimension())
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(root / "sentence"))


def save_image(root: Path) -> None:
    from transformers import ResNetConfig, ResNetModel, ViTConfig, ViTModel

    vit = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    ViTModel(vit).save_pretrained(root / "vit")
    resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(resnet).save_pretrained(root / "resnet")
    # written by hand: with the picture library that is installed, a processor class saves itself under another name
    common = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"height": 32, "width": 32},
        "crop_size": 32,
    }
    kinds = {"vit": "ViTImageProcessor", "resnet": "ConvNextImageProcessor", "clip": "CLIPImageProcessor"}
    for name, kind in kinds.items():
        size = {"size": {"shortest_edge": 32}} if name == "resnet" else {}
        settings = {"image_processor_type": kind, **common, **size}
        (root / name / "preprocessor_config.json").write_text(json.dumps(settings))


def save_audio(root: Path) -> None:
    from transformers import (
        ASTConfig,
        ASTFeatureExtractor,
        ASTModel,
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Model,
    )

    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 1}
    wav2vec = Wav2Vec2Config(
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        **small,
    )
    Wav2Vec2Model(wav2vec).save_pretrained(root / "wav2vec")
    Wav2Vec2FeatureExtractor().save_pretrained(root / "wav2vec")
    ASTModel(ASTConfig(max_length=64, num_mel_bins=32, **small)).save_pretrained(root / "ast")
    ASTFeatureExtractor(max_length=64, num_mel_bins=32).save_pretrained(root / "ast")
    audio = {
        "hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "patch_embeds_hidden_size": 8,
        "spec_size": 64,
        "num_mel_bins": 16,
        "window_size": 4,
        "num_hidden_layers": 2,
    }
    text = {"vocab_size": 64, **small}
    for name, fused in (("clap", False), ("clap-fused", True)):
        config = ClapConfig(audio_config={**audio, "enable_fusion": fused}, text_config=text, projection_dim=8)
        ClapModel(config).save_pretrained(root / name)
        cut = "fusion" if fused else "rand_trunc"
        ClapFeatureExtractor(feature_size=16, max_length_s=1, truncation=cut).save_pretrained(root / name)


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SAMPLES], scope="module"
)
def sample(request: pytest.FixtureRequest) -> tuple[str, Sample]:
    return request.param.partition(" ")[0], SAMPLES[request.param]


def make(name: str, options: dict[str, Any]) -> Encoder:
    cls = ENCODERS.load(name)
    return cls(cls.config_class.read(options, where="test"))


@pytest.fixture(scope="module")
def encoder(sample: tuple[str, Sample], models: Path) -> Encoder:
    made = make(sample[0], sample[1].options(models))
    made.load()
    return made


def vectors(encoder: Encoder, raws: list[Any]) -> np.ndarray:
    return encoder.encode([encoder.prepare(raw) for raw in raws])


def test_every_entry_has_a_sample() -> None:
    assert {name.partition(" ")[0] for name in SAMPLES} == set(ENCODERS.names())


def test_class_says_what_it_is(encoder: Encoder) -> None:
    assert encoder.modality in MODALITIES
    assert encoder.cost in ("light", "medium", "heavy")
    assert encoder.licence
    assert encoder.batch_size > 0
    assert type(encoder).__doc__
    assert all(field.description for field in type(encoder).config_class.model_fields.values())


def test_encode_gives_one_float32_row_each(sample: tuple[str, Sample], encoder: Encoder) -> None:
    raws = sample[1].raws()
    found = vectors(encoder, raws)
    assert found.dtype == np.float32
    assert found.shape[0] == len(raws)
    assert found.ndim == 2
    assert found.shape[1] == (encoder.dim or found.shape[1])
    assert np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() > 1e-6


def test_encode_again_gives_equal_bits(sample: tuple[str, Sample], encoder: Encoder, models: Path) -> None:
    raws = sample[1].raws()
    again = make(sample[0], sample[1].options(models))
    again.load()
    np.testing.assert_array_equal(vectors(encoder, raws), vectors(again, raws))


def test_encode_does_not_depend_on_the_rest_of_the_batch(sample: tuple[str, Sample], encoder: Encoder) -> None:
    if encoder.whole_catalog:
        pytest.skip("learns from all items at once")
    raws = sample[1].raws()
    alone = np.concatenate([vectors(encoder, [raw]) for raw in raws])
    np.testing.assert_allclose(vectors(encoder, raws), alone, rtol=1e-3, atol=2e-4 * np.abs(alone).max())


def test_fingerprint_follows_weights_and_settings(sample: tuple[str, Sample], encoder: Encoder, models: Path) -> None:
    name, used = sample
    assert make(name, used.options(models)).fingerprint() == encoder.fingerprint()
    assert len(encoder.fingerprint()) == 16
    if used.other is not None:
        assert make(name, used.other(models)).fingerprint() != encoder.fingerprint()


def test_encode_one_gives_the_vector_of_a_query(sample: tuple[str, Sample], encoder: Encoder) -> None:
    raws = sample[1].raws()
    if encoder.whole_catalog:
        with pytest.raises(EncoderError, match="learns from the whole catalog and has no vector for one query"):
            encode_one(encoder, raws[0])
        return
    found = encode_one(encoder, raws[0])
    assert found.shape == (vectors(encoder, raws[:1]).shape[1],)
    assert np.isfinite(found).all()


def test_load_names_the_nearest_encoder() -> None:
    with pytest.raises(ConfigError, match="There is no encoder 'minlm'") as caught:
        ENCODERS.load("minlm")
    assert "'minilm'" in caught.value.fix


def test_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is no setting 'sides'") as caught:
        make("efficientnet", {"sides": 3})
    assert "'side'" in caught.value.fix
