"""Alarms: the store's events are watched, what moved is kept, counted, and told to a webhook or a command.

In: the store's new events, one process at a time. Out: alarms in the store, without any id of a user; metrics; a message to the hook.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from pydantic import Field
from sqlalchemy import func, select

from penchant.core.config import Settings
from penchant.core.errors import PenchantError
from penchant.core.logs import logger
from penchant.core.messages import Message, Translator, packed, unpacked
from penchant.metrics.ranking import discounted_gain
from penchant.models.ensemble import top_k
from penchant.recommender.recommender import Recommender
from penchant.service import store_tables as t
from penchant.service.fetching import Fetcher
from penchant.service.store import Event, Store, now
from penchant.service.store_values import checked
from penchant.service.watching import LIST, EventWatcher, Moved, as_values, describe

if TYPE_CHECKING:
    from penchant.service.service import Service

READ_EVENTS = 2000
"""Events read in one step."""
COMMAND_SECONDS = 30
KEPT = 200
"""Alarms that are kept in the store."""


class AlarmsConfig(Settings):
    """What is watched, and who is told."""

    quality_events: int = Field(20, ge=0)
    """Choices of each second whose place in the lists is looked up, for the quality of the lists; each costs two scorings of a history."""
    webhook: str | None = None
    """https address that is sent each alarm as JSON; its host must be on the allow-list (`allow_hosts`)."""
    command: list[str] = []
    """Program and arguments that are run for each alarm, with the JSON on its standard input; no shell."""


@dataclass(frozen=True)
class Alarm:
    """Signals that moved together.

    Attributes:
        at: When it was noticed, microseconds since 1970.
        lines: What moved, the largest change first, as messages.
        moved: The same as values.
    """

    at: int
    lines: tuple[Message | str, ...]
    moved: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        """Return the alarm as a hook gets it: in both languages."""
        chinese = Translator("zh")
        return {
            "at": self.at,
            "text": "\n".join(self.lines),
            "text_zh": "\n".join(chinese.said(line) for line in self.lines),
            "moved": list(self.moved),
        }


class AlarmLog:
    """Alarms in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, alarm: Alarm) -> None:
        """Store an alarm; the oldest beyond `KEPT` go."""
        body = {"lines": [packed(line) for line in alarm.lines], "moved": list(alarm.moved)}
        row = checked(t.alarm, {"at": alarm.at, "body": json.dumps(body, ensure_ascii=False)})
        with self._store.writing() as connection:
            connection.execute(t.alarm.insert(), row)
            last = connection.scalar(select(func.max(t.alarm.c.number))) or 0
            connection.execute(t.alarm.delete().where(t.alarm.c.number <= last - KEPT))

    def newest(self, limit: int = 20) -> list[Alarm]:
        """Return the newest alarms, the newest first."""
        wanted = select(t.alarm.c.at, t.alarm.c.body).order_by(t.alarm.c.number.desc()).limit(limit)
        with self._store.reading() as connection:
            rows = connection.execute(wanted).all()
        return [_alarm(row.at, json.loads(row.body)) for row in rows]


def _alarm(at: int, body: dict[str, Any]) -> Alarm:
    return Alarm(at, tuple(unpacked(line) for line in body["lines"]), tuple(body["moved"]))


class AlarmWorker:
    """Watches the events of a service's store; of several processes of one machine, one does.

    Args:
        config: What and whom.
        service: With the store and the model; the model at the start is the one that later ones are compared with.
        count: Counts each signal of an alarm.
        set_level: Is told the newest NDCG of "served", "popularity" and "frozen".
    """

    def __init__(
        self,
        config: AlarmsConfig,
        service: Service,
        count: Callable[[str], None] = lambda _: None,
        set_level: Callable[[str, float], None] = lambda _name, _level: None,
    ) -> None:
        self.log = AlarmLog(service.store)
        self._set_level = set_level
        self._config, self._service, self._count = config, service, count
        self._frozen = service.snapshot.recommender
        self._watcher = EventWatcher(self._frozen)
        self._popularity = np.bincount(self._frozen.histories.item_index, minlength=len(self._frozen.catalog))
        self._last: int | None = None
        self._lock: IO[str] | None = None
        self._path = service.config.state_folder / "alarms.lock"
        self._levels: dict[str, deque[float]] = {}

    @property
    def levels(self) -> dict[str, float]:
        """NDCG of the latest lists that were looked up: "served", "popularity", and "frozen" where the model was replaced."""
        return {name: float(np.mean(values)) for name, values in self._levels.items() if values}

    @property
    def counted(self) -> int:
        """Events that counted since the start."""
        return self._watcher.counted

    def step(self) -> None:
        """Read the events that came since, and tell what moved."""
        if not self._is_first():
            return
        if self._last is None:
            self._last = self._service.store.last_event()
            return
        rows = self._new_events()
        budget = self._config.quality_events
        for number, user_id, item_id, kind, at in rows:
            self._last = number
            self._tell(self._watcher.event(user_id, item_id, kind))
            if budget and self._look_up(user_id, item_id, at):
                budget -= 1

    def _is_first(self) -> bool:
        """Return whether this process watches; the lock ends with the process."""
        if self._lock is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return False
            self._lock = file
        return True

    def close(self) -> None:
        """Let another process watch."""
        if self._lock is not None:
            self._lock.close()

    def _new_events(self) -> Sequence[Any]:
        e = t.event.c
        wanted = select(e.sequence, e.user_id, e.item_id, e.kind, e.at).where(e.sequence > self._last, e.kind != "")
        with self._service.store.reading() as connection:
            return connection.execute(wanted.order_by(e.sequence).limit(READ_EVENTS)).all()

    def _look_up(self, user_id: str, item_id: str, at: int) -> bool:
        """Look up the place of a choice in the lists of the moment before it; return whether there was one to look up."""
        snapshot = self._service.snapshot
        recommender = snapshot.recommender
        if item_id not in self._frozen.lookup.items or item_id not in recommender.lookup.items:
            return False
        before = [event for event in self._service.store.events(user_id) if event.at < at]
        use_own = not snapshot.is_erased(user_id)
        served = _ndcg(recommender, user_id, before, item_id, use_own)
        if served is None:
            return False
        popular = _ndcg(self._frozen, user_id, before, item_id, use_own, self._popularity) or 0.0
        is_same = recommender.ensemble is self._frozen.ensemble or recommender.mark == self._frozen.mark
        frozen = None if is_same else _ndcg(self._frozen, user_id, before, item_id, use_own)
        for name, value in (("served", served), ("popularity", popular), ("frozen", frozen)):
            if value is not None:
                self._levels.setdefault(name, deque(maxlen=500)).append(value)
                self._set_level(name, float(np.mean(self._levels[name])))
        self._tell(self._watcher.quality(served, popular, frozen))
        return True

    def _tell(self, found: list[Moved]) -> None:
        if not found:
            return
        alarm = Alarm(now(), tuple(describe(found)), tuple(dict(as_values(one)) for one in found))
        self.log.add(alarm)
        for one in found:
            self._count(one.signal)
        logger.warning("alarm: %s", "; ".join(alarm.lines))
        self._call_hooks(json.dumps(alarm.as_json(), ensure_ascii=False))

    def _call_hooks(self, body: str) -> None:
        """Tell the webhook and the command; a hook that fails is logged, and the alarm stays in the store."""
        config = self._service.config
        if self._config.webhook is not None:
            try:
                Fetcher(config.allow_hosts, seconds=COMMAND_SECONDS).send(self._config.webhook, body.encode())
            except PenchantError as error:
                logger.error("the alarm's webhook: %s", error)
        if self._config.command:
            try:
                subprocess.run(  # noqa: S603 - the operator's own command, without a shell
                    self._config.command,
                    input=body,
                    text=True,
                    timeout=COMMAND_SECONDS,
                    check=True,
                    capture_output=True,
                )
            except (OSError, subprocess.SubprocessError) as error:
                logger.error("the alarm's command: %s", error)


def _ndcg(
    recommender: Recommender,
    user_id: str,
    before: Sequence[Event],
    item_id: str,
    use_own: bool,
    popularity: np.ndarray | None = None,
) -> float | None:
    """Return the gain of one choice in the list of the moment before; None where the user had the item already."""
    history = recommender.history(user_id, [_without_content(event) for event in before], use_own=use_own)
    row = recommender.lookup.row(item_id)
    if row in history.item_index:
        return None
    scores = np.array(recommender.score(history)[0]) if popularity is None else popularity.astype(np.float32)
    scores[history.item_index] = -np.inf
    (found,) = np.nonzero(top_k(scores[None], LIST, [""]).item_index[0] == row)
    return float(discounted_gain(found, LIST).sum())


def _without_content(event: Event) -> Event:
    """Return an event without what its user wrote or showed."""
    return Event(event.user_id, event.item_id, event.kind, event.at, event.value, event.key)
