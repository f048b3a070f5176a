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

PICTURE_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""No other format is opened: EPS would start Ghostscript, and rare decoders have most of the vulnerabilities."""
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
        return picture.convert("RGBA")
    if picture.mode in {"RGB", "L", "CMYK"}:
        return picture
    if picture.mode.startswith(("I", "F")):  # 16 bits and more: Pillow would clip them to white
        values = np.asarray(picture, np.float64)
        low, high = (
            (values.min(), values.max()) if picture.mode == "F" else (0.0, 65535.0 if values.max() > 255 else 255.0)
        )
        return Image.fromarray(np.uint8(np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255))
    return picture.convert("RGB")


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
