"""The log of served lists in the store: bounded, exported and erased with its users.

In: lists with what they were chosen from. Out: rows of the store; the same lists again, for export and for off-policy evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
from sqlalchemy import Connection, delete, func, select

from penchant.experiment.off_policy import COLUMNS
from penchant.recommender.exploration import ServedPlaces
from penchant.service import store_tables as t
from penchant.service.store import Event, Store
from penchant.service.store_values import checked
from penchant.service.times import iso_time

MICROSECONDS = 3_600_000_000
"""Of an hour."""
READ_ROWS = 2000
"""Lists read at once."""


@dataclass(frozen=True)
class ServedList:
    """One served list.

    Attributes:
        user_id: The user.
        list_id: Its name; the same request is logged once.
        at: When its user's data was read, microseconds since 1970.
        bundle: Fingerprint of the bundle that ranked.
        variant: Of the trial.
        places: What it was chosen from.
    """

    user_id: str
    list_id: str
    at: int
    bundle: str
    variant: str
    places: ServedPlaces


@dataclass(frozen=True)
class Exposure:
    """When a user was first served a list of a trial."""

    user_id: str
    variant: str
    at: int


class _ErasedMeanwhileError(Exception):
    """A user was erased between the reading of their data and the writing of their list."""


class ServedListLog:
    """Served lists of a store.

    Args:
        store: Holds them.
        subject: Keyed hash of a user's id, as erasures name it.
    """

    def __init__(self, store: Store, subject: Callable[[str], str]) -> None:
        self._store, self._subject = store, subject

    def add(self, lists: Sequence[ServedList], trial: str) -> None:
        """Store lists, and who saw the trial for the first time; a list of a user who was erased since its data was read is left out."""
        while lists:
            erased = self._erased(lists)
            lists = [one for one in lists if not erased or erased.get(self._subject(one.user_id), -1) < one.at]
            try:
                return self._add(lists, trial)
            except _ErasedMeanwhileError:  # all of it is undone, the lock of the user included
                continue

    def _erased(self, lists: Sequence[ServedList], connection: Connection | None = None) -> dict[str, int]:
        """Return the users, as keyed hashes, who were erased since the first of these lists was begun."""
        c = t.erasure.c
        wanted = select(c.subject, c.erased_at).where(c.erased_at >= min(one.at for one in lists)).order_by(c.erased_at)
        with self._store.reading() if connection is None else nullcontext(connection) as reading:
            return {row.subject: row.erased_at for row in reading.execute(wanted)}

    def _add(self, lists: Sequence[ServedList], trial: str) -> None:
        if not lists:
            return
        with self._store.writing() as connection:
            for user_id in sorted({one.user_id for one in lists}):  # one order: two writers never deadlock
                self._store.lock_user(connection, user_id)
            erased = self._erased(lists, connection)
            if any(erased.get(self._subject(one.user_id), -1) >= one.at for one in lists if erased):
                raise _ErasedMeanwhileError
            for one in lists:
                row = {name: getattr(one, name) for name in ("user_id", "list_id", "at", "bundle", "variant")}
                row["body"] = json.dumps(asdict(one.places), ensure_ascii=False)
                add = self._store.insert(t.served_list).values(checked(t.served_list, row))
                connection.execute(add.on_conflict_do_nothing(index_elements=["user_id", "list_id"]))
                seen = {"user_id": one.user_id, "trial": trial, "variant": one.variant, "at": one.at}
                add = self._store.insert(t.exposure).values(checked(t.exposure, seen))
                connection.execute(add.on_conflict_do_nothing(index_elements=["user_id", "trial"]))

    def trim(self, most: int) -> None:
        """Delete the oldest lists beyond a number."""
        with self._store.reading() as connection:
            count = connection.scalar(select(func.count()).select_from(t.served_list)) or 0
            if count <= most:
                return
            ordered = select(t.served_list.c.sequence).order_by(t.served_list.c.sequence)
            bound = connection.scalar(ordered.offset(count - most - 1).limit(1))
        with self._store.writing() as connection:
            connection.execute(delete(t.served_list).where(t.served_list.c.sequence <= bound))

    def of_user(self, user_id: str) -> list[ServedList]:
        """Return the lists of one user, oldest first."""
        return list(self._read(t.served_list.c.user_id == user_id))

    def exposures_of(self, user_id: str) -> list[dict[str, Any]]:
        """Return the trials of which a user was served lists."""
        wanted = select(t.exposure.c.trial, t.exposure.c.variant, t.exposure.c.at)
        with self._store.reading() as connection:
            rows = connection.execute(wanted.where(t.exposure.c.user_id == user_id)).all()
        return [{"trial": trial, "variant": variant, "at": iso_time(at)} for trial, variant, at in rows]

    def exposures(self, trial: str) -> list[Exposure]:
        """Return who was served lists of a trial, in the order of their first one."""
        c = t.exposure.c
        wanted = select(c.user_id, c.variant, c.at).where(c.trial == trial).order_by(c.at, c.user_id)
        with self._store.reading() as connection:
            return [Exposure(*row) for row in connection.execute(wanted)]

    def all(self) -> Iterator[ServedList]:
        """Yield every list, oldest first."""
        last = -1
        while True:
            found = list(self._numbered(last))
            for number, one in found:
                last = number
                yield one
            if len(found) < READ_ROWS:
                return

    def _numbered(self, after: int) -> Iterator[tuple[int, ServedList]]:
        c = t.served_list.c
        wanted = select(c.sequence, c.user_id, c.list_id, c.at, c.bundle, c.variant, c.body)
        wanted = wanted.where(c.sequence > after).order_by(c.sequence).limit(READ_ROWS)
        with self._store.reading() as connection:
            rows = connection.execute(wanted).all()
        for number, *row in rows:
            yield number, _served(row)

    def _read(self, condition: Any) -> Iterator[ServedList]:
        c = t.served_list.c
        wanted = select(c.user_id, c.list_id, c.at, c.bundle, c.variant, c.body).where(condition)
        with self._store.reading() as connection:
            rows = connection.execute(wanted.order_by(c.at, c.sequence)).all()
        return map(_served, rows)

    def ended(self, trial: str) -> dict[str, str]:
        """Return the variants that a guardrail ended, with the reason."""
        c = t.ended_variant.c
        with self._store.reading() as connection:
            rows = connection.execute(select(c.variant, c.reason).where(c.trial == trial))
            return {row.variant: row.reason for row in rows}

    def end(self, trial: str, variant: str, at: int, reason: str) -> bool:
        """End a variant for every process; return whether it ran until now."""
        row = {"trial": trial, "variant": variant, "ended_at": at, "reason": reason}
        add = self._store.insert(t.ended_variant).values(checked(t.ended_variant, row))
        add = add.on_conflict_do_nothing(index_elements=["trial", "variant"])
        with self._store.writing() as connection:
            return bool(connection.execute(add).rowcount)


def exported_list(served: ServedList) -> dict[str, Any]:
    """Return a list as an export shows it."""
    places = served.places
    return {
        "list_id": served.list_id,
        "at": iso_time(served.at),
        "bundle": served.bundle,
        "variant": served.variant,
        "shown": [places.candidates[column] for column in places.shown],
        "propensities": list(places.propensities),
        "candidates": list(places.candidates),
        "scores": list(places.scores),
    }


def served_table(
    log: ServedListLog,
    store: Store,
    history: Callable[[str, Sequence[Event]], Sequence[str]],
    *,
    kinds: Sequence[str] | None,
    hours: float,
    now: int,
) -> pl.DataFrame:
    """Return the log for off-policy evaluation: a row for each shown place, with what it earned.

    An event counts for the last list before it that showed its item, within `hours`; lists whose time has not passed are left out.

    Args:
        log: Served lists.
        store: Events.
        history: A user's id and events until a list, oldest first, to the items that counted.
        kinds: Kinds of event that earn 1; None takes every kind.
        hours: How long after a list.
        now: Microseconds since 1970.
    """
    window = int(hours * MICROSECONDS)
    by_user: dict[str, list[ServedList]] = {}
    for one in log.all():
        if one.at + window <= now:
            by_user.setdefault(one.user_id, []).append(one)
    rows: list[dict[str, Any]] = []
    for user_id, lists in by_user.items():
        events = store.events(user_id)
        earned = _earned(lists, events, kinds, window)
        for one in lists:
            before = [event for event in events if event.at < one.at]
            known = list(history(user_id, before))
            for place, column in enumerate(one.places.shown):
                item = one.places.candidates[column]
                rows.append(
                    {
                        "list_id": f"{user_id} {one.list_id}",
                        "user_id": user_id,
                        "at": one.at,
                        "place": place + 1,
                        "item_id": item,
                        "reward": earned.get((one.list_id, item), 0.0),
                        "propensity": one.places.propensities[place],
                        "candidates": list(one.places.candidates),
                        "history": known,
                        "bundle": one.bundle,
                        "variant": one.variant,
                    }
                )
    return pl.DataFrame(rows, {**COLUMNS, "bundle": pl.String, "variant": pl.String})


def _earned(
    lists: Sequence[ServedList], events: Sequence[Event], kinds: Sequence[str] | None, window: int
) -> Mapping[tuple[str, str], float]:
    """Return 1 for each list and item that an event followed."""
    earned: dict[tuple[str, str], float] = {}
    for event in events:
        if kinds is not None and event.kind not in kinds:
            continue
        for one in reversed(lists):
            shown = {one.places.candidates[column] for column in one.places.shown}
            if one.at <= event.at < one.at + window and event.item_id in shown:
                earned[one.list_id, event.item_id] = 1.0
                break
    return earned


def _served(row: Sequence[Any]) -> ServedList:
    user_id, list_id, at, bundle, variant, body = row
    told = json.loads(body)
    places = ServedPlaces(
        tuple(told["candidates"]),
        tuple(told["scores"]),
        tuple(told["shown"]),
        tuple(told["propensities"]),
        told["first"],
    )
    return ServedList(user_id, list_id, at, bundle, variant, places)
