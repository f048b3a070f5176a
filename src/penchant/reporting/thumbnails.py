"""Images and sounds reduced to fit inside a page.

In: a path or untrusted bytes. Out: a `data:` address, or none where the content is unreadable or too large.
"""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps

SIDE = 192
"""Longest side of a thumbnail, pixels: twice the size on the page."""

MAX_PIXELS = 50_000_000
"""A larger picture is not opened."""

MAX_SOUND_BYTES = 200_000
"""A larger sound is left out, to bound the size of the page."""

SOUND_TYPES = {
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
}


def thumbnail(picture: Path | bytes | None, side: int = SIDE) -> str | None:
    """Return a JPEG of at most `side` pixels as a `data:` address; transparent parts become white."""
    if picture is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warnings are about the file, which data cleaning reported
            with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                image.draft("RGB", (side * 2, side * 2))
                small = ImageOps.exif_transpose(image).convert("RGBA")
            small.thumbnail((side, side))
            flat = Image.new("RGB", small.size, "white")
            flat.paste(small, mask=small.getchannel("A"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    out = io.BytesIO()
    flat.save(out, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def clip(sound: Path | None) -> str | None:
    """Return a short sound as a `data:` address."""
    if sound is None or sound.suffix.lower() not in SOUND_TYPES:
        return None
    try:
        if sound.stat().st_size > MAX_SOUND_BYTES:
            return None
        content = base64.b64encode(sound.read_bytes()).decode()
    except OSError:
        return None
    return f"data:{SOUND_TYPES[sound.suffix.lower()]};base64,{content}"
