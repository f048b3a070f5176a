"""The line of calibration where all scores are equal."""

from __future__ import annotations

import numpy as np

from penchant.metrics.interest import fit_platt


def test_scores_that_are_all_equal_keep_the_scale_of_the_line_finite() -> None:
    slope, intercept = fit_platt(np.array([True, False, False]), np.array([2.0, 2.0, 2.0]))
    assert slope == 0
    # targets 2/3 and twice 1/4: their mean
    np.testing.assert_allclose(
        1 / (1 + np.exp(-(slope * np.array([2.0, 99.0]) + intercept))), (2 / 3 + 0.5) / 3, rtol=1e-4
    )
