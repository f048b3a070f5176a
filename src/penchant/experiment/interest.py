"""Yes-or-no interest: a model over member scores, fitted on validation and evaluated on the test.

In: fitted members, validation histories and truth, and the test's. Out: `InterestResults` of ours, of baselines, of content alone, and
of the user's rate of likes or attributes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Float64, Int64
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from penchant.core.messages import channel_names, message
from penchant.core.schema import BEHAVIOUR, Histories, Users
from penchant.core.seeds import generator
from penchant.encoders.attributes import Attributes
from penchant.experiment.fit import OURS, FittedRecommenders, HoldOut
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.interest import InterestResults, best_threshold, evaluate_answers
from penchant.metrics.intervals import user_numbers

PRIOR_EVENTS = 2.0
"""Pseudo-events at the average like-rate added to every user."""
MIN_DISLIKED = 0.15
"""With a smaller share of dislikes, "no" is better learned from untouched items than from a few skips."""
OWN_RATE = message("the user's own rate of likes")
PROFILE = message("the user's attributes alone")


def evaluate_interest(
    trained: FittedRecommenders, before: HoldOut, test: HoldOut, users: Users | None, *, max_pairs: int, seed: int
) -> list[InterestResults]:
    """Return the results of ours, baselines, content alone, and the user's own rate and attributes alone.

    Args:
        trained: Members and entries.
        before: Train histories and what came next, where the models and thresholds are fitted.
        test: Histories before the test, and the test.
        users: Their attributes, where known.
        max_pairs: Of each.
        seed: Of pairs drawn at random.
    """
    learn, measured = (
        make_pairs(part.histories, part.truth, seed=seed, max_pairs=max_pairs, candidates=part.candidates)
        for part in (before, test)
    )
    if len(set(learn.label)) < 2 or len(set(measured.label)) < 2 or learn.is_explicit != measured.is_explicit:
        return []
    models = [InterestModel(OURS, trained.ours.weights, with_rate=learn.is_explicit)]
    if learn.is_explicit:
        models.append(InterestModel(OWN_RATE, EnsembleWeights({}), with_rate=True))
        if users is not None and users.attribute_columns:
            models.append(InterestModel(PROFILE, EnsembleWeights({}), users=users))
    models += [
        InterestModel(message("{channels} alone", channels=channel_names(row.name.split(", "))), row.weights)
        for row in trained.rows
        if row.role == "ablation" and BEHAVIOUR not in row.uses
    ]
    models += [InterestModel(row.name, row.weights) for row in trained.rows if row.role == "baseline"]
    results, number = [], user_numbers(test.histories.user_ids)
    group = measured.user_index if number is None else number[measured.user_index]
    names = sorted({name for model in models for name in model.weights})
    known = PairScores.of(trained.before, before.histories, learn, names)
    asked = PairScores.of(trained.pool, test.histories, measured, names)
    for model in models:
        model.fit(known, before.histories, learn)
        threshold = best_threshold(learn.label, model.probability(known, before.histories, learn))
        probability = model.probability(asked, test.histories, measured)
        results.append(
            evaluate_answers(
                model.name, measured.label, probability, group, threshold=threshold, is_explicit=measured.is_explicit
            )
        )
    return results


@dataclass(frozen=True)
class InterestPairs:
    """Pairs of user and item with an answer.

    Attributes:
        user_index: (pairs,) row in the histories.
        item_index: (pairs,) row of the catalog.
        label: (pairs,) whether the user chose or liked it.
        is_explicit: Whether "no" is a user's dislike; else it is an untouched item drawn at random.
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
    """Return likes and dislikes where the truth has both; else each choice beside one untouched item drawn at random.

    Where there are too many choices, whole users are drawn, since every user costs a score of the whole catalog.
    """
    users, items = truth.user_index(), truth.item_index.astype(np.int64)
    liked = truth.weight > 0
    if len(liked) and (~liked).mean() >= MIN_DISLIKED:
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
    asked, touched = np.zeros(len(truth), bool), []
    asked[users] = True
    for part in (histories, truth):
        user = part.user_index()
        own = asked[user]  # the events of others, most of them, need not be looked up
        touched.append(user[own] * part.num_items + part.item_index[own])
    free = ~np.isin(users * truth.num_items + drawn, np.concatenate(touched))
    label = np.concatenate([np.ones(len(users), bool), np.zeros(int(free.sum()), bool)])
    return InterestPairs(np.concatenate([users, users[free]]), np.concatenate([items, drawn[free]]), label, False)


class PairScorer(Protocol):
    """What scores pairs of user and item: a pool of members, or scores that were computed before."""

    def pair_scores(
        self,
        histories: Histories,
        user_index: Int64[np.ndarray, " pairs"],
        item_index: Int64[np.ndarray, " pairs"],
        names: list[str],
    ) -> Float32[np.ndarray, "pairs members"]:
        """Return each member's standardised score of each pair, columns in the order of `names`."""


@dataclass(frozen=True)
class PairScores:
    """The scores of the same pairs by all members, computed in one pass for all models: a pair costs the scores of the whole catalog.

    Attributes:
        names: Members.
        values: (pairs, members) standardised scores.
    """

    names: Sequence[str]
    values: Float32[np.ndarray, "pairs members"]

    @classmethod
    def of(cls, pool: MemberPool, histories: Histories, pairs: InterestPairs, names: list[str]) -> PairScores:
        """Return the scores of these pairs."""
        return cls(names, pool.pair_scores(histories, pairs.user_index, pairs.item_index, names))

    def pair_scores(
        self,
        histories: Histories,
        user_index: Int64[np.ndarray, " pairs"],
        item_index: Int64[np.ndarray, " pairs"],
        names: list[str],
    ) -> Float32[np.ndarray, "pairs members"]:
        """Return the columns of some members; the pairs are those that were scored."""
        return self.values[:, [self.names.index(name) for name in names]]


@dataclass
class InterestModel:
    """Logistic regression from members' scores, and what else is known of a user, to the probability of "yes".

    Attributes:
        name: In the report.
        weights: Members to read: their weighted sum, or each by itself where the pairs are explicit.
        with_rate: Also read the user's own rate of likes.
        users: Also read the users' attributes.
    """

    name: str
    weights: EnsembleWeights
    with_rate: bool = False
    users: Users | None = None
    _model: Pipeline = field(
        init=False, default_factory=lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    )

    def fit(self, pool: PairScorer, histories: Histories, pairs: InterestPairs) -> None:
        """Fit on validation pairs.

        Args:
            pool: Members fitted before validation, or their scores.
            histories: Users before validation.
            pairs: Of validation.
        """
        self._model.fit(self._features(pool, histories, pairs), pairs.label)

    def probability(
        self, pool: PairScorer, histories: Histories, pairs: InterestPairs
    ) -> Float64[np.ndarray, " pairs"]:
        """Return the probability of "yes" for each pair."""
        return np.asarray(self._model.predict_proba(self._features(pool, histories, pairs))[:, 1])

    def _features(
        self, pool: PairScorer, histories: Histories, pairs: InterestPairs
    ) -> Float32[np.ndarray, "pairs features"]:
        names = list(self.weights)
        blocks: list[np.ndarray] = []
        if names:
            scores = pool.pair_scores(histories, pairs.user_index, pairs.item_index, names)
            values = self.weights.band_values(histories)[pairs.user_index]
            total = (scores * np.stack([self.weights.of(name, values) for name in names], axis=1)).sum(1)
            blocks.append(scores if pairs.is_explicit else total[:, None])
        if self.with_rate:
            blocks.append(like_rate(histories)[pairs.user_index][:, None])
        if self.users is not None:
            blocks.append(_attributes(self.users, histories)[pairs.user_index])
        return np.concatenate(blocks, axis=1)


def like_rate(histories: Histories) -> Float32[np.ndarray, " users"]:
    """Return each user's share of likes among likes and dislikes, shrunk toward everyone's by `PRIOR_EVENTS`."""
    user = histories.user_index()
    likes = np.bincount(user, weights=histories.weight > 0, minlength=len(histories))
    total = histories.lengths()
    overall = likes.sum() / max(total.sum(), 1)
    return ((likes + PRIOR_EVENTS * overall) / (total + PRIOR_EVENTS)).astype(np.float32)


def _attributes(users: Users, histories: Histories) -> Float32[np.ndarray, "users features"]:
    """Return the attributes of the histories' users as numbers; zeros for a user that the table lacks."""
    encoded = Attributes().encode(users.table.select(users.attribute_columns).to_dicts())
    place = users.table.select("user_id").with_row_index("row")
    ids = pl.DataFrame({"user_id": histories.user_ids})
    rows = ids.join(place, on="user_id", how="left", maintain_order="left")["row"].fill_null(-1).cast(pl.Int64)
    return np.vstack([encoded, np.zeros_like(encoded[:1])])[rows.to_numpy()]
