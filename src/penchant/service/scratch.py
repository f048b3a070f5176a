"""Temporary files of one process.

In: a folder that several processes share. Out: a folder of this process below it, gone when it ends; what killed processes left there is
removed by the next that starts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path


class ScratchFolder:
    """The folder of one process, locked as long as the process lives: a lock ends with its process, however it ends.

    Args:
        root: Shared with other processes of the service.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        starting = os.open(root, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks: what is left there stays
                fcntl.flock(starting, fcntl.LOCK_EX)  # one starts at a time: a folder without a lock is debris
                for folder in root.iterdir():
                    _remove_if_left(folder)
            self.path = Path(tempfile.mkdtemp(dir=root))
            self._lock: int | None = os.open(self.path, os.O_RDONLY)
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(starting)

    def temporary(self) -> tempfile.TemporaryDirectory[str]:
        """Return a new folder, to be used in a `with` statement."""
        return tempfile.TemporaryDirectory(dir=self.path)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _remove_if_left(folder: Path) -> None:
    """Remove a folder whose process is gone."""
    with suppress(OSError):  # another process removed it, or it is no folder
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
