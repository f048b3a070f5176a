from __future__ import annotations

import numpy as np
import pytest

from penchant.core.schema import Content
from penchant.models.popularity import Popularity, PopularityConfig


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, [1, 2, 0]),
        ({"half_life_days": 1}, [0.5, 1.25, 0]),
        ({"user_exponent": 1}, [1 / 2, 1 / 2 + 1 / 3, 0]),
    ],
)
def test_it_counts_what_was_welcome(make_histories, settings, counts) -> None:
    # days:                          0  1  0  1  2
    given = make_histories([[1, 0], [2, 2, 1]], 3, [[1, 1], [-1, -1, 1]])
    member = Popularity(PopularityConfig(**settings)).fit(given, Content())
    np.testing.assert_allclose(np.expm1(member.score(given)[1]), counts, rtol=1e-5)
