"""Members fitted beside each other learn what they learn alone, and what they share is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hand_made import channel
from penchant.core.schema import Content, Histories
from penchant.experiment.fit_cache import FitCache
from penchant.models import shared
from penchant.models.member import Member, make_member
from penchant.models.shared import SharedResults, computed_once, sharing

TABLES: dict[str, dict[str, Any]] = {
    "ease": {"model": "ease", "regularisation": 50},
    "ease more": {"model": "ease", "regularisation": 500},
    "item_knn": {"model": "item_knn", "neighbours": 5},
    "item_knn rarer": {"model": "item_knn", "neighbours": 5, "target_exponent": 0.7},
    "graph": {"model": "graph_filter", "hops": 2, "ideal_weight": 0.5, "ideal_dim": 4},
    "graph shifted": {"model": "graph_filter", "shift": 0.5, "ideal_weight": 1, "ideal_dim": 4},
    "graph damped": {"model": "graph_filter", "item_exponent": 0.2},
    "sessions": {"model": "session_regression", "regularisation": 30},
    "sessions more": {"model": "session_regression", "regularisation": 300},
    "returns": {"model": "session_regression", "regularisation": 30, "min_gap_hours": 1},
    "content": {"model": "content_regression", "smoothing": 20},
    "content less": {"model": "content_regression", "smoothing": 20, "regularisation": 100},
    "content smoother": {"model": "content_regression", "smoothing": 200},
}


def fit(cache: FitCache | None, name: str, train: Histories, content: Content) -> Member:
    member = make_member(name, TABLES[name])
    return member.fit(train, content) if cache is None else cache.fit(member, train, content)[0]


@pytest.mark.parametrize("name", TABLES)
def test_members_fitted_together_equal_those_fitted_alone(name: str, random_histories: Histories) -> None:
    rows = np.random.default_rng(5).normal(size=(random_histories.num_items, 4)).tolist()
    content = Content({"plot": channel("plot", "text", rows)})
    cache = FitCache()
    for other in (*TABLES, *reversed(TABLES)):  # every order of two members
        fit(cache, other, random_histories, content)
    again = fit(FitCache(), name, random_histories, content).arrays()
    alone, together = fit(None, name, random_histories, content).arrays(), fit(cache, name, random_histories, content)
    for key, array in together.arrays().items():
        np.testing.assert_array_equal(array, alone[key])
        np.testing.assert_array_equal(array, again[key])


def test_equal_keys_are_computed_once_for_the_same_histories(random_histories: Histories) -> None:
    calls: list[int] = []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.full(3, len(calls), np.float32)

    def found(train: Histories, key: str) -> float:
        return float(computed_once(train, key, compute)[0])

    other = random_histories.rows(0, 5)
    with sharing(SharedResults()):
        assert [found(random_histories, key) for key in "aaba"] == [1, 1, 2, 1]
        assert [found(other, "a"), found(random_histories, "a")] == [3, 4]
    assert [found(random_histories, "a"), found(random_histories, "a")] == [5, 6]


def test_results_above_the_limit_are_computed_again(
    random_histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MAX_BYTES", 100)
    results = SharedResults()
    with sharing(results):
        for key, size in (("small", 20), ("large", 30), ("fits", 5)):
            computed_once(random_histories, key, lambda size=size: np.zeros(size, np.float32))
    assert list(results.found) == ["small", "fits"]
