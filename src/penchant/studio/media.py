"""Images and audio of the catalog for the pages.

In: an item and a modality. Out: a file below the catalog's media folder (or below the uploads, for an item that came or was sent again); images
resized and encoded again, so that only the pixels of the original file reach a browser.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path

from penchant.core.errors import NotFoundError
from penchant.data.media import load_image
from penchant.data.media.limits import check_file, resolve
from penchant.recommender.recommender import Recommender
from penchant.service.service import Service

SIDES = {"small": 160, "card": 480, "large": 1024}
"""Longest side in pixels."""
SOUND_TYPES = {
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
}
"""Types that browsers play; no other file is sent, whatever its name."""
CACHED_BYTES = 32_000_000


class MediaGallery:
    """The media of one service, with a cache of resized images."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pictures: OrderedDict[tuple[str, int, str], bytes] = OrderedDict()
        self._num_bytes = 0

    def picture(self, service: Service, item_id: str, size: str) -> bytes:
        """Return an item's picture as JPEG.

        Raises:
            NotFoundError: There is no such item, it is withdrawn, or it has no picture.
            MediaError: The file cannot be decoded, or leads out of the folder.
        """
        path = self._path(service, item_id, "image")
        check_file(path, service.config.media.max_bytes, "picture")
        key = (str(path), path.stat().st_mtime_ns, size)
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        out = io.BytesIO()
        load_image(path, service.config.media, max_side=SIDES[size]).save(out, "JPEG", quality=84, optimize=True)
        self._keep(key, out.getvalue())
        return out.getvalue()

    def sound(self, service: Service, item_id: str) -> tuple[Path, str]:
        """Return an item's sound file and its type.

        Raises:
            NotFoundError: There is no such item, it is withdrawn, it has no sound, or one that browsers do not play.
            MediaError: The file is missing, too large, or leads out of the folder.
        """
        path = self._path(service, item_id, "audio")
        check_file(path, service.config.media.max_audio_bytes, "sound")
        kind = SOUND_TYPES.get(path.suffix.lower()) or _kind_of(path)
        if kind is None:
            raise _absent(item_id, "sound that a browser plays")
        return path, kind

    def _path(self, service: Service, item_id: str, modality: str) -> Path:
        snapshot = service.snapshot
        row = snapshot.recommender.lookup.row(item_id)
        if not snapshot.available[row]:
            raise _absent(item_id, modality)
        name: str | None = service.stored_items.media(item_id).get(modality)
        root: Path | None = service.uploads.folder
        if name is None and item_id not in snapshot.recommender.added:
            name, root = media_name(snapshot.recommender, row, modality), snapshot.recommender.catalog.media_root
        if name is None or root is None:
            raise _absent(item_id, modality)
        return resolve(root, name)

    def _keep(self, key: tuple[str, int, str], picture: bytes) -> None:
        with self._lock:
            self._num_bytes += len(picture) - len(self._pictures.pop(key, b""))
            self._pictures[key] = picture
            while self._num_bytes > CACHED_BYTES:
                self._num_bytes -= len(self._pictures.popitem(last=False)[1])


def media_name(recommender: Recommender, row: int, modality: str) -> str | None:
    """Return the name of an item's file in the catalog, None where it has none."""
    catalog = recommender.catalog
    column = catalog.media_columns.get(modality)
    if column is None or catalog.media_root is None:
        return None
    name = catalog.table[column][int(row)]
    return str(name) if name else None


def _kind_of(path: Path) -> str | None:
    """Return the type of a file without an ending, as uploads are, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(12)
    known = {
        b"RIFF": "audio/wav",
        b"fLaC": "audio/flac",
        b"OggS": "audio/ogg",
        b"ID3": "audio/mpeg",
        b"\xff\xfb": "audio/mpeg",
    }
    return next((kind for start, kind in known.items() if head.startswith(start)), None)


def _absent(item_id: str, what: str) -> NotFoundError:
    return NotFoundError(f"The item {item_id!r} has no {what}.", where="the catalog", fix="PUT it with one")
