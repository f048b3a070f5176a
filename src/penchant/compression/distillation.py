"""The whole ensemble as one small network that was taught its lists.

In: a recommender. Out: the recommender with the network alone, whose settings hold those of its teachers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from penchant.core.logs import logger
from penchant.core.schema import Histories
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.event_log import EventLog
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender

NAME = "distilled"
"""Of the member."""
ALONE = EnsembleWeights({NAME: 1.0})


def distilled(recommender: Recommender, student: Mapping[str, Any], events: Histories) -> Recommender:
    """Return the recommender with one network in place of its members.

    Args:
        recommender: Its members teach, with their weights.
        student: Settings of the network, as those of the model `distilled`; what is not named has its default.
        events: What the members learned from; the lists that are taught are those of these users.
    """
    ensemble = recommender.ensemble
    weights = ensemble.weights
    bands = {"by": weights.by, "starts": list(weights.starts), "weights": [dict(one) for one in weights.bands]}
    table = {
        **student,
        "model": "distilled",
        "teachers": {name: dict(recommender.tables[name]) for name in ensemble.members},
        "weights": dict(weights),
        "bands": bands if weights.bands else {},
    }
    teachers = make_member(NAME, table).with_parts(ensemble.members)
    member = teachers.fit(events, recommender.content)
    logger.info("  distilled %d members", len(ensemble.members))
    alone = Ensemble.build({NAME: member}, ALONE, recommender.content)
    return replace(recommender, ensemble=alone, tables={NAME: table}).observed(EventLog.of(events))
