"""Exact where it can be, and honest about recall where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.recommender.index import CODES, GRAPH, VectorIndex


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3000, 16)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def everything(rows: np.ndarray) -> np.ndarray:
    return np.ones(len(rows), bool)


@pytest.fixture(scope="module", params=[GRAPH, CODES], ids=lambda kind: kind.name)
def built(request: pytest.FixtureRequest, rows: np.ndarray) -> VectorIndex:
    """Return an index of each kind; which one is taken depends on the memory it may have."""
    pytest.importorskip("faiss")
    index = VectorIndex(rows, exact_up_to=100, graph_bytes=10**9 if request.param is GRAPH else 0)
    assert index.kind is request.param
    index.build(1)
    return index


def test_exact_search_returns_the_nearest_allowed(rows: np.ndarray):
    allowed = everything(rows)
    allowed[7] = False
    found, similar = VectorIndex(rows).search(rows[7], 5, allowed)
    order = np.argsort(-(rows @ rows[7]))[1:6]
    assert found.tolist() == order.tolist()
    assert np.allclose(similar, rows[order] @ rows[7], atol=1e-6)


def test_built_index_measures_its_recall_and_reaches_it(rows: np.ndarray, caplog: pytest.LogCaptureFixture):
    pytest.importorskip("faiss")
    index = VectorIndex(rows, exact_up_to=100)
    assert (index.is_due, index.is_exact) == (True, True)
    with caplog.at_level("INFO", logger="penchant.service"):
        index.build(1)
    assert (index.is_due, index.is_exact) == (False, False)
    assert index.recall >= 0.98
    assert f"HNSW, efSearch {index.effort}, recall@10 {index.recall:.3f} against exact on 200 queries" in caplog.text


def test_similarities_are_exact_and_forbidden_rows_left_out(rows: np.ndarray, built: VectorIndex):
    assert built.recall >= 0.98
    allowed = np.random.default_rng(1).random(len(rows)) < 0.8
    found, similar = built.search(rows[0], 10, allowed)
    exact, _ = VectorIndex(rows).search(rows[0], 10, allowed)
    assert allowed[found].all()
    assert np.allclose(similar, rows[found] @ rows[0], atol=1e-6)
    assert len(set(found.tolist()) & set(exact.tolist())) >= 9


def test_few_allowed_rows_are_found_all_the_same(rows: np.ndarray, built: VectorIndex):
    allowed = np.zeros(len(rows), bool)
    allowed[np.argsort(-(rows @ rows[0]))[500:503]] = True
    assert set(built.search(rows[0], 10, allowed)[0]) == set(np.flatnonzero(allowed))


def test_small_catalog_needs_no_index(rows: np.ndarray):
    index = VectorIndex(rows)
    index.build()
    assert (index.is_due, index.is_exact, index.recall) == (False, True, 1.0)


def test_a_few_new_rows_are_found_without_a_new_index(rows: np.ndarray, built: VectorIndex):
    new = rows[:1] + 0.001
    more = np.concatenate([rows + 1e-4, new / np.linalg.norm(new)]).astype(np.float32)
    index = VectorIndex(more, exact_up_to=100)
    index.adopt(built)
    assert (index.is_due, index.kind, index.recall) == (False, built.kind, built.recall)
    found, _ = index.search(more[-1], 2, everything(more))
    assert set(found) == {0, len(rows)}
    further = VectorIndex(np.concatenate([more, more[:1]]), exact_up_to=100)
    further.adopt(index)
    assert set(further.search(more[-1], 3, everything(further.rows))[0]) == {0, len(rows), len(rows) + 1}


def test_index_of_other_rows_is_not_adopted(rows: np.ndarray, built: VectorIndex):
    for other in (rows[::-1], np.concatenate([rows, rows[:100]]), rows[:-1], np.pad(rows, ((0, 0), (0, 1)))):
        index = VectorIndex(other, exact_up_to=100)
        index.adopt(built)
        assert index.is_due


def test_zero_row_is_near_nothing(rows: np.ndarray, built: VectorIndex):
    with_hole = rows[:50].copy()
    with_hole[3] = 0
    found, _ = VectorIndex(with_hole).search(with_hole[3], 5, np.ones(50, bool))
    assert found.tolist() == []
    assert built.search(np.zeros(16, np.float32), 5, everything(rows))[0].tolist() == []
