"""The rate of likes of a single event."""

from __future__ import annotations

import numpy as np

from hand_made import histories
from penchant.experiment.interest import like_rate


def test_one_event_alone_is_everyones_rate() -> None:
    np.testing.assert_allclose(like_rate(histories([[0], []], 3)), [1, 1])
    np.testing.assert_allclose(like_rate(histories([[0]], 3, [[-1.0]])), [0])
    np.testing.assert_allclose(like_rate(histories([[]], 3)), [0])
