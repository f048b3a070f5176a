"""Value of each modality from an ablation.

In: one arm for each set of channels (per-user metrics, cost), each fitted without the others. Out: `Ablation`, and gains by group of users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from penchant.core.messages import message
from penchant.core.schema import BEHAVIOUR
from penchant.metrics.comparison import Cost, per_user, shared_metrics
from penchant.metrics.intervals import (
    BETTER,
    SAME,
    WORSE,
    BootstrapMeans,
    Difference,
    DrawnDifference,
    Interval,
    IntervalConfig,
    corrected,
    reversed_difference,
)
from penchant.metrics.slices import GroupLabels

PAYS = message("pays")
DOES_NOT_PAY = message("does not pay")


@dataclass(frozen=True)
class Arm:
    """One recommender of the ablation: the modalities it uses and its results.

    Attributes:
        uses: Channels, and "behaviour" where it learns from interactions.
        table: From `measure`.
        cost: None where it was not measured.
    """

    uses: frozenset[str]
    table: pl.DataFrame
    cost: Cost | None = None


@dataclass(frozen=True)
class AblationRow:
    """One arm beside the arm with everything.

    Attributes:
        kind: "all", "behaviour" (only), "only" (one channel alone), "without" (all but one) or "some".
        uses: What it used, sorted, behaviour first.
        channel: The one channel of "only" and "without"; else "".
        score: Mean with interval.
        to_all: This arm minus the arm with everything; None for that arm itself.
        to_behaviour: This arm minus behaviour only; None for that arm itself or where it was not measured.
        cost: None where it was not measured.
    """

    kind: str
    uses: tuple[str, ...]
    channel: str
    score: Interval
    to_all: Difference | None
    to_behaviour: Difference | None
    cost: Cost | None


@dataclass(frozen=True)
class ModalityValue:
    """Whether one channel is worth having once everything else is there.

    Attributes:
        channel: Name of the channel, or "behaviour".
        gain: Everything minus everything but this channel.
        cost: What the channel adds: the difference of the two costs, 0 where it is below what can be measured; None where one was
            not measured.
        outcome: "pays", "does not pay" or "not distinguishable".
    """

    channel: str
    gain: Difference
    cost: Cost | None
    outcome: str


@dataclass(frozen=True)
class Ablation:
    """Value of each modality.

    Attributes:
        metric: For example "ndcg@20".
        rows: Everything first, then behaviour only, all but one, one alone, others.
        payoffs: One for each channel whose absence was measured, the largest gain first.
    """

    metric: str
    rows: tuple[AblationRow, ...]
    payoffs: tuple[ModalityValue, ...]


def ablate(arms: Sequence[Arm], *, metric: str, config: IntervalConfig | None = None) -> Ablation:
    """Return the ablation by modality; the arm that uses most is "everything".

    A channel pays when everything is better than everything but the channel; it does not pay when that is worse.
    Intervals and outcomes allow for the number of arms, or channels, compared (Holm). The same difference has the same interval wherever it
    stands: a row without a channel has the one of that channel's gain.

    Raises:
        DataError: An arm's table lacks the metric or is of other users.
    """
    tables = {_name(arm.uses): arm.table for arm in arms}
    shared_metrics(tables, metric)
    values, users = np.hstack([per_user(tables, name, (metric,)) for name in tables]), arms[0].table["user_id"]
    means = BootstrapMeans(values, config, users=users)
    by_use = {arm.uses: number for number, arm in enumerate(arms)}
    everything = max(by_use, key=len)
    alone = by_use.get(frozenset({BEHAVIOUR}))
    to_all = _differences(means, len(arms), by_use[everything])
    to_behaviour = _differences(means, len(arms), alone)
    rows = [
        AblationRow(*_kind(arm.uses, everything), means.interval(i), to_all[i], to_behaviour[i], arm.cost)
        for i, arm in enumerate(arms)
    ]
    payoffs = _payoffs(arms, by_use, everything, means)
    without = {payoff.channel: reversed_difference(payoff.gain) for payoff in payoffs}
    rows = [replace(row, to_all=without[row.channel]) if row.kind == "without" else row for row in rows]
    order = ("all", "behaviour", "without", "only", "some")
    rows.sort(key=lambda row: (order.index(row.kind), -row.score.mean))
    return Ablation(metric, tuple(rows), payoffs)


@dataclass(frozen=True)
class GroupGain:
    """Value of one channel to one group of users.

    Attributes:
        group: The users ("choose by colour").
        channel: The channel that was left out.
        gain: Everything minus everything but the channel, over these users.
    """

    group: str
    channel: str
    gain: Difference


def gains_by_group(
    arms: Sequence[Arm],
    groups: GroupLabels,
    *,
    metric: str,
    config: IntervalConfig | None = None,
) -> list[GroupGain]:
    """Return, for each group of users and each channel, what the channel is worth to them.

    Intervals and outcomes allow for the number of cells.

    Args:
        arms: As for `ablate`.
        groups: A group for each row of the arms' tables.
        metric: For example "ndcg@20".
        config: How intervals are made.
    """
    tables = {_name(arm.uses): arm.table for arm in arms}
    by_use = {arm.uses: number for number, arm in enumerate(arms)}
    everything = max(by_use, key=len)
    values = np.hstack([per_user(tables, name, (metric,)) for name in tables])
    users = arms[0].table["user_id"]
    cells: list[tuple[str, str]] = []
    gains: list[DrawnDifference] = []
    for number, group in enumerate(groups.names):
        inside = groups.code == number
        if not inside.any():
            continue
        means = BootstrapMeans(values[inside], config, users=users.filter(pl.Series(inside)))
        for channel in _ordered(everything):
            if (left_out := by_use.get(everything - {channel})) is not None:
                cells.append((group, channel))
                gains.append(means.drawn(by_use[everything], left_out))
    found = corrected(gains, config or IntervalConfig())
    return [GroupGain(group, channel, gain) for (group, channel), gain in zip(cells, found, strict=True)]


def _payoffs(
    arms: Sequence[Arm], by_use: Mapping[frozenset[str], int], everything: frozenset[str], means: BootstrapMeans
) -> tuple[ModalityValue, ...]:
    whole = by_use[everything]
    left_out = {c: by_use[everything - {c}] for c in _ordered(everything) if everything - {c} in by_use}
    gains = means.differences([(whole, part) for part in left_out.values()])
    outcomes: dict[str, str] = {BETTER: PAYS, WORSE: DOES_NOT_PAY}
    costs = _measurable([_minus(arms[whole].cost, arms[part].cost) for part in left_out.values()])
    payoffs = [
        ModalityValue(channel, gain, cost, outcomes.get(gain.outcome, SAME))
        for channel, gain, cost in zip(left_out, gains, costs, strict=True)
    ]
    return tuple(sorted(payoffs, key=lambda p: -p.gain.mean))


def _differences(means: BootstrapMeans, count: int, base: int | None) -> list[Difference | None]:
    """Return each arm minus the base arm, outcomes adjusted together; None for the base itself."""
    if base is None:
        return [None] * count
    others = [i for i in range(count) if i != base]
    found = means.differences([(i, base) for i in others])
    answer: list[Difference | None] = [None] * count
    for i, difference in zip(others, found, strict=True):
        answer[i] = difference
    return answer


def _kind(uses: frozenset[str], everything: frozenset[str]) -> tuple[str, tuple[str, ...], str]:
    """Return (kind, what it uses, the channel it is about)."""
    missing = everything - uses
    if not missing:
        return "all", _ordered(uses), ""
    if uses == {BEHAVIOUR}:
        return "behaviour", _ordered(uses), ""
    if len(uses) == 1:
        return "only", _ordered(uses), next(iter(uses))
    if len(missing) == 1:
        return "without", _ordered(uses), next(iter(missing))
    return "some", _ordered(uses), ""


def _ordered(uses: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(uses, key=lambda name: (name != BEHAVIOUR, name)))


def _name(uses: frozenset[str]) -> str:
    return " + ".join(_ordered(uses))


def _minus(whole: Cost | None, part: Cost | None) -> Cost | None:
    if whole is None or part is None:
        return None
    return Cost(
        whole.seconds - part.seconds, whole.milliseconds - part.milliseconds, max(whole.encoding - part.encoding, 0.0)
    )


def _measurable(costs: Sequence[Cost | None]) -> list[Cost | None]:
    """Return costs with 0 for what timings cannot tell.

    Leaving a channel out cannot take longer, so the most negative difference is the noise of two timings of equal work. The time to encode
    is the channel's own, and no difference of two timings.
    """
    known = [cost for cost in costs if cost is not None]
    once = max((-cost.seconds for cost in known), default=0.0)
    each = max((-cost.milliseconds for cost in known), default=0.0)
    return [
        cost
        and Cost(
            cost.seconds if cost.seconds > once else 0.0,
            cost.milliseconds if cost.milliseconds > each else 0.0,
            cost.encoding,
        )
        for cost in costs
    ]
