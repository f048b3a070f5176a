"""What a trial found: each metric of each variant, with intervals that may be read at any time.

In: who saw which variant first, and the events after that. Out: `TrialResults`; and which variants a guardrail ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penchant.core.messages import Message, message
from penchant.metrics.sequential import SequentialDifference, sequential_difference
from penchant.service.served_lists import MICROSECONDS, Exposure
from penchant.service.store import Event
from penchant.service.trial import TrialConfig, TrialMetricConfig


@dataclass(frozen=True)
class MetricResult:
    """One metric of one variant.

    Attributes:
        metric: Its name.
        mean: Mean over the users whose time has passed; NaN without any.
        num_users: These users.
        against_first: The difference to the first variant; None of the first variant itself.
    """

    metric: str
    mean: float
    num_users: int
    against_first: SequentialDifference | None


@dataclass(frozen=True)
class VariantResult:
    """One variant.

    Attributes:
        name: Its name.
        num_users: Users who were served a list of it.
        metrics: In the order of the settings.
        ended: Why a guardrail ended it, as a packed message; "" while it runs.
    """

    name: str
    num_users: int
    metrics: tuple[MetricResult, ...]
    ended: str = ""


@dataclass(frozen=True)
class TrialResults:
    """The state of a trial.

    Attributes:
        name: Of the trial.
        variants: The one that the others are compared with first.
        counted_at: Microseconds since 1970.
    """

    name: str
    variants: tuple[VariantResult, ...]
    counted_at: int


def trial_results(
    config: TrialConfig,
    exposures: Sequence[Exposure],
    events: Mapping[str, Sequence[Event]],
    ended: Mapping[str, str],
    now: int,
) -> TrialResults:
    """Return the state of a trial.

    Args:
        config: The trial.
        exposures: In the order of the users' first lists.
        events: Of these users.
        ended: Variants that were ended, with the reason.
        now: Microseconds since 1970: users whose time has not passed do not count yet.
    """
    values = {
        (variant, metric): _values(config.metrics[metric], variant, exposures, events, now)
        for variant in config.names
        for metric in config.metrics
    }
    first, *others = config.names
    comparisons = max(1, len(others) * len(config.metrics))

    def result(variant: str, metric: str) -> MetricResult:
        own = values[variant, metric]
        mean = float(own.mean()) if len(own) else float("nan")
        difference = None
        if variant != first:
            difference = sequential_difference(values[first, metric], own, comparisons=comparisons)
        return MetricResult(metric, mean, len(own), difference)

    variants = tuple(
        VariantResult(
            name,
            sum(exposure.variant == name for exposure in exposures),
            tuple(result(name, metric) for metric in config.metrics),
            ended.get(name, ""),
        )
        for name in config.names
    )
    return TrialResults(config.name, variants, now)


def broken_guardrails(config: TrialConfig, results: TrialResults) -> dict[str, Message]:
    """Return the variants that are to end, with the reason."""
    found: dict[str, Message] = {}
    for variant in results.variants[1:]:
        for rail in config.guardrails:
            (metric,) = [one for one in variant.metrics if one.metric == rail.metric]
            gap = metric.against_first
            if not variant.ended and gap is not None and gap.high < -rail.worse_by:
                found[variant.name] = message(
                    "{metric} is lower than with {first}: {gap} [{low}, {high}], over {count} users",
                    metric=rail.metric,
                    first=results.variants[0].name,
                    gap=f"{gap.mean:+.4f}",
                    low=f"{gap.low:+.4f}",
                    high=f"{gap.high:+.4f}",
                    count=f"{gap.num_first + gap.num_second:,}",
                )
                break
    return found


def _values(
    metric: TrialMetricConfig,
    variant: str,
    exposures: Sequence[Exposure],
    events: Mapping[str, Sequence[Event]],
    now: int,
) -> np.ndarray:
    """Return one number for each user of a variant whose time has passed."""
    window, kinds = int(metric.hours * MICROSECONDS), frozenset(metric.kinds)
    found = []
    for one in exposures:
        if one.variant == variant and one.at + window <= now:
            own = events.get(one.user_id, ())
            count = sum(e.kind in kinds and one.at <= e.at < one.at + window for e in own)
            found.append(min(count, 1 if metric.counts == "users" else metric.most))
    return np.array(found, np.float64)
