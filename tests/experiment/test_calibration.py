"""What is tuned on validation does what it is tuned for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import f1_score

from penchant.classifiers.classifier import log_softmax
from penchant.classifiers.combined import DecisionRule, log_odds
from penchant.experiment.calibration import (
    MIN_SLOPE,
    CalibrationConfig,
    calibrate,
    choose_confidence_threshold,
    choose_factors,
    combine,
    cross_entropy,
    fit_ensemble,
    is_flat,
    targets,
)

CLASSES = ("a", "b", "c")
RNG = np.random.default_rng(0)
LABELS = RNG.choice(3, 400, p=[0.7, 0.2, 0.1])
PRIOR = np.log(np.bincount(LABELS) / len(LABELS))
HERE = np.ones(len(LABELS), bool)


def said(skill: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return log_softmax(skill * np.eye(3)[LABELS] + rng.standard_normal((len(LABELS), 3)) + PRIOR)


def test_the_stack_listens_to_who_knows() -> None:
    found = {"knows": said(2.0, 1), "guesses": said(0.0, 2)}
    ensemble = fit_ensemble(("knows", "guesses"), found, {"knows": HERE, "guesses": HERE}, LABELS, PRIOR)
    assert ensemble.weight[0] > 0.5
    assert ensemble.weight[1] < 0.1
    alone = cross_entropy(np.exp(found["knows"]), LABELS)
    assert cross_entropy(np.exp(log_softmax(ensemble.logits(found, {"knows": HERE, "guesses": HERE}))), LABELS) < alone


@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic", "auto"])
def test_overconfident_probabilities_are_calibrated_on_others(kind: str) -> None:
    logits = 4 * said(1.0, 3)
    half = np.arange(len(LABELS)) < 200
    found = calibrate(logits[half], LABELS[half], kind)
    before = cross_entropy(np.exp(log_softmax(logits[~half])), LABELS[~half])
    assert cross_entropy(found.apply(logits[~half]), LABELS[~half]) < before - 0.1


def test_targets_are_platts_and_sum_to_one() -> None:
    np.testing.assert_allclose(targets(np.array([0, 0, 0, 1]), 2), [[4 / 5, 1 / 5]] * 3 + [[1 / 3, 2 / 3]])
    np.testing.assert_allclose(targets(LABELS, 3).sum(axis=1), 1.0)
    np.testing.assert_allclose(targets(np.zeros(10**6, int), 2)[0], [1, 0], atol=1e-5)  # many samples are believed


@pytest.mark.parametrize("kind", ["temperature", "platt", "auto"])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_few_samples_told_apart_without_a_mistake_do_not_make_certain(kind: str, num_classes: int) -> None:
    labels = np.arange(30) % num_classes
    logits = log_softmax(3.0 * np.eye(num_classes)[labels] + 0.3 * np.random.default_rng(7).random((30, num_classes)))
    found = calibrate(logits, labels, kind)
    sure = found.apply(logits)[np.arange(30), labels]
    count = 30 / num_classes
    assert (count + 1) / (count + num_classes) - 0.05 < sure.mean() < (count + 1) / (count + 2) + 0.02
    assert found.apply(2 * logits).min() > 1e-4  # content more like its class than any that was seen


def test_threshold_is_the_middle_of_the_gap_in_log_odds() -> None:
    yes = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.45])
    probability, labels = np.stack([1 - yes, yes], axis=1), np.repeat([0, 1], 4)
    decision = DecisionRule(choose_factors(probability, labels, "macro_f1", np.ones(2)))
    threshold = decision.thresholds(probability)[:, 1]
    middle = log_odds(np.array([[0.1, 0.2]])).mean()
    np.testing.assert_allclose(threshold, 1 / (1 + np.exp(-middle)))
    assert (decision.answers(probability) == labels).all()


def test_threshold_is_no_lower_than_so_many_samples_can_tell_from_zero() -> None:
    yes = np.array([1e-12] * 8 + [1e-4] + [0.9] * 11)
    labels = np.repeat([0, 1], [8, 12])
    probability = np.stack([1 - yes, yes], axis=1)
    factor = choose_factors(probability, labels, "accuracy", np.ones(2))
    assert DecisionRule(factor).thresholds(probability)[:, 1].min() >= 1 / (len(labels) + 2) - 1e-9


def test_factors_raise_macro_f1_of_rare_classes() -> None:
    probability = np.exp(said(1.0, 4))
    factor = choose_factors(probability, LABELS, "macro_f1", np.ones(3))
    plain, tuned = (f1_score(LABELS, p.argmax(1), average="macro") for p in (probability, probability * factor))
    assert tuned > plain + 0.02


def test_costs_move_the_threshold_to_where_expected_cost_is_least() -> None:
    factor = choose_factors(np.full((4, 2), 0.5), np.array([0, 1, 0, 1]), "cost", np.array([1.0, 4.0]))
    assert DecisionRule(factor).thresholds(np.array([[0.5, 0.5]]))[0, 1] == pytest.approx(0.2)  # 1 / (1 + 4)


def test_doubt_asks_about_as_few_as_make_the_rest_right() -> None:
    confidence = np.linspace(0.55, 0.99, 100)
    probability = np.stack([1 - confidence, confidence], axis=1)
    labels = (np.arange(100) >= 20).astype(int)  # the 20 least sure are wrong
    decision = DecisionRule(np.ones(2))
    sure = choose_confidence_threshold(decision, probability, labels, wanted=0.95, max_review_rate=0.5)
    asked = confidence < sure
    assert asked.sum() == 16  # 80 right of 84
    assert choose_confidence_threshold(decision, probability, labels, wanted=1.0, max_review_rate=0.1) == pytest.approx(
        confidence[9:11].mean()
    )
    assert choose_confidence_threshold(decision, probability, labels, wanted=0.8, max_review_rate=0.5) == 0.0


def test_a_class_absent_from_validation_is_left_as_it_is() -> None:
    some = LABELS != 2
    found = {"m": said(1.0, 5)[some]}
    made = combine(
        ("m",), found, {"m": HERE[some]}, LABELS[some], PRIOR, CLASSES, CalibrationConfig(calibration="platt")
    )
    probability = made.probability(found, {"m": HERE[some]})
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    assert np.isfinite(probability).all()


def test_validation_flattens_a_ranking_but_never_turns_it_round() -> None:
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 30)
    truth = labels + 0.5 * rng.standard_normal(30)
    upside_down = log_softmax(np.stack([truth, -truth], axis=1))
    found = calibrate(upside_down, labels, "platt")
    assert found.slope.tolist() == [MIN_SLOPE, MIN_SLOPE]
    moved = found.apply(upside_down)[:, 1]
    assert (np.argsort(moved) == np.argsort(-truth)).all()  # the order is as it was
    np.testing.assert_allclose(moved, labels.mean(), atol=0.05)  # and says next to nothing
    here = {"m": np.ones(30, bool)}
    made = combine(
        ("m",),
        {"m": upside_down},
        here,
        labels,
        np.log([0.5, 0.5]),
        ("no", "yes"),
        CalibrationConfig(calibration="platt"),
    )
    assert is_flat(made)
    assert made.ensemble.weight.sum() > 0
    right_way = combine(
        ("m",),
        {"m": -upside_down},
        here,
        labels,
        np.log([0.5, 0.5]),
        ("no", "yes"),
        CalibrationConfig(calibration="platt"),
    )
    assert not is_flat(right_way)


def test_temperature_is_the_best_of_a_fine_grid() -> None:
    logits = 4 * said(1.0, 3)
    wanted = targets(LABELS, 3)
    grid = np.exp(np.linspace(-1, 3, 4001))
    surprises = [-(wanted * log_softmax(logits / t)).sum(1).mean() for t in grid]
    assert calibrate(logits, LABELS, "temperature").temperature == pytest.approx(grid[np.argmin(surprises)], rel=2e-3)


def test_auto_takes_what_does_best_on_held_out_fifths() -> None:
    for scale, skill in ((4.0, 1.0), (1.0, 1.0), (0.3, 2.0)):
        logits = scale * said(skill, 8)
        losses = {}
        for kind in ("none", "temperature", "platt"):
            total = 0.0
            for fold in range(5):
                out = np.arange(len(LABELS)) % 5 == fold
                held = calibrate(logits[~out], LABELS[~out], kind).apply(logits[out])
                total -= (targets(LABELS, 3)[out] * np.log(np.maximum(held, 1e-6))).sum()
            losses[kind] = total
        assert calibrate(logits, LABELS, "auto").kind == min(losses, key=lambda kind: losses[kind])


def test_weights_of_the_stack_are_those_of_another_solver() -> None:
    found, half = {"m": said(1.0, 5), "n": said(0.7, 6)}, np.arange(len(LABELS)) % 2 == 0
    here = {"m": HERE, "n": half}
    ensemble = fit_ensemble(("m", "n"), found, here, LABELS, PRIOR)

    def loss(w: np.ndarray) -> float:
        total = w[0] + w[1]
        alone = total * found["m"] + w[2:]  # where the other is missing, the sum of the weights stays
        logits = np.where(half[:, None], w[0] * found["m"] + w[1] * found["n"] + w[2:], alone)
        fit = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(LABELS)), LABELS]
        return float(fit.sum() + 0.5 * (((w[:2] - 0.5) ** 2).sum() + (w[2:] ** 2).sum()))

    best = minimize(
        loss, np.array([0.4, 0.4, 0, 0, 0]), method="Powell", options={"xtol": 1e-8, "ftol": 1e-12, "maxiter": 20000}
    )
    np.testing.assert_allclose(np.concatenate([ensemble.weight, ensemble.bias]), best.x, atol=5e-3)


def test_cost_and_answers_of_combine_by_hand() -> None:
    labels = np.array([0, 1] * 20)
    found = {"m": np.log(np.tile([[0.6, 0.4], [0.4, 0.6]], (20, 1)))}
    made = combine(
        ("m",),
        found,
        {"m": HERE[:40]},
        labels,
        np.log([0.5, 0.5]),
        ("no", "yes"),
        CalibrationConfig(aim="cost", costs={"yes": 3}),
    )
    np.testing.assert_allclose(made.decision.factor, [0.25, 0.75])
    none = combine(
        ("m",), found, {"m": HERE[:40]}, labels, np.log([0.5, 0.5]), ("no", "yes"), CalibrationConfig(aim="none")
    )
    np.testing.assert_allclose(none.decision.factor, [1, 1])
    assert none.decision.confidence_threshold == 0  # all right: no review
