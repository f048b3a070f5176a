"""What a row promises is checked on samples that took no part in it, and a test that differs is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penchant.classifiers.classifier import log_softmax
from penchant.experiment.calibration import CalibrationConfig, combine
from penchant.experiment.left_out import LeftOut
from penchant.experiment.promises import (
    ChoiceMaterial,
    PromiseCheck,
    calibration_error,
    check_promises,
    compare_with_test,
    keep_promises,
)

CLASSES = ("a", "b", "c")
SHARES = [0.5, 0.3, 0.2]
CONFIG = CalibrationConfig()
PLAIN = CalibrationConfig(aim="none", calibration="none")


def drawn(
    count: int, seed: int, shares: list[float] | None = None, skill: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and log-probabilities that are as sure as they are right."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=SHARES if shares is None else shares)
    seen = skill * np.eye(3)[labels] + rng.standard_normal((count, 3))
    return labels, log_softmax(skill * seen + np.log(SHARES))


def material(labels: np.ndarray, found: np.ndarray) -> ChoiceMaterial:
    count = len(labels)
    left_out = LeftOut(labels, np.arange(count), np.zeros(count, np.int64), 3)
    prior = np.log(SHARES)
    return ChoiceMaterial({"m": found}, {"m": np.ones(count, bool)}, left_out, prior, CLASSES, {"row": (("m",), "one")})


def checked(labels: np.ndarray, found: np.ndarray, config: CalibrationConfig = CONFIG) -> PromiseCheck:
    held = check_promises("row", material(labels, found), config)
    assert held is not None
    return held


def test_the_check_answers_each_part_by_what_the_other_parts_chose() -> None:
    labels, found = drawn(400, 0)
    seen = material(labels, 3 * found)
    held = checked(labels, 3 * found)
    on, out = next(iter(seen.left_out.held()))
    rest, asked = seen.take(np.flatnonzero(on)), seen.take(np.flatnonzero(out))
    assert len(rest.left_out) + len(asked.left_out) == 400
    made = combine(("m",), rest.found, rest.present, rest.left_out, seen.prior, CLASSES, CONFIG, "one").combined
    np.testing.assert_array_equal(held.probability[out], made.probability(asked.found, asked.present))
    assert held.calibration_error < held.uncalibrated_error - 0.05
    assert held.calibration_helps
    assert abs(held.kept - 0.9) < 0.04
    assert f"{held.kept:.3f}" in held.sentences()[0]


def test_too_few_samples_are_not_checked() -> None:
    assert check_promises("row", material(*drawn(6, 1)), CONFIG) is None


def test_thresholds_that_lower_their_aim_on_folds_left_out_are_dropped() -> None:
    seen = material(*drawn(60, 22))
    row = combine(("m",), seen.found, seen.present, seen.left_out, seen.prior, CLASSES, CONFIG, "one")
    held = check_promises("row", seen, CONFIG)
    assert held is not None
    assert not held.thresholds_help
    kept, again = keep_promises("row", row, seen, CONFIG)
    np.testing.assert_array_equal(kept.combined.decision.factor, np.ones(3))
    assert again is not None
    assert again.with_thresholds == again.without


def test_costs_that_the_settings_ask_for_stay() -> None:
    config = CalibrationConfig(aim="cost", costs={"c": 30.0}, calibration="temperature")
    labels, found = drawn(300, 3)
    seen = material(labels, found)
    row = combine(("m",), seen.found, seen.present, seen.left_out, seen.prior, CLASSES, config, "one")
    kept, held = keep_promises("row", row, seen, config)
    assert held is not None
    assert not held.thresholds_help  # accuracy pays for the costs
    assert kept is row


@pytest.mark.parametrize("seed", range(5))
def test_a_test_from_the_same_source_gives_no_finding(seed: int) -> None:
    held = checked(*drawn(1000, seed), PLAIN)
    labels, found = drawn(1000, seed + 100)
    assert compare_with_test(held, np.exp(found), labels, np.ones(1000, bool), CLASSES) == []


def test_labels_by_another_rule_are_told_from_other_shares_of_the_classes() -> None:
    held = checked(*drawn(1000, 4), PLAIN)
    labels, found = drawn(1000, 5)
    other = np.where(np.random.default_rng(0).random(1000) < 0.15, np.random.default_rng(1).permutation(labels), labels)
    kept = np.random.default_rng(2).random(1000) < 0.8
    (finding,) = compare_with_test(held, np.exp(found), other, kept, CLASSES)
    assert (finding.check, finding.severity, finding.action) == ("test.other_labels", "warning", "kept")
    assert f"kept {kept.mean():.3f} of 0.90" in finding.advice
    labels, found = drawn(1000, 6, shares=[0.2, 0.3, 0.5], skill=4)
    (finding,) = compare_with_test(checked(*drawn(1000, 4, skill=4), PLAIN), np.exp(found), labels, kept, CLASSES)
    assert finding.check == "test.class_shares"
    assert "(a: " in finding.advice or "(c: " in finding.advice


def test_a_test_of_few_speakers_is_not_told_apart() -> None:
    held = checked(*drawn(1000, 4), PLAIN)
    labels, found = drawn(1000, 5)
    other = np.where(np.random.default_rng(0).random(1000) < 0.15, np.random.default_rng(1).permutation(labels), labels)
    assert compare_with_test(held, np.exp(found), other, np.ones(1000, bool), CLASSES, num_units=8) == []


def test_calibration_error_by_hand() -> None:
    probability = np.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.35, 0.65]])
    # one band of .8 with half right, one of .6 to .7 with all right
    assert calibration_error(probability, np.array([0, 1, 1, 1])) == pytest.approx((2 * 0.3 + 2 * 0.375) / 4)


def test_a_check_compares_thresholds_and_calibration() -> None:
    held = checked(*drawn(200, 7), PLAIN)
    assert not replace(held, with_thresholds=0.5, without=0.6).thresholds_help
    assert not replace(held, calibration_error=0.2, uncalibrated_error=0.1).calibration_helps
