"""The one door to media files: paths that stay inside, pictures and sound in one known form.

In: a folder, a path below it, and limits. Out: an sRGB picture, or mono samples at one rate; or a `MediaError` that names the file.
"""

from __future__ import annotations

from penchant.data.files import MediaLimits, UnusableMediaError, resolve
from penchant.data.pictures import load_picture
from penchant.data.sounds import Sound, decode_sound, load_sound, normalise_loudness

__all__ = [
    "MediaLimits",
    "Sound",
    "UnusableMediaError",
    "decode_sound",
    "load_picture",
    "load_sound",
    "normalise_loudness",
    "resolve",
]
