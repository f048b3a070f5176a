"""An update: the members of a bundle take new events in, each as often as it can afford.

In: a bundle and the events of all users. Out: the bundle that learned from them, and how each member did.

Members that have sums over users (`Member.user_sums`) keep them here: the events of changed users are exchanged in the sums, the others are not read
again. What then is left of a fit (an inverse, the largest entries) costs by the size of the catalog, so that members which take long take turns.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from penchant.core.config import Settings
from penchant.core.schema import Histories
from penchant.experiment.fit_cache import FitCache
from penchant.experiment.refit import refitted
from penchant.learning.changes import changed_users
from penchant.models.member import Member, make_member
from penchant.models.shared import SharedResults
from penchant.models.user_sums import UserSums
from penchant.recommender.recommender import Recommender

logger = logging.getLogger("penchant.learning")
HOUR = 3_600_000_000
How = Literal["added", "refitted", "continued", "kept"]
"""added: by exchanging the events of changed users in its sums; refitted: from all events; continued: a network, from where it was; kept: not yet."""
MAX_CHANGED = 0.5
"""Share of changed events above which sums are computed anew: exchanging reads each of them twice."""
TRACE = 1e-5
"""Entries of a sparse sum below it are rounding: no event counts so little."""
EXCHANGES = 1000
"""Exchanges after which sums are computed anew, so that rounding does not add up."""


class UpdatingConfig(Settings):
    """How much of the model an update renews."""

    seconds: float = Field(10, ge=0)
    """Fitting time of one update: the members that took least are renewed, as many as fit in."""
    all_hours: float = Field(1, ge=0)
    """Hours after which a member is renewed whatever it takes; 0 renews all in every update."""
    network_hours: float = Field(24, ge=0)
    """The same of networks, which continue from where they were, on old events too; after an erasure that they learned from, from scratch, with the next update."""


@dataclass(frozen=True)
class Update:
    """A bundle that learned from newer events.

    Attributes:
        recommender: The bundle.
        how: Member to how it took the events in.
        seconds: Member to the time its last fit took, as far as it is known.
        learned_at: Member to the time of the events it last learned from, microseconds since 1970.
        sum_seconds: Time that the sums took.
    """

    recommender: Recommender
    how: Mapping[str, How]
    seconds: Mapping[str, float]
    learned_at: Mapping[str, int]
    sum_seconds: float = 0.0


@dataclass
class Sums:
    """Sums over users of one set of events.

    Attributes:
        values: Name to sum.
        events: The events of all users that they are of; None before there are any.
        exchanges: Exchanges since they were computed from all.
    """

    values: dict[Hashable, Any] = field(default_factory=dict)
    events: Histories | None = None
    exchanges: int = 0

    def renew(self, functions: UserSums, events: Histories) -> int:
        """Bring the sums to these events; return how many events of users were read for it.

        Args:
            functions: Name to the sum; others are forgotten.
            events: Of all users.
        """
        before = self.events
        is_other = before is None or before.num_items != events.num_items or self.exchanges >= EXCHANGES
        gone, come = (None, None) if is_other or before is None else changed_users(before, events)
        read = events.num_events
        if before is not None and gone is not None and come is not None:
            lost, found = before.take(gone), events.take(come)
            read = lost.num_events + found.num_events
            if read > MAX_CHANGED * events.num_events:
                gone = None
        if before is None or gone is None:
            self.values, self.exchanges, read = {}, 0, events.num_events
        else:
            for name in self.values.keys() & functions.keys():
                self.values[name] = _cleaned(self.values[name] + functions[name](found) - functions[name](lost))
            self.exchanges += 1
        self.values = {name: self.values[name] if name in self.values else f(events) for name, f in functions.items()}
        self.events = events
        return read


class Updater:
    """Updates one bundle again and again; the sums of its members are kept in memory.

    Args:
        config: How much an update renews.
    """

    def __init__(self, config: UpdatingConfig | None = None) -> None:
        self.config = config or UpdatingConfig()
        self._sums = Sums()

    def update(
        self,
        bundle: Recommender,
        events: Histories,
        *,
        at: int,
        seconds: Mapping[str, float] | None = None,
        learned_at: Mapping[str, int] | None = None,
        anew: Collection[str] = (),
    ) -> Update:
        """Return a bundle whose members learned from these events, as far as they are due.

        Args:
            bundle: Over the catalog of the events.
            events: Of all users.
            at: Moment of the update, microseconds since 1970.
            seconds: Member to the time its last fit took; one that is not named is renewed.
            learned_at: Member to when it was last renewed.
            anew: Members that must not continue from what they learned, for an erasure's sake; they are due.
        """
        seconds, learned_at = dict(seconds or {}), dict(learned_at or {})
        due = self._due(bundle, at, seconds, learned_at) | set(anew)
        began = perf_counter()
        functions = {n: f for member in sorted(due) for n, f in _sums_of(bundle, member, events).items()}
        self._sums.renew(functions, events)
        spent = perf_counter() - began
        shared = SharedResults(train=events)
        shared.found.update(self._sums.values)
        fits = FitCache(shared=shared)
        kept = bundle.ensemble.members.keys() - due
        learned, found = refitted(bundle, events, kept=kept, anew=anew, fits=fits)
        how: dict[str, How] = {}
        for name, member in bundle.ensemble.members.items():
            has_sums = bool(_sums_of(bundle, name, events))
            how[name] = _how(name in due, has_sums, member.is_costly and name not in anew)
        seconds |= found
        learned_at |= dict.fromkeys(due, at)
        return Update(learned, how, seconds, learned_at, spent)

    def _due(
        self, bundle: Recommender, at: int, seconds: Mapping[str, float], learned_at: Mapping[str, int]
    ) -> set[str]:
        """Return the members to renew: those that waited long enough, and of the others the quickest that fit in the time."""
        due, left = set(), self.config.seconds
        members = bundle.ensemble.members
        for name in sorted(members, key=lambda one: (members[one].is_costly, seconds.get(one, 0.0), one)):
            hours = self.config.network_hours if members[name].is_costly else self.config.all_hours
            has_waited = at - learned_at.get(name, 0) >= hours * HOUR
            fits_in = not members[name].is_costly and seconds.get(name, 0.0) <= left
            if has_waited or fits_in:
                due.add(name)
                left -= 0.0 if has_waited else seconds.get(name, 0.0)
        return due


def _sums_of(bundle: Recommender, name: str, events: Histories) -> UserSums:
    return _all_sums(make_member(name, bundle.tables[name]), events)


def _all_sums(member: Member, events: Histories) -> UserSums:
    """Return the sums of a member and of those that it holds."""
    found = dict(member.user_sums(events))
    for part in member.parts().values():
        found |= _all_sums(part, events)
    return found


def _cleaned(value: Any) -> Any:
    """Return a sum without the traces that rounding leaves where nothing is any more."""
    if isinstance(value, sparse.csr_array):
        value.data[np.abs(value.data) < TRACE] = 0
        value.eliminate_zeros()
    return value


def _how(is_due: bool, has_sums: bool, is_continued: bool) -> How:
    if not is_due:
        return "kept"
    if is_continued:
        return "continued"
    return "added" if has_sums else "refitted"
