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
    choose_factors,
    choose_thresholds,
    combine,
    conformal_limits,
    cross_entropy,
    fit_ensemble,
    is_flat,
    losses,
    targets,
)
from penchant.experiment.left_out import LeftOut

CLASSES = ("a", "b", "c")
RNG = np.random.default_rng(0)
LABELS = RNG.choice(3, 400, p=[0.7, 0.2, 0.1])
PRIOR = np.log(np.bincount(LABELS) / len(LABELS))
HERE = np.ones(len(LABELS), bool)


def left(labels: np.ndarray, unit: np.ndarray | None = None, num_classes: int = 3) -> LeftOut:
    """Return samples left out by one fit, each a unit of its own unless told otherwise."""
    units = np.arange(len(labels)) if unit is None else unit
    return LeftOut(labels, units, np.zeros(len(labels), np.int64), num_classes)


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
    found, _ = calibrate(logits[half], left(LABELS[half]), kind)
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
    found, _ = calibrate(logits, left(labels, num_classes=num_classes), kind)
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


def test_doubt_is_where_not_one_class_alone_is_plausible_and_at_most_as_often_as_allowed() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 1000)
    logits = log_softmax(0.8 * np.eye(2)[labels] + rng.standard_normal((1000, 2)))
    here, prior = {"m": np.ones(1000, bool)}, np.log([0.5, 0.5])

    def made(rate: float) -> tuple[DecisionRule, np.ndarray]:
        config = CalibrationConfig(max_review_rate=rate)
        row = combine(("m",), {"m": logits}, here, left(labels, num_classes=2), prior, ("no", "yes"), config, "one")
        return row.combined.decision, row.probability

    decision, probability = made(0.9)
    plausible = decision.plausible(probability)
    assert 0.9 <= plausible[np.arange(1000), labels].mean() < 0.92
    wanted = (plausible.sum(1) != 1) | ~plausible[np.arange(1000), decision.answers(probability)]
    assert (decision.is_unsure(probability) == wanted).all()
    assert wanted.mean() > 0.2
    capped, _ = made(0.1)
    asked = capped.is_unsure(probability)
    assert 0.05 < asked.mean() <= 0.1
    assert capped.confidence(probability)[asked].max() <= capped.confidence(probability)[wanted & ~asked].min()
    assert not made(0.0)[0].is_unsure(probability).any()


def test_the_coverage_that_is_promised_is_kept_class_by_class_over_many_draws() -> None:
    rng = np.random.default_rng(3)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(3, count, p=[0.6, 0.3, 0.1])
        return labels, np.exp(log_softmax(np.eye(3)[labels] + rng.standard_normal((count, 3))))

    kept = np.zeros((200, 3))
    for number in range(200):
        labels, probability = draw(300)
        limits = conformal_limits(probability, left(labels), 0.9)
        asked, said_then = draw(1000)
        inside = said_then[np.arange(1000), asked] >= limits[asked]
        kept[number] = [inside[asked == k].mean() for k in range(3)]
    assert (np.abs(kept.mean(axis=0) - 0.9) < 0.02).all()
    assert (kept.mean(axis=0) >= 0.895).all()


def test_coverage_counts_groups_and_not_their_samples() -> None:
    rng = np.random.default_rng(4)

    def draw(groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = np.where(rng.random(groups) < 0.5, 1, 40)
        unit = np.repeat(np.arange(groups), size)
        hard = np.repeat(size == 1, size)  # people of one sample are classified worse
        yes = np.clip(np.where(hard, 0.4, 0.9) + 0.1 * rng.standard_normal(groups)[unit], 0.01, 0.99)
        return unit, yes, np.ones(len(unit), np.int64)

    kept = []
    for _ in range(100):
        unit, yes, labels = draw(60)
        limit = conformal_limits(np.stack([1 - yes, yes], axis=1), left(labels, unit, 2), 0.9)[1]
        new, then, _ = draw(200)
        kept.append(np.mean([(then[new == g] >= limit).mean() for g in range(200)]))
    assert 0.88 < np.mean(kept) < 0.93


def test_too_few_units_make_every_class_plausible() -> None:
    labels = np.array([0] * 100 + [1] * 100)
    probability = np.tile([[0.9, 0.1]], (200, 1))
    limits = conformal_limits(probability, left(labels, np.r_[np.arange(100), np.full(100, 100)], 2), 0.9)
    assert limits.tolist() == [0.9, 0.0]  # the second class is one speaker


def test_thresholds_are_used_only_where_they_clearly_help_on_left_out_samples() -> None:
    rng = np.random.default_rng(8)
    labels = np.repeat([0, 1], [3600, 400])
    fair = np.exp(log_softmax(1.5 * np.eye(2)[labels] + rng.standard_normal((4000, 2)) + np.log([0.9, 0.1])))
    factor, answers, clear = choose_thresholds(fair, left(labels, num_classes=2), "macro_f1", np.ones(2))
    assert clear
    assert factor[1] > factor[0]
    assert f1_score(labels, answers, average="macro") > f1_score(labels, fair.argmax(1), average="macro") + 0.03
    few = np.r_[np.arange(3600) % 4, 4 + np.arange(400) % 4]  # eight speakers
    assert choose_thresholds(fair, left(labels, few, 2), "accuracy", np.ones(2))[2] is False
    noise = np.exp(log_softmax(rng.standard_normal((60, 2))))
    even, plain, clear = choose_thresholds(noise, left(np.arange(60) % 2, num_classes=2), "accuracy", np.ones(2))
    assert (even.tolist(), clear) == ([1, 1], False)
    assert (plain == noise.argmax(1)).all()


def test_calibration_is_used_only_where_it_lowers_the_loss_of_left_out_samples() -> None:
    rng = np.random.default_rng(9)
    right = log_softmax(rng.standard_normal((200, 3)) * 2)
    labels = np.array([rng.choice(3, p=np.exp(row)) for row in right])
    found, held = calibrate(right, left(labels), "auto")
    assert found.kind == "none"  # these probabilities are the true ones
    np.testing.assert_allclose(held, np.exp(right))
    wrong, held = calibrate(4 * right, left(labels), "auto")
    assert wrong.kind != "none"
    wanted = targets(labels, 3)
    assert losses(held, wanted).mean() < losses(np.exp(log_softmax(4 * right)), wanted).mean()


def test_a_class_absent_from_validation_is_left_as_it_is() -> None:
    some = LABELS != 2
    found = {"m": said(1.0, 5)[some]}
    made = combine(
        ("m",), found, {"m": HERE[some]}, left(LABELS[some]), PRIOR, CLASSES, CalibrationConfig(calibration="platt")
    ).combined
    probability = made.probability(found, {"m": HERE[some]})
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    assert np.isfinite(probability).all()


def test_validation_flattens_a_ranking_but_never_turns_it_round() -> None:
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 30)
    truth = labels + 0.5 * rng.standard_normal(30)
    upside_down = log_softmax(np.stack([truth, -truth], axis=1))
    found, _ = calibrate(upside_down, left(labels, num_classes=2), "platt")
    assert found.slope.tolist() == [MIN_SLOPE, MIN_SLOPE]
    moved = found.apply(upside_down)[:, 1]
    assert (np.argsort(moved) == np.argsort(-truth)).all()  # the order is as it was
    np.testing.assert_allclose(moved, labels.mean(), atol=0.05)  # and says next to nothing
    here = {"m": np.ones(30, bool)}
    made = combine(
        ("m",),
        {"m": upside_down},
        here,
        left(labels, num_classes=2),
        np.log([0.5, 0.5]),
        ("no", "yes"),
        CalibrationConfig(calibration="platt"),
    ).combined
    assert is_flat(made)
    assert made.ensemble.weight.sum() > 0
    right_way = combine(
        ("m",),
        {"m": -upside_down},
        here,
        left(labels, num_classes=2),
        np.log([0.5, 0.5]),
        ("no", "yes"),
        CalibrationConfig(calibration="platt"),
    ).combined
    assert not is_flat(right_way)


def test_temperature_is_the_best_of_a_fine_grid() -> None:
    logits = 4 * said(1.0, 3)
    wanted = targets(LABELS, 3)
    grid = np.exp(np.linspace(-1, 3, 4001))
    surprises = [-(wanted * log_softmax(logits / t)).sum(1).mean() for t in grid]
    assert calibrate(logits, left(LABELS), "temperature")[0].temperature == pytest.approx(
        grid[np.argmin(surprises)], rel=2e-3
    )


def test_auto_takes_what_does_best_on_held_out_parts() -> None:
    for scale, skill in ((4.0, 1.0), (0.3, 2.0)):
        logits, out = scale * said(skill, 8), left(LABELS)
        total = {}
        for kind in ("temperature", "platt"):
            total[kind] = 0.0
            for on, asked in out.held():
                held, _ = calibrate(logits[on], left(LABELS[on]), kind)
                total[kind] += losses(held.apply(logits[asked]), targets(LABELS, 3)[asked]).sum()
        assert calibrate(logits, out, "auto")[0].kind == min(total, key=lambda kind: total[kind])


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
    out, answers = left(labels, num_classes=2), ("no", "yes")
    for config, factor in (
        (CalibrationConfig(aim="cost", costs={"yes": 3}), [0.25, 0.75]),
        (CalibrationConfig(aim="none"), [1, 1]),
    ):
        made = combine(("m",), found, {"m": HERE[:40]}, out, np.log([0.5, 0.5]), answers, config).combined
        np.testing.assert_allclose(made.decision.factor, factor)
        if config.aim == "none":  # all right on the folds left out: no review
            assert not made.decision.is_unsure(made.probability(found, {"m": HERE[:40]})).any()
