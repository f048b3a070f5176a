"""Profiles in words as a service shows them: written when they are first read, and written again in the background after new events.

In: a user and a language. Out: sentences, each with the events behind it, and of when they are.

Fixed sentences cost nothing and are always those of now. What a language model worded is kept, in memory alone, and shown with its date until it is written again;
the facts beside it are always those of now. It is not shown any more once an event that it was written of is gone.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from penchant.core.errors import PenchantError
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.explanation.profile import Profile
from penchant.explanation.written_profile import ProfileWriter, WrittenProfile
from penchant.language.engine import MAX_TEXTS, TEMPLATE, Engine
from penchant.language.screen import Screen
from penchant.service.snapshot import Snapshots
from penchant.service.store import now
from penchant.service.times import iso_time
from penchant.service.user_states import UserStates


@dataclass(frozen=True)
class _Kept:
    """A profile that a language model was asked for.

    Attributes:
        written: Its words.
        events: Item rows of the events that it was written of.
        at: When, microseconds since 1970.
    """

    written: WrittenProfile
    events: Counter[int]
    at: int


@dataclass(frozen=True)
class _Now:
    """What a profile would be written of now."""

    profile: Profile
    writer: ProfileWriter
    events: Counter[int]
    generation: int


class WrittenProfiles:
    """Words the profiles of a service's users.

    Args:
        snapshots: Know the catalog.
        states: Of users.
        engine: Words profiles; None takes fixed sentences.
        screen: Keeps abuse from being shown.
        rewrite_after: New events of a user after which the words of a language model are written again.
    """

    def __init__(
        self, snapshots: Snapshots, states: UserStates, engine: Engine | None, screen: Screen, rewrite_after: int
    ) -> None:
        self._snapshots, self._states, self._engine, self._screen = snapshots, states, engine, screen
        self._rewrite_after = rewrite_after
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, user_id: str, language: str) -> tuple[dict[str, Any], bool]:
        """Return a profile in words as the API shows it, and whether it is due to be written again.

        The first time, or where an event behind the kept words is gone, the language model is waited for.
        """
        found = self._now(user_id, language)
        if self._engine is None or language not in self._engine.languages:
            (written,) = found.writer.write([found.profile])
            return _shown(written, now(), 0), False
        key = (user_id, language)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None or kept.events - found.events:
            kept = self._keep(key, self._written(found), found)
        num_new = (found.events - kept.events).total()
        shown = replace(kept.written, statements=found.writer.statements(found.profile))
        at = kept.at
        if kept.written.written_by == TEMPLATE:  # what the model wrote was refused: fixed sentences can be those of now
            shown, at = found.writer.fixed(found.profile, kept.written.reason), now()
        return _shown(shown, at, 0 if at != kept.at else num_new), num_new >= self._rewrite_after

    def rewrite(self, user_id: str, language: str, is_waited: Callable[[], bool]) -> bool:
        """Write one profile again, and return whether that is done; `is_waited`, asked with each piece of text, stops it.

        So a conversation that needs the engine does not wait for a whole profile.
        """
        assert self._engine is not None
        found = self._now(user_id, language)
        try:
            for _ in self._engine.stream(found.writer.prompt(found.profile)):  # kept by the engine once it is whole
                if is_waited():
                    return False
        except PenchantError as error:
            logger.warning("a profile was not written again: %s", error.message)
            return True
        self._keep((user_id, language), self._written(found), found)
        return True

    def forget(self) -> None:
        """Drop all words: they may tell of an erased user, or of another model's reading."""
        with self._lock:
            self._kept.clear()

    def _now(self, user_id: str, language: str) -> _Now:
        snapshot, state = self._states.one(user_id)
        profile = snapshot.recommender.profile(state.history, scores=state.scores)
        writer = snapshot.recommender.profile_writer(language, self._engine, self._screen)
        return _Now(profile, writer, Counter(state.history.item_index.tolist()), snapshot.generation)

    def _written(self, found: _Now) -> WrittenProfile:
        try:
            (written,) = found.writer.write([found.profile])
        except PenchantError as error:  # an engine that does not answer
            logger.warning("the engine did not answer: %s", error.message)
            return found.writer.fixed(found.profile, message("the language model does not answer"))
        return written

    def _keep(self, key: tuple[str, str], written: WrittenProfile, found: _Now) -> _Kept:
        kept = _Kept(written, found.events, now())
        with self._lock:
            if found.generation == self._snapshots.current.generation:  # else what it tells of may be erased
                self._kept[key] = kept
                self._kept.move_to_end(key)
                while len(self._kept) > MAX_TEXTS:
                    self._kept.popitem(last=False)
        return kept


def _shown(written: WrittenProfile, at: int, num_new: int) -> dict[str, Any]:
    return {**written.as_dict(), "written_at": iso_time(at), "num_new_events": num_new}
