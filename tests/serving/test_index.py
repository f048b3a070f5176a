"""Exact where it can be, and honest about recall where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.serving.index import Index


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3000, 16)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_exact_search_returns_the_nearest_allowed(rows: np.ndarray):
    allowed = np.ones(len(rows), bool)
    allowed[7] = False
    found, similar = Index(rows).search(rows[7], 5, allowed)
    order = np.argsort(-(rows @ rows[7]))[1:6]
    assert found.tolist() == order.tolist()
    assert np.allclose(similar, rows[order] @ rows[7], atol=1e-6)


def test_graph_search_measures_its_recall_and_reaches_it(rows: np.ndarray, caplog: pytest.LogCaptureFixture):
    pytest.importorskip("faiss")
    with caplog.at_level("INFO", logger="penchant.service"):
        index = Index(rows, exact_up_to=100)
    assert index.recall >= 0.98
    assert f"recall@10 {index.recall:.3f}" in caplog.text
    allowed = np.random.default_rng(1).random(len(rows)) < 0.2
    found, _ = index.search(rows[0], 10, allowed)
    exact, _ = Index(rows).search(rows[0], 10, allowed)
    assert allowed[found].all()
    assert len(set(found.tolist()) & set(exact.tolist())) >= 8


def test_zero_row_is_near_nothing(rows: np.ndarray):
    with_hole = rows[:50].copy()
    with_hole[3] = 0
    found, _ = Index(with_hole).search(with_hole[3], 5, np.ones(50, bool))
    assert found.tolist() == []
