"""Content in which the place of each attribute is known, to test heat maps.

In: hidden attributes, a random generator. Out: a picture with two motifs in two places, or a text with sentences about two topics; and the truth of where.

The covers of the sample world are filled by one motif, and any place of them is right. Here a map must find the motif it was asked for beside another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from penchant.world.drawing import SIDE, draw_background, draw_cover
from penchant.world.words import write_item

Box = tuple[int, int, int, int]
"""Left, top, right and bottom pixel; right and bottom are outside."""
PLANTED_SIDE = 104
"""Pixels of a planted motif: 22 % of the picture."""


@dataclass(frozen=True)
class PlantedPicture:
    """A picture with motifs in known places.

    Attributes:
        image: RGB, `SIDE` x `SIDE`.
        boxes: Motif to its place.
    """

    image: Image.Image
    boxes: dict[str, Box]

    def is_at(self, motif: str, x: float, y: float) -> bool:
        """Return whether a point, in shares of width and height, lies on a motif."""
        left, top, right, bottom = self.boxes[motif]
        return left <= x * SIDE < right and top <= y * SIDE < bottom


@dataclass(frozen=True)
class PlantedText:
    """A text with sentences about known topics.

    Attributes:
        text: The sentences, in random order.
        spans: Topic to where its sentences are.
    """

    text: str
    spans: dict[str, tuple[tuple[int, int], ...]]

    def is_at(self, topic: str, place: int) -> bool:
        """Return whether a character is in a sentence about a topic."""
        return any(start <= place < stop for start, stop in self.spans[topic])


def plant_motifs(motifs: tuple[str, str], colour: str, rng: np.random.Generator) -> PlantedPicture:
    """Return a picture with two motifs of one colour family, in two of its four corners."""
    image = draw_background(colour, rng)
    boxes = {}
    for motif, corner in zip(motifs, rng.permutation(4)[:2], strict=True):
        room = SIDE // 2 - PLANTED_SIDE
        left = int(corner % 2) * SIDE // 2 + int(rng.integers(room + 1))
        top = int(corner // 2) * SIDE // 2 + int(rng.integers(room + 1))
        cover = draw_cover(motif, colour, rng).resize((PLANTED_SIDE, PLANTED_SIDE), Image.Resampling.LANCZOS)
        image.paste(cover, (left, top))
        boxes[motif] = (left, top, left + PLANTED_SIDE, top + PLANTED_SIDE)
    return PlantedPicture(image, boxes)


def plant_topics(topics: tuple[str, str], language: str, rng: np.random.Generator) -> PlantedText:
    """Return a text of two or three sentences about each of two topics, one topic after the other."""
    text = ""
    spans: dict[str, tuple[tuple[int, int], ...]] = {}
    for topic in (topics[place] for place in rng.permutation(2)):
        text += " " if text and language == "en" else ""
        start = len(text)
        text += write_item(topic, language, rng)[1]
        spans[topic] = ((start, len(text)),)
    return PlantedText(text, spans)
