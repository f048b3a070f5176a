"""Precision of calibrated probabilities."""

from __future__ import annotations

import numpy as np

from penchant.metrics.interest import Platt


def test_probabilities_of_float32_scores_are_float64() -> None:
    score = np.array([0.1, 0.2, 0.7], np.float32)
    found = Platt(3.0, -1.0).apply(score)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(3.0 * score.astype(np.float64) - 1.0))), rtol=1e-14)


def test_scores_that_are_all_equal_keep_the_scale_of_the_line_finite() -> None:
    found = Platt.fit(np.array([True, False, False]), np.array([2.0, 2.0, 2.0]))
    assert found.slope == 0
    # targets 2/3 and twice 1/4: their mean
    np.testing.assert_allclose(found.apply(np.array([2.0, 99.0])), (2 / 3 + 0.5) / 3, rtol=1e-4)
