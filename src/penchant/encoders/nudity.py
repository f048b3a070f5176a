"""Detection of exposed body parts, for moderation.

In: RGB pictures. Out: for each kind of part the surest sighting, 0 to 1; and where each was seen.
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
"""What the model tells apart, in its order."""
EXPOSED = (
    "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED", "ANUS_EXPOSED", "MALE_GENITALIA_EXPOSED",
)  # fmt: skip
"""What counts as nudity unless the settings say otherwise."""
OVERLAP = 0.45
"""Two sightings of one kind that share more than this of their area are one."""

MOST = 50
"""Sightings of one kind looked at: the surest."""


@dataclass(frozen=True)
class DetectedRegion:
    """One sighting; all places are shares of the picture's width or height.

    Attributes:
        label: What was seen.
        score: How sure it is, 0 to 1; no calibrated probability.
        left: Of the box.
        top: Of the box.
        width: Of the box.
        height: Of the box.
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
    """Pixels of the square the picture is brought to."""


class Nudity(Encoder[NudityConfig]):
    """NudeNet's detector (YOLOv8 nano), read from the ONNX file in its wheel; colours in the order its own code gives them.

    Source: https://github.com/notAI-tech/NudeNet. Its wheel says MIT in its metadata and holds the text of the AGPL-3.0: see to it that
    your use is allowed before you ship it.
    """

    modality = "image"
    dim = len(LABELS)
    licence = "AGPL-3.0 by the wheel's licence file, MIT by its metadata"
    cost = "medium"
    batch_size = 8

    config_class = NudityConfig

    @cached_property
    def _session(self) -> Any:
        package_folder("onnxruntime", "moderation")
        import onnxruntime

        file = package_folder("nudenet", "moderation") / "320n.onnx"
        try:
            return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has a class for each way a file can be wrong
            raise unloadable(file.name, error) from error

    def weights(self) -> Any:
        package_folder("nudenet", "moderation")
        return version("nudenet")

    def load(self) -> None:
        _ = self._session

    def prepare(self, raw: Image.Image) -> Float32[np.ndarray, "3 side side"]:
        square = Image.new("RGB", (max(raw.size),) * 2)
        square.paste(raw, (0, 0))
        pixels = np.asarray(square.resize((self.config.side,) * 2, Image.Resampling.BILINEAR), np.float32) / 255
        return np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1))

    def encode(self, prepared: Sequence[Float32[np.ndarray, "3 side side"]]) -> Float32[np.ndarray, "batch dim"]:
        return np.asarray(self._sightings(np.stack(prepared))[:, 4:].max(axis=2), np.float32)

    def regions(self, raw: Image.Image, labels: Sequence[str], least: float) -> tuple[DetectedRegion, ...]:
        """Return where parts of these kinds are seen with at least that score, the surest first."""
        seen = self._sightings(self.prepare(raw)[None])[0]  # (4 + labels, places)
        scale = max(raw.size) / self.config.side
        found: list[DetectedRegion] = []
        for label in labels:
            scores = seen[4 + LABELS.index(label)]
            places = np.flatnonzero(scores >= least)
            places = places[np.argsort(-scores[places], kind="stable")[:MOST]]
            boxes = seen[:4, places].T * scale  # (places, 4): centre, width, height in pixels
            corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
            corners = np.clip(corners, 0, [*raw.size, *raw.size]) / [*raw.size, *raw.size]
            found += [_region(label, scores[places[n]], corners[n]) for n in _apart(corners)]
        return tuple(sorted(found, key=lambda region: -region.score))

    def _sightings(self, pixels: Float32[np.ndarray, "batch 3 side side"]) -> Float32[np.ndarray, "batch rows places"]:
        found: Float32[np.ndarray, "batch rows places"] = self._session.run(None, {"images": pixels})[0]
        return found


def _region(label: str, score: float, corners: np.ndarray) -> DetectedRegion:
    left, top, right, bottom = (round(float(value), 4) for value in corners)
    return DetectedRegion(label, round(float(score), 4), left, top, round(right - left, 4), round(bottom - top, 4))


def _apart(corners: np.ndarray) -> list[int]:
    """Return which boxes, the surest first, stay when of those that overlap only the surest is kept."""
    kept: list[int] = []
    for number in range(len(corners)):
        if all(_overlap(corners[number], corners[other]) <= OVERLAP for other in kept):
            kept.append(number)
    return kept


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return what two boxes share of all they cover together."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    both = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / both if both > 0 else 0.0
