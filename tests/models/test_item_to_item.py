from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from penchant.core.schema import Histories
from penchant.models.item_to_item import ItemToItemConfig, liked, recent
from penchant.models.linear import EASE
from penchant.models.products import keep_largest, product_top_k, top_k_rows


def test_half_life_halves_an_event_for_every_so_many_later_ones(make_histories) -> None:
    weighted = recent(make_histories([[4, 3, 2], [1]], 5), ItemToItemConfig(half_life=1))
    np.testing.assert_allclose(weighted.weight, [0.25, 0.5, 1, 1])


def test_last_events_reads_only_the_newest(make_histories) -> None:
    weighted = recent(make_histories([[4, 3, 2], [1]], 5), ItemToItemConfig(last_events=2))
    np.testing.assert_allclose(weighted.weight, [0, 1, 1, 1])


def test_event_matrix_sums_repeats_and_changes_nothing(make_histories) -> None:
    given = make_histories([[4, 0, 4], [1, 1, 0]], 5, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(given.matrix().toarray(), [[2, 0, 0, 0, 4], [6, 9, 0, 0, 0]])
    assert given.item_index.tolist() == [4, 0, 4, 1, 1, 0]
    assert given.weight.tolist() == [1, 2, 3, 4, 5, 6]
    assert given.offsets.tolist() == [0, 3, 6]


def test_liked_leaves_out_dislikes_and_bounds_repeats(make_histories) -> None:
    given = make_histories([[0, 1, 1, 2]], 3, [[-1, 1, 1, 0.5]])
    np.testing.assert_array_equal(liked(given).toarray(), [[0, 1, 0.5]])
    np.testing.assert_array_equal(liked(given, 3).toarray(), [[0, 2, 0.5]])


def test_keep_largest_keeps_the_largest_positive_entries() -> None:
    block = np.array([[3, -1, 2, 1], [-1, -2, 0, 5]], np.float32)
    np.testing.assert_array_equal(keep_largest(block, 2).toarray(), [[3, 0, 2, 0], [0, 0, 0, 5]])
    np.testing.assert_array_equal(keep_largest(block, 9).toarray(), [[3, 0, 2, 1], [0, 0, 0, 5]])


@pytest.mark.parametrize("cells", [40, 16_000_000])
def test_product_in_blocks_equals_the_product_at_once(monkeypatch, cells: int) -> None:
    monkeypatch.setattr("penchant.models.products.BLOCK_CELLS", cells)
    rng = np.random.default_rng(0)
    left = sparse.csr_array(sparse.random_array((50, 9), density=0.5, rng=rng, dtype=np.float32))
    right = sparse.csr_array(sparse.random_array((9, 50), density=0.5, rng=rng, dtype=np.float32))
    whole = (left @ right).toarray()
    np.testing.assert_allclose(product_top_k(left, right, 50).toarray(), whole, rtol=1e-5)
    np.fill_diagonal(whole, 0)
    kept = top_k_rows(lambda rows: (left[rows] @ right).toarray(), 50, 50, 5).toarray()
    np.testing.assert_allclose(np.sort(kept, 1)[:, -5:], np.sort(whole, 1)[:, -5:], rtol=1e-5)


def test_items_outside_kept_score_nothing_and_say_nothing(make_histories) -> None:
    member = EASE()
    member.matrix, member.kept = np.array([[0, 2], [3, 0]], np.float32), np.array([1, 3])
    given: Histories = make_histories([[3, 0, 4]], 5)
    np.testing.assert_array_equal(member.score(given), [[0, 3, 0, 0, 0]])
    np.testing.assert_array_equal(member.contributions(given)[1], [[0, 3, 0, 0, 0], [0] * 5, [0] * 5])


@pytest.mark.parametrize("keep_diagonal", [False, True])
def test_sparse_blocks_keep_what_dense_ones_keep(monkeypatch, keep_diagonal: bool) -> None:
    monkeypatch.setattr("penchant.models.products.block_rows", lambda columns: 16)
    matrix = sparse.csr_array(sparse.random(40, 40, density=0.15, random_state=0, dtype=np.float32))
    matrix = sparse.csr_array(matrix - 0.2 * (matrix > 0))  # some entries are negative
    lengths = np.diff(matrix.indptr)
    assert (lengths > 7).any()
    assert (lengths <= 7).any()
    shape = (40, 40, 7)
    expected = top_k_rows(lambda rows: matrix[rows].toarray(), *shape, keep_diagonal=keep_diagonal)
    found = top_k_rows(lambda rows: matrix[rows], *shape, keep_diagonal=keep_diagonal)
    np.testing.assert_array_equal(found.toarray(), expected.toarray())
