"""Compact matrices: what is kept, how far it is from the whole, and sums that stay exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from penchant.core.schema import Histories
from penchant.models.compact import CompactConfig, CompactRows
from penchant.models.compressed import Compressed
from penchant.models.item_to_item import ItemToItem
from penchant.models.transitions import Transitions

ITEMS = 30


def matrix(seed: int, *, is_sparse: bool = False) -> np.ndarray | sparse.csr_array:
    rng = np.random.default_rng(seed)
    dense = (rng.standard_normal((ITEMS, ITEMS)) ** 3).astype(np.float32)
    dense[:, rng.integers(ITEMS, size=4)] += 2  # columns whose typical value is not 0
    if not is_sparse:
        return dense
    dense[rng.random(dense.shape) < 0.6] = 0
    dense[3] = 0  # a row without entries
    return sparse.csr_array(dense)


def history(rng: np.random.Generator, events: int) -> Histories:
    items = rng.integers(0, ITEMS, events).astype(np.int32)
    weight = rng.choice([1.0, 1.0, 0.5, -1.0], events).astype(np.float32)
    return Histories.of_one("u", items, np.arange(events), weight, ITEMS)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 500),
    events=st.integers(0, 25),
    entries=st.integers(0, ITEMS + 3),
    bits=st.sampled_from([8, 16, 32]),
    is_sparse=st.booleans(),
    half_life=st.sampled_from([0, 3]),
)
def test_contributions_sum_to_the_score(
    seed: int, events: int, entries: int, bits: int, is_sparse: bool, half_life: int
) -> None:
    member: ItemToItem[Any] = Transitions(half_life=half_life)
    member.matrix = matrix(seed, is_sparse=is_sparse)
    smaller = member.compressed(CompactConfig.read({"entries": entries, "bits": bits}, where="test"))
    one = history(np.random.default_rng(seed), events)
    score = smaller.score(one)[0]
    prior, rows = smaller.contributions(one)
    np.testing.assert_allclose(prior + rows.sum(0), score, atol=1e-5 * max(1.0, float(np.abs(score).max())))


def test_the_entries_furthest_from_the_typical_are_kept() -> None:
    dense = matrix(0)
    assert isinstance(dense, np.ndarray)
    typical = np.median(dense, axis=0)
    expected = np.tile(typical, (ITEMS, 1))
    for row in range(ITEMS):
        kept = np.argsort(-np.abs(dense[row] - typical))[:7]
        expected[row, kept] = dense[row, kept]
    found = CompactRows.of(dense, CompactConfig(entries=7, bits=32))
    np.testing.assert_allclose(found.rows(np.arange(ITEMS)), expected, atol=1e-6)
    np.testing.assert_allclose(found.plain(), expected, atol=1e-6)


def test_the_largest_entries_of_a_sparse_matrix_are_kept() -> None:
    given_matrix = matrix(1, is_sparse=True)
    assert not isinstance(given_matrix, np.ndarray)
    dense = given_matrix.toarray()
    expected = np.zeros_like(dense)
    for row in range(ITEMS):
        kept = np.argsort(-np.abs(dense[row]))[:5]
        expected[row, kept] = dense[row, kept]
    found = CompactRows.of(given_matrix, CompactConfig(entries=5, bits=32))
    np.testing.assert_allclose(found.rows(np.arange(ITEMS)), expected, atol=1e-6)
    assert found.values.shape == (ITEMS, 5)


@pytest.mark.parametrize(("bits", "steps"), [(8, 127), (16, 32767)])
def test_an_entry_is_off_by_half_a_step_at_most(bits: int, steps: int) -> None:
    dense = matrix(2)
    assert isinstance(dense, np.ndarray)
    found = CompactRows.of(dense, CompactConfig.read({"bits": bits}, where="test"))
    assert found.values.itemsize == bits // 8
    error = np.abs(found.rows(np.arange(ITEMS)) - dense).max(1)
    assert (error <= 0.5001 * np.abs(dense).max(1) / steps).all()
    assert error.max() > 0.1 * np.abs(dense).max() / steps  # the entries are rounded


def test_blocks_of_users_are_the_same_as_one_user_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from penchant.models import compact

    found = CompactRows.of(matrix(3), CompactConfig(entries=6))
    rng = np.random.default_rng(0)
    together = Histories.joined([history(rng, n) for n in (4, 0, 9, 1)])
    whole = found.sums(together.offsets, together.item_index, together.weight)
    monkeypatch.setattr(compact, "BLOCK_ENTRIES", 20)
    np.testing.assert_array_equal(found.sums(together.offsets, together.item_index, together.weight), whole)
    for user in range(4):
        one = together.rows(user, user + 1)
        np.testing.assert_array_equal(found.sums(one.offsets, one.item_index, one.weight)[0], whole[user])
    expected = together.matrix() @ found.plain()
    np.testing.assert_allclose(whole, expected, atol=1e-4)


def test_altered_arrays_are_refused() -> None:
    arrays = CompactRows.of(matrix(4), CompactConfig(entries=6)).arrays()
    outside = {**arrays, "places": np.full_like(arrays["places"], ITEMS)}
    with pytest.raises(ValueError, match="an entry lies outside 30 columns"):
        CompactRows.restored(outside)
    with pytest.raises(ValueError, match="have places of shape"):
        CompactRows.restored({**arrays, "places": arrays["places"][:, :3]})
    with pytest.raises(ValueError, match="typical values have shape"):
        CompactRows.restored({**arrays, "typical": arrays["typical"][:4]})


def test_the_factors_of_content_regression_are_those_of_its_product() -> None:
    from penchant.models.content import ContentRegression

    rng = np.random.default_rng(5)
    member = ContentRegression()
    member.source = rng.standard_normal((ITEMS, 20)).astype(np.float32)
    member.target = (rng.standard_normal((ITEMS, 20)) * np.arange(1, 21)).astype(np.float32)
    smaller = member.compressed(CompactConfig(rank=4, bits=32))
    left, spread, right = np.linalg.svd(member.source @ member.target.T)
    nearest = (left[:, :4] * spread[:4]) @ right[:4]
    np.testing.assert_allclose(smaller.source @ smaller.target.T, nearest, atol=0.02 * np.abs(nearest).max())


def test_a_second_fit_learns_anew() -> None:
    one, other = history(np.random.default_rng(1), 20), history(np.random.default_rng(2), 20)
    member = Compressed(of={"model": "ease", "regularisation": 5}, entries=4)
    first = member.fit(one).score(one)
    again = Compressed(of={"model": "ease", "regularisation": 5}, entries=4).fit(other).score(one)
    assert not np.allclose(first, again)
    np.testing.assert_array_equal(member.fit(other).score(one), again)
