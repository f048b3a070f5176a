"""Media uploaded with a request.

In: `MediaIn`: bytes in base64, a file below an allowed folder, or an address on an allowed host. Out: a file named by its content.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from penchant.core.artifacts import CANNOT_WRITE
from penchant.core.errors import MediaError
from penchant.data.media.limits import check_file, resolve
from penchant.service.fetching import Fetcher
from penchant.service.http_errors import RefusedError
from penchant.service.schemas import MediaIn


@dataclass(frozen=True)
class UploadStore:
    """The folder of media that came with requests.

    Attributes:
        folder: Of the stored files.
        source: `Media.file` names files below it; None allows none.
        fetcher: Fetches addresses.
        max_bytes: Of one file.
        parts: Folder of files that are being written, on the same disk; None writes beside the target.
    """

    folder: Path
    source: Path | None
    fetcher: Fetcher
    max_bytes: int
    parts: Path | None = None

    def within(self, folder: str | Path) -> UploadStore:
        """Return the same with another folder: where a request's files are kept while it is answered."""
        return replace(self, folder=Path(folder))

    @contextmanager
    def named(self, where: str) -> Iterator[None]:
        """Let the errors of a kept file name its place in the body: its path is the service's own."""
        try:
            yield
        except MediaError as error:
            raise MediaError(error.message, where=where, fix=error.fix) from error

    def keep(self, media: MediaIn, *, where: str, ending: str = "") -> str:
        """Store one file and return its name below `folder`; equal files are stored once.

        Args:
            media: From a request.
            where: Its place in the body, for messages.
            ending: Of its name, where the kind of a file is known by it.

        Raises:
            MediaError: Not exactly one of the three was given, or it cannot be read.
            RefusedError: There is no room for it on the disk; nothing is left of it there.
        """
        raw = self._read(media, where)
        name = f"{hashlib.blake2b(raw, digest_size=16).hexdigest()}{ending}"
        path = self.folder / name
        if not path.exists():
            part = (self.parts or self.folder) / f".{name}.{secrets.token_hex(8)}"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                part.write_bytes(raw)
                part.replace(path)
            except OSError as error:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                if error.errno not in CANNOT_WRITE:
                    raise
                raise _no_room(error, where) from error
        return name

    @contextmanager
    def in_use(self, *, where: str) -> Iterator[None]:
        """Keep `remove_unused`, of any process, from deleting files until the item that uses them is in the store.

        Args:
            where: Place of the files in the body, for messages.

        Raises:
            RefusedError: There is no room on the disk.
        """
        try:
            lock = self._lock_file().open("a")
        except OSError as error:
            if error.errno not in CANNOT_WRITE:
                raise
            raise _no_room(error, where) from error
        with lock as file:
            with suppress(OSError):  # a file system without locks, on which nothing is removed either
                fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def remove_unused(self, used: Callable[[], Collection[str]]) -> bool:
        """Delete the files that no item uses, and parts that a killed process left; return whether it could be done now.

        Args:
            used: Reads the names of the files to keep; called while no process stores an item with files.
        """
        if not self.folder.is_dir():
            return True
        with self._lock_file().open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except (
                OSError
            ):  # a file system without locks: what is unused stays, since nothing shows who is storing an item
                return True
            kept = used()
            for path in self.folder.iterdir():
                if _UPLOAD.fullmatch(path.name) and path.name not in kept:
                    path.unlink(missing_ok=True)
        return True

    def _lock_file(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / ".lock"

    def _read(self, media: MediaIn, where: str) -> bytes:
        given = [value for value in (media.data, media.file, media.url) if value is not None]
        if len(given) != 1:
            raise MediaError(f"{len(given)} sources were given.", where=where, fix="give one of data, file, url")
        if media.data is not None:
            raw = _decoded(media.data, where)
        elif media.url is not None:
            raw = self.fetcher.fetch(media.url)
        else:
            raw = self._file(media.file or "", where)
        if not raw or len(raw) > self.max_bytes:
            raise MediaError(
                f"The file has {len(raw):,} bytes.", where=where, fix=f"at most {self.max_bytes:,}, at least 1"
            )
        return raw

    def _file(self, relative: str, where: str) -> bytes:
        if self.source is None:
            raise MediaError(
                "Files by path are not allowed here.", where=where, fix="start with --media-folder, or send data"
            )
        path = resolve(self.source, relative)
        check_file(path, self.max_bytes, "media")
        return path.read_bytes()


_UPLOAD = re.compile(r"[0-9a-f]{32}|\.[0-9a-f]{32}\.[0-9a-f]+")
"""Names of files of items, and of parts of them; nothing else in the folder is deleted."""


def _no_room(error: OSError, where: str) -> RefusedError:
    return RefusedError(
        f"The file cannot be stored: {os.strerror(error.errno or 0)}. Nothing was changed.",
        where=where,
        fix="free some space on the service's disk, then send the same request again",
        status=507,
    )


def _decoded(data: str, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise MediaError(
            "The data is not base64.", where=where, fix="encode the file's bytes in standard base64"
        ) from None
