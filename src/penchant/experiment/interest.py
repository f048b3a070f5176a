"""A yes-or-no model of interest over member scores.

In: members' scores of (user, item) pairs and which were wanted. Out: probabilities for pairs, learned on validation alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from penchant.core.schema import Histories
from penchant.core.seeds import generator
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import EnsembleWeights

PRIOR_EVENTS = 2.0
"""Pseudo-events at the average like-rate added to every user."""
MIN_DISLIKED = 0.15
"""With a smaller share of dislikes, "no" is better learned from untouched items than from a few skips."""


@dataclass(frozen=True)
class InterestPairs:
    """Pairs of user and item with an answer.

    Attributes:
        user_index: (pairs,) row in the histories.
        item_index: (pairs,) row of the catalog.
        label: (pairs,) whether the user wanted it.
        is_explicit: Whether the "no" was said by users; else it is an untouched item drawn at random.
    """

    user_index: Int64[np.ndarray, " pairs"]
    item_index: Int64[np.ndarray, " pairs"]
    label: Bool[np.ndarray, " pairs"]
    is_explicit: bool


def make_pairs(
    histories: Histories,
    truth: Histories,
    *,
    seed: int,
    max_pairs: int,
    candidates: Bool[np.ndarray, " items"] | None = None,
) -> InterestPairs:
    """Return likes and dislikes where users said both; else each choice beside one untouched item drawn at random.

    Where there are too many choices, whole users are drawn, since every user costs a score of the whole catalog.
    """
    users, items = truth.user_index(), truth.item_index.astype(np.int64)
    liked = truth.weight > 0
    if (~liked).mean() >= MIN_DISLIKED:
        return InterestPairs(users, items, liked, True)
    rng = generator(seed, "interest.pairs")
    users, items = users[liked], items[liked]
    if len(users) > max_pairs // 2:
        order = rng.permutation(len(truth))
        count = np.bincount(users, minlength=len(truth))[order]
        kept = np.isin(users, order[: np.searchsorted(np.cumsum(count), max_pairs // 2)])
        users, items = users[kept], items[kept]
    pool = np.arange(truth.num_items) if candidates is None else np.flatnonzero(candidates)
    drawn = rng.choice(pool, len(users))
    touched = np.concatenate([_keys(histories, histories.user_index()), _keys(truth, truth.user_index())])
    free = ~np.isin(users * truth.num_items + drawn, touched)
    label = np.concatenate([np.ones(len(users), bool), np.zeros(int(free.sum()), bool)])
    return InterestPairs(np.concatenate([users, users[free]]), np.concatenate([items, drawn[free]]), label, False)


@dataclass(frozen=True)
class InterestModel:
    """A logistic regression from members' scores to "wants it".

    Attributes:
        with_rate: Whether it also reads how often the user likes things at all.
        model: Fitted on validation pairs.
    """

    with_rate: bool
    model: Any

    @classmethod
    def fit(
        cls,
        panel: MemberPool,
        weights: EnsembleWeights,
        histories: Histories,
        pairs: InterestPairs,
        *,
        with_rate: bool = False,
        people: Float32[np.ndarray, "users features"] | None = None,
    ) -> InterestModel:
        """Learn on validation pairs.

        Args:
            panel: Members fitted before validation.
            weights: Those to read; their weighted sum, or each by itself where users said yes and no.
            histories: Users before validation.
            pairs: Of validation.
            with_rate: Read the user's own rate of likes too.
            people: What else is known of each user (age, language), as numbers.
        """
        model: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        model.fit(_features(panel, weights, histories, pairs, with_rate, people), pairs.label)
        return cls(with_rate, model)

    def probability(
        self,
        panel: MemberPool,
        weights: EnsembleWeights,
        histories: Histories,
        pairs: InterestPairs,
        *,
        people: Float32[np.ndarray, "users features"] | None = None,
    ) -> Float64[np.ndarray, " pairs"]:
        """Return the probability of "wants it" for each pair."""
        features = _features(panel, weights, histories, pairs, self.with_rate, people)
        return np.asarray(self.model.predict_proba(features)[:, 1])


def like_rate(histories: Histories) -> Float32[np.ndarray, " users"]:
    """Return each user's share of likes among likes and dislikes, drawn toward everyone's by `PRIOR_EVENTS`."""
    user = histories.user_index()
    likes = np.bincount(user, weights=histories.weight > 0, minlength=len(histories))
    total = histories.lengths()
    overall = likes.sum() / max(total.sum(), 1)
    return ((likes + PRIOR_EVENTS * overall) / (total + PRIOR_EVENTS)).astype(np.float32)


def _features(
    panel: MemberPool,
    weights: EnsembleWeights,
    histories: Histories,
    pairs: InterestPairs,
    with_rate: bool,
    people: Float32[np.ndarray, "users features"] | None,
) -> Float32[np.ndarray, "pairs features"]:
    names = list(weights)
    blocks: list[np.ndarray] = []
    if names:
        scores = panel.pair_scores(histories, pairs.user_index, pairs.item_index, names)
        lengths = histories.lengths()[pairs.user_index]
        total = (scores * np.stack([weights.of(name, lengths) for name in names], axis=1)).sum(1)
        blocks.append(scores if pairs.is_explicit else total[:, None])
    if with_rate:
        blocks.append(like_rate(histories)[pairs.user_index][:, None])
    if people is not None:
        blocks.append(people[pairs.user_index])
    return np.concatenate(blocks, axis=1)


def _keys(histories: Histories, users: Int64[np.ndarray, " events"]) -> Int64[np.ndarray, " events"]:
    return users * histories.num_items + histories.item_index
