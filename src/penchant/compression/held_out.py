"""Events of a bundle that are held out to measure what compression costs.

In: the events that a bundle's members learned from. Out: the same without the last events of some users, and those events as truth.

The test of the run is not used: a choice among compressions would be made on it. Members are fitted again without the held-out events, since a member
that has seen an event gives it back however it is compressed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from penchant.core.errors import DataError
from penchant.core.schema import Histories
from penchant.core.seeds import generator
from penchant.experiment.fit import HoldOut

SHARE = 0.1
"""Of a user's events that are held out, the last; at least one."""
MIN_EVENTS = 5
"""Events of a user who is measured, at least."""
MIN_USERS = 20
"""Users below which nothing can be measured."""


@dataclass(frozen=True)
class Halves:
    """Held-out events in two halves: a point is chosen on one, and measured once more on the other.

    Attributes:
        train: What members are fitted on.
        choice: Users on whom weights are fitted again and a point is chosen.
        check: Other users, who had no part in the choice.
    """

    train: Histories
    choice: HoldOut
    check: HoldOut


def hold_out(events: Histories, users: int, seed: int) -> Halves:
    """Hold out the last tenth of the events of drawn users.

    Args:
        events: What the bundle's members learned from.
        users: Users drawn at most, of those with at least `MIN_EVENTS` events.
        seed: Of the draw.

    Raises:
        DataError: There are fewer than `MIN_USERS` such users.
    """
    lengths = events.lengths()
    able = np.flatnonzero(lengths >= MIN_EVENTS)
    if len(able) < MIN_USERS:
        raise DataError(
            f"The bundle has {len(able)} users with {MIN_EVENTS} events or more.",
            where="the bundle's histories",
            fix=f"compress a bundle with at least {MIN_USERS} such users: what compression costs is measured on them",
        )
    drawn = np.sort(generator(seed, "compress.users").permutation(able)[:users])
    count = np.zeros(len(events), np.int64)
    count[drawn] = np.maximum(1, (SHARE * lengths[drawn]).astype(np.int64))
    is_held = events.ages() < np.repeat(count, lengths)
    train, truth = events.where(~is_held), events.where(is_held)
    return Halves(train, *(_part(train, truth, part) for part in (drawn[::2], drawn[1::2])))


def _part(train: Histories, truth: Histories, users: Int64[np.ndarray, " chosen"]) -> HoldOut:
    """Return some users as of the moment of their first held-out event."""
    known, chosen = train.take(users), truth.take(users)
    asked = known.requested(chosen.at[chosen.offsets[:-1]]).under_circumstances_of(chosen)
    return replace(HoldOut(asked, chosen), learned=train)


def relative_loss(point: Float64[np.ndarray, " users"], original: Float64[np.ndarray, " users"]) -> float:
    """Return the share of the original's mean that a point loses; negative where it gains."""
    mean = float(original.mean())
    return float((mean - point.mean()) / mean) if mean > 0 else 0.0


def standard_error(point: Float64[np.ndarray, " users"], original: Float64[np.ndarray, " users"]) -> float:
    """Return the standard error over users of `relative_loss`, the original's mean taken as known; 0 where every user has the same."""
    mean, users = float(original.mean()), len(original)
    return float((original - point).std(ddof=1) / np.sqrt(users) / mean) if mean > 0 and users > 1 else 0.0
