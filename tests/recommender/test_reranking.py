"""Lists chosen one item at a time: against the formulas written out, and what the options promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penchant.core.errors import NotFoundError
from penchant.data.histories import Event
from penchant.recommender.recommender import Recommender
from penchant.recommender.reranking import SMOOTHING, Pool, divergence, mix_of, reranked


def by_hand(scores, similarity, kinds, wanted, k, diversity, calibration) -> list[int]:
    """Return one user's list by the formulas of Carbonell and Goldstein, and of Steck, candidate by candidate."""
    scaled = (scores - scores.min()) / (scores.max() - scores.min())
    chosen: list[int] = []
    while len(chosen) < k:
        best, best_gain = -1, -np.inf
        for n in range(len(scores)):
            if n in chosen:
                continue
            near = max((similarity[n, c] for c in chosen), default=0.0)
            gain = (1 - calibration) * ((1 - diversity) * scaled[n] - diversity * near)
            mix = np.sum([kinds[c] for c in [*chosen, n]], axis=0)
            mix = mix / mix.sum()
            for p, q in zip(wanted, mix, strict=True):
                if p > 0:
                    gain -= calibration * p * np.log(p / ((1 - SMOOTHING) * q + SMOOTHING * p))
            if gain > best_gain:
                best, best_gain = n, gain
        chosen.append(best)
    return chosen


@pytest.mark.parametrize(("diversity", "calibration"), [(0.4, 0.0), (0.0, 0.6), (0.3, 0.5)])
def test_lists_follow_the_formulas(diversity: float, calibration: float):
    rng = np.random.default_rng(0)
    users, size, num_kinds = 5, 12, 3
    scores = rng.normal(size=(users, size))
    vectors = rng.normal(size=(users, size, 4))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    similarity = np.maximum(vectors @ vectors.transpose(0, 2, 1), 0)
    kinds = rng.dirichlet(np.ones(num_kinds), (users, size))
    wanted = rng.dirichlet(np.ones(num_kinds), users)
    found = reranked(Pool(scores, similarity, kinds, wanted), 5, diversity=diversity, calibration=calibration)
    for user in range(users):
        expected = by_hand(scores[user], similarity[user], kinds[user], wanted[user], 5, diversity, calibration)
        assert found[user].tolist() == expected


def test_missing_candidates_are_never_chosen():
    scores = np.array([[3.0, -np.inf, 1.0], [-np.inf] * 3])
    assert reranked(Pool(scores), 3).tolist() == [[0, 2, -1], [-1, -1, -1]]


def test_divergence_is_zero_for_the_wanted_mix_and_finite_for_a_missing_kind():
    wanted = np.array([0.5, 0.5])
    assert divergence(wanted, np.array([3.0, 3.0])) == pytest.approx(0, abs=1e-9)
    assert 1 < divergence(wanted, np.array([3.0, 0.0])) < 3
    assert divergence(np.zeros(2), np.array([3.0, 0.0])) == 0


def test_the_mix_of_a_history_leaves_out_what_was_disliked():
    kinds = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert mix_of(kinds, np.array([0, 1, 1]), np.array([1.0, 0.5, -1.0])).tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.fixture(scope="module")
def recommender(shop: Path) -> Recommender:
    return Recommender.load(shop)


def test_a_calibrated_list_has_the_mix_of_the_history(recommender: Recommender):
    def distance(**options: object) -> float:
        """Return how far lists are from the mix of a history with as many high sounds as low ones, mean over users."""
        far = []
        for n in range(12):
            history = recommender.history_of([f"i{n}", f"i{(n + 1) % 12}", f"i{12 + n}", f"i{12 + (n + 2) % 12}"])
            found = recommender.recommend(history, 6, reasons=False, **options)
            far.append(abs(sum(int(item.item_id[1:]) < 12 for item in found) / 6 - 0.5))
        return float(np.mean(far))

    assert distance() > 0.05
    assert distance(calibration=1.0, calibrate_by="topic") == 0
    with pytest.raises(NotFoundError, match="no attribute 'colour'"):
        recommender.recommend("u0", 6, calibration=0.5, calibrate_by="colour")


def test_so_many_items_of_one_value(recommender: Recommender):
    found = recommender.recommend("u0", 8, reasons=False, one_per="topic", per_group=3)
    kinds = [int(item.item_id[1:]) < 12 for item in found]
    assert (sum(kinds), len(kinds)) == (3, 6)
    assert len(recommender.recommend("u0", 8, reasons=False, one_per="topic")) == 2


def test_items_may_come_again_after_some_kinds_of_event(recommender: Recommender):
    best = [item.item_id for item in recommender.recommend("u0", 18, reasons=False)]
    now = 10**15
    seen = recommender.history(
        "u0", [Event("u0", best[0], "view", now, None, "a"), Event("u0", best[1], "purchase", now, None, "b")]
    )

    def items(**options: object) -> list[str]:
        return [item.item_id for item in recommender.recommend(seen, 24, reasons=False, **options)]

    assert not {best[0], best[1]} & set(items())
    assert best[0] in items(repeat=["view"])
    assert best[1] not in items(repeat=["view"])
    assert {best[0], best[1]} <= set(items(repeat=["view", "purchase"]))
    bought_too = recommender.history(
        "u0", [Event("u0", best[0], k, now + n, None, k) for n, k in enumerate(("view", "purchase"))]
    )
    found = recommender.recommend(bought_too, 24, reasons=False, repeat=["view"])
    assert best[0] not in [item.item_id for item in found]  # one of its events is of another kind
