"""Images as training input: small ones for a small CNN, or in the format of a vision model.

In: opened images. Out: pixels, augmented in training; and a network that is trained from scratch or fine-tuned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int64
from PIL import Image
from torch import nn

from penchant.classifiers.branches import Array, BranchAugmentationConfig, BranchConfig, MediaBranch
from penchant.classifiers.classifier import ContentBatch
from penchant.core.errors import ConfigError, nearest
from penchant.data.media import augmentation
from penchant.networks.content_nets import SmallImageNet
from penchant.networks.image_nets import (
    EFFICIENTNET,
    FAMILIES,
    UNTRAINED_SIDE,
    VisionModel,
    VisionNet,
    pretrained,
    untrained,
)

SMALL = "picture_cnn"
NETS = (SMALL, EFFICIENTNET, *FAMILIES)


class ImageContent(MediaBranch):
    """A square picture, read by a small convolutional net or by a vision model."""

    kind = "image"

    def __init__(self, name: str, config: BranchConfig, facts: dict[str, Any] | None = None) -> None:
        super().__init__(name, config, facts)
        _check(config, f"branches.{name}")
        self._is_small = config.model is None and config.net in (None, SMALL)
        self._vision = VisionModel.of(facts["vision"]) if facts and not self._is_small else None
        self._body: Any = None

    def learn(self, batch: ContentBatch, rows: Int64[np.ndarray, " rows"]) -> None:
        if self._is_small:
            return
        config, where = self.config, f"branches.{self.name}"
        if config.model is None and config.net in FAMILIES:
            self._vision = untrained(config.net, config.side, config.options, where=where)
        else:
            self._vision, self._body = pretrained(config.net, config.model, config.revision, config.side, where=where)
        self.facts = {"vision": self._vision.as_dict()}

    def array(self, raw: Any) -> Array:
        side = self._side
        return np.asarray(raw.resize((side, side), Image.Resampling.BILINEAR), np.uint8)

    def ready(self, array: Array, change: BranchAugmentationConfig | None, rng: np.random.Generator) -> Array:
        if change is not None:
            array = np.asarray(augmentation.augment_image(Image.fromarray(array), change.image, rng))
        pixels = array.astype(np.float32).transpose(2, 0, 1)
        if self._vision is None:
            return pixels / 127.5 - 1
        mean, spread = (
            np.array(value, np.float32)[:, None, None] for value in (self._vision.mean, self._vision.spread)
        )
        return (pixels / 255 - mean) / spread

    def empty(self) -> Array:
        return np.zeros((3, self._side, self._side), np.float32)

    def network(self, dim: int) -> nn.Module:
        size = self.config.size.model_copy(update={"dim": dim})
        if self._vision is None:
            return SmallImageNet(size)
        net = VisionNet(size, self._vision, self._body)
        self._body = None  # the net owns it from here on and may change it
        return net

    @property
    def _side(self) -> int:
        return self._vision.side if self._vision is not None else self.config.side or UNTRAINED_SIDE


def _check(config: BranchConfig, where: str) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ConfigError: The net reads no images, or random weights would stay frozen.
    """
    if config.net is not None and config.net not in NETS:
        raise ConfigError(f"A {config.net} reads no images.", where=f"{where}.net", fix=nearest(config.net, NETS))
    if config.net == SMALL and config.model is not None:
        raise ConfigError(
            f"A {SMALL} always starts from scratch, so it cannot use {config.model!r}.",
            where=f"{where}.model",
            fix="leave net out, or leave model out",
        )
    if not config.fine_tune and config.model is None and config.net != EFFICIENTNET:
        raise ConfigError(
            "Random weights would stay frozen and carry no information.",
            where=f"{where}.fine_tune",
            fix='name a pretrained model: model = "..." or net = "efficientnet"; or leave fine_tune out',
        )
