"""What a store knows of streams: how far each is read, by whom, what could not be stored, and what the readers say of themselves.

In: records of a partition that were sorted into events and dead letters. Out: both and the new position in one transaction, so that a record that comes
again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, true, update

from penchant.core.errors import PenchantError
from penchant.core.schema import MAX_ID
from penchant.data.histories import Event
from penchant.service import store_tables as t
from penchant.service.store import Store, now
from penchant.service.store_values import checked

FRESH_MICROS = 15_000_000
"""A process that said nothing for so long is taken for gone, and what it read is given to others."""
MAX_BODY = 1_000_000
"""Characters of a record that a dead letter keeps; a longer one is cut, and cannot be sent again from here."""
AWAY, STOPPED = "away", "stopped"
"""States of a stream whose broker does not answer, and that nobody reads."""
LEARNER = "learner"
"""Name of the learner's heartbeat."""


class MovedError(PenchantError):
    """The position of a partition is another than the one that was read from: another process stored these records, or somebody moved it."""


@dataclass(frozen=True)
class DeadLetter:
    """A record that could not be stored.

    Attributes:
        source: Name of the stream.
        partition: Of the stream.
        position: In the partition.
        sent_at: When it came to the broker, microseconds since 1970; 0 where the broker does not say.
        user_id: Whose it is; "" where it does not tell.
        reason: The error: message, where, fix.
        body: The record as text.
        received_at: When it was read.
        number: Given by the store.
    """

    source: str
    partition: str
    position: str
    sent_at: int
    user_id: str
    reason: dict[str, str]
    body: str
    received_at: int = field(default_factory=now)
    number: int = 0


@dataclass(frozen=True)
class SortedBatch:
    """Consecutive records of one partition, ready to be stored.

    Attributes:
        events: Each with the time its record was sent.
        letters: Those that cannot be stored.
        last: Position of the last record.
        last_at: When that was sent.
    """

    events: Sequence[tuple[Event, int]]
    letters: Sequence[DeadLetter]
    last: str
    last_at: int


@dataclass(frozen=True)
class PartitionState:
    """How far one partition is in the store; counts are of records since the first one."""

    source: str
    partition: str
    position: str
    owner: str | None
    owned_until: int
    last_at: int | None
    stored: int
    duplicates: int
    refused: int
    erased: int


@dataclass(frozen=True)
class Heartbeat:
    """What a process beside the service last said of itself."""

    name: str
    at: int
    body: dict[str, Any]

    @property
    def is_fresh(self) -> bool:
        return self.at > now() - FRESH_MICROS


class StreamLog:
    """Streams in a store.

    Args:
        store: The store.
        subject: Makes the keyed hash of an id, by which erased users are known.
    """

    def __init__(self, store: Store, subject: Callable[[str], str]) -> None:
        self._store, self._subject = store, subject

    def apply(self, source: str, partition: str, before: str, batch: SortedBatch) -> int:
        """Store a batch and its position in one transaction; return how many events were new.

        Events of users who were erased after they were sent are left out and counted.

        Args:
            source: Name of the stream.
            partition: Of the stream.
            before: Position that the batch was read from.
            batch: What follows it.

        Raises:
            MovedError: The partition is not at `before` any more; nothing is stored.
        """
        p = t.stream_position.c
        same = (p.source == source) & (p.partition == partition) & (p.position == before)
        with self._store.writing() as connection:
            held = select(p.source).where(same).with_for_update()
            if connection.execute(held).first() is None:
                raise MovedError(
                    "Another process has stored these records.", where=f"{source}/{partition}", fix="read on from there"
                )
            erasures = self._erasures(connection)
            events = [event for event, sent in batch.events if self._is_present(erasures, event.user_id, sent)]
            letters = self._present_letters(erasures, batch.letters)
            new = self._store.append_within(connection, events) if events else 0
            refused = self._add_letters(connection, [_row(letter) for letter in letters])
            counts = {
                "stored": p.stored + new,
                "duplicates": p.duplicates + len(events) - new,
                "refused": p.refused + refused,
                "erased": p.erased + len(batch.events) + len(batch.letters) - len(events) - len(letters),
            }
            moved = {"position": batch.last, "last_at": batch.last_at}
            connection.execute(update(t.stream_position).where(same).values(**moved, **counts))
        return new

    def _erasures(self, connection: Connection) -> dict[str, int]:
        """Return when each erased user was, by the keyed hash of the id; until the commit no erasure begins."""
        connection.execute(select(t.world.c.number).with_for_update(read=True))
        e = t.erasure.c
        return _pairs(connection.execute(select(e.subject, func.max(e.erased_at)).group_by(e.subject)))

    def _is_present(self, erasures: Mapping[str, int], user_id: str, sent: int) -> bool:
        """Return whether a user was not erased after something was sent."""
        return not erasures or sent > erasures.get(self._subject(user_id), -1)

    def _present_letters(self, erasures: Mapping[str, int], letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Return the letters that are not of an erased user; one that does not tell whose it is stays without its record where that may be."""
        found = []
        for letter in letters:
            sent = letter.sent_at or letter.received_at
            if letter.user_id == "" and sent <= max(erasures.values(), default=-1):
                found.append(replace(letter, body=""))
            elif self._is_present(erasures, letter.user_id, sent):
                found.append(letter)
        return found

    def _add_letters(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
        if not rows:
            return 0
        once = ["source", "partition", "position", "sent_at"]
        add = self._store.insert(t.dead_letter).on_conflict_do_nothing(index_elements=once)
        return int(connection.execute(add, rows, execution_options={"preserve_rowcount": True}).rowcount)

    # who reads what

    def share(self, source: str, owner: str, partitions: Sequence[str], body: dict[str, Any]) -> dict[str, str]:
        """Say that a process reads a source, and return the partitions that are its own for now, with their positions.

        The processes that said so lately divide the partitions evenly; one that another still reads is left to it until it gives it back. Two that believe
        to own the same one do no harm: only one of them can move its position.

        Args:
            source: Name of the stream.
            owner: Of the process, new with each start.
            partitions: All that the broker knows.
            body: State of the process, as JSON.
        """
        p, h = t.stream_position.c, t.heartbeat.c
        prefix = _name(source, "")
        moment = now()
        with self._store.writing() as connection:
            self._beat(connection, prefix + owner, body)
            for partition in partitions:
                connection.execute(self._new_position(source, partition))
            alive = select(h.name, h.body).where(
                h.name.startswith(prefix, autoescape=True), h.at > moment - FRESH_MICROS
            )
            owners = sorted(
                name
                for name, said in connection.execute(alive)
                if name == prefix + owner or json.loads(said)["state"] != AWAY
            )
            wanted = sorted(partitions)[owners.index(prefix + owner) :: len(owners)]
            mine = (p.source == source) & (p.owner == owner)
            connection.execute(update(t.stream_position).where(mine, p.partition.not_in(wanted)).values(owner=None))
            free = p.owner.is_(None) | (p.owner == owner) | (p.owned_until < moment)
            taken = {"owner": owner, "owned_until": moment + FRESH_MICROS}
            for partition in wanted:
                one = (p.source == source) & (p.partition == partition) & free
                connection.execute(update(t.stream_position).where(one).values(taken))
            own = select(p.partition, p.position).where(mine)
            return _pairs(connection.execute(own))

    def leave(self, source: str, owner: str) -> None:
        """Give the partitions of a process back."""
        p, h = t.stream_position.c, t.heartbeat.c
        with self._store.writing() as connection:
            mine = (p.source == source) & (p.owner == owner)
            connection.execute(update(t.stream_position).where(mine).values(owner=None))
            connection.execute(delete(t.heartbeat).where(h.name == _name(source, owner)))

    def move(self, source: str, positions: dict[str, str]) -> None:
        """Let partitions be read on from other positions; a running process notices it within seconds."""
        p = t.stream_position.c
        with self._store.writing() as connection:
            for partition, position in sorted(positions.items()):
                connection.execute(self._new_position(source, partition))
                one = (p.source == source) & (p.partition == partition)
                connection.execute(update(t.stream_position).where(one).values(position=position))

    def _new_position(self, source: str, partition: str) -> Any:
        row = {"source": source, "partition": partition, "position": "", "owned_until": 0, **dict.fromkeys(COUNTS, 0)}
        return self._store.insert(t.stream_position).values(checked(t.stream_position, row)).on_conflict_do_nothing()

    def partitions(self) -> list[PartitionState]:
        """Return the state of every partition."""
        p = t.stream_position.c
        wanted = select(*(p[name] for name in PartitionState.__dataclass_fields__)).order_by(p.source, p.partition)
        with self._store.reading() as connection:
            return [PartitionState(*row) for row in connection.execute(wanted)]

    # what processes say

    def beat(self, name: str, body: dict[str, Any]) -> None:
        """Keep what a process says of itself."""
        with self._store.writing() as connection:
            self._beat(connection, name, body)

    def _beat(self, connection: Connection, name: str, body: dict[str, Any]) -> None:
        values = {"at": now(), "body": json.dumps(body, ensure_ascii=False)}
        add = self._store.insert(t.heartbeat).values(checked(t.heartbeat, {"name": name, **values}))
        connection.execute(add.on_conflict_do_update(index_elements=["name"], set_=values))
        old = t.heartbeat.c.at < now() - 20 * FRESH_MICROS
        connection.execute(delete(t.heartbeat).where(old, t.heartbeat.c.name != LEARNER))

    def heartbeats(self, prefix: str = "") -> list[Heartbeat]:
        """Return what processes last said; those that ended without a word are there for some minutes."""
        h = t.heartbeat.c
        wanted = select(h.name, h.at, h.body).where(h.name.startswith(prefix, autoescape=True)).order_by(h.name)
        with self._store.reading() as connection:
            return [Heartbeat(name, at, json.loads(body)) for name, at, body in connection.execute(wanted)]

    def summary(self) -> list[dict[str, Any]]:
        """Return the state of each stream that is read, or ever was: for probes, metrics and pages."""
        beats = [beat for beat in self.heartbeats(_PREFIX) if beat.is_fresh]
        states, letters = self.partitions(), self.count_letters()
        names = {beat.name.split("/")[1] for beat in beats} | {state.source for state in states} | set(letters)
        found = []
        for name in sorted(names):
            own = [state for state in states if state.source == name]
            said = [beat.body for beat in beats if beat.name.startswith(_name(name, ""))]
            lately = min(said, key=lambda body: _STATES.index(body["state"]), default=None)
            late = min((now() - state.last_at for state in own if state.last_at is not None), default=0)
            is_late = lately is not None and (lately["state"] != "reading" or any(body["is_behind"] for body in said))
            found.append(
                {
                    "source": name,
                    "state": STOPPED if lately is None else lately["state"],
                    "message": "" if lately is None else lately["message"],
                    "since": None if lately is None else lately["since"],
                    "consumers": len(said),
                    "behind_seconds": round(late / 1e6, 1) if is_late or lately is None else 0.0,
                    **{count: sum(getattr(state, count) for state in own) for count in COUNTS},
                    "dead_letters": letters.get(name, 0),
                }
            )
        return found

    def waiting_content(self) -> int:
        """Return how many events wait to have their content encoded."""
        with self._store.reading() as connection:
            return int(connection.scalar(select(func.count()).where(t.event.c.encoder == "")) or 0)

    # dead letters

    def letters(
        self,
        source: str | None = None,
        numbers: Sequence[int] = (),
        user_id: str | None = None,
        limit: int | None = 1000,
    ) -> list[DeadLetter]:
        """Return dead letters, oldest first: of a source, with these numbers, of a user, or all; so many at most, None for no limit."""
        d = t.dead_letter.c
        wanted: Select[Any] = select(*(d[name] for name in DeadLetter.__dataclass_fields__))
        if source is not None:
            wanted = wanted.where(d.source == source)
        if numbers:
            wanted = wanted.where(d.number.in_(numbers))
        if user_id is not None:
            wanted = wanted.where(d.user_id == user_id)
        with self._store.reading() as connection:
            rows = connection.execute(wanted.order_by(d.number).limit(limit)).mappings().all()
        return [DeadLetter(**{**row, "reason": json.loads(row["reason"])}) for row in rows]

    def count_letters(self) -> dict[str, int]:
        """Return how many dead letters each source has."""
        d = t.dead_letter.c
        with self._store.reading() as connection:
            return _pairs(connection.execute(select(d.source, func.count()).group_by(d.source)))

    def send_again(self, letter: DeadLetter, event: Event) -> bool:
        """Store the event of a dead letter that can be stored now, and delete the letter; return whether it was new.

        Nothing is done where the letter is gone: another process was faster, or its user was erased.
        """
        with self._store.writing() as connection:
            erasures = self._erasures(connection)
            is_present = self._is_present(erasures, event.user_id, letter.sent_at or letter.received_at)
            gone = delete(t.dead_letter).where(t.dead_letter.c.number == letter.number)
            if connection.execute(gone).rowcount == 0 or not is_present:
                return False
            return self._store.append_within(connection, [event]) > 0

    def drop(self, source: str | None, numbers: Sequence[int]) -> int:
        """Delete dead letters of a source, with these numbers, or both; return how many."""
        d = t.dead_letter.c
        chosen = (d.source == source) if source is not None else true()
        chosen &= d.number.in_(numbers) if numbers else true()
        with self._store.writing() as connection:
            found = connection.execute(delete(t.dead_letter).where(chosen)).rowcount
        self._store.empty_log()
        return int(found)


_PREFIX = "stream/"
_STATES = ("reading", "waiting", AWAY)
COUNTS = ("stored", "duplicates", "refused", "erased")
"""What becomes of records."""


def _name(source: str, owner: str) -> str:
    return f"{_PREFIX}{source}/{owner}"


def _pairs(rows: Iterable[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in rows}


def _row(letter: DeadLetter) -> dict[str, Any]:
    row = asdict(letter) | {"reason": json.dumps(letter.reason, ensure_ascii=False)}
    del row["number"]
    user = letter.user_id if len(letter.user_id) <= MAX_ID and letter.user_id.isprintable() else ""
    return checked(t.dead_letter, {**row, "user_id": user, "body": letter.body[:MAX_BODY]})
