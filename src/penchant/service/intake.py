"""What an event must be, however it comes: over HTTP or from a stream.

In: checked bodies of events. Out: events as the store keeps them, their files stored, or an error that says what is wrong with which.
"""

from __future__ import annotations

from collections.abc import Collection

from penchant.core.errors import DataError
from penchant.core.schema import OwnContent
from penchant.data.histories import Event
from penchant.service.schemas import EventIn, MediaIn, SessionEventIn, UserIn
from penchant.service.times import EARLIEST, micros_of
from penchant.service.uploads import UploadStore

MEDIA = ("image", "audio")
"""Files of users' content."""
CONTENT = ("text", *MEDIA)
"""Content of an event."""


def event_of(event: EventIn, where: str, latest: int, *, otherwise: int) -> Event:
    """Return an event without its content.

    Args:
        event: As it came.
        where: Its place, for messages: a prefix of the names of its fields.
        latest: No event lies after it, microseconds since 1970.
        otherwise: Its time where it has none of its own.

    Raises:
        DataError: It lies in the future, or before the year 1.
    """
    at = otherwise if event.at is None else micros_of(event.at)
    if at < EARLIEST:
        raise DataError("An event lies before the year 1 in UTC.", where=f"{where}at", fix="give the time it happened")
    if at > latest:
        raise DataError(
            "An event lies in the future.", where=f"{where}at", fix="set the sender's clock, or leave `at` out"
        )
    return Event(event.user_id, event.item_id, event.kind, at, event.value, event.event_id)


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
