"""Lists, pair scores and moments of a pool, against plain loops over the same numbers."""

from __future__ import annotations

from math import inf, isinf, sqrt
from statistics import fmean, pstdev

import numpy as np
import pytest

from hand_made import Told, histories
from penchant.core.schema import Content, Histories
from penchant.data.tie_breaking import item_tie_order
from penchant.experiment.fit_cache import FitCache
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import FOLDS, EnsembleConfig, EnsembleWeights
from penchant.models import ensemble
from penchant.models.ensemble import Ensemble, batch_users, tie_order_of_rows, top_k
from penchant.models.lifted import Lifted
from penchant.models.linear import EASE
from penchant.models.member import Member, make_member
from penchant.models.popularity import Popularity

ITEMS = 6
SAID = {
    "near": {"u0": [5, 1, 4, 2, 3, 0], "u1": [0, 1, 2, 3, 4, 5], "u2": [2, 2, 2, 7, 2, 2], "u3": [1, 0, 3, 0, 0, 9]},
    "far": {"u0": [0, 9, 1, 1, 3, 2], "u1": [6, 1, 0, 0, 2, 4], "u2": [3, 1, 4, 1, 5, 9], "u3": [2, 7, 1, 8, 2, 8]},
    "mute": {user: [4, 4, 4, 4, 4, 4] for user in ("u0", "u1", "u2", "u3")},
}
KNOWN = histories([[0], [5, 4], [3, 1, 0], []], ITEMS, [[1], [1, -1], [1, 1, 1], []])
TRUTH = histories([[2, 4], [3, 5], [2], [5, 5, 1]], ITEMS, [[1, 1], [1, 1], [-1], [1, 1, 1]])
CANDIDATES = np.array([True, True, True, True, True, False])
BANDS = EnsembleWeights({"near": 0.5, "far": 0.5}, (2,), ({"near": 1.0, "far": 0.25}, {"near": 0.0, "far": 1.0}))


def member_pool() -> MemberPool:
    return MemberPool({name: Told(scores) for name, scores in SAID.items()})


def z(name: str, user: str) -> list[float]:
    """Return a member's scores with mean 0 and deviation 1; zeros where it says the same of every item."""
    row = SAID[name][user]
    spread = pstdev(row)
    return [0.0] * ITEMS if spread == 0 else [(value - fmean(row)) / spread for value in row]


def known(user: int) -> set[int]:
    return set(KNOWN.rows(user, user + 1).item_index.tolist())


def ranked(weights: dict[str, float], user: int, allowed: set[int]) -> list[tuple[float, int]]:
    """Return (score, item) of what may be listed, best first, equal scores in the tie order."""
    total = [sum(w * z(name, f"u{user}")[item] for name, w in weights.items()) for item in range(ITEMS)]
    ties = tie_order_of_rows(ITEMS)
    return sorted(
        ((total[i], i) for i in sorted(allowed - known(user))), key=lambda pair: (-round(pair[0], 5), ties[pair[1]])
    )


@pytest.mark.parametrize("batch", [1, 3, 4096])
@pytest.mark.parametrize("candidates", [None, CANDIDATES])
def test_mutant_lists_keep_known_items_and_ignore_candidates_dies(
    monkeypatch: pytest.MonkeyPatch, batch: int, candidates: np.ndarray | None
) -> None:
    monkeypatch.setattr(ensemble, "BATCH_CELLS", batch * ITEMS)
    assert batch_users(ITEMS) == batch
    rows = {"one": EnsembleWeights({"near": 1.0}), "both": EnsembleWeights({"near": 0.3, "far": 0.7}), "bands": BANDS}
    lists = member_pool().rank(rows, KNOWN, 4, candidates=candidates)
    allowed = set(range(ITEMS)) if candidates is None else {0, 1, 2, 3, 4}
    for name, found in lists.items():
        assert found.user_ids == KNOWN.user_ids
        assert found.item_index.shape == (4, 4)
        for user in range(4):
            own = dict(rows[name])
            if name == "bands":
                own = dict(BANDS.bands[0] if len(known(user)) < 2 else BANDS.bands[1])
            wanted = ranked(own, user, allowed)[:4]
            short = 4 - len(wanted)
            assert found.item_index[user].tolist() == [item for _, item in wanted] + [-1] * short
            np.testing.assert_allclose(found.score[user], [score for score, _ in wanted] + [-inf] * short, atol=1e-5)


def test_a_list_by_hand() -> None:
    by_row = np.arange(ITEMS, dtype=np.uint64)
    rows = {"": EnsembleWeights({"near": 1.0})}
    lists = member_pool().rank(rows, KNOWN, 4, candidates=CANDIDATES, tie_order=by_row)[""]
    assert lists.item_index.tolist() == [[2, 4, 3, 1], [3, 2, 1, 0], [2, 4, -1, -1], [2, 0, 1, 3]]


@pytest.mark.parametrize("tie_order", [None, np.arange(300, dtype=np.uint64)[::-1].copy()])
def test_equal_scores_follow_the_tie_order_inside_a_list_and_at_its_end(tie_order: np.ndarray | None) -> None:
    scores = np.full((2, 300), -9.0, np.float32)
    scores[0, [250, 120]], scores[0, [299, 3, 40, 77]] = 1, 0
    scores[1] = 2
    scores[1, [7, 11]] = -np.inf, -1
    numbers = tie_order_of_rows(300) if tie_order is None else tie_order

    def by_tie(*items: int) -> list[int]:
        return sorted(items, key=lambda item: numbers[item])

    expected = [*by_tie(120, 250), *by_tie(299, 3, 40, 77)]
    others = by_tie(*range(7), *range(8, 11), *range(12, 300))
    for k in (1, 3, 5):
        found = top_k(scores, k, ["a", "b"], tie_order).item_index.tolist()
        assert found == [expected[:k], others[:k]]
    assert top_k(scores, 300, ["a", "b"], tie_order).item_index[1].tolist() == [*others, 11, -1]


def test_equal_scores_are_listed_in_an_order_that_the_catalog_does_not_decide() -> None:
    ids = [f"item {n}" for n in range(200)]
    pool = MemberPool({"flat": Popularity().fit(histories([[]], 200), Content())})
    weights = {"": EnsembleWeights({"flat": 1.0})}
    lists = []
    for order in (np.arange(200), np.random.default_rng(0).permutation(200)):
        catalog = [ids[n] for n in order]
        found = pool.rank(weights, histories([[]], 200), 20, tie_order=item_tie_order(catalog, 3))[""].item_index[0]
        lists.append([catalog[row] for row in found])
    assert lists[0] == lists[1]
    assert lists[0] != sorted(lists[0], key=ids.index)


def test_tie_orders_of_present_rows_stay_when_the_catalog_grows() -> None:
    assert (tie_order_of_rows(50)[:30] == tie_order_of_rows(30)).all()
    assert np.abs(np.corrcoef(tie_order_of_rows(5000).astype(float), np.arange(5000))[0, 1]) < 0.05


def test_a_list_is_no_longer_than_the_catalog() -> None:
    lists = member_pool().rank({"": EnsembleWeights({"near": 1.0})}, KNOWN, 9)[""]
    assert lists.item_index.shape == (4, ITEMS)
    assert (lists.item_index == -1).sum(1).tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize("weights", [EnsembleWeights({"near": 0.3, "far": 0.7}), BANDS])
def test_the_stack_recommends_what_the_pool_ranks(weights: EnsembleWeights) -> None:
    pool = member_pool()
    one = pool.rank({"": weights}, KNOWN, 4, candidates=CANDIDATES)[""]
    other = Ensemble.build(pool.members, weights, Content()).recommend(KNOWN, 4, candidates=CANDIDATES)
    assert (one.item_index == other.item_index).all()
    np.testing.assert_allclose(one.score, other.score, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 4096])
def test_pair_scores_are_the_members_z_scores(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(ensemble, "BATCH_CELLS", batch * ITEMS)
    users, items = np.array([3, 0, 3, 1, 0]), np.array([5, 0, 1, 2, 4])
    pool = member_pool()
    found = pool.pair_scores(KNOWN, users, items, ["far", "near"])
    wanted = [[z(name, f"u{u}")[i] for name in ("far", "near")] for u, i in zip(users, items, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert set(pool.seconds) == {"far", "near"}


def plain_moments(names: list[str], users: list[int], allowed: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of products over open items, and of the z-scores of what was chosen."""
    gram, target = np.zeros((len(names), len(names))), np.zeros(len(names))
    for user in users:
        open_items = sorted(allowed - known(user))
        truth = TRUTH.rows(user, user + 1)
        chosen = {int(i) for i, w in zip(truth.item_index, truth.weight, strict=True) if w > 0} & set(open_items)
        scores = [z(name, f"u{user}") for name in names]
        for m, one in enumerate(scores):
            for n, other in enumerate(scores):
                gram[m, n] += sum(one[item] * other[item] for item in open_items)
            target[m] += sum(one[item] for item in chosen) / sqrt(max(len(chosen), 1))
    return gram, target


@pytest.mark.parametrize("batch", [1, 4096])
@pytest.mark.parametrize("candidates", [None, CANDIDATES])
def test_moments_are_a_plain_sum_over_open_items(
    monkeypatch: pytest.MonkeyPatch, batch: int, candidates: np.ndarray | None
) -> None:
    monkeypatch.setattr(ensemble, "BATCH_CELLS", batch * ITEMS)
    names = ["far", "mute", "near"]
    found = member_pool().moments(names, KNOWN, TRUTH, EnsembleConfig(), candidates=candidates)
    allowed = set(range(ITEMS)) if candidates is None else {0, 1, 2, 3, 4}
    gram, target = plain_moments(names, [0, 1, 2, 3], allowed)
    np.testing.assert_allclose(found.total().gram, gram, atol=1e-4)
    np.testing.assert_allclose(found.total().target, target, atol=1e-4)
    assert found.starts == ()
    for fold in range(FOLDS):  # users take turns
        one = plain_moments(names, [fold], allowed)
        np.testing.assert_allclose(found.cells[0][fold].gram, one[0], atol=1e-4)
        np.testing.assert_allclose(found.cells[0][fold].target, one[1], atol=1e-4)


def test_moments_of_few_users_take_evenly_spaced_ones_that_chose_something() -> None:
    some = histories([[2, 4], [], [2], [5, 5, 1]], ITEMS)
    found = member_pool().moments(["near"], KNOWN, some, EnsembleConfig(max_users=2))
    gram = sum(plain_moments(["near"], [user], set(range(ITEMS)))[0] for user in (0, 3))
    np.testing.assert_allclose(found.total().gram, gram, atol=1e-4)


def test_users_of_each_band_are_summed_apart() -> None:
    count = 240
    rows = [[0] if user % 2 else [0, 1, 2] for user in range(count)]
    scores = {f"u{user}": [0, 1, 2, 3, 5, float(user)] for user in range(count)}
    pool = MemberPool({"m": Told(scores)})
    found = pool.moments(["m"], histories(rows, 6), histories([[5]] * count, 6), EnsembleConfig(bands=2))
    assert found.starts == (3,)
    for band in range(2):
        for fold in range(FOLDS):
            users = [user for user in range(count) if user % FOLDS == fold and (len(rows[user]) >= 3) == bool(band)]
            wanted = 0.0
            for user in users:
                row = scores[f"u{user}"]
                wanted += (row[5] - fmean(row)) / pstdev(row)
            assert found.cells[band][fold].target[0] == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def test_blocked_items_have_no_score() -> None:
    lists = member_pool().rank({"": EnsembleWeights({"near": 1.0})}, KNOWN, ITEMS)[""]
    assert [isinf(score) for score in lists.score[2]] == [False] * 3 + [True] * 3


def test_seconds_are_what_scoring_took_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "BATCH_CELLS", 2 * ITEMS)
    ticks = iter(np.arange(0, 99, 0.25))
    monkeypatch.setattr("penchant.experiment.scoring.perf_counter", lambda: float(next(ticks)))
    pool = member_pool()
    pool.rank({"": EnsembleWeights({"near": 1.0})}, KNOWN, 3)
    assert pool.seconds == {"near": 0.5}


def test_members_that_differ_in_reading_alone_are_fitted_once_parts_of_members_included() -> None:
    cache, ease = FitCache(), {"model": "ease", "regularisation": 5}
    plain, _ = cache.fit(make_member("one", ease), TRUTH, Content())
    faded, _ = cache.fit(make_member("two", {**ease, "half_life": 1}), TRUTH, Content())
    lifted, _ = cache.fit(make_member("three", {"model": "lifted", "of": {**ease, "half_life": 2}}), TRUTH, Content())
    part = lifted.parts()["of"]
    assert part.matrix is plain.matrix is faded.matrix
    alone = make_member("three", {"model": "lifted", "of": {**ease, "half_life": 2}}).fit(TRUTH, Content())
    np.testing.assert_array_equal(lifted.score(KNOWN), alone.score(KNOWN))
    assert alone.parts()["of"].matrix is not plain.matrix


def test_a_part_is_refitted_from_the_part_of_the_earlier_member() -> None:
    earlier: list[Member | None] = []

    class Remembers(EASE):
        def refit(self, train: Histories, content: Content, before: Member) -> EASE:
            earlier.append(before)
            return super().refit(train, content, before)

    def lifted() -> Lifted:
        member = Lifted(name="m")
        member.member = Remembers(name="m")
        return member

    before = lifted().fit(KNOWN, Content())
    cached, _ = FitCache().fit(lifted(), TRUTH, Content(), before)
    alone = lifted().refit(TRUTH, Content(), before)
    assert earlier == [before.parts()["of"]] * 2
    np.testing.assert_array_equal(cached.score(KNOWN), alone.score(KNOWN))


def test_the_oldest_fits_leave_a_full_cache() -> None:
    cache = FitCache(2.5 * 4 * ITEMS**2)  # two matrices and a bit
    fitted = [
        cache.fit(make_member("m", {"model": "ease", "regularisation": penalty}), TRUTH, Content())[0]
        for penalty in (1, 2, 3, 3, 2, 1)
    ]
    assert len({id(member.matrix) for member in fitted}) == 4
