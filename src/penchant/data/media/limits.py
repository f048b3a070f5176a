"""Limits for media files, checked before decoding.

In: a folder, a path below it, and limits. Out: a path inside the folder and a file within the limits; or an error with the reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import MediaError

Check = Literal["outside", "link", "missing", "unreadable", "truncated", "bomb", "small", "short"]
"""Why a file was refused; with the modality before it, the name of a finding ("image.bomb")."""

MESH_ENDINGS = (".obj", ".ply", ".stl", ".off", ".glb")
MEDIA_ENDINGS = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"),
    "audio": (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus"),
    "video": (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"),
    "mesh": MESH_ENDINGS,
    "signal": (".csv", ".tsv", ".parquet", ".jsonl", ".npy"),
}
"""Modality to the endings of its files."""


LINK_FIX = (
    "links out of the media folder are not followed: set [data] media_folder to the folder that holds the real one (an absolute path may "
    "stand there), or copy the files"
)


class MediaLimits(Settings):
    """Limits of one media file."""

    max_pixels: int = Field(50_000_000, ge=1)
    """A picture with more pixels is refused from its header alone, before memory is allocated."""
    max_decoding_bytes: int = Field(1_000_000_000, ge=1)
    """A picture that takes more memory while it is decoded is refused, by an estimate from its header: up to 20 bytes a pixel, for a JPEG 1."""
    min_side: int = Field(2, ge=1)
    """A picture with a shorter side below this many pixels is refused (a tracking pixel)."""
    max_bytes: int = Field(100_000_000, ge=1)
    """A picture file larger than this is refused unread."""
    min_seconds: float = Field(0.1, ge=0)
    """A shorter sound is refused."""
    max_seconds: float = Field(600.0, gt=0)
    """A longer sound is cut here; how many were is in the report."""
    max_audio_bytes: int = Field(1_000_000_000, ge=1)
    """A sound or video file larger than this is refused unread."""
    max_audio_rate: int = Field(384_000, ge=1)
    """A sound with more samples per second is refused from its header."""
    max_audio_channels: int = Field(32, ge=1)
    """A sound with more channels is refused from its header."""
    max_samples: int = Field(500_000_000, ge=1)
    """A sound with more samples up to `max_seconds`, all channels together, is refused from its header, or once so many were read."""
    max_frame_pixels: int = Field(50_000_000, ge=1)
    """A video whose frames have more pixels, or more than `max_pixels`, is refused from its header."""
    max_frames: int = Field(100_000, ge=1)
    """No more frames of a video are decoded; frames after these are not used."""
    max_mesh_bytes: int = Field(200_000_000, ge=1)
    """A 3-D file larger than this is refused unread."""
    max_faces: int = Field(5_000_000, ge=1)
    """A mesh with more triangles is refused once read."""
    max_signal_bytes: int = Field(1_000_000_000, ge=1)
    """A file of sensor readings larger than this is refused unread."""
    max_readings: int = Field(5_000_000, ge=1)
    """A longer signal is cut here."""

    def within(self, other: MediaLimits) -> MediaLimits:
        """Return the limits that refuse what either refuses; what is cut and what is too short stay as they are here."""
        cuts = ("max_seconds", "max_readings")
        names = [name for name in type(self).model_fields if name.startswith("max_") and name not in cuts]
        return self.model_copy(update={name: min(getattr(self, name), getattr(other, name)) for name in names})


class UnusableMediaError(MediaError):
    """One file cannot be used; `check` names the finding that counts it."""

    def __init__(self, message: str, *, path: str, fix: str, check: Check) -> None:
        super().__init__(message, where=path, fix=fix)
        self.check = check


def resolve(root: Path, relative: str) -> Path:
    """Return the absolute path of a media file; the file itself may be missing.

    Raises:
        MediaError: It leads out of `root` (absolute, `..`, a link), or is not a plain path with forward slashes.
    """
    if "\0" in relative or "\\" in relative or ":" in relative.partition("/")[0] or not relative.strip():
        raise UnusableMediaError(
            f"{relative[:120]!r} is not a plain path.",
            path=f"media folder {root}",
            fix="name a file below the media folder with forward slashes (download an address first)",
            check="outside",
        )
    home = root.resolve()
    try:
        path = (home / relative).resolve()
    except (OSError, RuntimeError, UnicodeEncodeError):  # a loop of links, a name too long, a lone surrogate
        path = home.parent
    if not path.is_relative_to(home) and (link := _leading_out(home, relative)) is not None:
        raise UnusableMediaError(
            f"{relative[:120]!r} leads out of the media folder: {link.name!r} is a link to {link.resolve()}.",
            path=f"media folder {root}",
            fix=LINK_FIX,
            check="link",
        )
    if not path.is_relative_to(home) or path == home:
        raise UnusableMediaError(
            f"{relative[:120]!r} leads out of the media folder.",
            path=f"media folder {root}",
            fix="copy the file below the media folder and name it relative to that",
            check="outside",
        )
    return path


def _leading_out(home: Path, relative: str) -> Path | None:
    """Return the link among a path's folders that leads out of the media folder; None where it leads out without one, by `..` or as absolute."""
    parts = Path(relative).parts
    if Path(relative).is_absolute() or ".." in parts:
        return None
    place = home
    for part in parts:
        place = place / part
        try:
            if place.is_symlink() and not place.resolve().is_relative_to(home):
                return place
        except (OSError, RuntimeError, UnicodeEncodeError):  # a loop of links, a name too long, a lone surrogate
            return None
    return None


def check_file(path: Path, max_bytes: int, noun: str) -> None:
    """Refuse a path that is no plain file (a pipe would block indefinitely), or a file that is too large."""
    try:
        is_file = path.is_file()
    except OSError:  # a name too long
        is_file = False
    if not is_file:
        raise UnusableMediaError(
            f"There is no file {path.name!r}.",
            path=str(path),
            fix="add the file, or leave the cell empty",
            check="missing",
        )
    size = path.stat().st_size
    if size > max_bytes:
        raise UnusableMediaError(
            f"The {noun} file has {size} bytes, the most is {max_bytes}.",
            path=str(path),
            fix="make it smaller, or raise the limit if you trust its source",
            check="bomb",
        )
