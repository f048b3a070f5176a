"""The durable store: events, content of users, edits, items, erasures and keys.

In: an address, `sqlite:///file` or `postgresql://...`. Out: a `Store` that several processes may share. What a method changed
is on disk when it returns.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, fields, replace
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import (
    Connection,
    Engine,
    Table,
    delete,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError

from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import OwnContent
from penchant.data.histories import Event
from penchant.recommender.lists import Edit, last_edits
from penchant.service import store_tables as t
from penchant.service.store_connection import BUSY_SECONDS, connect, shown_address
from penchant.service.store_records import (
    FAILED,
    READY,
    WAITING,
    WITHDRAWN,
    ConflictError,
    EventName,
    RequestKey,
    StoredContent,
    StoredConversation,
    StoredErasure,
    StoredItem,
    StoredKey,
    StoredRequest,
    content_body,
    vector_name,
)
from penchant.service.store_values import checked

__all__ = [
    "FAILED",
    "READY",
    "WAITING",
    "WITHDRAWN",
    "ConflictError",
    "Edit",
    "Event",
    "EventName",
    "RequestKey",
    "Store",
    "StoredContent",
    "StoredConversation",
    "StoredErasure",
    "StoredItem",
    "StoredKey",
    "StoredRequest",
    "now",
    "vector_name",
]
DELETED = ""
"""Kind of the row that stays in the place of a deleted event; no event has an empty kind."""
MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_236_843
"""Any number: PostgreSQL's advisory lock for processes that start at once."""
REQUEST_LOCK = 7_236_844
"""Any number: it keeps the locks of idempotency keys apart from others in the database."""
MAX_PARAMETERS = 500
"""Values bound in one query."""
LOG_WAITS = (0.05, 0.1, 0.2, 0.4)
"""Seconds between the attempts to empty SQLite's log while a reader holds it."""


USER_TABLES = (t.user_version, t.event, t.edit, t.request, t.user_content, t.conversation, t.served_list, t.exposure)
"""Tables whose rows belong to one user each."""
Record = TypeVar("Record")


def _unkeyed(message: str) -> str:
    return hashlib.sha256(message.encode()).hexdigest()


class Store:
    """The durable store behind every cache.

    SQLite syncs each commit to disk (`synchronous=FULL`) and overwrites deleted rows (`secure_delete`).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._reading = engine if self.is_sqlite else engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writing = engine.execution_options(writing=True)
        self._dialect: Any = sqlite if self.is_sqlite else postgresql

    @classmethod
    def open(cls, address: str) -> Store:
        """Connect, and bring the tables to their newest form.

        Raises:
            ConfigError: The address is not one, or no database answers there.
        """
        try:
            store = cls(connect(address))
            store.migrate()
        except (ArgumentError, DBAPIError, ModuleNotFoundError) as error:
            raise ConfigError(
                f"The store cannot be opened: {str(error).splitlines()[0]}",
                where=shown_address(address),
                fix="give sqlite:///FILE or postgresql://USER@HOST/DATABASE, and check that the database runs",
            ) from error
        return store

    def migrate(self) -> None:
        """Bring the tables to their newest form; processes that start at once wait for each other."""
        config = AlembicConfig()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._writing.begin() as connection:
            if not self.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a connection that reads, for the modules that keep a table of their own."""
        return self._reading.connect()

    def writing(self) -> AbstractContextManager[Connection]:
        """Return a connection that writes; what it changed is committed when the block ends, or undone by an error."""
        return self._writing.begin()

    def insert(self, table: Table) -> Any:
        """Return an insert of this database's dialect, which knows `on_conflict_do_nothing`."""
        return self._dialect.insert(table)

    # users

    def append(
        self, batches: Sequence[Sequence[Event]], requests: Sequence[RequestKey | None] = ()
    ) -> list[int | DataError]:
        """Store several batches in one commit; return how many events of each were new.

        Either all of them are stored or none is; but a batch whose key was used for other events is answered with an error, and left out.

        Args:
            batches: Events of one request each.
            requests: The idempotency key of each; missing ones are None. A batch whose key was stored with the same events is not stored again.

        Raises:
            DataError: A value does not fit its column.
        """
        received = now()
        rows_of = [[checked(t.event, _event_row(e, received)) for e in batch] for batch in batches]
        request_rows = [[] if r is None else [checked(t.request, row) for row in _rows(r, received)] for r in requests]
        new: list[int | DataError] = []
        with self._writing.begin() as connection:
            outcomes = self._claim(connection, requests, request_rows)
            outcomes += [None] * (len(batches) - len(outcomes))
            accepted = [batch for batch, outcome in zip(batches, outcomes, strict=True) if outcome is None]
            # one order: two writers never deadlock
            self._touch(connection, sorted({e.user_id for batch in accepted for e in batch}))
            for rows, outcome in zip(rows_of, outcomes, strict=True):
                if outcome is not None:
                    new.append(outcome)
                    continue
                new.append(self._insert_events(connection, rows))
        return new

    def append_within(self, connection: Connection, events: Sequence[Event]) -> int:
        """Store events in a transaction of the caller's (`writing`), with what must change together with them; return how many were new.

        Raises:
            DataError: A value does not fit its column.
        """
        received = now()
        rows = [checked(t.event, _event_row(e, received)) for e in events]
        self._touch(connection, sorted({e.user_id for e in events}))  # one order: two writers never deadlock
        return self._insert_events(connection, rows)

    def _insert_events(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
        """Insert events that are not stored yet; return how many."""
        if not rows:
            return 0
        add = self._dialect.insert(t.event).on_conflict_do_nothing(index_elements=["user_id", "event_key"])
        return connection.execute(add, rows, execution_options={"preserve_rowcount": True}).rowcount

    def check(self, event: Event) -> None:
        """Refuse an event that the store would not take.

        Raises:
            DataError: A value does not fit its column.
        """
        checked(t.event, _event_row(event, 0))

    def delete_events(self, user_id: str, which: EventName) -> tuple[int, bool]:
        """Delete the events of a user that a name stands for; return how many, and whether one of them had content.

        A row without item, kind, value and time stays in the place of each, with a number above all others: processes that follow the numbers
        notice it, and an event that a client sends again under the same id is still a duplicate. It goes with the user.
        """
        e = t.event.c
        same = (e.user_id == user_id) & (e.kind != DELETED)
        if which.key is not None:
            same &= e.event_key == which.key
        else:
            same &= (e.item_id == which.item_id) & (e.at == which.at)
            same &= true() if which.kind is None else e.kind == which.kind
        wanted = select(e.sequence, e.event_key, e.encoder).where(same)
        with self._writing.begin() as connection:
            if connection.execute(wanted).first() is None:
                return 0, False
            self._touch(connection, [user_id])  # locks the user's row until the commit, as every writer does first
            rows = connection.execute(wanted).all()
            left = {"user_id": user_id, "item_id": "", "kind": DELETED, "at": 0, "received_at": now()}
            # before the deletion: SQLite gives the highest number again once its row is gone
            add = t.event.insert().values(left).returning(e.sequence)
            places = [connection.execute(add).scalar_one() for _ in rows]
            connection.execute(delete(t.event).where(e.sequence.in_([row.sequence for row in rows])))
            for place, row in zip(places, rows, strict=True):
                connection.execute(update(t.event).where(e.sequence == place).values(event_key=row.event_key))
        self.empty_log()
        return len(rows), any(row.encoder is not None for row in rows)

    def deleted_events(self, user_id: str) -> list[tuple[str | None, int]]:
        """Return what is kept of the deleted events of a user: the id that a client gave it, and when it was deleted."""
        e = t.event.c
        wanted = select(e.event_key, e.received_at).where(e.user_id == user_id, e.kind == DELETED)
        with self._reading.connect() as connection:
            return [(key, at) for key, at in connection.execute(wanted.order_by(e.sequence))]

    def _claim(
        self,
        connection: Connection,
        requests: Sequence[RequestKey | None],
        request_rows: Sequence[Sequence[dict[str, Any]]],
    ) -> list[int | DataError | None]:
        """Store the keys of requests; return 0 for one that was stored before, an error for one that differs, None for a new one."""
        keys = sorted({request.key for request in requests if request is not None})
        held: dict[str, dict[str, str]] = {}
        if keys and not self.is_sqlite:  # SQLite has one writer at a time anyway
            for key in keys:  # before any row, and in one order: two writers never deadlock
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, REQUEST_LOCK))))
        if keys:
            wanted = select(t.request.c.key, t.request.c.user_id, t.request.c.digest).where(t.request.c.key.in_(keys))
            for key, user_id, digest in connection.execute(wanted):
                held.setdefault(key, {})[user_id] = digest
        outcomes: list[int | DataError | None] = []
        for request, rows in zip(requests, request_rows, strict=True):
            if request is None:
                outcomes.append(None)
            elif request.key not in held:
                held[request.key] = dict(request.digests)
                connection.execute(t.request.insert(), rows)
                outcomes.append(None)
            else:
                outcomes.append(0 if held[request.key] == request.digests else _used_otherwise())
        return outcomes

    def requests(self, user_id: str) -> list[StoredRequest]:
        """Return the requests with an idempotency key that held events of a user, oldest first."""
        wanted = select(t.request.c.key, t.request.c.received_at).where(t.request.c.user_id == user_id)
        with self._reading.connect() as connection:
            rows = connection.execute(wanted.order_by(t.request.c.received_at, t.request.c.key))
            return [StoredRequest(*row) for row in rows]

    def versions(self, user_ids: Sequence[str]) -> tuple[list[int | None], int]:
        """Return the version of each user's data (None: nothing is stored), and the version of the world."""
        wanted = _VERSIONS.format(", ".join(f":u{n}" for n in range(len(user_ids))) or "NULL")
        names = {f"u{n}": user_id for n, user_id in enumerate(user_ids)}
        if self.is_sqlite:
            # by the driver itself: every answer begins here, and SQLAlchemy would take ten times as long as SQLite
            with closing(self._engine.raw_connection()) as connection:
                rows = connection.cursor().execute(wanted, names).fetchall()
        else:
            with self._reading.connect() as connection:
                rows = connection.execute(text(wanted), names).all()
        held = {user: version for user, version, _ in rows if user is not None}
        return [held.get(user_id) for user_id in user_ids], rows[0][2]

    def events(self, user_id: str, limit: int | None = None) -> list[Event]:
        """Return one user's events, oldest first; with a limit, the latest ones."""
        columns = (t.event.c.user_id, t.event.c.item_id, t.event.c.kind, t.event.c.at, t.event.c.value)
        more = (t.event.c.event_key, t.event.c.content, t.event.c.vectors)
        wanted = select(*columns, *more).where(t.event.c.user_id == user_id, t.event.c.kind != DELETED)
        wanted = wanted.order_by(t.event.c.at.desc(), t.event.c.sequence.desc()).limit(limit)
        with self._reading.connect() as connection:
            rows = connection.execute(wanted).all()
        found = []
        for row in reversed(rows):
            own = None if row.content is None else StoredContent(user_id, None, row.content, row.vectors).content
            found.append(Event(*row[:6], content=own))  # type: ignore[misc]
        return found

    def events_of(self, user_ids: Sequence[str]) -> dict[str, list[Event]]:
        """Return the events of several users, oldest first as `events` does, without their content; a user without events is left out."""
        columns = (t.event.c.user_id, t.event.c.item_id, t.event.c.kind, t.event.c.at, t.event.c.value)
        order = (t.event.c.user_id, t.event.c.at, t.event.c.sequence)
        found: dict[str, list[Event]] = {}
        with self._reading.connect() as connection:
            for start in range(0, len(user_ids), MAX_PARAMETERS):
                chosen = t.event.c.user_id.in_(user_ids[start : start + MAX_PARAMETERS])
                wanted = select(*columns, t.event.c.event_key).where(chosen, t.event.c.kind != DELETED)
                wanted = wanted.order_by(*order)
                for row in connection.execute(wanted):
                    found.setdefault(row.user_id, []).append(Event(*row))
        return found

    def users_with_events(self, after: int) -> tuple[set[str], int]:
        """Return the users with an event whose number is above `after`, and the highest number of an event, or `after` without one.

        Numbers grow, but PostgreSQL may commit a higher one first, and SQLite gives the highest ones again after their events were erased.
        """
        wanted = select(t.event.c.user_id, func.max(t.event.c.sequence)).where(t.event.c.sequence > after)
        with self._reading.connect() as connection:
            rows = connection.execute(wanted.group_by(t.event.c.user_id)).all()
        return {user for user, _ in rows}, max((number for _, number in rows), default=after)

    def last_event(self) -> int:
        """Return the highest number of an event; 0 without one."""
        with self._reading.connect() as connection:
            return int(connection.scalar(select(func.max(t.event.c.sequence))) or 0)

    def versions_of(self, user_ids: Collection[str] | None = None) -> dict[str, int]:
        """Return the versions of those users of whom something is stored; None takes every user."""
        wanted = select(t.user_version.c.user_id, t.user_version.c.version)
        if user_ids is None:
            chunks = [wanted]
        else:
            given = sorted(user_ids)
            starts = range(0, len(given), MAX_PARAMETERS)
            chunks = [wanted.where(t.user_version.c.user_id.in_(given[s : s + MAX_PARAMETERS])) for s in starts]
        with self._reading.connect() as connection:
            return {user: version for chunk in chunks for user, version in connection.execute(chunk)}

    def edits(self, user_id: str) -> list[Edit]:
        """Return one user's edits, oldest first."""
        wanted = select(t.edit.c.name, t.edit.c.value, t.edit.c.action, t.edit.c.strength)
        wanted = wanted.where(t.edit.c.user_id == user_id).order_by(t.edit.c.edited_at, t.edit.c.name, t.edit.c.value)
        with self._reading.connect() as connection:
            return [Edit(*row) for row in connection.execute(wanted)]

    def edit(
        self, user_id: str, edits: Sequence[Edit], forget: Sequence[Edit] = (), *, expected: int | None = None
    ) -> int:
        """Store some edits and delete others; return the user's new version.

        Args:
            user_id: The user.
            edits: Replace earlier ones of the same name and value, those in front of them included.
            forget: To delete; only their name and value count.
            expected: The version the editor saw, 0 where nothing was stored; None edits whatever is there.

        Raises:
            ConflictError: The user's data changed since.
            DataError: A value does not fit its column.
        """
        edits = last_edits(edits)
        rows = [
            checked(t.edit, {"user_id": user_id, **asdict(e), "edited_at": now() + place})
            for place, e in enumerate((*edits, *forget))
        ][: len(edits)]  # those to delete are checked too
        with self._writing.begin() as connection:
            if expected is not None and not self._is_at(connection, user_id, expected):
                raise ConflictError(
                    "The profile was changed since you read it.",
                    where="If-Match",
                    fix="read the profile again and send your edit with its new ETag",
                )
            (version,) = self._touch(connection, [user_id])
            for e in (*edits, *forget):
                same = (t.edit.c.user_id == user_id) & (t.edit.c.name == e.name) & (t.edit.c.value == e.value)
                connection.execute(delete(t.edit).where(same))
            if rows:
                connection.execute(t.edit.insert(), rows)
        return version

    def _is_at(self, connection: Connection, user_id: str, expected: int) -> bool:
        """Return whether a user's data have a version, 0 for none; their row is locked until the commit."""
        if expected == 0:
            # there is no row to lock: of two that insert it, the second waits for the first and finds it there
            add = self._dialect.insert(t.user_version).values(user_id=user_id, version=secrets.randbits(62))
            add = add.on_conflict_do_nothing(index_elements=["user_id"])
            return connection.execute(add, execution_options={"preserve_rowcount": True}).rowcount == 1
        held = select(t.user_version.c.version).where(t.user_version.c.user_id == user_id).with_for_update()
        return connection.scalar(held) == expected

    # content of users

    def about(self, user_id: str) -> StoredContent | None:
        """Return what a user told of themself; None where that is nothing."""
        table = t.user_content
        wanted = select(table.c.content, table.c.vectors, table.c.encoder).where(table.c.user_id == user_id)
        with self._reading.connect() as connection:
            row = connection.execute(wanted).first()
        return None if row is None else StoredContent(user_id, None, *row)

    def change_about(self, user_id: str, change: Callable[[OwnContent], OwnContent]) -> StoredContent:
        """Change what a user told of themself, in one commit; its vectors stay until it is encoded again.

        Raises:
            DataError: A value does not fit its column.
        """
        table = t.user_content
        with self._writing.begin() as connection:
            self._touch(connection, [user_id])  # locks the user's row until the commit
            held = select(table.c.content, table.c.vectors).where(table.c.user_id == user_id)
            row = connection.execute(held).first()
            before = OwnContent() if row is None else StoredContent(user_id, None, row[0]).content
            stored = StoredContent(user_id, None, content_body(replace(change(before), unreadable=())), row and row[1])
            values = {"content": stored.body, "encoder": "", "received_at": now()}
            values = checked(table, {"user_id": user_id, **values})
            add = self._dialect.insert(table).values(values)
            connection.execute(add.on_conflict_do_update(index_elements=["user_id"], set_=values))
        return stored

    def content_to_encode(self, encoder: str, limit: int, after: int = -1) -> list[StoredContent]:
        """Return content whose vectors another encoder made, or none: of events with a number above `after`, and what users told of themselves.

        Args:
            encoder: The present one.
            limit: Most of each.
            after: Number of an event.
        """
        e, u = t.event.c, t.user_content.c
        events = select(e.user_id, e.sequence, e.content, e.vectors, e.encoder)
        events = events.where(e.encoder.is_not(None), e.encoder != encoder, e.sequence > after)
        users = select(u.user_id, u.content, u.vectors, u.encoder).where(u.encoder != encoder)
        with self._reading.connect() as connection:
            found = [StoredContent(*row) for row in connection.execute(events.order_by(e.sequence).limit(limit))]
            told = connection.execute(users.order_by(u.received_at, u.user_id).limit(limit))
            return [StoredContent(row[0], None, *row[1:]) for row in told] + found

    def put_encoded(self, held: StoredContent, content: OwnContent, vectors: bytes, encoder: str) -> bool:
        """Store the vectors of content, unless that was changed or erased since; return whether they were stored."""
        table = t.user_content if held.sequence is None else t.event
        same = (table.c.user_id == held.user_id) & (table.c.content == held.body)
        same &= table.c.encoder == held.encoder
        if held.sequence is not None:
            same &= t.event.c.sequence == held.sequence
        values = {"content": content_body(content), "vectors": vectors, "encoder": encoder}
        person = select(t.user_version.c.user_id).where(t.user_version.c.user_id == held.user_id)
        with self._writing.begin() as connection:
            if connection.execute(person.with_for_update()).first() is None:  # locked first, as every writer does
                return False
            if connection.execute(update(table).where(same).values(values)).rowcount == 0:
                return False
            self._touch(connection, [held.user_id])
        return True

    def files(self, user_id: str | None = None) -> set[str]:
        """Return the names of the files of all users' content, or of one user's."""
        e, u = t.event.c, t.user_content.c
        wanted = [select(e.content).where(e.encoder.is_not(None)), select(u.content)]
        if user_id is not None:
            wanted = [one.where(c.user_id == user_id) for one, c in zip(wanted, (e, u), strict=True)]
        with self._reading.connect() as connection:
            bodies = [body for one in wanted for body in connection.scalars(one)]
        return {name for body in bodies for name in json.loads(body)["media"].values()}

    # conversations

    def conversations(self, user_id: str, conversation_id: str | None = None) -> list[StoredConversation]:
        """Return a user's conversations, oldest first, or the one of an id."""
        c = t.conversation.c
        names = [f.name for f in fields(StoredConversation)]
        wanted = select(*(c[name] for name in names)).where(c.user_id == user_id).order_by(c.changed_at)
        if conversation_id is not None:
            wanted = wanted.where(c.conversation_id == conversation_id)
        with self._reading.connect() as connection:
            return [StoredConversation(*row) for row in connection.execute(wanted)]

    def put_conversation(self, held: StoredConversation, turns: str, state: str, *, most: int) -> StoredConversation:
        """Store a conversation in place of the one held; the oldest ones of the user beyond `most` are deleted.

        Raises:
            ConflictError: It was changed or erased since it was read: what was said before an erasure must not come back.
        """
        c = t.conversation.c
        new = replace(held, turns=turns, state=state, version=secrets.randbits(62), changed_at=now())
        own = (c.user_id == held.user_id) & (c.conversation_id == held.conversation_id)
        with self._writing.begin() as connection:
            self.lock_user(connection, held.user_id)
            if held.version == 0:
                connection.execute(t.conversation.insert(), checked(t.conversation, asdict(new)))
            else:
                same = update(t.conversation).where(own, c.version == held.version).values(asdict(new))
                if connection.execute(same).rowcount == 0:
                    raise ConflictError(
                        "The conversation was changed or erased since it was read.",
                        where="conversation_id",
                        fix="send the message again, without conversation_id if the conversation is gone",
                    )
            others = select(c.conversation_id).where(c.user_id == held.user_id).order_by(c.changed_at.desc())
            beyond = list(connection.scalars(others.offset(most)))
            if beyond:
                connection.execute(
                    delete(t.conversation).where(c.user_id == held.user_id, c.conversation_id.in_(beyond))
                )
        return new

    def erase(
        self, user_id: str, subject: str, receipt_id: str, *, sign: Callable[[str], str] = _unkeyed
    ) -> dict[str, int]:
        """Delete all rows of one user, and store the keyed hash of their id; return rows by table.

        Args:
            user_id: The user.
            subject: Keyed hash of the id.
            receipt_id: Of the erasure.
            sign: Makes the erasure's link in the chain of all; a hash without a key shows damage, but no forgery.
        """
        with self._writing.begin() as connection:
            # locks the end of the chain until the commit; and no stream stores events of the user meanwhile, whom it knows not to be erased
            _renew(connection)
            counts = {
                table.name: connection.execute(delete(table).where(table.c.user_id == user_id)).rowcount
                for table in USER_TABLES
            }
            counts[t.dead_letter.name] = _forget_letters(connection, user_id)
            number, last = connection.execute(select(t.world.c.num_erasures, t.world.c.last_link)).one()
            new = StoredErasure(receipt_id, subject, now(), None, "", (number or 0) + 1)
            new = replace(new, link=sign(new.linked(last or "")))
            connection.execute(t.erasure.insert(), asdict(new))
            connection.execute(update(t.world).values(num_erasures=new.number, last_link=new.link))
        self.empty_log()
        return counts

    def empty_log(self, waits: Sequence[float] = LOG_WAITS) -> bool:
        """Empty SQLite's write-ahead log, where deleted rows stay; return whether it is empty. PostgreSQL's is its own matter.

        A reader that holds an older state of the file prevents it.

        Args:
            waits: Seconds before each further attempt. SQLite's own waiting would hold up every writer meanwhile.
        """
        if not self.is_sqlite:
            return True
        with closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                for wait in (0.0, *waits):
                    time.sleep(wait)
                    try:
                        is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    except OperationalError:  # another process is emptying it
                        continue
                    if not is_busy:
                        return True
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS}")
        return False

    @property
    def log_file(self) -> Path | None:
        """SQLite's write-ahead log; None for PostgreSQL and a store in memory."""
        name = self._engine.url.database if self.is_sqlite else None
        return Path(f"{name}-wal") if name else None

    def user_ids(self) -> list[str]:
        """Return every user with stored data, sorted."""
        with self._reading.connect() as connection:
            found = {u for table in (*USER_TABLES, t.dead_letter) for u in connection.scalars(select(table.c.user_id))}
        return sorted(found - {""})

    def first_received(self, user_id: str) -> int | None:
        """Return when the oldest of what is stored of a user came in: events, what they told, conversations, lists, dead letters."""
        times = [t.event.c.received_at, t.user_content.c.received_at, t.conversation.c.changed_at]
        times += [t.served_list.c.at, t.exposure.c.at, t.dead_letter.c.received_at]
        wanted = [select(func.min(at)).where(at.table.c.user_id == user_id) for at in times]
        with self._reading.connect() as connection:
            found = [connection.scalar(one) for one in wanted]
        return min((at for at in found if at is not None), default=None)

    def sign_erasure(self, receipt_id: str, receipt: str, *, finished: bool) -> None:
        """Store the signed receipt; a finished erasure needs no further refit, and its receipt is not replaced by an earlier one."""
        values: dict[str, Any] = {"receipt": receipt}
        same = t.erasure.c.receipt_id == receipt_id
        if finished:
            values["finished_at"] = now()
        else:  # a refit of another process may have begun, and ended, before the receipt of its beginning is stored
            same &= t.erasure.c.finished_at.is_(None)
        with self._writing.begin() as connection:
            connection.execute(update(t.erasure).where(same).values(values))

    def erasures(self) -> list[StoredErasure]:
        """Return every erasure, oldest first."""
        return self._all(StoredErasure, t.erasure.c, t.erasure.c.erased_at)

    def erasure_chain(self) -> tuple[list[StoredErasure], int, str]:
        """Return every erasure, how many the chain has, and its last link, as of one moment."""
        names = [f.name for f in fields(StoredErasure)]
        columns = [t.erasure.c[name] for name in names]
        wanted = select(t.world.c.num_erasures, t.world.c.last_link, *columns)
        wanted = wanted.select_from(t.world.outerjoin(t.erasure, true())).order_by(t.erasure.c.number)
        with self._reading.connect() as connection:
            rows = connection.execute(wanted).all()
        return [StoredErasure(*row[2:]) for row in rows if row[2] is not None], rows[0][0] or 0, rows[0][1] or ""

    def seal_erasures(self, sign: Callable[[str], str]) -> None:
        """Chain the erasures from before there was a chain; does nothing once any has a link."""
        with self._reading.connect() as connection:
            if connection.scalar(select(t.world.c.num_erasures)) is not None:
                return
        with self._writing.begin() as connection:
            _renew(connection)
            is_begun = select(t.world.c.num_erasures).where(t.world.c.num_erasures.is_not(None))
            linked = select(t.erasure.c.receipt_id).where(t.erasure.c.link.is_not(None)).limit(1)
            if any(connection.execute(found).first() is not None for found in (is_begun, linked)):
                return
            names = [f.name for f in fields(StoredErasure)]
            ordered = select(*(t.erasure.c[n] for n in names)).order_by(t.erasure.c.erased_at, t.erasure.c.receipt_id)
            last = ""
            held = [StoredErasure(*row) for row in connection.execute(ordered)]
            for number, found in enumerate(held, 1):
                last = sign(replace(found, number=number).linked(last))
                same = t.erasure.c.receipt_id == found.receipt_id
                connection.execute(update(t.erasure).where(same).values(number=number, link=last))
            connection.execute(update(t.world).values(num_erasures=len(held), last_link=last))

    # the world

    def world_version(self) -> int:
        """Return the number that changes with items, erasures and keys."""
        with self._reading.connect() as connection:
            return int(connection.execute(select(t.world.c.version)).scalar_one())

    def has_secret(self) -> bool:
        """Return whether a process has used this store with a secret."""
        with self._reading.connect() as connection:
            return connection.scalar(select(t.world.c.secret_check)) is not None

    def check_secret(self, check: str) -> bool:
        """Return whether all processes of this store use the same secret; the first one decides."""
        with self._writing.begin() as connection:
            connection.execute(update(t.world).where(t.world.c.secret_check.is_(None)).values(secret_check=check))
            return connection.scalar(select(t.world.c.secret_check)) == check

    def put_item(self, item: StoredItem) -> None:
        """Store an item in place of an earlier one of the same id, whatever that is."""
        with self._writing.begin() as connection:
            row = _item_row(connection, item)
            add = self._dialect.insert(t.item).values(row)
            connection.execute(add.on_conflict_do_update(index_elements=["item_id"], set_=row))

    def replace_item(self, held: StoredItem, item: StoredItem) -> bool:
        """Store an item in place of the one held, unless that was changed since; return whether it was stored."""
        with self._writing.begin() as connection:
            same = (t.item.c.item_id == held.item_id) & (t.item.c.version == held.version)
            if connection.execute(select(t.item.c.item_id).where(same)).first() is None:
                return False  # without a new version of the world
            # the row's version is compared again by the update: another process may have been faster
            return connection.execute(update(t.item).where(same).values(_item_row(connection, item))).rowcount > 0

    def item(self, item_id: str) -> StoredItem | None:
        """Return one item without its vectors; None where it never changed."""
        wanted = select(*_ITEM_COLUMNS).where(t.item.c.item_id == item_id)
        with self._reading.connect() as connection:
            return next((_item(row) for row in connection.execute(wanted)), None)

    def items(self) -> list[StoredItem]:
        """Return every item that came, changed or went, in the order of their last change."""
        return self._all(StoredItem, t.item.c, t.item.c.version, t.item.c.item_id)

    def items_changed(self, after: int) -> list[StoredItem]:
        """Return the items whose version is above `after`, in the order of their last change, without their vectors.

        Changes of items commit in the order of their versions, so no lower version can appear later.
        """
        wanted = select(*_ITEM_COLUMNS).where(t.item.c.version > after).order_by(t.item.c.version, t.item.c.item_id)
        with self._reading.connect() as connection:
            return [_item(row) for row in connection.execute(wanted)]

    def item_vectors(self, items: Sequence[StoredItem]) -> dict[str, bytes]:
        """Return the vectors of those items that have some and were not changed since."""
        versions = {item.item_id: item.version for item in items}
        found: dict[str, bytes] = {}
        with self._reading.connect() as connection:
            for start in range(0, len(items), MAX_PARAMETERS):
                ids = [item.item_id for item in items[start : start + MAX_PARAMETERS]]
                wanted = select(t.item.c.item_id, t.item.c.version, t.item.c.vectors).where(t.item.c.item_id.in_(ids))
                for item_id, version, vectors in connection.execute(wanted):
                    if vectors is not None and version == versions[item_id]:
                        found[item_id] = vectors
        return found

    def put_key(self, key: StoredKey) -> None:
        """Store an API key; from the first one on, `has_had_keys` is true for good."""
        created = now()
        with self._writing.begin() as connection:
            connection.execute(t.api_key.insert(), checked(t.api_key, {**asdict(key), "created_at": created}))
            connection.execute(update(t.world).where(t.world.c.first_key_at.is_(None)).values(first_key_at=created))
            _renew(connection)

    def drop_key(self, key_id: str) -> bool:
        """Delete an API key; return whether there was one."""
        with self._writing.begin() as connection:
            found = connection.execute(delete(t.api_key).where(t.api_key.c.key_id == key_id)).rowcount
            _renew(connection)
        return found > 0

    def api_keys(self) -> list[StoredKey]:
        """Return all API keys."""
        return self._all(StoredKey, t.api_key.c)

    def has_had_keys(self) -> bool:
        """Return whether there ever was an API key, removed ones included."""
        with self._reading.connect() as connection:
            return connection.scalar(select(t.world.c.first_key_at)) is not None

    def _all(self, record: Callable[..., Record], columns: Any, *order: Any) -> list[Record]:
        """Return every row of a table as a record, whose fields are the names of the columns read."""
        names = [f.name for f in fields(record)]  # type: ignore[arg-type]
        wanted = select(*(columns[name] for name in names)).order_by(*order)
        with self._reading.connect() as connection:
            return [record(*row) for row in connection.execute(wanted)]

    def lock_user(self, connection: Connection, user_id: str) -> None:
        """Lock a user's row until the commit without a new version: a change that no list depends on."""
        add = self._dialect.insert(t.user_version).values(user_id=user_id, version=secrets.randbits(62))
        same = {"version": t.user_version.c.version}
        connection.execute(add.on_conflict_do_update(index_elements=["user_id"], set_=same))

    def _touch(self, connection: Connection, user_ids: Sequence[str]) -> list[int]:
        """Give users new versions; locks their rows until the commit, so one user's changes come one after the other.

        Versions are random, not counted: a user who was erased and returns must not get a number that a cache has seen.
        """
        versions = [secrets.randbits(62) for _ in user_ids]
        rows = [{"user_id": user, "version": version} for user, version in zip(user_ids, versions, strict=True)]
        add = self._dialect.insert(t.user_version)
        add = add.on_conflict_do_update(index_elements=["user_id"], set_={"version": add.excluded.version})
        if rows:
            connection.execute(add, rows)
        return versions


def _rows(request: RequestKey, received: int) -> list[dict[str, Any]]:
    row = {"key": request.key, "received_at": received}
    return [{**row, "user_id": user, "digest": digest} for user, digest in request.digests.items()]


def _used_otherwise() -> DataError:
    return DataError(
        "The Idempotency-Key was used for other events; nothing was stored.",
        where="Idempotency-Key",
        fix="send the same events under it, or make a new random key for each request",
    )


def now() -> int:
    """Return microseconds since 1970, UTC."""
    return time.time_ns() // 1000


_VERSIONS = """SELECT person.user_id, person.version, world.version
FROM world LEFT JOIN person ON person.user_id IN ({})"""
"""Of several users at once; one row without a user where nothing is stored."""


def _event_row(event: Event, received: int) -> dict[str, Any]:
    return {
        "user_id": event.user_id,
        "item_id": event.item_id,
        "kind": event.kind,
        "at": event.at,
        "value": event.value,
        "event_key": event.key,
        "received_at": received,
        "content": None if event.content is None else content_body(event.content),
        "encoder": None if event.content is None else "",
    }


def _forget_letters(connection: Connection, user_id: str) -> int:
    """Delete the dead letters of a user; also those that do not tell whose they are, and hold the id as text."""
    d = t.dead_letter.c
    spelled = {user_id, json.dumps(user_id)[1:-1], json.dumps(user_id, ensure_ascii=False)[1:-1]}
    named = [d.body.contains(one, autoescape=True) for one in sorted(spelled)]
    theirs = (d.user_id == user_id) | ((d.user_id == "") & or_(*named))
    return connection.execute(delete(t.dead_letter).where(theirs)).rowcount


def _renew(connection: Connection) -> None:
    connection.execute(update(t.world).values(version=secrets.randbits(62)))


_ITEM_COLUMNS = (t.item.c.item_id, t.item.c.status, t.item.c.body, t.item.c.version)


def _item(row: Any) -> StoredItem:
    return StoredItem(row.item_id, row.status, row.body, version=row.version)


def _item_row(connection: Connection, item: StoredItem) -> dict[str, Any]:
    """Return an item's row with the next version.

    The version is drawn first: it locks the one row of `world` until the commit, so changes of items commit in the order of their versions.
    """
    next_version = update(t.world).values(version=secrets.randbits(62), item_changes=t.world.c.item_changes + 1)
    version = connection.execute(next_version.returning(t.world.c.item_changes)).scalar_one()
    return checked(t.item, {**asdict(item), "changed_at": now(), "version": version})
