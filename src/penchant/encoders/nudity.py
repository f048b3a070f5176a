"""Detection of exposed body parts, for moderation.

In: RGB images. Out: the highest detection score of each label, 0 to 1; and the detected regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image
from pydantic import Field

from penchant.core.config import Settings
from penchant.encoders.encoder import Encoder
from penchant.language.hub import package_folder, unloadable

LABELS = (
    "FEMALE_GENITALIA_COVERED", "FACE_FEMALE", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED", "ANUS_EXPOSED", "FEET_EXPOSED", "BELLY_COVERED", "FEET_COVERED", "ARMPITS_COVERED",
    "ARMPITS_EXPOSED", "FACE_MALE", "BELLY_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_COVERED", "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)  # fmt: skip
"""Labels of the model, in its order."""
EXPOSED = (
    "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED", "ANUS_EXPOSED", "MALE_GENITALIA_EXPOSED",
)  # fmt: skip
"""Labels that count as nudity by default."""
OVERLAP = 0.45
"""Of two detections of one label with a larger intersection over union, only the one with the higher score is kept."""
MAX_DETECTIONS = 50
"""Detections of one label that are considered: those with the highest scores."""


@dataclass(frozen=True)
class DetectedRegion:
    """One detection.

    Attributes:
        label: One of `LABELS`.
        score: Confidence, 0 to 1; no calibrated probability.
        left, top, width, height: Of the box, as shares of the image's width or height.
    """

    label: str
    score: float
    left: float
    top: float
    width: float
    height: float


class NudityConfig(Settings):
    """The detector's settings."""

    side: int = Field(320, ge=64, multiple_of=32)
    """Side in pixels of the square that an image is resized to."""


class Nudity(Encoder[NudityConfig]):
    """NudeNet's detector (YOLOv8 nano), read from the ONNX file in its wheel; colours in the order its own code gives them.

    Source: https://github.com/notAI-tech/NudeNet. Its wheel states MIT in its metadata and holds the text of the AGPL-3.0: check
    that your use is allowed before you ship it.
    """

    modality = "image"
    dim = len(LABELS)
    licence = "AGPL-3.0 by the wheel's licence file, MIT by its metadata"
    cost = "medium"
    batch_size = 8
    decodes_apart = True

    config_class = NudityConfig

    @cached_property
    def _loaded(self) -> Any:
        package_folder("onnxruntime", "moderation")
        import onnxruntime

        file = package_folder("nudenet", "moderation") / "320n.onnx"
        try:
            return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has an error class for each kind of damage
            raise unloadable(file.name, error) from error

    def weights(self) -> Any:
        package_folder("nudenet", "moderation")
        return version("nudenet")

    def prepare(self, raw: Image.Image) -> Float32[np.ndarray, "3 side side"]:
        square = Image.new("RGB", (max(raw.size),) * 2)
        square.paste(raw, (0, 0))
        pixels = np.asarray(square.resize((self.config.side,) * 2, Image.Resampling.BILINEAR), np.float32) / 255
        return np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1))

    def encode(self, prepared: Sequence[Float32[np.ndarray, "3 side side"]]) -> Float32[np.ndarray, "batch dim"]:
        return np.asarray(self._detect(np.stack(prepared))[:, 4:].max(axis=2), np.float32)

    def regions(self, raw: Image.Image, labels: Sequence[str], least: float) -> tuple[DetectedRegion, ...]:
        """Return the regions with these labels and at least that score, the highest score first."""
        detected = self._detect(self.prepare(raw)[None])[0]  # (4 + labels, places)
        scale = max(raw.size) / self.config.side
        regions: list[DetectedRegion] = []
        for label in labels:
            scores = detected[4 + LABELS.index(label)]
            places = np.flatnonzero(scores >= least)
            places = places[np.argsort(-scores[places], kind="stable")[:MAX_DETECTIONS]]
            boxes = detected[:4, places].T * scale  # (places, 4): centre, width, height in pixels
            corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
            corners = np.clip(corners, 0, [*raw.size, *raw.size]) / [*raw.size, *raw.size]
            regions += [_region(label, scores[places[n]], corners[n]) for n in _without_overlaps(corners)]
        return tuple(sorted(regions, key=lambda region: -region.score))

    def _detect(self, pixels: Float32[np.ndarray, "batch 3 side side"]) -> Float32[np.ndarray, "batch rows places"]:
        return np.asarray(self._loaded.run(None, {"images": pixels})[0], np.float32)


def _region(label: str, score: float, corners: np.ndarray) -> DetectedRegion:
    left, top, right, bottom = (round(float(value), 4) for value in corners)
    return DetectedRegion(label, round(float(score), 4), left, top, round(right - left, 4), round(bottom - top, 4))


def _without_overlaps(corners: np.ndarray) -> list[int]:
    """Return the boxes that non-maximum suppression keeps; boxes are in descending order of score."""
    kept: list[int] = []
    for number in range(len(corners)):
        if all(_overlap(corners[number], corners[other]) <= OVERLAP for other in kept):
            kept.append(number)
    return kept


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    both = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / both if both > 0 else 0.0
