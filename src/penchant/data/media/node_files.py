"""Media files of one shard, wherever it is computed.

In: a media folder and names below it. Out: a folder in which the same names can be opened, on this machine or on any node.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ExecutorError
from penchant.core.storage import Storage
from penchant.data.media.limits import UnusableMediaError, resolve
from penchant.data.media.signals import KEY_MARK, split_key


@dataclass(frozen=True)
class NodeFiles:
    """Some files of a media folder; small, so that it travels to a node.

    Attributes:
        root: The media folder of the machine that made the shard.
        storage: Where nodes fetch the files; None where they read `root` themselves.
        stored: Path below the folder to its name in the storage.
    """

    root: Path
    storage: Storage | None = None
    stored: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, root: Path, names: Sequence[str], modality: str, storage: Storage | None) -> Self:
        """Copy the files to the storage, if there is one and it lacks them; names are those of `name_of`.

        A file that is missing, or leads out of the folder, is not copied: opening it says so, wherever that happens.

        Raises:
            ExecutorError: The storage cannot be reached.
        """
        root = root.absolute()
        if storage is None:
            return cls(root)
        stored = {}
        for relative in dict.fromkeys(split_key(name)[0] if modality == "signal" else name for name in names):
            try:
                path = resolve(root, relative)
                status = path.stat()
            except (UnusableMediaError, OSError):
                continue
            mark = fingerprint(str(path), status.st_size, status.st_mtime_ns)
            stored[relative] = f"media/{mark}{path.suffix.lower()}"
            storage.put(path, stored[relative])
        return cls(root, storage, tuple(stored.items()))

    @staticmethod
    def name_of(root: Path, name: str, modality: str) -> str:
        """Return a name by which every machine finds the file: below the folder, neither absolute nor with `..`; one that leads out stays as it is."""
        file, key = split_key(name) if modality == "signal" else (name, None)
        try:
            below = resolve(root, file).relative_to(root.resolve()).as_posix()
        except UnusableMediaError:
            return name
        return below if key is None else f"{below}{KEY_MARK}{key}"

    @contextmanager
    def here(self) -> Iterator[Path]:
        """Return a folder in which the names can be opened; what was fetched is removed at the end.

        Raises:
            ExecutorError: The folder is not on this node, or the storage cannot be reached or lacks a file.
        """
        if self.storage is None:
            if not self.root.is_dir():
                raise ExecutorError(
                    "This node does not have the media folder.",
                    where=str(self.root),
                    fix="mount it at the same path on every node, or set ray.storage, from which nodes fetch files",
                )
            yield self.root
            return
        with tempfile.TemporaryDirectory(prefix="penchant-media-") as scratch:
            root = Path(scratch).resolve()
            for relative, name in self.stored:
                # `root / relative` would be the user's own file where the name is absolute
                target = resolve(root, relative)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.storage.fetch(name, target)
            yield root
