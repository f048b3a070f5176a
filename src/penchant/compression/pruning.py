"""Fewer members: those that the lists miss least are left out, and the weights of the others fitted again where that ranks better.

In: an ensemble whose members were fitted without held-out events. Out: weights of each number of members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32

from penchant.experiment.fit import HoldOut
from penchant.experiment.pool import MemberPool
from penchant.experiment.scoring import weighted_sum
from penchant.fusion import late
from penchant.fusion.listwise import SampledChoices, fit_listwise
from penchant.metrics.ranking import measure
from penchant.models.ensemble import Ensemble, blocked_items, top_k

MAX_CELLS = 150_000_000
"""Scores of all members that are held at once: 600 MB; fewer users are looked at in a large catalog."""
CUTOFF = 10


def fewer_members(
    ensemble: Ensemble, pool: MemberPool, part: HoldOut, sizes: Sequence[int]
) -> dict[int, late.EnsembleWeights]:
    """Return weights of fewer members by their number.

    One member after the other is left out, each time the one without which NDCG@10 is highest. For each size the weights as they were, those of least
    squares (with the bands that there were) and those of the likelihood of each choice are compared.

    Members that score all items alike in `part`, such as the lift of items that are added later, stay as they are and do not count.

    Args:
        ensemble: With the weights that were found.
        pool: Its members, fitted without what `part` holds out.
        part: Users on whom weights may be fitted.
        sizes: Numbers of members; those not below the present one are left out.
    """
    if not sizes:
        return {}
    scored = _Scored.of(ensemble, pool, part)
    told = [name for name in ensemble.members if scored.values[name].any()]
    fixed = [name for name in ensemble.members if name not in told]
    found: dict[int, late.EnsembleWeights] = {}
    kept = list(told)
    while len(kept) > max(1, min(sizes)):
        without = {name: scored.ndcg(ensemble.weights.only([n for n in kept if n != name])) for name in kept}
        kept.remove(max(kept, key=lambda name: (without[name], -ensemble.weights[name])))
        if len(kept) in sizes:
            tried = [ensemble.weights.only(kept), *scored.fitted(kept, ensemble.weights)]
            best = max(tried, key=scored.ndcg)
            found[len(kept)] = _with_fixed(best, fixed, ensemble.weights)
    return found


def _with_fixed(
    weights: late.EnsembleWeights, fixed: Sequence[str], before: late.EnsembleWeights
) -> late.EnsembleWeights:
    for name in fixed:
        weights = weights.with_member(name, before[name])
    return weights


@dataclass(frozen=True)
class _Scored:
    """Standardised scores of every member for some users, and what these chose.

    Attributes:
        part: The users.
        values: Name to (users, items).
        blocked: (users, items) what must not be recommended.
        fallback: Scores of users whom a row of weights gives equal scores.
    """

    part: HoldOut
    values: Mapping[str, Float32[np.ndarray, "users items"]]
    blocked: Bool[np.ndarray, "users items"]
    fallback: Float32[np.ndarray, " items"]

    @classmethod
    def of(cls, ensemble: Ensemble, pool: MemberPool, part: HoldOut) -> _Scored:
        cells = max(1, len(ensemble.members) * part.histories.num_items)
        users = np.arange(min(len(part.histories), max(1, MAX_CELLS // cells)))
        few = replace(part, histories=part.histories.take(users), truth=part.truth.take(users))
        values = dict(pool.standardised(few.histories, list(ensemble.members)))
        fallback = np.zeros(part.histories.num_items, np.float32) if pool.fallback is None else pool.fallback
        return cls(few, values, blocked_items(few.histories, part.candidates), fallback)

    def ndcg(self, weights: late.EnsembleWeights) -> float:
        """Return the mean NDCG@10 under some weights."""
        total = weighted_sum({name: self.values[name] for name in weights}, weights, self.part.histories)
        total[total.max(1) == total.min(1)] = self.fallback
        total[self.blocked] = -np.inf
        lists = top_k(total, CUTOFF, self.part.histories.user_ids)
        gains = measure(lists, self.part.truth, ks=(CUTOFF,), metrics=["ndcg"])[f"ndcg@{CUTOFF}"].to_numpy()
        return float(gains.mean()) if len(gains) else 0.0

    def fitted(self, names: Sequence[str], before: late.EnsembleWeights) -> list[late.EnsembleWeights]:
        """Return the weights of some members by least squares, with bands as before, and by the likelihood of each choice."""
        config, users = late.EnsembleConfig(), len(self.part.histories)
        banded = late.BandedMoments.zero(len(names), before.starts, before.by)
        choices, fold = SampledChoices(len(names)), np.arange(users) % late.FOLDS
        band = late.band_of(before.band_values(self.part.histories), before.starts)
        chosen = np.zeros(self.blocked.shape, bool)
        liked, truth = self.part.truth.weight > 0, self.part.truth
        chosen[truth.user_index()[liked], truth.item_index[liked]] = True
        for start in range(0, users, 64):
            some = slice(start, start + 64)
            values = np.stack([self.values[name][some] for name in names])
            choices.add(values, chosen[some], self.blocked[some], fold[some])
            banded.add(values, chosen[some], self.blocked[some], band[some], fold[some])
        bands = late.fit_bands(banded, config) if before.bands else []
        ways = [(late.fit_weights(banded.total(), config), bands), (fit_listwise(choices, config), [])]
        return [_named(names, overall, of_bands, before) for overall, of_bands in ways]


def _named(
    names: Sequence[str], overall: np.ndarray, bands: Sequence[np.ndarray], before: late.EnsembleWeights
) -> late.EnsembleWeights:
    first, *others = (dict(zip(names, map(float, one), strict=True)) for one in (overall, *bands))
    starts, kind = (before.starts, before.by) if others else ((), "length")
    return late.EnsembleWeights(first, starts, tuple(others), kind).nonzero()
