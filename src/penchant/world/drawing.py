"""Item images: a motif in one palette, in the style of printed posters.

In: a motif, a colour family, a random generator. Out: an anti-aliased RGB picture.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageDraw

COLOURS = {
    "red": (356.0, 0.80, 0.86),
    "amber": (40.0, 0.85, 0.97),
    "green": (120.0, 0.60, 0.66),
    "teal": (178.0, 0.72, 0.70),
    "blue": (218.0, 0.78, 0.86),
    "violet": (272.0, 0.60, 0.76),
    "pink": (334.0, 0.50, 0.98),
    "grey": (220.0, 0.06, 0.62),
}
"""Hue in degrees, saturation and brightness of each family's main tone."""
SIDE = 224
"""Pixels of a cover."""
SCALE = 2
"""Supersampling factor for smooth edges."""
CANVAS = SIDE * SCALE
Tone = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """Five tones of one colour family, and cream or ink as contrast."""

    deep: Tone
    main: Tone
    mid: Tone
    light: Tone
    pale: Tone
    contrast: Tone

    @property
    def steps(self) -> tuple[Tone, ...]:
        return self.deep, self.main, self.mid, self.light, self.pale


Painter = Callable[[ImageDraw.ImageDraw, Palette, np.random.Generator], None]


def draw_cover(motif: str, colour: str, rng: np.random.Generator) -> Image.Image:
    """Return a cover; background, layout, size, turn and grain vary, the motif and the colour family do not."""
    palette = _palette(colour, rng)
    image = _background(palette, rng)
    MOTIFS[motif](ImageDraw.Draw(image, "RGBA"), palette, rng)
    if rng.random() < 0.3:
        width = int(CANVAS * rng.uniform(0.025, 0.045))
        ImageDraw.Draw(image).rectangle((0, 0, CANVAS - 1, CANVAS - 1), outline=palette.pale, width=width)
    return _grain(image.reduce(SCALE), rng)


def draw_background(colour: str, rng: np.random.Generator) -> Image.Image:
    """Return a cover without a motif."""
    return _grain(_background(_palette(colour, rng), rng).reduce(SCALE), rng)


def _palette(colour: str, rng: np.random.Generator) -> Palette:
    hue, saturation, value = COLOURS[colour]
    hue = (hue + rng.uniform(-9, 9)) / 360
    saturation *= rng.uniform(0.88, 1.08)

    def tone(s: float, v: float, turn: float = 0.0) -> Tone:
        r, g, b = colorsys.hsv_to_rgb((hue + turn) % 1, min(s, 1.0), min(v, 1.0))
        return round(r * 255), round(g * 255), round(b * 255)

    return Palette(
        tone(saturation * 1.05, value * 0.45, -0.015),
        tone(saturation, value),
        tone(saturation * 0.78, value * 0.5 + 0.5, 0.01),
        tone(saturation * 0.5, 0.55 + value * 0.42, 0.015),
        tone(saturation * 0.22, 0.97 if value > 0.63 else 0.9),
        ((250, 243, 228), (38, 36, 44))[int(rng.integers(2))],
    )


def _background(palette: Palette, rng: np.random.Generator) -> Image.Image:
    """Blend two tones of the palette: linearly at any angle, or radially."""
    low, high = ((palette.main, palette.light), (palette.deep, palette.main), (palette.light, palette.pale))[
        int(rng.choice(3, p=[0.45, 0.3, 0.25]))
    ]
    y, x = np.mgrid[0:1:64j, 0:1:64j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.35:
        blend = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8)) / 0.9
    else:
        blend = 0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    blend = np.clip(blend, 0, 1)[..., None]
    pixels = (1 - blend) * np.array(high, np.float32) + blend * np.array(low, np.float32)
    image = Image.fromarray(pixels.astype(np.uint8)).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    if rng.random() < 0.25:
        _dots(ImageDraw.Draw(image, "RGBA"), palette, rng)
    return image


def _dots(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    step = int(rng.integers(28, 44))
    for row, y in enumerate(range(0, CANVAS + step, step)):
        for x in range((row % 2) * step // 2, CANVAS + step, step):
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(*palette.pale, 90))


def _discs(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    """Overlapping discs, and one of concentric rings."""
    for _ in range(int(rng.integers(2, 5))):
        centre, radius = rng.uniform(0.15, 0.85, 2) * CANVAS, rng.uniform(0.12, 0.26) * CANVAS
        _circle(draw, centre, radius, (*palette.steps[int(rng.integers(5))], 190))
    centre, radius = rng.uniform(0.35, 0.65, 2) * CANVAS, rng.uniform(0.2, 0.3) * CANVAS
    tones = (palette.deep, palette.pale, palette.main, palette.light)
    for ring, tone in enumerate(tones[: int(rng.integers(2, 5))]):
        _circle(draw, centre, radius * (1 - 0.24 * ring), (*tone, 255))


def _peaks(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    """Layers of mountains under a sun."""
    _circle(draw, rng.uniform((0.2, 0.15), (0.8, 0.4)) * CANVAS, rng.uniform(0.07, 0.13) * CANVAS, (*palette.pale, 255))
    layers = int(rng.integers(3, 5))
    for layer in range(layers):
        base = CANVAS * (0.45 + 0.5 * layer / layers)
        corners = [(-20.0, CANVAS + 1.0)]
        x = rng.uniform(-120, 0)
        while x < CANVAS + 150:
            width = rng.uniform(0.22, 0.42) * CANVAS
            corners += [(x, base + 30), (x + width / 2, base - rng.uniform(0.1, 0.3) * CANVAS)]
            x += width
        corners += [(x, base + 30), (x, CANVAS + 1.0)]
        draw.polygon(corners, fill=(*palette.steps[(3 - layer) % 4], 255))


def _waves(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    """Wavy bands, from light to deep."""
    bands = int(rng.integers(5, 8))
    x = np.linspace(0, CANVAS, 80)
    order = palette.steps if rng.random() < 0.5 else palette.steps[::-1]
    length, height = rng.uniform(0.35, 0.8) * CANVAS, rng.uniform(0.025, 0.06) * CANVAS
    top = rng.uniform(0.1, 0.35) * CANVAS
    for band in range(bands):
        y = top + (CANVAS - top) * band / bands + height * np.sin(2 * np.pi * x / length + rng.uniform(0, 6.3))
        outline = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
        draw.polygon([*outline, (CANVAS, CANVAS), (0, CANVAS)], fill=(*order[band % 5], 255))


def _tiles(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    """A grid of quarter circles and squares."""
    count = int(rng.integers(3, 6))
    step = CANVAS / count
    for row in range(count):
        for column in range(count):
            ground, figure = (palette.steps[i] for i in rng.permutation(5)[:2])
            left, top = column * step, row * step
            draw.rectangle((left, top, left + step, top + step), fill=ground)
            corner = (left + step * int(rng.integers(2)), top + step * int(rng.integers(2)))
            box = (corner[0] - step, corner[1] - step, corner[0] + step, corner[1] + step)
            start = {(0, 0): 0, (1, 0): 90, (1, 1): 180, (0, 1): 270}[(int(corner[0] > left), int(corner[1] > top))]
            draw.pieslice(box, start, start + 90, fill=figure)


def _arches(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    """Nested arches side by side."""
    count = int(rng.integers(1, 4))
    width = CANVAS / count
    for number in range(count):
        order = palette.steps if rng.random() < 0.5 else palette.steps[::-1]
        left, top = number * width, rng.uniform(0.1, 0.35) * CANVAS
        for ring in range(4):
            inset = width * (0.06 + 0.11 * ring)
            x0, x1, y0 = left + inset, left + width - inset, top + inset
            draw.pieslice((x0, y0, x1, y0 + x1 - x0), 180, 360, fill=order[ring])
            draw.rectangle((x0, y0 + (x1 - x0) / 2, x1, CANVAS), fill=order[ring])


def _rays(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    """Rays from one bright spot."""
    centre = rng.uniform(0.2, 0.8, 2) * CANVAS
    count, turn = int(rng.integers(9, 17)), rng.uniform(0, 2 * np.pi)
    pair = [palette.steps[i] for i in rng.permutation(5)[:2]]
    for beam in range(2 * count):
        angles = turn + np.pi / count * np.array([beam, beam + 1])
        points = _around(centre, angles, np.full(2, 1.5 * CANVAS))
        draw.polygon([(float(centre[0]), float(centre[1])), *points], fill=pair[beam % 2])
    radius = rng.uniform(0.1, 0.2) * CANVAS
    for ring, tone in enumerate((palette.pale, palette.main)):
        _circle(draw, centre, radius * (1 - 0.35 * ring), (*tone, 255))


def _stars(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    """Stars large and small."""
    rays, depth = int(rng.integers(4, 8)), rng.uniform(0.35, 0.5)
    count = int(rng.integers(7, 13))
    for star in range(count):
        centre = rng.uniform(0.08, 0.92, 2) * CANVAS
        radius = CANVAS * (rng.uniform(0.2, 0.28) if star == count - 1 else rng.uniform(0.04, 0.14))
        if star == count - 1:
            centre = rng.uniform(0.38, 0.62, 2) * CANVAS
        angles = rng.uniform(0, 2 * np.pi) + np.arange(2 * rays) * np.pi / rays
        radii = np.where(np.arange(2 * rays) % 2, radius * depth, radius)
        tone = palette.contrast if star == 0 else palette.steps[int(rng.integers(5))]
        if star == count - 1:
            draw.polygon(_around(centre, angles, 1.22 * radii), fill=palette.deep)
            tone = palette.pale
        draw.polygon(_around(centre, angles, radii), fill=(*tone, 235))


def _petals(draw: ImageDraw.ImageDraw, palette: Palette, rng: np.random.Generator) -> None:
    """One large flower, and a few small ones."""
    for flower in range(int(rng.integers(3, 6)), -1, -1):
        large = flower == 0
        centre = rng.uniform(0.4, 0.6, 2) * CANVAS if large else rng.uniform(0.05, 0.95, 2) * CANVAS
        radius = CANVAS * (rng.uniform(0.3, 0.4) if large else rng.uniform(0.08, 0.15))
        count = int(rng.integers(6, 11))
        turn = rng.uniform(0, 2 * np.pi)
        inner, outer = (palette.steps[i] for i in rng.permutation(5)[:2])
        for layer, tone in ((1.0, outer), (0.62, inner)):
            for petal in range(count):
                _petal(draw, centre, radius * layer, turn + 2 * np.pi * petal / count, np.pi / count, (*tone, 225))
        _circle(draw, centre, radius * 0.16, (*palette.contrast, 255))


MOTIFS: dict[str, Painter] = {
    "discs": _discs,
    "peaks": _peaks,
    "waves": _waves,
    "tiles": _tiles,
    "stars": _stars,
    "petals": _petals,
    "arches": _arches,
    "rays": _rays,
}


def _petal(
    draw: ImageDraw.ImageDraw, centre: np.ndarray, length: float, angle: float, half: float, fill: tuple[int, ...]
) -> None:
    """Draw a petal that is widest at two thirds of its length."""
    along = np.linspace(0, 1, 14)
    wide = half * 0.9 * np.sin(np.pi * along**1.4)
    angles = np.concatenate([angle + wide, (angle - wide)[::-1]])
    draw.polygon(_around(centre, angles, length * np.concatenate([along, along[::-1]])), fill=fill)


def _around(centre: np.ndarray, angles: np.ndarray, radii: np.ndarray) -> list[tuple[float, float]]:
    x, y = centre[0] + radii * np.cos(angles), centre[1] + radii * np.sin(angles)
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def _circle(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, fill: tuple[int, ...]) -> None:
    draw.ellipse((centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius), fill=fill)


def _grain(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add paper grain, so that the image is not trivially uniform."""
    pixels = np.asarray(image, np.float32)
    noise: Float32[np.ndarray, "side side 1"] = rng.standard_normal((*pixels.shape[:2], 1), np.float32)
    return Image.fromarray(np.clip(pixels + noise * np.float32(rng.uniform(1, 5)), 0, 255).astype(np.uint8))
