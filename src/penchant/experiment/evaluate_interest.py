"""Evaluate yes-or-no interest on the test.

In: a trained recommender, validation to learn from and the test. Out: how well each row answers, and what is known of the person alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from penchant.core.messages import channel_names, message
from penchant.core.schema import BEHAVIOUR, Histories, Users
from penchant.encoders.attributes import Attributes
from penchant.experiment.fit import OURS, FittedRecommenders, HoldOut
from penchant.experiment.interest import InterestModel, InterestPairs, make_pairs
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.interest import InterestResults, best_threshold, evaluate_answers

OWN_RATE = message("the person's own rate of likes")
PROFILE = message("the person's attributes alone")


@dataclass(frozen=True)
class InterestQuestion:
    """One model that answers yes or no.

    Attributes:
        name: In the report.
        weights: Members to read.
        with_rate: Also the user's rate of likes.
        users: Also the users' attributes.
    """

    name: str
    weights: EnsembleWeights
    with_rate: bool = False
    users: Users | None = None

    def people(self, histories: Histories) -> np.ndarray | None:
        """Return the attributes of some users as numbers."""
        if self.users is None:
            return None
        ids = pl.DataFrame({"user_id": histories.user_ids})
        encoded = Attributes().encode(self.users.table.select(self.users.attribute_columns).to_dicts())
        place = self.users.table.select("user_id").with_row_index("row")
        rows = ids.join(place, on="user_id", how="left", maintain_order="left")["row"].fill_null(-1).cast(pl.Int64)
        return np.vstack([encoded, np.zeros_like(encoded[:1])])[rows.to_numpy()]


def evaluate_interest(
    trained: FittedRecommenders, before: HoldOut, test: HoldOut, users: Users | None, *, max_pairs: int, seed: int
) -> list[InterestResults]:
    """Return how well ours, baselines, content alone, and what is known of the person alone answer yes or no.

    Args:
        trained: Members and rows.
        before: Train histories and what came next, where answers and thresholds are learned.
        test: Histories before the test, and the test.
        users: Their attributes, where known.
        max_pairs: Of each.
        seed: Of pairs drawn at random.
    """
    learn = make_pairs(before.histories, before.truth, seed=seed, max_pairs=max_pairs, candidates=before.candidates)
    judge = make_pairs(test.histories, test.truth, seed=seed, max_pairs=max_pairs, candidates=test.candidates)
    if len(set(learn.label)) < 2 or len(set(judge.label)) < 2 or learn.is_explicit != judge.is_explicit:
        return []
    asked = [InterestQuestion(OURS, trained.ours.weights, with_rate=learn.is_explicit)]
    if learn.is_explicit:
        asked.append(InterestQuestion(OWN_RATE, EnsembleWeights({}), with_rate=True))
        if users is not None and users.attribute_columns:
            asked.append(InterestQuestion(PROFILE, EnsembleWeights({}), users=users))
    content = [row for row in trained.rows if row.role == "ablation" and BEHAVIOUR not in row.uses]
    asked += [
        InterestQuestion(message("{channels} alone", channels=channel_names(row.name.split(", "))), row.weights)
        for row in content
    ]
    asked += [InterestQuestion(row.name, row.weights) for row in trained.rows if row.role == "baseline"]
    return [_classified(one, trained, (before, learn), (test, judge)) for one in asked]


def _classified(
    asked: InterestQuestion,
    trained: FittedRecommenders,
    validation: tuple[HoldOut, InterestPairs],
    test: tuple[HoldOut, InterestPairs],
) -> InterestResults:
    (before, learn), (after, judge) = validation, test
    panel, known = trained.before, asked.people(before.histories)
    model = InterestModel.fit(panel, asked.weights, before.histories, learn, with_rate=asked.with_rate, people=known)
    own = model.probability(panel, asked.weights, before.histories, learn, people=known)
    threshold = best_threshold(learn.label, own)
    probability = model.probability(
        trained.pool, asked.weights, after.histories, judge, people=asked.people(after.histories)
    )
    return evaluate_answers(asked.name, judge.label, probability, judge.user_index, threshold=threshold)
