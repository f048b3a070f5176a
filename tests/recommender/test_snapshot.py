"""A bundle made ready to answer many at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from penchant.recommender.bundle import load
from penchant.recommender.snapshot import Served


def test_scores_of_a_group_do_not_keep_each_other_in_memory(shop: Path):
    served = Served.of(load(shop))
    people = [served.bundle.histories.rows(n, n + 1) for n in range(3)]
    scores = served.scores(people)
    assert all(row.base is None for row in scores)
    assert all(np.allclose(row, served.scores([one])[0], atol=1e-5) for row, one in zip(scores, people, strict=True))
