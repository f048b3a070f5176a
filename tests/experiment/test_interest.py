"""Pairs for the yes-or-no question."""

from __future__ import annotations

from statistics import fmean, pstdev

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

import hand_made
from hand_made import Told
from penchant.core.schema import Histories, Users
from penchant.experiment.interest import InterestModel, InterestPairs, like_rate, make_pairs
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import EnsembleWeights

USERS, ITEMS = 50, 30


def histories(rng: np.random.Generator, events: int) -> Histories:
    items = np.concatenate([rng.choice(ITEMS, events, replace=False) for _ in range(USERS)]).astype(np.int32)
    offsets = np.arange(USERS + 1, dtype=np.int64) * events
    return Histories(
        [f"u{u}" for u in range(USERS)],
        offsets,
        items,
        np.zeros(len(items), np.int64),
        np.ones(len(items), np.float32),
        ITEMS,
    )


def test_too_many_choices_keep_whole_users_within_the_limit() -> None:
    rng = np.random.default_rng(0)
    known, truth = histories(rng, 3), histories(rng, 4)
    pairs = make_pairs(known, truth, seed=0, max_pairs=80)
    wanted = pairs.user_index[pairs.label]
    assert 30 <= len(wanted) <= 40
    assert (np.bincount(wanted)[np.unique(wanted)] == 4).all()


def test_a_drawn_no_was_never_touched() -> None:
    rng = np.random.default_rng(1)
    known, truth = histories(rng, 8), histories(rng, 8)
    pairs = make_pairs(known, truth, seed=0, max_pairs=10_000)
    touched = {(u, i) for h in (known, truth) for u, i in zip(h.user_index(), h.item_index, strict=True)}
    refused = zip(pairs.user_index[~pairs.label], pairs.item_index[~pairs.label], strict=True)
    assert not touched & set(refused)


def test_where_users_say_no_their_answers_are_the_pairs() -> None:
    truth = hand_made.histories([[1, 2], [0], [3, 4, 5, 6]], 8, [[1, -1], [1], [1, 1, 1, 1]])
    pairs = make_pairs(hand_made.histories([[], [], []], 8), truth, seed=0, max_pairs=2)
    assert pairs.is_explicit is False  # one no of seven is too few
    more = hand_made.histories([[1, 2], [0], [3, 4, 5]], 8, [[1, -1], [1], [1, 1, 1]])
    pairs = make_pairs(hand_made.histories([[], [], []], 8), more, seed=0, max_pairs=2)
    assert pairs.is_explicit is True  # one of six
    assert pairs.user_index.tolist() == [0, 0, 1, 2, 2, 2]
    assert pairs.item_index.tolist() == [1, 2, 0, 3, 4, 5]
    assert pairs.label.tolist() == [True, False, True, True, True, True]


def test_a_drawn_no_is_among_the_candidates() -> None:
    rng = np.random.default_rng(1)
    known, truth = histories(rng, 3), histories(rng, 3)
    allowed = np.arange(ITEMS) % 5 == 0
    pairs = make_pairs(known, truth, seed=0, max_pairs=10_000, candidates=allowed)
    assert allowed[pairs.item_index[~pairs.label]].all()
    assert len(set(pairs.item_index[~pairs.label].tolist())) == 6


def test_like_rate_by_hand() -> None:
    one = hand_made.histories([[0, 1, 2], [3], []], 8, [[1, 1, -1], [-1], []])
    # half of the four events are likes; two pseudo-events at that rate
    np.testing.assert_allclose(like_rate(one), [3 / 5, 1 / 3, 1 / 2])


SAID = {
    "a": {f"u{u}": np.random.default_rng(u).normal(size=6).tolist() for u in range(8)},
    "b": {f"u{u}": np.random.default_rng(90 + u).normal(size=6).tolist() for u in range(8)},
}
PAST = hand_made.histories([[u % 6] * (u % 3) for u in range(8)], 6, [[1, -1][: u % 3] for u in range(8)])
BANDED = EnsembleWeights({"a": 0.5, "b": 0.5}, (1,), ({"a": 1.0, "b": 0.0}, {"a": 0.25, "b": 0.75}))


def z(name: str, user: int, item: int) -> float:
    row = SAID[name][f"u{user}"]
    return (row[item] - fmean(row)) / pstdev(row)


def logistic(features: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return probabilities of a ridge logistic regression on features of mean 0 and deviation 1, by another solver."""
    x = (features - features.mean(0)) / features.std(0)
    sign = np.where(label, 1.0, -1.0)

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (x @ w[1:] + w[0])).sum() + w[1:] @ w[1:] / (2 * 0.1))

    best = minimize(loss, np.zeros(x.shape[1] + 1), method="BFGS").x
    return np.asarray(1 / (1 + np.exp(-(x @ best[1:] + best[0]))))


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("with_rate", [True, False])
def test_probabilities_are_those_of_another_solver(explicit: bool, with_rate: bool) -> None:
    users, items = np.repeat(np.arange(8), 3), np.tile([0, 2, 5], 8)
    label = np.array([z("a", u, i) + 0.5 * z("b", u, i) > 0.2 for u, i in zip(users, items, strict=True)])
    pairs = InterestPairs(users, items, label, explicit)
    pool = MemberPool({name: Told(own) for name, own in SAID.items()})
    each = np.array([[z(name, u, i) for name in "ab"] for u, i in zip(users, items, strict=True)])
    long = PAST.lengths()[users] >= 1
    total = np.where(long, 0.25 * each[:, 0] + 0.75 * each[:, 1], each[:, 0])
    blocks = [each if explicit else total[:, None]]
    colours = ["red", "blue", "red", "red", "blue", "red", "blue"]  # the table lacks the last user
    table = Users(pl.DataFrame({"user_id": PAST.user_ids[6::-1], "colour": colours}), ("colour",))
    if with_rate:
        by_user = dict(zip(PAST.user_ids[6::-1], colours, strict=True))
        marks = np.array([[by_user.get(user) == name for name in ("blue", "red")] for user in PAST.user_ids], float)
        blocks += [like_rate(PAST)[users][:, None], marks[users]]
    model = InterestModel("", BANDED, with_rate=with_rate, users=table if with_rate else None)
    model.fit(pool, PAST, pairs)
    found = model.probability(pool, PAST, pairs)
    np.testing.assert_allclose(found, logistic(np.concatenate(blocks, axis=1), label), atol=2e-3)
    assert found[label].mean() > found[~label].mean()
