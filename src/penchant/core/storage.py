"""Files that every node of a cluster can read and write.

In: a folder, or an address such as s3://bucket/folder. Out: files by name, whole or not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from penchant.core.errors import ConfigError, ExecutorError
from penchant.core.traffic import moved

CONNECT_SECONDS, REQUEST_SECONDS, ATTEMPTS = 5.0, 30.0, 3
"""Limits of a request to object storage: to connect, to answer, and how often it is sent."""
BLOCK = 1 << 20
Found = TypeVar("Found")


@dataclass(frozen=True)
class Storage:
    """One place for files; passed to tasks as its address and folder alone.

    Attributes:
        address: An absolute folder, `s3://bucket/folder?endpoint_override=host:port&scheme=http`, or another address that Arrow or fsspec reads.
        below: Folder there in which the files are; "" takes the address itself.
    """

    address: str
    below: str = ""

    @classmethod
    def of(cls, address: str) -> Storage:
        """Return the storage at an address; a relative folder is taken from the working directory, since that of a node is another."""
        return cls(address if "://" in address else str(Path(address).absolute()))

    def of_one_run(self) -> Storage:
        """Return a folder here that no other run uses, so that `clear` deletes nothing of theirs."""
        return replace(self, below=f"run-{uuid4().hex}")

    def put(self, file: Path, name: str) -> int:
        """Copy a file there under a name, unless it is there already; return the bytes copied.

        Raises:
            ExecutorError: The storage cannot be reached or written.
        """
        system, target = self._at(name)

        def copy() -> int:
            if self._size(system, target) == file.stat().st_size:
                return 0
            is_bucket = _is_object_store(self.address)  # has no folders to make, and an object appears whole
            unfinished = target if is_bucket else f"{target}.{uuid4().hex}"
            if not is_bucket:
                system.create_dir(str(PurePosixPath(target).parent), recursive=True)
            with file.open("rb") as source, system.open_output_stream(unfinished) as stream:
                while block := source.read(BLOCK):
                    stream.write(block)
            if not is_bucket:
                system.move(unfinished, target)
            return file.stat().st_size

        return self._reached(copy, name)

    def fetch(self, name: str, file: Path) -> int:
        """Copy a file from there; return its bytes.

        Raises:
            ExecutorError: It is not there, or the storage cannot be reached.
        """
        system, source = self._at(name)

        def copy() -> int:
            with system.open_input_stream(source) as stream, file.open("wb") as target:
                while block := stream.read(BLOCK):
                    target.write(block)
                    moved.fetched += len(block)
            return file.stat().st_size

        return self._reached(copy, name)

    def remove(self, name: str) -> None:
        """Delete a file; nothing happens where it is gone.

        Raises:
            ExecutorError: The storage cannot be reached.
        """
        system, target = self._at(name)

        def delete() -> None:
            with suppress(FileNotFoundError):
                system.delete_file(target)

        self._reached(delete, name)

    def clear(self) -> None:
        """Delete the folder of one run with all its files; nothing happens where there is none.

        Raises:
            ExecutorError: The storage cannot be reached.
        """
        assert self.below, "the address itself is not ours to delete"
        system, target = self._at("")

        def delete() -> None:
            with suppress(FileNotFoundError):
                system.delete_dir(target)

        self._reached(delete, self.below)

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, in order; none where there is no folder.

        Raises:
            ExecutorError: The storage cannot be reached.
        """
        from pyarrow.fs import FileSelector, FileType

        system, below = self._at(folder)

        def listed() -> list[str]:
            found = system.get_file_info(FileSelector(below, allow_not_found=True))
            return sorted(f"{folder}/{info.base_name}" for info in found if info.type == FileType.File)

        return self._reached(listed, folder)

    def _at(self, name: str) -> tuple[Any, str]:
        """Return the file system and the path of a name."""
        system, root = _opened(self.address)
        return system, str(PurePosixPath(root) / self.below / name)

    def _size(self, system: Any, target: str) -> int | None:
        from pyarrow.fs import FileType

        info = system.get_file_info(target)
        return info.size if info.type == FileType.File else None

    def _reached(self, action: Callable[[], Found], name: str) -> Found:
        try:
            return action()
        except FileNotFoundError as error:
            raise ExecutorError(
                f"{name!r} is missing from the storage.",
                where=self._place,
                fix="run again: what is missing is copied again",
            ) from error
        except OSError as error:
            raise ExecutorError(
                f"The storage does not answer: {(str(error).splitlines() or [type(error).__name__])[0][:160]}.",
                where=self._place,
                fix="check ray.storage, the keys of access in the environment and the network; finished batches are kept",
            ) from error

    @property
    def _place(self) -> str:
        return f"ray.storage = {self.address.partition('?')[0]!r}"


def _is_object_store(address: str) -> bool:
    return "://" in address and not address.startswith("file://")


@lru_cache(maxsize=8)
def _opened(address: str) -> tuple[Any, str]:
    """Return the file system of an address and the path within.

    Raises:
        ConfigError: Nothing here reads such addresses.
    """
    from pyarrow import ArrowException, fs

    if "://" not in address:
        return fs.LocalFileSystem(), address
    if address.startswith("s3://"):
        return _s3(address)
    try:
        return fs.FileSystem.from_uri(address)
    except (ArrowException, OSError, ValueError, TypeError):
        pass
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"No file system for the address {address.partition('?')[0]!r}: {error}.",
            where="ray.storage",
            fix="give a folder, an s3:// or gs:// address, or install the fsspec package of this kind of address",
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path


def _s3(address: str) -> tuple[Any, str]:
    from pyarrow import fs

    parts = urlsplit(address)
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    options = {name: given[name] for name in ("endpoint_override", "scheme", "region") if name in given}
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in options:
        options["endpoint_override"] = endpoint
    system = fs.S3FileSystem(
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **options,
    )
    return system, f"{parts.netloc}{parts.path}".rstrip("/")
