"""What is rare counts more, or is drawn more often, by what is asked."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.experiment.imbalance import MAX_FACTOR, ImbalanceConfig, training_set, unweighted

LABELS = np.array([0] * 90 + [1] * 10)
ROWS = np.arange(100)
PRESENT = np.ones((100, 2), bool)


@pytest.mark.parametrize(("weights", "ratio"), [("none", 1.0), ("root", 3.0), ("balanced", 9.0)])
def test_a_class_counts_by_one_over_its_share(weights: str, ratio: float) -> None:
    made = training_set(ROWS, LABELS, 2, PRESENT, ImbalanceConfig(weights=weights))
    assert made.weight[-1] / made.weight[0] == pytest.approx(ratio)
    assert made.weight.mean() == pytest.approx(1.0)


def test_batches_are_balanced_and_rare_combinations_drawn_more() -> None:
    made = training_set(ROWS, LABELS, 2, PRESENT, ImbalanceConfig(balanced_batches=True))
    assert made.sampling_weight[LABELS == 1].sum() == pytest.approx(made.sampling_weight[LABELS == 0].sum())
    lacking = PRESENT.copy()
    lacking[:4, 1] = False
    made = training_set(ROWS, LABELS, 2, lacking, ImbalanceConfig(rare_combinations=True))
    assert made.sampling_weight[0] / made.sampling_weight[50] == pytest.approx(np.sqrt(96 / 4))


def test_a_single_sample_is_not_learned_by_heart() -> None:
    labels = np.array([0] * 9999 + [1])
    made = training_set(np.arange(10_000), labels, 2, np.ones((10_000, 1), bool), ImbalanceConfig(weights="balanced"))
    assert made.weight.max() <= MAX_FACTOR * 2


def test_weights_and_draws_by_hand() -> None:
    labels, present = np.array([0, 0, 0, 1]), np.array([[True], [False], [False], [False]])
    made = training_set(np.arange(4), labels, 2, present, ImbalanceConfig(weights="balanced", focus=2.0))
    np.testing.assert_allclose(made.weight, [2 / 3, 2 / 3, 2 / 3, 2])
    np.testing.assert_allclose(made.sampling_weight, 1)
    assert made.focus == 2.0
    root = training_set(np.arange(4), labels, 2, present, ImbalanceConfig(weights="root")).weight
    np.testing.assert_allclose(root, np.array([1, 1, 1, np.sqrt(3)]) * 4 / (3 + np.sqrt(3)))
    both = training_set(
        np.arange(4), labels, 2, present, ImbalanceConfig(balanced_batches=True, rare_combinations=True)
    ).sampling_weight
    wanted = np.array([1 * np.sqrt(3), 1, 1, 3])  # one of four has it: drawn the root of three times as often
    np.testing.assert_allclose(both, wanted / wanted.mean())
    same = unweighted(np.arange(4), labels, 2)
    assert (same.weight.tolist(), same.sampling_weight.tolist(), same.focus) == ([1] * 4, [1] * 4, 0)


def test_weights_are_1_on_average_and_unweighted_samples_all_1() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    rows = np.arange(10, 18)
    found = training_set(rows, labels, 2, np.zeros((8, 0), bool), ImbalanceConfig(weights="balanced"))
    assert found.weight == pytest.approx(
        [2 / 3] * 6 + [2.0] * 2
    )  # shares 3/4 and 1/4: 4/3 and 4, divided by their mean 2
    plain = unweighted(rows, labels, 2)
    assert plain.rows.tolist() == rows.tolist()
    assert plain.labels.tolist() == labels.tolist()
    assert plain.num_classes == 2
    assert plain.weight.tolist() == plain.sampling_weight.tolist() == [1.0] * 8
