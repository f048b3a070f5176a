"""One embedding for each item and channel, cached by content hash, resumable."""

from __future__ import annotations

from typing import Any

from penchant.core.registry import Table

ENCODERS = Table(
    "encoder",
    {
        "minilm": "penchant.encoders.text:MiniLM",
        "e5": "penchant.encoders.text:E5",
        "sentence_transformers": "penchant.encoders.text:SentenceTransformers",
        "transformers_text": "penchant.encoders.text:TransformersText",
        "onnx_text": "penchant.encoders.onnx_text:OnnxText",
        "tfidf": "penchant.encoders.text:Tfidf",
        "word2vec": "penchant.encoders.words:Word2Vec",
        "word_file": "penchant.encoders.words:WordFile",
        "causal_lm": "penchant.encoders.causal:CausalLM",
        "smollm2": "penchant.encoders.causal:SmolLM2",
        "attributes": "penchant.encoders.attributes:Attributes",
        "aspects": "penchant.encoders.aspects:ReviewAspects",
        "codes": "penchant.encoders.codes:Codes",
        "efficientnet": "penchant.encoders.image:EfficientNet",
        "nudity": "penchant.encoders.nudity:Nudity",
        "transformers_image": "penchant.encoders.image:TransformersImage",
        "mel": "penchant.encoders.audio:Mel",
        "voice": "penchant.encoders.voice:Voice",
        "whisper": "penchant.encoders.audio:Whisper",
        "whisper_layers": "penchant.encoders.whisper_layers:WhisperLayers",
        "transformers_audio": "penchant.encoders.audio:TransformersAudio",
        "video": "penchant.encoders.video:FramesAndSound",
        "shape": "penchant.encoders.mesh:ShapeStatistics",
        "signal": "penchant.encoders.signal:SignalStatistics",
        "precomputed": "penchant.encoders.precomputed:Precomputed",
    },
    group="penchant.encoders",
    base="penchant.encoders.encoder:Encoder",
    extras={
        "torch": "text",
        "transformers": "text",
        "sentence_transformers": "text",
        "soxr": "audio",
        "gensim": "words",
        "av": "audio",
        "trimesh": "mesh",
        "onnxruntime": "compress",
    },
)


def __getattr__(name: str) -> Any:
    """Import a encoder by the name of its class: `from penchant.encoders import MiniLM`."""
    return ENCODERS.attribute(name)


def __dir__() -> list[str]:
    return [*globals(), *ENCODERS.attributes()]
