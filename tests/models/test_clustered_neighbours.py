"""Neighbours found within clusters are nearly all of the nearest ones, and hold to what the exact graph promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from penchant.models import channels
from penchant.models import clustered_neighbours as module
from penchant.models.channels import neighbour_graph
from penchant.models.clustered_neighbours import clustered_neighbours
from penchant.models.products import keep_largest

NEIGHBOURS = 10


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def around_centres(items: int, centres: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centres, 16))
    return unit(middle[rng.integers(centres, size=items)] + 0.5 * rng.standard_normal((items, 16)))


def test_nearly_all_of_the_nearest_are_found_with_their_cosines() -> None:
    rows = around_centres(4000, 60)
    exact, found = neighbour_graph(rows, NEIGHBOURS), clustered_neighbours(rows, NEIGHBOURS)
    shared = exact.astype(bool).multiply(found.astype(bool)).sum() / exact.nnz
    assert shared > 0.95
    owner = np.repeat(np.arange(len(rows)), np.diff(found.indptr))
    np.testing.assert_allclose(found.data, (rows[owner] * rows[found.indices]).sum(1), atol=1e-6)


def test_a_row_is_not_its_own_neighbour_and_one_without_content_has_none() -> None:
    rows = around_centres(900, 9)
    rows[[3, 500]] = 0
    found = clustered_neighbours(rows, NEIGHBOURS)
    assert (found.diagonal() == 0).all()
    assert np.diff(found.indptr)[[3, 500]].tolist() == [0, 0]
    assert not np.isin(found.indices, [3, 500]).any()
    assert np.diff(found.indptr).max() == NEIGHBOURS
    assert found.has_sorted_indices
    assert clustered_neighbours(np.zeros((5, 4), np.float32), NEIGHBOURS).nnz == 0


def test_a_crowd_of_equal_rows_is_not_compared_with_all_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = list[int]()

    def recorded(block: np.ndarray, k: int) -> sparse.csr_array:
        widths.append(block.shape[1])
        return keep_largest(block, k)

    monkeypatch.setattr(module, "keep_largest", recorded)
    rows = np.concatenate([np.tile(around_centres(1, 1), (3000, 1)), around_centres(1000, 20, seed=1)])
    found = clustered_neighbours(rows, NEIGHBOURS)
    assert (np.diff(found.indptr)[:3000] == NEIGHBOURS).all()
    np.testing.assert_allclose(found.data[: 3000 * NEIGHBOURS], 1, atol=1e-6)
    assert max(widths) <= module.CANDIDATES * 4000**0.5


def test_only_large_catalogs_take_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = around_centres(900, 9)
    exact = neighbour_graph(rows, NEIGHBOURS)
    monkeypatch.setattr(channels, "EXACT_ITEMS", 899)
    assert (neighbour_graph(rows, NEIGHBOURS) != clustered_neighbours(rows, NEIGHBOURS)).nnz == 0
    monkeypatch.setattr(channels, "EXACT_ITEMS", 900)
    assert (neighbour_graph(rows, NEIGHBOURS) != exact).nnz == 0
