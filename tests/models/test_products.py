from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from penchant.models import products
from penchant.models.products import dense_product, keep_largest, product_top_k


def some_sparse(rows: int, columns: int, density: float, seed: int) -> sparse.csr_array:
    drawn = sparse.random_array((rows, columns), density=density, rng=np.random.default_rng(seed), dtype=np.float32)
    return sparse.csr_array(drawn)


@pytest.mark.parametrize("gathered", [1, 50, 1 << 19])
def test_dense_product_equals_scipys_bit_for_bit(monkeypatch: pytest.MonkeyPatch, gathered: int) -> None:
    monkeypatch.setattr(products, "GATHERED", gathered)
    left, right = some_sparse(60, 90, 0.2, 0), some_sparse(90, 40, 0.3, 1)
    whole = left.toarray()
    whole[7] = 0  # a user without events
    left = sparse.csr_array(whole)
    np.testing.assert_array_equal(dense_product(left, right), (left @ right).toarray())
    out = np.zeros((60, 40), np.float32)
    assert dense_product(left, right, out) is out
    assert out.any()


def test_product_is_the_same_dense_and_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = some_sparse(50, 80, 0.05, 0), some_sparse(80, 50, 0.05, 1)
    scales = (np.linspace(0.5, 2, 50, dtype=np.float32), np.linspace(2, 0.5, 50, dtype=np.float32))
    whole = (left @ right).toarray() * scales[0][:, None] * scales[1][None, :]
    np.fill_diagonal(whole, 0)
    found = []
    for filled, pairs in ((0.0, 8_000_000), (1e9, 20), (1e9, 8_000_000)):
        monkeypatch.setattr(products, "MAX_FILLED", filled)
        monkeypatch.setattr(products, "BLOCK_PAIRS", pairs)
        monkeypatch.setattr(products, "block_rows", lambda columns: 4)
        found.append(product_top_k(left, right, 6, scales=scales, keep_diagonal=False))
        np.testing.assert_allclose(
            np.sort(found[-1].toarray(), 1)[:, -6:], np.maximum(np.sort(whole, 1)[:, -6:], 0), rtol=1e-6
        )
        np.testing.assert_array_equal(found[-1].toarray(), found[0].toarray())


def test_row_and_column_numbers_have_the_fewest_bits_that_hold_them() -> None:
    wide = some_sparse(50, 80, 0.05, 0)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    found = product_top_k(wide, sparse.csr_array(wide.T), 6)
    assert (found.indices.dtype, found.indptr.dtype) == (np.int32, np.int32)


@pytest.mark.parametrize("columns", [9, 400])
def test_largest_are_those_of_a_stable_sort(columns: int) -> None:
    """Mostly zeros, many equal entries, few and many columns for each entry kept: of equal ones the first columns are kept."""
    rng = np.random.default_rng(0)
    block = (rng.integers(-2, 6, (70, columns)) * (rng.random((70, columns)) < 0.3)).astype(np.float32)
    block[3] = 0
    expected = np.zeros_like(block)
    for row, values in enumerate(block):
        kept = np.argsort(-values, kind="stable")[:8]
        expected[row, kept] = np.maximum(values[kept], 0)
    found = keep_largest(block, 8)
    np.testing.assert_array_equal(found.toarray(), expected)
    assert found.has_sorted_indices
    assert (found.data > 0).all()
