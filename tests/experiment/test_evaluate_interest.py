"""Who is asked for a yes or no, what each reads, and that answers are learned on validation and judged on the test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from hand_made import Told, histories
from penchant.core.schema import BEHAVIOUR, Histories, Users
from penchant.experiment.fit import OURS, FittedRecommenders, HoldOut, LeaderboardEntry
from penchant.experiment.interest import (
    OWN_RATE,
    PROFILE,
    InterestModel,
    InterestPairs,
    evaluate_interest,
    like_rate,
    make_pairs,
)
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.interest import InterestResults, best_threshold, evaluate_answers

COUNT, ITEMS = 24, 6
GOOD, PLOT = EnsembleWeights({"good": 0.75, "plot": 0.25}), EnsembleWeights({"plot": 1.0})


def hold_out(seed: int, refused: float, candidates: np.ndarray | None = None) -> HoldOut:
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(ITEMS).tolist() for _ in range(COUNT)]
    signs = [[1.0 if rng.random() > refused else -1.0 for _ in range(2)] for _ in range(COUNT)]
    before = [[float(rng.choice([1, -1])) for _ in range(2)] for _ in range(COUNT)]
    return HoldOut(
        histories([order[:2] for order in orders], ITEMS, before),
        histories([order[2:4] for order in orders], ITEMS, signs),
        candidates,
    )


def pool(seed: int) -> MemberPool:
    rng = np.random.default_rng(seed)
    said = {name: {f"u{u}": rng.normal(size=ITEMS).tolist() for u in range(COUNT)} for name in ("good", "plot")}
    return MemberPool({name: Told(scores) for name, scores in said.items()})


ROWS = (
    LeaderboardEntry(OURS, "ours", GOOD, frozenset({BEHAVIOUR, "text", "image"})),
    LeaderboardEntry("behaviour, text", "ablation", GOOD, frozenset({BEHAVIOUR, "text"})),
    LeaderboardEntry("image, text", "ablation", PLOT, frozenset({"text", "image"})),
    LeaderboardEntry("good", "member", EnsembleWeights({"good": 1.0})),
    LeaderboardEntry("popularity", "baseline", EnsembleWeights({"good": 1.0})),
)
TRAINED = FittedRecommenders(pool(1), ROWS, {}, {}, {}, pool(2))
USERS = Users(
    pl.DataFrame({"user_id": ["u3", "u1", "u0"], "age": [30.0, 10.0, 20.0], "team": ["red", "blue", "red"]}),
    ("age", "team"),
)
BEFORE, TEST = hold_out(3, 0.4), hold_out(4, 0.4)


def asked(before: HoldOut = BEFORE, test: HoldOut = TEST, users: Users | None = USERS) -> dict[str, InterestResults]:
    return {one.name: one for one in evaluate_interest(TRAINED, before, test, users, max_pairs=80, seed=5)}


def by_hand(
    name: str,
    weights: EnsembleWeights,
    before: HoldOut,
    test: HoldOut,
    *,
    with_rate: bool,
    users: Users | None = None,
) -> InterestResults:
    """Return the same one step after another: learned and cut on validation by the members of then, judged on the test."""
    learn, judge = (
        make_pairs(part.histories, part.truth, seed=5, max_pairs=80, candidates=part.candidates)
        for part in (before, test)
    )
    model = InterestModel("", weights, with_rate=with_rate, users=users)
    model.fit(TRAINED.before, before.histories, learn)
    own = model.probability(TRAINED.before, before.histories, learn)
    found = model.probability(TRAINED.pool, test.histories, judge)
    return evaluate_answers(
        name,
        judge.label,
        found,
        judge.user_index,
        threshold=best_threshold(learn.label, own),
        is_explicit=judge.is_explicit,
    )


def test_where_users_say_no_the_rate_and_the_profile_are_asked_too() -> None:
    found = asked()
    assert list(found) == [OURS, OWN_RATE, PROFILE, "image, text alone", "popularity"]
    nobody = EnsembleWeights({})
    wanted = [
        by_hand(OURS, GOOD, BEFORE, TEST, with_rate=True),
        by_hand(OWN_RATE, nobody, BEFORE, TEST, with_rate=True),
        by_hand(PROFILE, nobody, BEFORE, TEST, with_rate=False, users=USERS),
        by_hand("image, text alone", PLOT, BEFORE, TEST, with_rate=False),
        by_hand("popularity", EnsembleWeights({"good": 1.0}), BEFORE, TEST, with_rate=False),
    ]
    assert list(found.values()) == wanted


def test_the_own_rate_of_likes_ranks_users_by_their_past() -> None:
    judge = make_pairs(TEST.histories, TEST.truth, seed=5, max_pairs=80)
    model = by_hand(OWN_RATE, EnsembleWeights({}), BEFORE, TEST, with_rate=True)
    rate = like_rate(TEST.histories)[judge.user_index]
    auc = evaluate_answers("", judge.label, rate, judge.user_index).auc.mean
    assert min(auc, 1 - auc) == pytest.approx(min(model.auc.mean, 1 - model.auc.mean))


@pytest.mark.parametrize("users", [None, Users(USERS.table, ())])
def test_without_attributes_no_profile_is_asked(users: Users | None) -> None:
    assert list(asked(users=users)) == [OURS, OWN_RATE, "image, text alone", "popularity"]


def test_where_nobody_says_no_only_scores_are_asked_among_the_candidates() -> None:
    allowed = np.array([True, True, True, True, False, True])
    before, test = hold_out(3, 0.0, allowed), hold_out(4, 0.0, allowed[::-1].copy())
    found = asked(before, test)
    assert list(found) == [OURS, "image, text alone", "popularity"]
    assert found[OURS] == by_hand(OURS, GOOD, before, test, with_rate=False)
    assert found[OURS] != by_hand(OURS, GOOD, replace(before, candidates=None), test, with_rate=False)
    assert found[OURS] != by_hand(OURS, GOOD, before, replace(test, candidates=None), with_rate=False)


def refusing(part: HoldOut) -> HoldOut:
    return replace(part, truth=Histories(**{**vars(part.truth), "weight": -np.ones(2 * COUNT, np.float32)}))


def test_nothing_is_asked_where_one_answer_is_all_there_is_or_the_parts_differ() -> None:
    assert asked(refusing(BEFORE), TEST) == {}
    assert asked(BEFORE, refusing(TEST)) == {}
    assert asked(BEFORE, hold_out(4, 0.0)) == {}  # said in validation, drawn in the test
    assert asked(hold_out(3, 0.0), TEST) == {}


def test_attributes_are_aligned_with_the_histories_and_unknown_ones_are_zero() -> None:
    some = histories([[0], [1], [2], [3]], ITEMS)
    pairs = InterestPairs(np.arange(4), np.zeros(4, np.int64), np.array([True, False, True, False]), False)
    nobody = EnsembleWeights({})
    found = InterestModel("", nobody, users=USERS)._features(TRAINED.pool, some, pairs)
    in_order = Users(USERS.table.sort("user_id"), USERS.attribute_columns)
    encoded = InterestModel("", nobody, users=in_order)._features(TRAINED.pool, some, pairs)
    np.testing.assert_array_equal(found, encoded)  # the order of the table does not matter
    assert not found[2].any()
    assert all(found[row].any() for row in (0, 1, 3))
    assert len({tuple(row) for row in found.tolist()}) == 4
    scores = InterestModel("", PLOT)._features(TRAINED.pool, some, pairs)
    assert scores.shape == (4, 1)  # the score alone: nothing is read of users that are not given
    with_both = InterestModel("", PLOT, users=USERS)._features(TRAINED.pool, some, pairs)
    np.testing.assert_array_equal(with_both, np.concatenate([scores, found], axis=1))
