"""The test session checks shapes and types: what breaks an annotation fails where it is called."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from penchant.fusion.late import standardise
from penchant.metrics.ranking import precision, recall

HITS = np.zeros((3, 5), bool)


def test_wrong_shape_is_refused() -> None:
    assert recall(HITS, np.ones(3, np.int64), 2).shape == (3,)
    with pytest.raises(TypeCheckError, match="num_relevant"):
        recall(HITS, np.ones(4, np.int64), 2)
    with pytest.raises(TypeCheckError, match="scores"):
        standardise(np.zeros(5, np.float32))


def test_wrong_type_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="scores"):
        standardise(np.zeros((3, 5), np.float64))
    with pytest.raises(TypeCheckError, match="k"):
        precision(HITS, np.ones(3, np.int64), "2")
