"""Weights and bands of hand-made moments, against numbers worked out by hand and another solver."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from penchant.fusion.late import (
    FOLDS,
    BandedMoments,
    EnsembleConfig,
    EnsembleWeights,
    Moments,
    band_of,
    band_starts,
    bands_pay,
    fit_bands,
    fit_weights,
    standardise,
)


def moments(gram: list[list[float]], target: list[float]) -> Moments:
    return Moments(np.array(gram, np.float64), np.array(target, np.float64))


def another_solver(found: Moments, ridge: float, min_share: float) -> np.ndarray:
    """Minimise w'(G + ridge)w - 2 w't over w >= 0 by bounded quasi-Newton; small members go and the rest is solved again."""
    count = len(found.target)
    gram = found.gram / (np.trace(found.gram) / count) + ridge * np.eye(count)
    target = found.target / np.abs(found.target).max()

    def solve(kept: np.ndarray) -> np.ndarray:
        part, wanted = gram[np.ix_(kept, kept)], target[kept]
        best = minimize(
            lambda w: w @ part @ w - 2 * w @ wanted,
            np.full(len(kept), 0.5),
            jac=lambda w: 2 * (part @ w - wanted),
            bounds=[(0, None)] * len(kept),
            method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 5000},
        ).x
        out = np.zeros(count)
        out[kept] = best / best.sum()
        return out

    weights = solve(np.arange(count))
    kept = np.flatnonzero(weights >= min_share)
    return solve(kept) if 0 < len(kept) < count else weights


def test_weights_by_hand() -> None:
    plain = EnsembleConfig(ridge=0, min_share=0)
    np.testing.assert_allclose(fit_weights(moments([[4, 0], [0, 4]], [3, 1]), plain), [0.75, 0.25], atol=1e-6)
    np.testing.assert_allclose(fit_weights(moments([[1, 0], [0, 4]], [1, 1]), plain), [0.8, 0.2], atol=1e-6)
    # without the bound the second would be -0.4
    np.testing.assert_allclose(fit_weights(moments([[1, 0.5], [0.5, 1]], [1, 0.2]), plain), [1, 0], atol=1e-6)
    np.testing.assert_allclose(fit_weights(moments([[1, 0.5], [0.5, 1]], [1, 0.8]), plain), [2 / 3, 1 / 3], atol=1e-6)
    # nobody helps: all the same
    np.testing.assert_allclose(fit_weights(moments([[1, 0], [0, 1]], [-1, -2]), plain), [0.5, 0.5])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("ridge", "min_share"), [(1e-6, 0.005), (0.3, 0.0), (0.01, 0.15)])
def test_weights_are_those_of_another_solver(seed: int, ridge: float, min_share: float) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 40)) + rng.normal(size=40)
    found = Moments(root @ root.T * 7, root @ rng.normal(size=40) + 5)
    config = EnsembleConfig(ridge=ridge, min_share=min_share)
    np.testing.assert_allclose(fit_weights(found, config), another_solver(found, ridge, min_share), atol=2e-4)


def test_a_small_member_goes_and_the_rest_is_fitted_again() -> None:
    found = moments([[1, 0, 0.5], [0, 1, 0], [0.5, 0, 1]], [0.9, 0.5, 0.5])
    every, kept = fit_weights(found, EnsembleConfig(min_share=0)), fit_weights(found, EnsembleConfig(min_share=0.1))
    assert 0 < every[2] < 0.1
    np.testing.assert_allclose(kept, [0.9 / 1.4, 0.5 / 1.4, 0], atol=1e-5)
    assert (every[:2] / every[:2].sum() - kept[:2])[1] > 0.005  # not only scaled
    assert (fit_weights(found, EnsembleConfig(min_share=0.99)) == every).all()  # where all are small, all stay


def test_ridge_shares_between_twins_and_pulls_toward_what_each_says_alone() -> None:
    twins = moments([[1, 1], [1, 1]], [1, 1])
    np.testing.assert_allclose(fit_weights(twins, EnsembleConfig()), [0.5, 0.5], atol=1e-3)
    strong = fit_weights(moments([[2, 1.5], [1.5, 2]], [3, 1]), EnsembleConfig(ridge=1e6))
    np.testing.assert_allclose(strong, [0.75, 0.25], atol=1e-4)
    scaled = moments([[2e4, 1.5e4], [1.5e4, 2e4]], [30, 10])
    np.testing.assert_allclose(
        fit_weights(scaled, EnsembleConfig(ridge=0.2)),
        fit_weights(moments([[2, 1.5], [1.5, 2]], [3, 1]), EnsembleConfig(ridge=0.2)),
    )


def test_explained_is_the_squared_correlation_at_the_best_scale() -> None:
    found = moments([[2, 1], [1, 3]], [4, -1])
    assert found.explained(np.array([1.0, 0.0])) == pytest.approx(16 / 2)
    assert found.explained(np.array([1.0, 2.0])) == pytest.approx(2**2 / (2 + 4 + 12))
    assert found.explained(np.array([5.0, 10.0])) == pytest.approx(found.explained(np.array([1.0, 2.0])))
    assert found.explained(np.array([0.0, 1.0])) == 0  # worse than nothing


def test_moments_of_one_user_by_hand() -> None:
    found = Moments.zero(2)
    values = np.array([[[1, 2, 3, 9]], [[0, 1, -1, 9]]], np.float32)
    chosen, blocked = np.array([[True, True, False, True]]), np.array([[False, False, False, True]])
    found.add(values, chosen, blocked)
    np.testing.assert_allclose(found.gram, [[14, -1], [-1, 2]])
    np.testing.assert_allclose(found.target, np.array([3, 1]) / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(found.only([1]).gram, [[2]])
    np.testing.assert_allclose((found + found).target, 2 * found.target)


SHORT, LONG = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]


def two_bands(short: list[list[float]], long: list[list[float]]) -> BandedMoments:
    """Return moments of two members that do not overlap; what each fold of each band wants is given."""
    cells = tuple(tuple(moments(SHORT, wanted) for wanted in band) for band in (short, long))
    return BandedMoments((5,), cells)


FIRST, SECOND = [1.0, 0.0], [0.0, 1.0]


@pytest.mark.parametrize("fold", range(FOLDS))
def test_bands_pay_only_if_every_left_out_fold_gains(fold: int) -> None:
    short, long = [FIRST] * FOLDS, [SECOND] * FOLDS
    assert bands_pay(two_bands(short, long), EnsembleConfig())
    crossed = two_bands(
        [SECOND if f == fold else FIRST for f in range(FOLDS)], [FIRST if f == fold else SECOND for f in range(FOLDS)]
    )
    assert not bands_pay(crossed, EnsembleConfig())


def test_bands_that_want_the_same_do_not_pay() -> None:
    assert not bands_pay(two_bands([FIRST] * FOLDS, [FIRST] * FOLDS), EnsembleConfig())
    assert not bands_pay(BandedMoments((), (tuple(moments(SHORT, FIRST) for _ in range(FOLDS)),)), EnsembleConfig())


def test_the_gain_of_a_fold_is_that_of_its_left_out_users() -> None:
    short = [[1.0, float(f)] for f in range(FOLDS)]
    found = two_bands(short, [SECOND] * FOLDS)
    np.testing.assert_allclose(found.band(0).target, [4, 6])
    np.testing.assert_allclose(found.band(0, without=1).target, [3, 5])
    np.testing.assert_allclose(found.band(1, without=1).gram, 3 * np.eye(2))
    np.testing.assert_allclose(found.total().target, [4, 10])
    np.testing.assert_allclose(found.total(without=3).target, [3, 6])
    np.testing.assert_allclose(found.total(without=0).gram, 6 * np.eye(2))
    own = fit_bands(found, EnsembleConfig())
    np.testing.assert_allclose(own, [[0.4, 0.6], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(found.only([1]).band(0).target, [6])


def test_a_band_begins_at_its_start() -> None:
    assert band_of(np.array([0, 2, 3, 9, 10, 99]), (3, 10)).tolist() == [0, 0, 1, 1, 2, 2]
    assert band_of(np.array([0, 7]), ()).tolist() == [0, 0]


def repeated(*parts: tuple[int, int]) -> np.ndarray:
    return np.repeat([length for length, _ in parts], [count for _, count in parts])


@pytest.mark.parametrize(
    ("lengths", "bands", "starts"),
    [
        (repeated((1, 100), (2, 100)), 5, (2,)),
        (repeated((1, 99), (2, 100)), 5, ()),  # fewer than two hundred users
        (repeated((1, 100), (2, 100)), 1, ()),
        (repeated((1, 100), (2, 100), (4, 100), (9, 99)), 5, (2, 4)),  # 399 users are three bands
        (repeated((1, 50), (2, 150)), 5, (2,)),
        (repeated((1, 49), (2, 151)), 5, ()),  # the first would hold fewer than fifty
        (repeated((1, 160), (2, 40)), 5, ()),  # a band must not begin at the shortest
        (repeated((3, 500)), 5, ()),
    ],
)
def test_band_starts_by_hand(lengths: np.ndarray, bands: int, starts: tuple[int, ...]) -> None:
    assert band_starts(lengths, bands) == starts


def test_standardise_by_hand() -> None:
    found = standardise(np.array([[1, 3, 5], [7, 7, 7], [1e6, 1e6, 1e6 + 0.0625]], np.float32))
    np.testing.assert_allclose(found.values[0], [-1.2247449, 0, 1.2247449], rtol=1e-6)
    assert not found.values[1].any()
    assert np.isinf(found.std[1, 0])
    np.testing.assert_allclose(found.mean[:2, 0], [3, 7])
    assert found.values[2, 2] > 1


def test_heard_keeps_who_has_a_say_in_any_band() -> None:
    weights = EnsembleWeights({"a": 0.0, "b": 1.0, "c": 0.0}, (4,), ({"b": 1.0}, {"c": 1.0})).nonzero()
    assert (dict(weights), len(weights)) == ({"b": 1.0, "c": 0.0}, 2)
    assert weights.bands == ({"b": 1.0, "c": 0.0}, {"b": 0.0, "c": 1.0})
    assert weights.starts == (4,)
    assert weights.of("c", np.array([3, 4])).tolist() == [0, 1]
    assert dict(EnsembleWeights({"a": 0.0, "b": 2.0}).nonzero()) == {"b": 2.0}
