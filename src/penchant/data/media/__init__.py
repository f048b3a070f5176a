"""The only access to media files: paths stay inside their folder; images, audio, video, meshes and signals come in one known form.

In: a folder, a path below it, and limits. Out: an sRGB picture, mono samples at one rate, an opened video, a mesh, a signal;
or a `MediaError` that names the file.
"""

from __future__ import annotations

from penchant.data.media.audio import AudioClip, decode_audio, load_audio, measure_audio, normalise_loudness
from penchant.data.media.images import decode_picture, load_image, read_picture_file
from penchant.data.media.limits import MediaLimits, UnusableMediaError, resolve
from penchant.data.media.meshes import load_mesh
from penchant.data.media.signals import Signal, load_signal, split_key
from penchant.data.media.video import Video, open_video

__all__ = [
    "MediaLimits",
    "Signal",
    "AudioClip",
    "UnusableMediaError",
    "Video",
    "decode_picture",
    "decode_audio",
    "load_mesh",
    "load_image",
    "load_signal",
    "load_audio",
    "measure_audio",
    "normalise_loudness",
    "open_video",
    "read_picture_file",
    "resolve",
    "split_key",
]
