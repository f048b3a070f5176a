from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penchant.core.schema import LATEST, Histories
from penchant.fusion.late import (
    FIRST_DAY,
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
    gap_starts,
    gaps,
    standardise,
)

PLANTED = np.array([0.6, 0.3, 0.1, 0.0])


def planted(users: int = 600, items: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return member scores, and choices drawn by a softmax over a known mixture of them; the last member is noise."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, users, items)).astype(np.float32)
    values = np.stack([standardise(v).values for v in values])
    logits = 4 * np.tensordot(PLANTED, values, 1) + rng.gumbel(size=(users, items))
    chosen = np.zeros((users, items), bool)
    np.put_along_axis(chosen, np.argsort(-logits, axis=1)[:, :2], True, axis=1)
    return values, chosen, np.zeros_like(chosen)


def moments(values: np.ndarray, chosen: np.ndarray, blocked: np.ndarray, batch: int = 100) -> Moments:
    found = Moments.zero(len(values))
    for start in range(0, values.shape[1], batch):
        users = slice(start, start + batch)
        found.add(values[:, users].copy(), chosen[users], blocked[users])
    return found


def test_standardise_gives_each_user_mean_zero_and_spread_one() -> None:
    scores = np.random.default_rng(0).gamma(1, 5, (7, 50)).astype(np.float32) + 100
    found = standardise(scores)
    np.testing.assert_allclose(found.values.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(found.values.std(1), 1, atol=1e-4)
    np.testing.assert_allclose(found.values * found.std + found.mean, scores, rtol=1e-5)


def test_weights_recover_a_planted_mixture() -> None:
    weights = fit_weights(moments(*planted()), EnsembleConfig())
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, PLANTED, atol=0.08)


def test_a_member_that_misleads_gets_no_weight() -> None:
    values, chosen, blocked = planted()
    values[3] = -values[0]
    weights = fit_weights(moments(values, chosen, blocked), EnsembleConfig())
    assert (weights >= 0).all()
    assert weights[3] == 0


def test_batches_do_not_matter() -> None:
    one, many = moments(*planted(), batch=600), moments(*planted(), batch=37)
    np.testing.assert_allclose(one.gram, many.gram, rtol=1e-3, atol=1)
    np.testing.assert_allclose(fit_weights(one, EnsembleConfig()), fit_weights(many, EnsembleConfig()), atol=1e-3)


def test_blocked_items_do_not_count() -> None:
    values, chosen, blocked = planted()
    spoiled, also = values.copy(), blocked.copy()
    also[:, :10] = True
    spoiled[3, :, :10] = 50 * chosen[:, :10]
    np.testing.assert_allclose(
        fit_weights(moments(spoiled, chosen, also), EnsembleConfig()),
        fit_weights(moments(values, chosen, also), EnsembleConfig()),
    )


def test_members_with_a_tiny_share_are_left_out() -> None:
    weights = fit_weights(moments(*planted()), EnsembleConfig(min_share=0.2))
    assert (weights > 0).tolist() == [True, True, False, False]
    assert weights.sum() == pytest.approx(1)


def test_a_member_twice_shares_the_say() -> None:
    values, chosen, blocked = planted()
    values[3] = values[0]
    weights = fit_weights(moments(values, chosen, blocked), EnsembleConfig())
    assert weights[0] + weights[3] == pytest.approx(0.6, abs=0.08)


def test_where_nobody_helps_all_have_the_same_say() -> None:
    values = np.zeros((3, 5, 6), np.float32)
    weights = fit_weights(moments(values, np.ones((5, 6), bool), np.zeros((5, 6), bool)), EnsembleConfig())
    np.testing.assert_allclose(weights, 1 / 3)


def test_only_some_members() -> None:
    found = moments(*planted())
    np.testing.assert_allclose(fit_weights(found.only([0, 1]), EnsembleConfig()), [2 / 3, 1 / 3], atol=0.08)


def banded(values: np.ndarray, chosen: np.ndarray, lengths: np.ndarray, starts: tuple[int, ...]) -> BandedMoments:
    found, blocked = BandedMoments.zero(len(values), starts), np.zeros_like(chosen)
    for user, band in enumerate(band_of(lengths, starts)):
        one = slice(user, user + 1)
        found.cells[band][user % FOLDS].add(values[:, one].copy(), chosen[one], blocked[one])
    return found


def test_bands_are_kept_where_short_and_long_histories_want_something_else() -> None:
    values, chosen, _ = planted()
    lengths = np.where(np.arange(600) % 3 == 0, 100, 5)
    values[:2, lengths == 100] = values[:2, lengths == 100][::-1]
    found = banded(values, chosen, lengths, (50,))
    assert bands_pay(found, EnsembleConfig())
    short, long = fit_bands(found, EnsembleConfig())
    np.testing.assert_allclose(short, PLANTED, atol=0.08)
    np.testing.assert_allclose(long, PLANTED[[1, 0, 2, 3]], atol=0.08)


def test_bands_are_dropped_where_everyone_wants_the_same() -> None:
    values, chosen, _ = planted()
    assert not bands_pay(banded(values, chosen, np.arange(600), (120, 240, 360, 480)), EnsembleConfig())


def test_moments_of_all_bands_are_those_of_everyone() -> None:
    values, chosen, blocked = planted()
    found = banded(values, chosen, np.arange(600), (200, 400)).total()
    np.testing.assert_allclose(found.gram, moments(values, chosen, blocked).gram, rtol=1e-3, atol=1)


def test_bands_hold_about_equally_many_users() -> None:
    lengths = np.random.default_rng(0).integers(1, 500, 1000)
    counts = np.bincount(band_of(lengths, band_starts(lengths, 5)))
    assert len(counts) == 5
    assert counts.min() > 180
    assert band_starts(lengths[:150], 5) == ()
    assert band_starts(np.full(1000, 7), 5) == ()


def test_weights_of_a_member_follow_the_length_of_the_history() -> None:
    weights = EnsembleWeights({"a": 0.5, "b": 0.5, "c": 0.0}, (10,), ({"a": 1.0}, {"a": 0.2, "b": 0.8})).nonzero()
    assert list(weights) == ["a", "b"]
    np.testing.assert_allclose(weights.of("a", np.array([0, 9, 10, 99])), [1, 1, 0.2, 0.2])
    np.testing.assert_allclose(weights.of("b", np.array([0, 9, 10, 99])), [0, 0, 0.8, 0.8])
    np.testing.assert_allclose(EnsembleWeights({"a": 0.3}).of("a", np.array([0, 5])), 0.3)


def test_a_gap_is_known_where_both_times_are() -> None:
    events = Histories(
        ["a", "b", "c", "d"],
        np.array([0, 2, 3, 3, 4]),
        np.zeros(4, np.int32),
        FIRST_DAY + np.array([5, 10, 0, 7]),
        np.ones(4, np.float32),
        1,
    )
    assert gaps(events).tolist() == [-1, -1, -1, -1]  # nobody said when the list is asked for
    assert gaps(events.requested(FIRST_DAY + 12)).tolist() == [2, -1, -1, 5]
    assert gaps(events.requested(LATEST)).tolist() == [-1, -1, -1, -1]
    assert gaps(events.requested(np.array([0, 12, 12, FIRST_DAY + 3]))).tolist() == [-1, -1, -1, 0]
    in_order = replace(events, at=events.at - FIRST_DAY)
    assert gaps(in_order.requested(FIRST_DAY + 12)).tolist() == [-1, -1, -1, -1]
    weights = EnsembleWeights({"m": 0.5}, (0, 3), ({"m": 0.5}, {"m": 1.0}, {"m": 0.2}), "gap")
    found = weights.of("m", weights.band_values(events.requested(FIRST_DAY + 12)))
    np.testing.assert_allclose(found, [1.0, 0.5, 0.5, 0.2])
    assert weights.nonzero().by == weights.only(["m"]).by == weights.with_member("n", 1).by == "gap"


def test_bands_of_gaps_begin_with_that_of_unknown_ones() -> None:
    values = np.concatenate([np.full(40, -1), np.arange(400)])
    starts = gap_starts(values, 3)
    assert starts[0] == 0
    assert len(starts) == 3
    assert gap_starts(values[:120], 3) == ()
