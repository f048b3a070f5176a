"""What is in a picture, in words: the classes of ImageNet that a bundled network finds in it.

In: items with pictures, and settings. Out: the same with a further text column, such as "lighthouse, breakwater".

The thousand classes are animals, plants, vehicles, tools, buildings and food: a poster or a drawing often shows none of them, and then has no label.
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.messages import message
from penchant.core.schema import Catalog, Dataset, Finding
from penchant.data.media import MediaLimits
from penchant.encoders.content import find_content
from penchant.encoders.image import EfficientNet, EfficientNetConfig
from penchant.encoders.text_extraction import TextExtractor, extract_texts, items_with_text

NAMES = Path(__file__).with_name("imagenet_names.txt")


class PictureLabelsConfig(Settings):
    """Labels of pictures: the `[picture_labels]` table."""

    into: str = "picture_labels"
    """The new column of text."""
    count: int = Field(3, ge=1, le=20)
    """Labels of one picture at most."""
    min_probability: float = Field(0.2, ge=0, le=1)
    """Probability of a label from which on it counts; the network is not calibrated on other pictures than those of ImageNet."""


class PictureLabeller(TextExtractor):
    """The classes that EfficientNet-Lite0 finds in a picture, the most probable first."""

    title = "label pictures"

    def __init__(self, config: PictureLabelsConfig) -> None:
        self.config = config
        self._encoder = EfficientNet(EfficientNetConfig())

    @cached_property
    def provenance(self) -> dict[str, Any]:
        decoding = f"{self.config.count} from {self.config.min_probability}"
        none = {"prompt": "", "max_tokens": None, "seed": None}
        return {"model": "efficientnet-lite0", "weights": self._encoder.weights(), "decoding": decoding, **none}

    @property
    def _loaded(self) -> Any:
        return self._encoder.network

    def extract(self, content: Image.Image) -> str:
        """Return the labels of a picture, "" where no class is probable."""
        import torch

        pixels = torch.from_numpy(self._encoder.prepare(content)[None]).permute(0, 3, 1, 2)
        with torch.inference_mode():
            probability = self._loaded(pixels).softmax(1)[0].numpy()
        best = np.argsort(-probability, kind="stable")[: self.config.count]
        return ", ".join(class_names()[k] for k in best if probability[k] >= self.config.min_probability)


@cache
def class_names() -> tuple[str, ...]:
    """Return the names of the classes in the order of the network."""
    return tuple(line for line in NAMES.read_text("utf-8").splitlines() if not line.startswith("#"))


def label_items(dataset: Dataset, config: PictureLabelsConfig | None, limits: MediaLimits, *, cache: Path) -> Dataset:
    """Return the data with a column of what is in the pictures of its items; without pictures, as they are.

    Args:
        dataset: Clean.
        config: None changes nothing.
        limits: Of media files.
        cache: Folder of earlier labels.

    Raises:
        ConfigError: There is a column of that name already.
        EncoderError: The network cannot be loaded.
        ArtifactError: The cache cannot be written.
    """
    if config is None or "image" not in dataset.catalog.media_columns:
        return dataset

    def extract(catalog: Catalog) -> tuple[list[str | None], list[Finding]]:
        labeller = PictureLabeller(config)
        content = find_content(catalog, [], "image", limits, where="picture_labels")
        text = extract_texts(content, labeller, cache=cache, mark=fingerprint(labeller.provenance, content.form))
        advice = message("what is in these pictures is read as a text column")
        without = message("they are used without labels; repair or remove the files")
        return text.texts, text.findings("labels.read", "labels.failed", advice, without)

    return items_with_text(dataset, config.into, "picture_labels", extract)
