"""Text embeddings by an exported model, with ONNX Runtime.

In: normalised text, and a folder that `penchant export` wrote. Out: sentence vectors, without torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from penchant.core.artifacts import fingerprint, open_artifact
from penchant.core.config import Settings
from penchant.core.errors import import_optional
from penchant.encoders.text import TextEncoder

MODEL, TOKENIZER, FACTS = "model.onnx", "tokenizer.json", "facts.json"
KIND = "onnx"


class OnnxTextConfig(Settings):
    """Settings of an exported text encoder."""

    model: Path
    """Folder that `penchant export` wrote for a text channel."""


class OnnxText(TextEncoder[OnnxTextConfig]):
    """A sentence model as `penchant export` wrote it; with --int8 in a quarter of the size.

    Vectors are those of the exported encoder up to rounding, or nearly those where its weights are int8: the two are different channels.
    """

    licence = "the exported model's own"
    cost = "light"

    config_class = OnnxTextConfig

    @cached_property
    def _loaded(self) -> tuple[Any, Callable[[Mapping[str, np.ndarray]], np.ndarray]]:
        folder = self.config.model
        open_artifact(folder, kind=KIND)
        tokenizer = import_optional("tokenizers", "text").Tokenizer.from_file(str(folder / TOKENIZER))
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        tokenizer.enable_truncation(int(facts["max_tokens"]))
        tokenizer.enable_padding(pad_id=int(facts["pad_id"]), pad_token=str(facts["pad_token"]))
        return tokenizer, session(folder / MODEL)

    def weights(self) -> Any:
        return open_artifact(self.config.model, kind=KIND)["files"]

    def fingerprint(self) -> str:
        return fingerprint(type(self).__name__, self.version, self.weights())

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        tokenizer, run = self._loaded
        found = tokenizer.encode_batch(list(prepared))
        rows: dict[str, Int64[np.ndarray, "batch tokens"]] = {
            "input_ids": np.array([one.ids for one in found], np.int64),
            "attention_mask": np.array([one.attention_mask for one in found], np.int64),
        }
        return np.asarray(run(rows), np.float32)


def session(file: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Return what runs a model on the processor: inputs by name to its first output.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = import_optional("onnxruntime", "compress")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    held = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = {one.name for one in held.get_inputs()}

    def run(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.asarray(held.run(None, {name: array for name, array in inputs.items() if name in names})[0])

    return run
