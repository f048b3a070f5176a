"""The likelihood of each choice among sampled items, against plain loops and worlds whose answer is known."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from penchant.fusion import listwise
from penchant.fusion.late import EnsembleConfig, Moments, fit_weights, standardise
from penchant.fusion.listwise import PENALTY, SampledChoices, _Arrays, fit_listwise, strengths


def sampled(values: np.ndarray, chosen: np.ndarray, blocked: np.ndarray | None = None, batch: int = 10**6):
    none = np.zeros_like(chosen) if blocked is None else blocked
    found = SampledChoices(len(values))
    for start in range(0, len(chosen), batch):
        users = slice(start, start + batch)
        found.add(values[:, users], chosen[users], none[users], np.arange(len(chosen))[users] % 4)
    return found


def of_odds(*odds: int) -> SampledChoices:
    """Return users with two open items each: member m prefers one of them, and it is chosen odds[m] times as often as the other."""
    values, chosen = [], []
    for member, favour in enumerate(odds):
        for user in range(60 * (favour + 1)):
            row = np.zeros((len(odds), 2), np.float32)
            row[member, 0] = 1
            values.append(row)
            right = user % (favour + 1) > 0
            chosen.append([right, not right])
    return sampled(np.stack(values, axis=1), np.array(chosen))


def test_weights_by_hand_are_log_odds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listwise, "PENALTY", 0.0)
    np.testing.assert_allclose(strengths(of_odds(3, 1, 8)), [log(3), 0, log(8)], atol=1e-2)
    wanted = np.array([log(3), 0, log(8)]) / log(24)
    np.testing.assert_allclose(fit_listwise(of_odds(3, 1, 8), EnsembleConfig()), wanted, atol=1e-2)


def test_the_loss_and_its_gradient_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 7, 9)).astype(np.float32)
    chosen, blocked = rng.random((7, 9)) < 0.3, rng.random((7, 9)) < 0.2
    chosen[2] = False  # nothing chosen
    blocked[4] = chosen[4]  # nothing chosen that is open
    weights, losses = np.array([0.7, 0.0, 1.3]), []
    for user in range(7):
        score = [sum(w * float(v) for w, v in zip(weights, values[:, user, i], strict=True)) for i in range(9)]
        targets = [i for i in range(9) if chosen[user, i] and not blocked[user, i]]
        others = sum(exp(score[i]) for i in range(9) if not chosen[user, i] and not blocked[user, i])
        if targets:
            losses.append(sum(-log(exp(score[i]) / (exp(score[i]) + others)) for i in targets) / len(targets))
    arrays = _Arrays.of(sampled(values, chosen, blocked))
    loss, gradient = arrays.loss(weights)
    assert len(losses) == 5
    assert loss == pytest.approx(sum(losses) / 5 + PENALTY * (0.7**2 + 1.3**2), abs=1e-5)
    np.testing.assert_allclose(gradient, approx_fprime(weights, lambda w: arrays.loss(w)[0], 1e-3), atol=2e-3)


def test_a_sample_stands_for_all_open_items() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 300, 2000)).astype(np.float32)
    logits = 1.5 * values[0] + 0.5 * values[1] + rng.gumbel(size=(300, 2000))
    chosen = logits == logits.max(1, keepdims=True)
    found = sampled(values, chosen)
    assert {one.shape for one in found.sampled} == {(2, listwise.SAMPLED_ITEMS)}
    assert found.scale[0] == 1999 / 250
    np.testing.assert_allclose(strengths(found), [1.5, 0.5], atol=0.15)


def test_batches_and_chosen_members_and_folds_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    values, chosen = rng.normal(size=(3, 20, 600)).astype(np.float32), rng.random((20, 600)) < 0.01
    whole, parts = sampled(values, chosen), sampled(values, chosen, batch=3)
    for one, other in zip(whole.sampled, parts.sampled, strict=True):
        np.testing.assert_array_equal(one, other)
    two = whole.only([2, 0])
    np.testing.assert_array_equal(two.sampled[5], whole.sampled[5][[2, 0]])
    np.testing.assert_array_equal(two.chosen[5], whole.chosen[5][[2, 0]])
    odd = whole.folds(1, 3)
    assert set(odd.fold) == {1, 3}
    assert len(odd.chosen) + len(whole.folds(0, 2).chosen) == len(whole.chosen)


def test_without_a_choice_or_with_members_that_mislead_weights_are_equal() -> None:
    assert fit_listwise(SampledChoices(2), EnsembleConfig()).tolist() == [0.5, 0.5]
    values = np.array([[[0, 1.0]], [[0, 2.0]]], np.float32)
    assert fit_listwise(sampled(values, np.array([[True, False]])), EnsembleConfig()).tolist() == [0.5, 0.5]


def test_a_member_of_a_small_share_is_left_out() -> None:
    weights = fit_listwise(of_odds(3, 8), EnsembleConfig(min_share=0.4))
    assert weights.tolist() == [0.0, 1.0]


def test_a_sparse_prior_gets_its_share_where_least_squares_gives_too_much() -> None:
    rng = np.random.default_rng(3)
    values = np.stack([rng.normal(size=(800, 200)), np.broadcast_to(np.arange(200) < 3, (800, 200))])
    values = np.stack([standardise(one.astype(np.float32)).values for one in values])
    logits = 2 * values[0] + 0.3 * values[1] + rng.gumbel(size=(800, 200))
    chosen = logits == logits.max(1, keepdims=True)
    moments = Moments.zero(2)
    moments.add(values.copy(), chosen, np.zeros_like(chosen))
    wanted = np.array([2, 0.3]) / 2.3
    np.testing.assert_allclose(fit_listwise(sampled(values, chosen), EnsembleConfig()), wanted, atol=0.03)
    assert fit_weights(moments, EnsembleConfig())[1] > 2 * wanted[1]
