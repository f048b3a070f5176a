"""Heat over content: what of a picture, a text, a sound or a series a model looked at, drawn.

In: a number for each piece of the content. Out: PNG, or HTML for words; both state whether the heat passed its own check.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from markupsafe import Markup, escape
from PIL import Image, ImageDraw, ImageFont

from penchant.core.messages import Message, message

SIDE = 448
"""Longest side of a drawn picture, and the width of a drawn sound or series."""
HEIGHT = 200
"""Height of a drawn sound or series."""
STRENGTH = 0.75
"""Opacity of the hottest place."""
LEVELS = 10
"""Steps of the heat of words: classes heat-0 to heat-9."""
STOPS = np.array([(30, 58, 138), (56, 152, 195), (250, 224, 90), (240, 120, 30), (185, 20, 40)], np.float64)
"""Colours from cold to hot: told apart by brightness and by hue."""
INK, PAPER = (40, 40, 46), (255, 255, 255)


@dataclass(frozen=True)
class Heat:
    """How much each piece of one content adds to a score.

    Attributes:
        modality: text, image, audio, signal, video or mesh.
        name: The channel, or the classifier's input.
        method: grad_cam or occlusion.
        values: (rows, columns) of a picture, (bands, frames) of a sound with the lowest band first, (pieces,) else; above 0 adds to the score.
        lost: Loss of the score without the hottest fifth of the pieces, and without as many random ones: the check.
        pieces: The words of a text, or the names of parts.
        text: The text itself; "" of other content.
        spans: Where each word is in the text.
        picture: What the heat lies over: an RGB picture, or (bands, frames) loudness, or (steps,) readings; None of words.
        seconds: Length of sound, series or video.
    """

    modality: str
    name: str
    method: str
    values: Float64[np.ndarray, "..."]
    lost: tuple[float, float] = (0.0, 0.0)
    pieces: tuple[str, ...] = ()
    text: str = ""
    spans: tuple[tuple[int, int], ...] = ()
    picture: Any = field(default=None, repr=False, compare=False)
    seconds: float = 0.0

    @property
    def passes(self) -> bool:
        """Whether the score falls further without the hottest pieces than without random ones."""
        return self.lost[0] > self.lost[1]

    @property
    def said(self) -> Message:
        """Whether the heat may be believed, as a sentence."""
        known = {"lost": f"{self.lost[0]:.3f}", "random": f"{self.lost[1]:.3f}"}
        if self.passes:
            return message(
                "Without the hottest fifth the score falls by {lost}, without a random fifth by {random}.", **known
            )
        return message(
            "This heat fails its check, do not believe it: without the hottest fifth the score falls by {lost}, without a random fifth by {random}.",
            **known,
        )

    @property
    def hottest(self) -> tuple[int, ...]:
        """Place of the hottest piece."""
        return tuple(int(place) for place in np.unravel_index(int(np.argmax(self.values)), self.values.shape))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        words = [{"piece": p, "value": float(v)} for p, v in zip(self.pieces, self.values.ravel(), strict=False)]
        return {
            "modality": self.modality,
            "name": self.name,
            "method": self.method,
            **({"pieces": words} if self.pieces else {"values": self.values.tolist()}),
            "lost": self.lost[0],
            "lost_random": self.lost[1],
            "passes": self.passes,
            "text": str(self.said),
        }

    def png(self) -> bytes:
        """Return the heat as PNG; that of words as bars."""
        out = io.BytesIO()
        self.image().save(out, "PNG", optimize=True)
        return out.getvalue()

    def image(self) -> Image.Image:
        """Return the heat over what it lies over."""
        if self.modality == "image":
            return _over_picture(self.picture, self.values)
        if self.values.ndim == 2:
            return _over_sound(self.picture, self.values, self.seconds)
        if self.pieces:
            return _bars(self.pieces, self.values)
        return _over_series(self.picture, self.values, self.seconds)

    def html(self) -> Markup:
        """Return the words of a text, each with a class of its heat; other content as its pieces' names."""
        levels = np.clip(np.floor(_scaled(self.values) * LEVELS), 0, LEVELS - 1).astype(int)
        found, end = Markup(), 0
        for (start, stop), level, value in zip(self.spans, levels, self.values, strict=True):
            found += escape(self.text[end:start])
            mark = Markup('<mark class="heat-{}" title="{}">{}</mark>') if value > 0 else Markup("{2}")
            found += mark.format(level, f"{value:+.3f}", self.text[start:stop])
            end = stop
        return found + escape(self.text[end:])

    def save(self, folder: Path) -> Path:
        """Write the heat to a folder, as NAME.png or, of words, NAME.html; return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in self.name)
        if self.modality == "text":
            path = folder / f"{name}.html"
            style = "".join(f".heat-{n}{{background:{_css(n)}}}" for n in range(LEVELS))
            page = Markup(
                "<!doctype html><meta charset=utf-8><title>{}</title><style>{}mark{{color:#111}}</style><p>{}</p><p>{}</p>"
            )
            sheet = Markup(style)  # noqa: S704 - made of numbers
            path.write_text(page.format(self.name, sheet, self.html(), self.said), encoding="utf-8")
            return path
        path = folder / f"{name}.png"
        path.write_bytes(self.png())
        return path


def colours(values: Float64[np.ndarray, "..."]) -> UInt8[np.ndarray, "... 3"]:
    """Return the colour of each value between 0 and 1."""
    place = np.clip(values, 0, 1) * (len(STOPS) - 1)
    channels = [np.interp(place, np.arange(len(STOPS)), STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _css(level: int) -> str:
    red, green, blue = colours(np.array((level + 0.5) / LEVELS))
    return f"rgb({red} {green} {blue} / {0.15 + 0.5 * level / LEVELS:.2f})"


def _scaled(values: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Return values above 0 as shares of the largest; others are 0."""
    top = values.max(initial=0.0)
    return np.maximum(values, 0) / top if top > 0 else np.zeros_like(values)


def _over_picture(picture: Image.Image, values: Float64[np.ndarray, "rows columns"]) -> Image.Image:
    """Return a picture with its heat: grey where nothing adds to the score, so that colours are of heat alone."""
    shown = picture.convert("RGB")
    shown.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    if max(shown.size) < SIDE:
        share = SIDE / max(shown.size)
        shown = shown.resize((round(shown.width * share), round(shown.height * share)), Image.Resampling.BICUBIC)
    grey = np.asarray(shown.convert("L").convert("RGB"), np.float32)
    heat = Image.fromarray(_scaled(values).astype(np.float32)).resize(shown.size, Image.Resampling.BICUBIC)
    share = np.clip(np.asarray(heat), 0, 1)
    return Image.fromarray(_mixed(grey, share))


def _mixed(ground: Float32[np.ndarray, "h w 3"], share: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    alpha = (STRENGTH * share**0.7)[..., None]
    return (ground * (1 - alpha) + colours(share) * alpha).astype(np.uint8)


def _over_sound(
    loudness: Float32[np.ndarray, "bands frames"], values: Float64[np.ndarray, "rows columns"], seconds: float
) -> Image.Image:
    """Return a spectrogram, low below, with its heat and the time in seconds."""
    low, high = np.quantile(loudness, (0.05, 0.995))
    shade = 255 - 215 * np.clip((loudness - low) / max(high - low, 1e-9), 0, 1)
    size = (SIDE, HEIGHT)
    grey = np.asarray(Image.fromarray(shade[::-1].astype(np.uint8)).resize(size).convert("RGB"), np.float32)
    heat = Image.fromarray(_scaled(values)[::-1].astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return _with_time(Image.fromarray(_mixed(grey, np.clip(np.asarray(heat), 0, 1))), seconds)


def _over_series(
    readings: Float32[np.ndarray, " steps"], values: Float64[np.ndarray, " pieces"], seconds: float
) -> Image.Image:
    """Return a line with the heat of its stretches behind it, and the time in seconds."""
    edges = np.linspace(0, SIDE, len(values) + 1).astype(int)
    ground = np.full((HEIGHT, SIDE, 3), 255, np.float32)
    share = np.zeros((HEIGHT, SIDE), np.float32)
    for start, stop, value in zip(edges[:-1], edges[1:], _scaled(values), strict=True):
        share[:, start:stop] = value
    image = Image.fromarray(_mixed(ground, share))
    known = readings[np.isfinite(readings)]
    if len(known) > 1:
        low, high = known.min(), known.max()
        x = np.linspace(0, SIDE - 1, len(readings))
        y = HEIGHT - 8 - (HEIGHT - 16) * (readings - low) / max(high - low, 1e-9)
        points = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if np.isfinite(b)]
        ImageDraw.Draw(image).line(points, fill=INK, width=1)
    return _with_time(image, seconds)


def _with_time(image: Image.Image, seconds: float) -> Image.Image:
    """Return the drawing with a scale of time below it."""
    whole = Image.new("RGB", (image.width, image.height + 22), PAPER)
    whole.paste(image)
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(12)
    for place in range(5):
        x = place * (image.width - 1) / 4
        draw.line((x, image.height, x, image.height + 4), fill=INK)
        anchor = "la" if place == 0 else "ra" if place == 4 else "ma"
        draw.text((x, image.height + 6), f"{seconds * place / 4:.3g} s", fill=INK, font=font, anchor=anchor)
    return whole


def _bars(pieces: tuple[str, ...], values: Float64[np.ndarray, " pieces"]) -> Image.Image:
    """Return a bar for each piece, in their order."""
    shown = np.argsort(-np.abs(values), kind="stable")[:16]
    row, font = 22, ImageFont.load_default(13)
    image = Image.new("RGB", (SIDE, row * max(len(shown), 1) + 4), PAPER)
    draw, top = ImageDraw.Draw(image), float(np.abs(values).max(initial=1e-9)) or 1e-9
    middle = 0.6 * SIDE
    for place, piece in enumerate(sorted(shown)):
        y, width = 2 + place * row, 0.38 * SIDE * float(values[piece]) / top
        colour = tuple(int(c) for c in colours(np.array(0.8 if width > 0 else 0.1)))
        draw.rectangle((min(middle, middle + width), y + 3, max(middle, middle + width), y + row - 4), fill=colour)
        draw.text((4, y + 3), pieces[piece][:32], fill=INK, font=font)
    return image
