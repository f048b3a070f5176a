"""Choose how ensemble weights are fitted, on validation.

In: moments and sampled choices of validation users. Out: a `WeightRule`, the same for the ensemble and every ablation arm: the objective, how
many members it selects, and whether bands of history length, or of the gap before the request, have weights of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from penchant.core.logs import logger
from penchant.core.messages import Message, message
from penchant.core.schema import Histories
from penchant.core.spacing import evenly_spaced
from penchant.experiment.pool import MemberPool, weighed_users
from penchant.experiment.selection import ValidationScorer
from penchant.fusion import late
from penchant.fusion.listwise import SampledChoices, fit_listwise

Moments = Mapping[late.BandKind, late.BandedMoments]
"""Moments of the same users by bands of history length and, where gaps are known, by bands of those."""
HALVES = ((0, 2), (1, 3))
"""Folds of each half of the validation users."""
MIN_HALF_USERS = 100
"""Users of a half below which the objective is not compared: least squares is used."""
FORWARD_SIZES = (2, 4, 6)
"""Members of the forward selections that are compared."""


@dataclass(frozen=True)
class WeightRule:
    """How weights are fitted.

    Attributes:
        objective: Least squares of "chosen next", or the likelihood of each choice.
        size: Members selected forward; 0 selects none.
        bands: Whether bands have weights of their own, and of what; least squares without a selection only.
    """

    objective: Literal["least_squares", "listwise"] = "least_squares"
    size: int = 0
    bands: late.BandKind | None = None

    def describe(self) -> Message:
        """Return the sentence of the report."""
        if self.objective == "listwise":
            fitted = message("by the likelihood of each choice among sampled items")
        elif self.bands == "length":
            fitted = message("by least squares, for each band of history length")
        elif self.bands == "gap":
            fitted = message("by least squares, for each band of the time since the user's last event")
        else:
            fitted = message("by least squares")
        if not self.size:
            return message("Ensemble weights are fitted on validation {how}.", how=fitted)
        return message(
            "Ensemble weights are fitted on validation {how}, of up to {count} members selected forward.",
            how=fitted,
            count=self.size,
        )

    def fit(
        self,
        members: Sequence[str],
        moments: Moments,
        choices: SampledChoices | None,
        config: late.EnsembleConfig,
    ) -> late.EnsembleWeights:
        """Return the weights of the members, whose moments and choices are given in their order."""
        of_kind = moments[self.bands or "length"]
        kept = list(range(len(members)))
        if self.size:
            kept = sorted(late.forward_order(of_kind.total(), config, self.size))
        own = of_kind.only(kept)
        if self.objective == "listwise" and choices is not None:
            overall, bands = fit_listwise(choices.only(kept), config), []
        else:
            overall = late.fit_weights(own.total(), config)
            bands = late.fit_bands(own, config) if self.bands else []
        found, *of_bands = (
            {members[place]: float(weight) for place, weight in zip(kept, one, strict=True)}
            for one in (overall, *bands)
        )
        starts = own.starts if self.bands else ()
        return late.EnsembleWeights(found, starts, tuple(of_bands), self.bands or "length").nonzero()


LEAST_SQUARES = WeightRule()


def rules_with_bands(moments: Moments, config: late.EnsembleConfig) -> list[WeightRule]:
    """Return least squares for each kind of bands that pays."""
    return [WeightRule(bands=kind) for kind, one in moments.items() if late.bands_pay(one, config)]


def choose_rule(
    members: Sequence[str],
    moments: Moments,
    choices: SampledChoices | None,
    pool: MemberPool,
    histories: Histories,
    truth: Histories,
    scorer: ValidationScorer,
    config: late.EnsembleConfig,
    *,
    measures: bool = False,
) -> tuple[WeightRule, float | None]:
    """Return least squares, unless another rule fitted on either half of the validation users has a higher NDCG on the other half; and the mean
    NDCG of the left-out halves, None where nothing was compared.

    Of several such rules, that with the highest mean. Bands, where they pay, take part as least squares; where no other rule is taken, least squares
    with those bands, or without any, that have the highest mean.

    Args:
        members: Of the ensemble.
        moments: Of these members.
        choices: Of these members; None compares nothing.
        pool: Where the members are.
        histories: Users before validation.
        truth: Choices of the same users in validation.
        scorer: Length of the list, what is ranked, and how many users are scored.
        config: Settings.
        measures: Measure the left-out halves where the settings name the rule or there is one member, too.
    """
    users = weighed_users(truth, config)
    given = WeightRule(config.objective) if config.objective != "auto" else None
    can_compare = choices is not None and len(users) >= 2 * MIN_HALF_USERS
    if not can_compare or ((given or len(members) < 2) and not measures):
        return given or LEAST_SQUARES, None
    rules: list[WeightRule] = []
    base = [given or LEAST_SQUARES]
    if given is None and len(members) > 1:
        sizes = [size for size in FORWARD_SIZES if size < len(members)]
        rules = [WeightRule("listwise")]
        rules += [rule for size in sizes for rule in (WeightRule(size=size), WeightRule("listwise", size))]
        base += rules_with_bands(moments, config)
    scored: dict[WeightRule, list[float]] = {rule: [] for rule in (*base, *rules)}
    for half, other in (HALVES, HALVES[::-1]):
        own: Moments = {kind: one.folds(*half) for kind, one in moments.items()}
        chose = choices.folds(*half) if choices is not None else None
        rows = {str(place): rule.fit(members, own, chose, config) for place, rule in enumerate(scored)}
        left_out = users[np.isin(np.arange(len(users)) % late.FOLDS, other)]
        limit = max(1, len(scorer.histories) // 2)
        left_out = evenly_spaced(left_out, limit)
        stage = replace(scorer, histories=histories.take(left_out), truth=truth.take(left_out))
        found = stage.compare(pool, rows)
        for place, rule in enumerate(scored):
            scored[rule].append(found[str(place)])
    best = best_rule(scored, base)
    for rule in dict.fromkeys((*base, best)):
        logger.info("  %s: NDCG of left-out halves %.4f, %.4f", rule.describe().rstrip("."), *scored[rule])
    return best, float(np.mean(scored[best]))


def best_rule(scored: Mapping[WeightRule, Sequence[float]], base: Sequence[WeightRule]) -> WeightRule:
    """Return the rule with the highest mean among those above every rule of `base` on each half; of `base` if there is none."""
    floor = np.max([scored[rule] for rule in base], axis=0)
    better = [rule for rule in scored if rule not in base and (np.asarray(scored[rule]) > floor).all()]
    return max(better or base, key=lambda rule: float(np.mean(scored[rule])))
