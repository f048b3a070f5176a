"""Decode untrusted images.

In: a path and limits. Out: an upright RGB image in sRGB on white; or a `MediaError` that names the file.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

from penchant.core.messages import message
from penchant.data.media.limits import MediaLimits, UnusableMediaError, check_file
from penchant.data.media.memory import DECODING

PICTURE_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""No other format is opened: EPS would start Ghostscript, and rare decoders have most of the vulnerabilities."""
DECODED_BYTES = {"JPEG": 1, "MPO": 1, "PNG": 6, "GIF": 8, "BMP": 10, "TIFF": 14, "WEBP": 18, "AVIF": 20}
"""Memory of decoding, in bytes per pixel of the file, as measured with some room; a JPEG is decoded at a fraction of its size."""
CONVERTED_BYTES = 14
"""The least for a picture with transparency or a palette, which is converted at its full size."""
PROGRESSIVE_BYTES = 10
"""The same for a progressive JPEG, whose coefficients are all kept until the last scan."""
STRIP_PIXELS = 1 << 20
"""Pixels converted at once, where a conversion takes many bytes a pixel."""
PICTURE_SIDE = 512
"""Longer side, in pixels, of images decoded for inspection and for encoders, all of which use fewer pixels."""


def load_image(path: Path, limits: MediaLimits, *, max_side: int | None = None) -> Image.Image:
    """Return the picture of a file, as `decode_picture` does.

    Raises:
        MediaError: Missing, not a picture, cut short, or beyond the limits.
    """
    return decode_picture(read_picture_file(path, limits), path, limits, max_side=max_side)


def read_picture_file(path: Path, limits: MediaLimits) -> bytes:
    """Return the bytes of a picture file.

    Raises:
        MediaError: Missing, not readable, or too large.
    """
    check_file(path, limits.max_bytes, "picture")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableMediaError(
            f"The picture cannot be read: {error.strerror}.",
            path=str(path),
            fix="check the file's permissions",
            check="unreadable",
        ) from error


def decode_picture(raw: bytes, path: Path, limits: MediaLimits, *, max_side: int | None = None) -> Image.Image:
    """Return an RGB picture in sRGB, upright, on white; of an animation, the first frame.

    Args:
        raw: The file's bytes.
        path: Of the file, for messages.
        limits: Of size.
        max_side: Shrink so that the longer side has at most this many pixels; cheap for JPEG, which is decoded at a fraction.

    Raises:
        MediaError: Not a picture, cut short, or beyond the limits.
    """
    with quiet_decoders():
        picture = _open_picture(raw, path, limits)
        num_bytes = _decoding_bytes(picture, shrinks=max_side is not None)
        if num_bytes > limits.max_decoding_bytes:
            raise UnusableMediaError(
                message(
                    "Decoding the picture takes {bytes} bytes of memory, the most is {most}.",
                    bytes=num_bytes,
                    most=limits.max_decoding_bytes,
                ),
                path=str(path),
                fix="shrink it or save it as JPEG, or raise `max_decoding_bytes` if you trust its source",
                check="bomb",
            )
    with quiet_decoders(), DECODING.reserve(num_bytes):
        try:
            if max_side is not None:
                picture.draft(None, _fitted(picture.size, max_side))
            picture.load()
            return _normalise_picture(picture, max_side)
        except Exception as error:  # decoders of damaged bytes raise nearly anything
            raise UnusableMediaError(
                message("The picture is cut short or damaged: {error}.", error=str(error)),
                path=str(path),
                fix="copy it again from its source; until then the item counts as having no picture",
                check="truncated",
            ) from error


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep Pillow's warnings about odd metadata off the terminal; safe from several threads at once.

    `warnings.catch_warnings` swaps one global list, so overlapping threads would leave it swapped for good.
    """
    global _quiet_depth, _quiet_filters  # noqa: PLW0603
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_filters = warnings.catch_warnings()
            _quiet_filters.__enter__()
            warnings.simplefilter("ignore")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _quiet_filters.__exit__(None, None, None)


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_filters: Any = None


def _open_picture(raw: bytes, path: Path, limits: MediaLimits) -> ImageFile.ImageFile:
    """Read the header only, and check format and size."""
    Image.init()
    try:
        picture = Image.open(io.BytesIO(raw), formats=[name for name in PICTURE_FORMATS if name in Image.OPEN])
        width, height = picture.size
    except Image.DecompressionBombError:
        width = height = 0
    except Exception as error:  # as above: header parsers too
        raise UnusableMediaError(
            message("The file is not a picture in a known format (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF)."),
            path=str(path),
            fix="convert it to JPEG or PNG; until then the item counts as having no picture",
            check="unreadable",
        ) from error
    if width * height > limits.max_pixels or not width:
        size = f"{width} x {height}" if width else "far too many"
        raise UnusableMediaError(
            message("The picture has {pixels} pixels, the most is {most}.", pixels=size, most=limits.max_pixels),
            path=str(path),
            fix="shrink it, or raise `max_pixels` if you trust its source",
            check="bomb",
        )
    if min(width, height) < limits.min_side:
        raise UnusableMediaError(
            message("The picture has only {pixels} pixels.", pixels=f"{width} x {height}"),
            path=str(path),
            fix="find the real picture; until then the item counts as having none",
            check="small",
        )
    return picture


def _decoding_bytes(picture: ImageFile.ImageFile, *, shrinks: bool) -> int:
    """Return an estimate of the memory that decoding takes, from the header."""
    width, height = picture.size
    per_pixel = DECODED_BYTES.get(picture.format or "", max(DECODED_BYTES.values()))
    if picture.format in ("JPEG", "MPO"):
        is_progressive = bool(picture.info.get("progressive") or picture.info.get("progression"))
        per_pixel = PROGRESSIVE_BYTES if is_progressive or not shrinks else per_pixel
    if picture.mode == "P" or picture.has_transparency_data:
        per_pixel = max(per_pixel, CONVERTED_BYTES)
    return width * height * per_pixel


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return the size whose longer side is at most `max_side`."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _normalise_picture(picture: Image.Image, max_side: int | None) -> Image.Image:
    """Resize first (the rest is then cheap), then apply colour profile, background and orientation."""
    orientation = picture.getexif()
    profile = picture.info.get("icc_profile")
    picture = _plain_mode(picture)
    if max_side is not None and max(picture.size) > max_side:
        picture = picture.resize(_fitted(picture.size, max_side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    colours = _to_srgb(picture.convert("RGB") if alpha else picture, profile)
    if alpha is not None:
        background = Image.new("RGB", colours.size, "white")
        background.paste(colours, mask=alpha)
        colours = background
    colours.info.clear()
    colours.getexif().update(orientation)
    upright = ImageOps.exif_transpose(colours)
    upright.info.clear()
    return upright


def _plain_mode(picture: Image.Image) -> Image.Image:
    """Return RGB, RGBA, L or CMYK: modes that resize and colour-convert without loss."""
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode in {"RGB", "L", "CMYK"}:
        return picture
    if picture.mode.startswith(("I", "F")):  # 16 bits and more: Pillow would clip them to white
        return _eight_bits(picture)
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Return a picture of 16 bits and more as L, strip by strip: the numbers in between take 24 bytes a pixel."""
    rows = max(1, STRIP_PIXELS // picture.width)
    strips = [(0, y, picture.width, min(y + rows, picture.height)) for y in range(0, picture.height, rows)]

    def values(strip: tuple[int, int, int, int]) -> np.ndarray:
        return np.asarray(picture.crop(strip), np.float64)

    ranges = [(part.min(), part.max()) for part in map(values, strips)]
    low, high = min(least for least, _ in ranges), max(most for _, most in ranges)
    if picture.mode != "F":
        low, high = 0.0, 65535.0 if high > 255 else 255.0
    out = Image.new("L", picture.size)
    for strip in strips:
        grey = np.uint8(np.clip((values(strip) - low) / max(high - low, 1e-12), 0, 1) * 255)
        out.paste(Image.fromarray(grey), strip[:2])
    return out


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Apply the embedded colour profile; an invalid one is ignored."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass
    return picture.convert("RGB")
