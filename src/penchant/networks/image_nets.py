"""Vision models trained within a classifier, pretrained or from scratch.

In: a family, a hub id or a folder, and the image preprocessing. Out: `VisionModel`, plain values that rebuild the network without a hub, and
the network itself: (batch, 3, side, side) in, (batch, dim) out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from penchant.core.errors import ConfigError
from penchant.encoders.image import (
    EfficientNet,
    EfficientNetConfig,
    TransformersImage,
    TransformersImageConfig,
    new_efficientnet,
)
from penchant.language.hub import package_folder
from penchant.networks.content_nets import ContentNetConfig

EFFICIENTNET = "efficientnet"
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("resnet", {}),
    "mobilenet": ("mobilenet_v2", {}),
    "vit": ("vit", {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}),
}
"""Our names to transformers' model types, and the configuration of untrained ones: ResNet-50, MobileNetV2, ViT-Tiny.

Source: He et al., CVPR 2016; Sandler et al., CVPR 2018; Dosovitskiy et al., ICLR 2021; Touvron et al., ICML 2021 for the tiny one.
"""
UNTRAINED_SIDE = 64
"""Side of an input image in pixels, for untrained networks."""
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class VisionModel:
    """Configuration and preprocessing of a vision model.

    Attributes:
        family: transformers' model type, or "efficientnet".
        config: Values of transformers' configuration; empty for efficientnet.
        side: Side of an input image in pixels.
        mean: Mean of red, green and blue, 0 to 1, subtracted from each image.
        spread: Standard deviation by which they are divided.
        is_pretrained: Whether the weights are pretrained.
        has_pooler: Whether its pooling layer was trained; else states are averaged.
    """

    family: str
    config: dict[str, Any]
    side: int
    mean: Sequence[float] = HALF
    spread: Sequence[float] = HALF
    is_pretrained: bool = False
    has_pooler: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Self:
        return cls(**facts)

    def build(self) -> Any:
        """Return the network with random weights."""
        if self.family == EFFICIENTNET:
            return new_efficientnet()
        package_folder("transformers", "image")
        from transformers import AutoConfig, AutoModel

        loader: Any = AutoModel
        return loader.from_config(AutoConfig.for_model(**self.config))


def untrained(net: str, side: int | None, values: dict[str, Any], *, where: str) -> VisionModel:
    """Return the configuration of an untrained network of a family.

    Args:
        net: One of `FAMILIES`.
        side: Side of an input image in pixels; None takes 64.
        values: Values of the transformers configuration that override ours: depths, hidden_sizes, num_hidden_layers, ...
        where: Place in the settings, for error messages.

    Raises:
        ConfigError: A value does not exist or does not fit.
    """
    package_folder("transformers", "image")
    from transformers import AutoConfig

    kind, ours = FAMILIES[net]
    side = side or UNTRAINED_SIDE
    known = AutoConfig.for_model(kind).to_dict()
    strange = sorted(set(values) - set(known))
    if strange:
        raise ConfigError(
            f"The configuration of {net} has no {strange[0]!r}.",
            where=f"{where}.options",
            fix="see transformers' page of that model for its values, for example depths or num_hidden_layers",
        )
    sized = {"image_size": side} if "image_size" in known else {}
    config = AutoConfig.for_model(kind, **{**ours, **sized, **values}).to_dict()
    return VisionModel(kind, config, side)


def pretrained(
    net: str | None, model: str | None, revision: str, side: int | None, *, where: str
) -> tuple[VisionModel, Any]:
    """Return a pretrained model and its network.

    Args:
        net: Required family; None accepts any.
        model: Hub id or folder; None takes EfficientNet-Lite0, which comes as a wheel.
        revision: Revision on the hub.
        side: Side of an input image in pixels; None takes that of the pretraining.
        where: Place in the settings, for error messages.

    Raises:
        ConfigError: The model is of another family, or does not accept images of that side.
        EncoderError: It cannot be loaded, or weights are missing.
    """
    if model is None:
        mean, spread = (127 / 255,) * 3, (128 / 255,) * 3
        found = VisionModel(EFFICIENTNET, {}, side or EfficientNetConfig().side, mean, spread, is_pretrained=True)
        return found, EfficientNet().network
    processor, whole, has_pooler = TransformersImage(TransformersImageConfig(model=model, revision=revision)).parts
    body = getattr(whole, "vision_model", whole)
    family = body.config.model_type
    required = FAMILIES[net][0] if net in FAMILIES else net
    if required is not None and not family.startswith(required):
        raise ConfigError(
            f"The model {model!r} is of the family {family}, not {net}.", where=f"{where}.net", fix="leave net out"
        )
    fixed = _side_of(processor, body.config)
    if side is not None and side != fixed and hasattr(body.config, "patch_size"):
        raise ConfigError(
            f"The model {model!r} has position embeddings for images of {fixed} pixels only, not {side}.",
            where=f"{where}.side",
            fix="leave side out, or take a convolutional network",
        )
    scaled = bool(getattr(processor, "do_normalize", True))
    mean, spread = (tuple(processor.image_mean), tuple(processor.image_std)) if scaled else ((0.0,) * 3, (1.0,) * 3)
    return VisionModel(family, body.config.to_dict(), side or fixed, mean, spread, True, has_pooler), body


class VisionNet(nn.Module):
    """A vision model with its features normalised and mapped to the common width.

    Args:
        config: Width and dropout.
        vision: Configuration of the model.
        body: Network with pretrained weights; None initialises at random.
    """

    def __init__(self, config: ContentNetConfig, vision: VisionModel, body: Any = None) -> None:
        super().__init__()
        self.vision = vision
        # channels-last is faster on a CPU; used everywhere because another memory order rounds differently
        self.body = (vision.build() if body is None else body).to(memory_format=torch.channels_last)
        self.is_held = False
        with torch.no_grad():
            width = self.eval()._features(torch.zeros(1, 3, vision.side, vision.side)).shape[1]
        self.out = nn.Sequential(
            nn.LayerNorm(width), nn.Dropout(config.dropout), nn.Linear(width, config.dim), nn.GELU()
        )

    def hold(self, is_held: bool) -> None:
        """Freeze or unfreeze the pretrained body."""
        self.is_held = is_held
        self.body.requires_grad_(not is_held)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; pretrained batch-normalisation statistics stay fixed, because small batches would distort them."""
        super().train(mode)
        if self.is_held:
            self.body.eval()
        elif self.vision.is_pretrained:
            for layer in self.body.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        return self

    def forward(self, pixels: Float[Tensor, "B C H W"], lengths: Int[Tensor, "B"]) -> Float[Tensor, "B D"]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_held):
            features = self._features(pixels)
        mapped: Tensor = self.out(features)
        return mapped

    def _features(self, pixels: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        if self.vision.family == EFFICIENTNET:
            found: Tensor = self.body.extract_features(pixels).mean((2, 3))
            return found
        output = self.body(pixel_values=pixels)
        pooled = getattr(output, "pooler_output", None) if self.vision.has_pooler else None
        states = output.last_hidden_state
        if pooled is None:
            pooled = states.mean(1) if states.ndim == 3 else states.mean((2, 3))
        return pooled.flatten(1)


def _side_of(processor: Any, config: Any) -> int:
    """Return the input side of a pretrained model: from its position embeddings, its crop, or its shorter edge."""
    if isinstance(getattr(config, "image_size", None), int) and hasattr(config, "patch_size"):
        return int(config.image_size)
    for size in (getattr(processor, "crop_size", None), getattr(processor, "size", None)):
        for name in ("height", "shortest_edge"):
            value = getattr(size, name, None) if not isinstance(size, dict) else size.get(name)
            if value:
                return int(value)
    return EfficientNetConfig().side
