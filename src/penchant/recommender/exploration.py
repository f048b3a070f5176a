"""Lists that explore: a random choice among orders of the candidates whose probabilities are known exactly.

In: candidates with scores, a policy, a key. Out: the order to show, and the probability of each candidate at each place (its propensity).

A policy is a finite mixture of orders: the order of the scores, or one for each draw of the ensemble's weights, and with probability epsilon
every order of the candidates alike. So the propensity of an item at a place is a sum over the orders, never an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, Int64

from penchant.core.schema import Histories
from penchant.core.seeds import generator
from penchant.models.ensemble import Ensemble, tie_order_of_rows
from penchant.recommender.lists import ExplorationConfig
from penchant.recommender.ranking import RankedList


@dataclass(frozen=True)
class ListPolicy:
    """A mixture of orders of one list's candidates.

    Attributes:
        orders: (orders, candidates) candidates of each order, best first.
        epsilon: Probability of a random order in place of one of these.
    """

    orders: Int64[np.ndarray, "orders candidates"]
    epsilon: float

    def propensities(self, k: int) -> Float64[np.ndarray, "candidates k"]:
        """Return the probability of each candidate at each of the first k places; the columns sum to 1."""
        num_orders, size = self.orders.shape
        found = np.full((size, min(k, size)), self.epsilon / size)
        place = np.tile(np.arange(found.shape[1]), (num_orders, 1))
        np.add.at(found, (self.orders[:, :k], place), (1 - self.epsilon) / num_orders)
        return found

    def drawn(self, key: str, k: int) -> Int64[np.ndarray, " k"]:
        """Return the first k candidates of an order drawn for a key, always the same for one key."""
        rng = generator(0, f"exploration.list\n{key}")
        is_random, number = rng.random() < self.epsilon, int(rng.integers(len(self.orders)))
        order = rng.permutation(self.orders.shape[1]) if is_random else self.orders[number]
        return order[:k]


def make_policy(
    config: ExplorationConfig,
    rows: Int64[np.ndarray, " candidates"],
    scores: Float32[np.ndarray, " candidates"],
    parts: Float32[np.ndarray, "members candidates"],
    names: Sequence[str],
) -> ListPolicy:
    """Return the policy of one list.

    Source: ensemble sampling, Lu and Van Roy 2017, of the weights of a fixed ensemble: a Thompson sampler whose posterior is a few draws.

    Args:
        config: Kind and breadth.
        rows: Candidates, in the order that is shown without exploration.
        scores: Theirs, with edits and boosts.
        parts: What each member adds to the scores; read by `thompson` alone.
        names: Of the members.
    """
    size = len(rows)
    shown = np.arange(size)[None]
    epsilon = config.epsilon if config.is_on and size > 1 else 0.0
    if config.policy != "thompson" or not len(parts):
        return ListPolicy(shown, epsilon)
    factors = _weight_factors(config.seed, config.draws, config.spread, tuple(names))
    drawn = scores + (factors - 1) @ parts  # (draws, candidates)
    ties = tie_order_of_rows(int(rows.max()) + 1)[rows]
    return ListPolicy(np.stack([np.lexsort((ties, -one)) for one in drawn]), epsilon)


@lru_cache(maxsize=16)
def _weight_factors(
    seed: int, draws: int, spread: float, names: tuple[str, ...]
) -> Float64[np.ndarray, "draws members"]:
    """Return factors of each member's weight, mean 1; a member's own do not depend on which others there are."""
    shape = 1 / spread**2
    columns = [generator(seed, f"exploration.weight\n{name}").gamma(shape, 1 / shape, draws) for name in names]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class ServedPlaces:
    """What one list was chosen from, and with which probabilities.

    Attributes:
        candidates: Ids, in the order without exploration.
        scores: Theirs.
        shown: Column of `candidates` at each explored place.
        propensities: (shown,) probability of the shown item at its place.
        first: Place of the first explored item; before it stand items that the user pinned.
    """

    candidates: tuple[str, ...]
    scores: tuple[float, ...]
    shown: tuple[int, ...]
    propensities: tuple[float, ...]
    first: int = 0


def explore(
    ids: Sequence[str],
    ensemble: Ensemble,
    history: Histories,
    found: RankedList,
    wide: RankedList,
    config: ExplorationConfig,
    key: str,
) -> tuple[RankedList, ServedPlaces]:
    """Return the list to show, and what it was chosen from.

    Args:
        ids: Of the catalog's items.
        ensemble: For the draws of `thompson`.
        history: One user.
        found: The list without exploration; what the user pinned stays where it is.
        wide: More of the same ranking; the candidates are `found` and the best of it.
        config: How to explore.
        key: Of the draw: the same list for the same key.
    """
    first, k = found.pinned, len(found.rows)
    more = ~np.isin(wide.rows, found.rows)
    size = max(config.candidates - (k - first), 0)
    rows = np.concatenate([found.rows[first:], wide.rows[more][:size]])
    scores = np.concatenate([found.scores[first:], wide.scores[more][:size]])
    needs_parts = config.policy == "thompson" and len(rows) > 0
    parts = ensemble.parts(history, rows) if needs_parts else np.zeros((0, len(rows)), np.float32)
    policy = make_policy(config, rows, scores, parts, tuple(ensemble.members))
    order = policy.drawn(key, k - first)
    propensity = policy.propensities(k - first)[order, np.arange(len(order))]
    shown = RankedList(
        np.concatenate([found.rows[:first], rows[order]]),
        np.concatenate([found.scores[:first], scores[order]]),
        first,
    )
    places = ServedPlaces(
        tuple(ids[row] for row in rows),
        tuple(map(float, scores)),
        tuple(map(int, order)),
        tuple(map(float, propensity)),
        first,
    )
    return shown, places
