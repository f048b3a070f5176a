"""What one more member can be expected to add to an ensemble, before it is trained in full.

In: fitted members, the one in question among them, and a scorer. Out: the gain of users who were left out when the weights were fitted, with its
interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from penchant.experiment.pool import MemberPool, weighed_users
from penchant.experiment.selection import ValidationScorer
from penchant.experiment.weighting import HALVES, LEAST_SQUARES, MIN_HALF_USERS
from penchant.fusion import late
from penchant.metrics.intervals import BootstrapMeans, Interval
from penchant.models.member import Member

MAX_USERS = 1000
"""Users that the gain is measured on, evenly spaced."""
USEFUL = 0.02
"""Gain, as a share of the ensemble's NDCG, from which on training pays."""
TRAINED = 2.0
"""By how much a network's gain may grow from the few epochs of a comparison to the full training."""


@dataclass(frozen=True)
class ExpectedGain:
    """What a member adds on left-out users.

    Attributes:
        gain: Of NDCG, with its interval, as measured.
        reached: NDCG of the same users without the member.
    """

    gain: Interval
    reached: float

    @property
    def most(self) -> float:
        """The most that the member can be expected to gain: `TRAINED` times the gain that was measured, and the upper half of its interval."""
        return TRAINED * max(self.gain.mean, 0.0) + self.gain.high - self.gain.mean

    @property
    def suffices(self) -> bool:
        """Whether the other members suffice: not even the most that can be expected is a useful gain."""
        return self.most < USEFUL * self.reached


def expected_gain(members: Mapping[str, Member], asked: str, scorer: ValidationScorer) -> ExpectedGain | None:
    """Return what one of the members adds to the others, weights fitted on each half of the users and tried on the other half; None with too
    few users.

    Args:
        members: Fitted; the one in question may have learned for a few epochs only.
        asked: Its name.
        scorer: Validation users.
    """
    few = np.linspace(0, len(scorer.histories) - 1, min(MAX_USERS, len(scorer.histories))).astype(np.int64)
    scorer = scorer.take(few)
    config = late.EnsembleConfig(max_users=MAX_USERS, bands=1)
    users = weighed_users(scorer.truth, config)
    if len(users) < 2 * MIN_HALF_USERS:
        return None
    pool = MemberPool(members)
    pool = pool if scorer.log is None else pool.observed(scorer.log)
    names = sorted(members)
    others = [name for name in names if name != asked]
    moments = pool.moments(names, scorer.histories, scorer.truth, config, candidates=scorer.candidates)
    scorer = replace(scorer, log=None)  # the members know it
    gained, reached = [], []
    for half, other in (HALVES, HALVES[::-1]):
        own = moments.folds(*half)
        without = own.only([names.index(name) for name in others])
        rows = {
            "with": LEAST_SQUARES.fit(names, {"length": own}, None, config),
            "without": LEAST_SQUARES.fit(others, {"length": without}, None, config),
        }
        left_out = users[np.isin(np.arange(len(users)) % late.FOLDS, other)]
        found = scorer.take(left_out).gains(pool, rows)
        gained.append(found["with"] - found["without"])
        reached.append(found["without"])
    interval = BootstrapMeans(np.concatenate(gained)[:, None]).interval(0)
    return ExpectedGain(interval, float(np.concatenate(reached).mean()))
