"""Content that comes with requests: what of it is read is kept, what nothing uses any more is deleted.

In: texts, pictures and sounds of a request, and what the bundle reads. Out: `OwnContent` whose files are stored by name.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from penchant.core.errors import NotFoundError
from penchant.core.schema import OwnContent
from penchant.service.schemas import EventIn, MediaIn, SessionEventIn, UserIn
from penchant.service.store import Store
from penchant.service.stored_items import StoredItems
from penchant.service.uploads import UploadStore

MEDIA = ("image", "audio")
"""Files of users' content."""
CONTENT = ("text", *MEDIA)
"""Content of an event."""


def kept_content(
    given: EventIn | SessionEventIn, reads: Collection[str], where: str, uploads: UploadStore
) -> OwnContent | None:
    """Return what some channel reads of an event's content, its files stored; None where that is nothing.

    Raises:
        MediaError: A file cannot be read.
        RefusedError: There is no room on the disk.
    """
    media = kept_files(given, reads, where, uploads)
    columns = {"text": given.text} if given.text is not None and "text" in reads else {}
    return OwnContent(columns, media) if columns or media else None


def kept_files(
    given: EventIn | SessionEventIn | UserIn, reads: Collection[str], where: str, uploads: UploadStore
) -> dict[str, str]:
    """Store the files that some channel reads; return their names by modality; errors as those of `kept_content`."""
    files: dict[str, MediaIn | None] = {name: getattr(given, name) for name in MEDIA}
    return {
        name: uploads.keep(file, where=f"{where}{name}")
        for name, file in files.items()
        if file is not None and name in reads
    }


class ContentFiles:
    """The stored files of items and users.

    Args:
        uploads: Holds them.
        store: Names those of users.
        stored_items: Names those of items.
    """

    def __init__(self, uploads: UploadStore, store: Store, stored_items: StoredItems) -> None:
        self._uploads, self._store, self._stored_items = uploads, store, stored_items
        self.has_unused = True
        """Whether files may lie there that nothing uses."""

    def of_user(self, user_id: str, name: str) -> Path:
        """Return a file that a user sent.

        Raises:
            NotFoundError: The user sent no such file.
        """
        path = self._uploads.folder / name
        if name not in self._store.files(user_id) or not path.is_file():
            raise NotFoundError(
                "The user sent no such file.", where="the name", fix="take a name from the export of this user"
            )
        return path

    def remove_unused(self) -> None:
        """Delete the files that no item and no user uses any more; later, if an upload is being stored now."""
        self.has_unused = not self._uploads.remove_unused(lambda: self._stored_items.uploads() | self._store.files())
