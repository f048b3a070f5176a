"""Weights of what is there, thresholds, doubts: numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np

from penchant.classifiers.combined import Calibration, ClassifierEnsemble, CombinedClassifier, DecisionRule

LOG = np.log(np.array([[0.8, 0.2], [0.4, 0.6]]))
OTHER = np.log(np.array([[0.5, 0.5], [0.9, 0.1]]))
PRIOR = np.log(np.array([0.7, 0.3]))


def ensemble() -> ClassifierEnsemble:
    return ClassifierEnsemble(("a", "b"), np.array([0.75, 0.25]), np.zeros(2), PRIOR)


def test_weights_of_missing_members_go_to_the_others() -> None:
    present = {"a": np.array([True, False, False]), "b": np.array([True, True, False])}
    np.testing.assert_allclose(ensemble().shares(present), [[0.75, 0.25], [0, 1], [0, 0]])


def test_a_member_without_weight_speaks_where_it_is_all_there_is() -> None:
    lone = ClassifierEnsemble(("a", "b"), np.array([1.0, 0.0]), np.zeros(2), PRIOR)
    present = {"a": np.array([False]), "b": np.array([True])}
    np.testing.assert_allclose(lone.shares(present), [[0, 1]])


def test_where_nothing_is_there_the_answer_is_how_often_classes_occur() -> None:
    here, gone = np.ones(2, bool), np.zeros(2, bool)
    logits = ensemble().logits({"a": LOG, "b": OTHER}, {"a": here, "b": here})
    np.testing.assert_allclose(logits, 0.75 * LOG + 0.25 * OTHER)
    np.testing.assert_allclose(ensemble().logits({"a": LOG, "b": OTHER}, {"a": gone, "b": gone}), [PRIOR, PRIOR])


def test_calibrations_sum_to_one_and_do_what_they_say() -> None:
    plain = Calibration().apply(LOG)
    np.testing.assert_allclose(plain, np.exp(LOG))
    cool = Calibration("temperature", temperature=2.0).apply(LOG)
    np.testing.assert_allclose(cool[0, 0] / cool[0, 1], 2.0)  # the square root of 4
    steps = np.array([[0.0, 0.5, 1.0], [0.0, 0.2, 1.0]])
    bent = Calibration("isotonic", steps=(steps, steps)).apply(LOG)
    np.testing.assert_allclose(bent.sum(axis=1), 1.0)
    line = Calibration("platt", slope=np.ones(2), intercept=np.zeros(2)).apply(LOG)
    np.testing.assert_allclose(line, plain)


def test_float32_log_probabilities_of_members_are_calibrated_in_float64() -> None:
    known = LOG.astype(np.float32)
    line = Calibration("platt", slope=np.array([3.0, 2.0]), intercept=np.array([-1.0, 0.5]))
    lone = ClassifierEnsemble(("a",), np.ones(1), np.zeros(2), PRIOR)
    found = CombinedClassifier(lone, line, DecisionRule(np.ones(2))).probability({"a": known}, {"a": np.ones(2, bool)})
    assert found.dtype == np.float64
    odds = known.astype(np.float64) @ np.array([[1, -1], [-1, 1]])  # of two classes: the difference of the logarithms
    wanted = 1 / (1 + np.exp(-(odds * line.slope + line.intercept)))
    np.testing.assert_allclose(found, wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-14)


def test_of_two_classes_a_factor_is_a_threshold() -> None:
    decision = DecisionRule(np.array([0.3, 0.7]))
    probability = np.array([[0.69, 0.31], [0.71, 0.29]])
    assert decision.answers(probability).tolist() == [1, 0]
    np.testing.assert_allclose(decision.thresholds(probability)[:, 1], 0.3)
    np.testing.assert_allclose(decision.thresholds(probability)[:, 0], 0.7)


def test_a_threshold_is_known_where_probabilities_are_next_to_0_and_1() -> None:
    decision = DecisionRule(np.array([0.3, 0.7]))
    certain = np.array([[1.6e-31, 1.0], [1.0, 0.0], [1 - 1e-15, 1e-15]])
    np.testing.assert_allclose(decision.thresholds(certain)[:, 1], 0.3)
    np.testing.assert_allclose(DecisionRule(np.ones(3)).thresholds(np.array([[0.0, 0.0, 1.0]]))[0, 2], 1 / 3)


def test_at_its_threshold_a_class_of_three_is_just_the_answer() -> None:
    decision = DecisionRule(np.array([0.2, 0.3, 0.5]))
    probability = np.array([[0.5, 0.3, 0.2]])
    threshold = decision.thresholds(probability)[0, 0]
    for value, answer in ((threshold + 1e-6, 0), (threshold - 1e-6, 2)):
        rest = probability[0, 1:] / probability[0, 1:].sum() * (1 - value)
        assert decision.answers(np.array([[value, *rest]]))[0] == answer or answer != 0


def test_it_comes_back_equal() -> None:
    steps = np.array([[0.0, 1.0], [0.1, 0.9]])
    made = CombinedClassifier(
        ensemble(),
        Calibration("isotonic", steps=(steps, steps)),
        DecisionRule(np.array([0.4, 0.6]), confidence_threshold=0.7),
    )
    again = CombinedClassifier.of(made.arrays(), made.facts())
    here = {"a": np.ones(2, bool), "b": np.ones(2, bool)}
    np.testing.assert_array_equal(
        again.probability({"a": LOG, "b": OTHER}, here), made.probability({"a": LOG, "b": OTHER}, here)
    )
    assert again.decision.confidence_threshold == 0.7
