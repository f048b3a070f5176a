"""The data of one user: what they told of themself, all that is stored, and its erasure.

In: a user's id. Out: what is held, as JSON; after an erasure nothing, and a receipt.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from penchant.core.errors import DataError
from penchant.core.schema import OwnContent
from penchant.service import erasure
from penchant.service.content_files import MEDIA, ContentFiles
from penchant.service.exporting import exported_content, exported_conversation, exported_event, exported_letter
from penchant.service.interests import shown_profile
from penchant.service.schemas import UserIn
from penchant.service.schemas import UserState as StateOfUser
from penchant.service.security import Secret
from penchant.service.served_lists import ServedListLog, exported_list
from penchant.service.snapshot import Snapshots
from penchant.service.store import Store, StoredContent
from penchant.service.stream_log import StreamLog
from penchant.service.times import iso_time
from penchant.service.uploads import UploadStore
from penchant.service.user_states import UserStates


class PersonalData:
    """Takes, shows and erases the data of users.

    Args:
        store: Keeps it.
        secret: Signs receipts.
        snapshots: Know what the bundle reads and holds.
        states: Of users.
        uploads: Keeps files.
        files: Deletes those that nothing uses any more.
        served_lists: The log of lists.
        streams: The log of event streams, for dead letters.
    """

    def __init__(
        self,
        store: Store,
        secret: Secret,
        snapshots: Snapshots,
        states: UserStates,
        uploads: UploadStore,
        files: ContentFiles,
        served_lists: ServedListLog,
        streams: StreamLog,
    ) -> None:
        self._store, self._secret, self._snapshots, self._states = store, secret, snapshots, states
        self._uploads, self._files, self._served_lists, self._streams = uploads, files, served_lists, streams

    def about(self, user_id: str) -> StateOfUser:
        """Return what a user told of themself since the bundle was written, and whether it is read."""
        held = self._store.about(user_id)
        return StateOfUser(user_id=user_id, status="none") if held is None else self._told(held)

    def tell(self, user_id: str, given: UserIn) -> StateOfUser:
        """Store what a user tells of themself; it is encoded in the background, and their next list after that knows it.

        Raises:
            DataError: The bundle reads no such column, file or type.
            MediaError: A file cannot be read.
        """
        reader = self._snapshots.current.recommender.own_content
        reader.checked(given.columns)
        files = {name: getattr(given, name) for name in MEDIA if name in given.model_fields_set}
        for name in files:
            if name not in reader.media("users"):
                raise DataError(f"The bundle reads no {name} of users.", where=name, fix="leave it out")
        is_upload = any(file is not None for file in files.values())
        with self._uploads.in_use(where=", ".join(files)) if is_upload else nullcontext():
            kept = {n: None if file is None else self._uploads.keep(file, where=n) for n, file in files.items()}

            def change(before: OwnContent) -> OwnContent:
                media = {name: file for name, file in {**before.media, **kept}.items() if file is not None}
                return OwnContent({**before.columns, **given.columns}, media)

            held = self._store.change_about(user_id, change)
        self._files.has_unused |= bool(files)
        return self._told(held)

    def _told(self, held: StoredContent) -> StateOfUser:
        reader, content = self._snapshots.current.recommender.own_content, held.content
        known = reader.columns("users")
        return StateOfUser(
            user_id=held.user_id,
            status="ready" if held.encoder == reader.mark else "waiting",
            columns=dict(content.columns),
            files=dict(content.media),
            new_values=reader.checked({c: v for c, v in content.columns.items() if c in known}),
            unreadable=list(content.unreadable),
        )

    def is_known(self, user_id: str) -> bool:
        """Return whether the bundle or the store holds something of a user."""
        (version,), _ = self._store.versions([user_id])
        snapshot = self._snapshots.current
        return version is not None or (user_id in snapshot.recommender.users and not snapshot.is_erased(user_id))

    def export(self, user_id: str) -> dict[str, Any]:
        """Return all stored data of one user; files by name (`ContentFiles.of_user`)."""
        snapshot, state = self._states.one(user_id)
        base = snapshot.learned(user_id)
        ids = snapshot.recommender.lookup.items.ids
        return {
            "user_id": user_id,
            "events": [exported_event(e) for e in self._store.events(user_id)],
            "deleted_events": [{"key": key, "at": iso_time(at)} for key, at in self._store.deleted_events(user_id)],
            "about": None if (told := self._store.about(user_id)) is None else exported_content(told.content),
            "edits": [asdict(e) for e in state.edits],
            "conversations": [exported_conversation(one) for one in self._store.conversations(user_id)],
            "served_lists": [exported_list(one) for one in self._served_lists.of_user(user_id)],
            "trials": self._served_lists.exposures_of(user_id),
            "dead_letters": [exported_letter(one) for one in self._streams.letters(user_id=user_id, limit=None)],
            "requests": [{"key": r.key, "at": iso_time(r.received_at)} for r in self._store.requests(user_id)],
            "learned_from": [
                {"item_id": ids[row], "at": iso_time(int(at)), "weight": float(weight)}
                for row, at, weight in zip(base.item_index, base.at, base.weight, strict=True)
            ],
            "profile": shown_profile(snapshot, state),
        }

    def erase(self, user_id: str) -> dict[str, Any]:
        """Erase a user; see `penchant.service.erasure` for what is immediate."""
        receipt = erasure.erase(self._store, self._secret, self._snapshots.current.recommender, user_id)
        self._files.remove_unused()
        self._snapshots.newest()
        return receipt
