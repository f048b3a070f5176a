"""What ranking options cost: the rows of the report.

In: nothing. Out: frozen records of lists under each strength of each option, and of the exposure of providers.
"""

from __future__ import annotations

from dataclasses import dataclass

from penchant.core.messages import message
from penchant.metrics.intervals import Difference, Interval

PLAIN = message("by score alone")
DIVERSITY, CALIBRATION = message("diversity"), message("calibration")


@dataclass(frozen=True)
class OptionPrice:
    """Lists under one strength of one ranking option.

    Attributes:
        option: "diversity", "calibration", or "by score alone".
        strength: 0 to 1.
        score: NDCG of the lists.
        price: NDCG minus that of the plain lists, paired; None of these themselves.
        likeness: Mean similarity of two items of one list; NaN without vectors.
        divergence: Mean divergence of the list's mix of kinds from that of the history, in nats; NaN without an attribute.
        popular: Mean share of the list that stands in the list of the most popular items too: what popularity alone explains.
        gini: Inequality of the shares of the providers; NaN without one.
    """

    option: str
    strength: float
    score: Interval
    price: Difference | None
    likeness: float
    divergence: float
    popular: float
    gini: float


@dataclass(frozen=True)
class Exposure:
    """One provider's share.

    Attributes:
        provider: Its value.
        of_lists: Share of the places of the plain lists.
        of_choices: Share of what the same users chose.
        of_catalog: Share of the items.
    """

    provider: str
    of_lists: float
    of_choices: float
    of_catalog: float


@dataclass(frozen=True)
class Prices:
    """What ranking options cost.

    Attributes:
        metric: Of the scores.
        k: Length of the lists.
        num_users: Users they were measured on.
        attribute: Whose mix calibration keeps; "" without one.
        provider: The attribute of the exposures; "" without one.
        rows: The plain list first.
        exposures: Of the providers, the largest shares first.
    """

    metric: str
    k: int
    num_users: int
    attribute: str
    provider: str
    rows: tuple[OptionPrice, ...]
    exposures: tuple[Exposure, ...] = ()
