"""Sums over rows are those of what the matrix is now, whatever was asked for before."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from penchant.core.schema import LATEST, Histories
from penchant.models.compact import CompactConfig, CompactRows
from penchant.models.item_to_item import Matrix, RowSums, cells_of
from penchant.models.lifted import Lifted
from penchant.models.transitions import Transitions


@pytest.fixture
def dense() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random((9, 7)) < 0.4, rng.normal(size=(9, 7)), 0).astype(np.float32)


def test_sums_and_cells_of_every_kind_of_matrix_are_those_of_the_dense_one(dense: np.ndarray) -> None:
    factor = np.linspace(0.5, 2, 7).astype(np.float32)
    rows, columns = np.array([3, 0, 3, 8]), np.array([6, 1, 6, 0])
    compact = CompactRows.of(dense, CompactConfig(entries=3, bits=8))
    for matrix in (dense, sparse.csr_array(dense), compact, CompactRows.of(sparse.csr_array(dense), CompactConfig())):
        whole = matrix.rows(np.arange(9)) if isinstance(matrix, CompactRows) else dense
        for weights in (None, factor):
            sums, wanted = RowSums(matrix, weights), (whole * (1 if weights is None else weights)).sum(1)
            for _ in range(2):  # computed, then kept
                np.testing.assert_allclose(sums.of(rows), wanted[rows], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(cells_of(matrix, rows, columns), whole[np.ix_(rows, columns)], rtol=1e-6, atol=1e-7)


def test_a_lifted_member_read_with_other_settings_has_sums_of_its_own(random_histories: Histories) -> None:
    of = {"model": "ease", "regularisation": 5}
    member, items = Lifted(of=of, power=1.0).fit(random_histories), np.array([2, 7])
    one = random_histories.rows(1, 2).requested(LATEST)
    member.contributions_to(one, items)  # keeps its sums
    other = member.reread(Lifted(of=of, power=0.5))
    _, means = other.contributions_to(one, items)
    prior, events = other.contributions(one)
    np.testing.assert_allclose(means, [prior.mean(), *events.mean(1)], rtol=1e-4)


def test_events_that_faded_to_nothing_are_not_looked_up(
    random_histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = Transitions(half_life=0.5).fit(random_histories)
    long = random_histories.rows(0, 1).requested(LATEST)
    count = 300
    rows = np.arange(count, dtype=np.int32) % random_histories.num_items
    long = long.appended(rows, np.arange(count), np.ones(count, np.float32))
    looked_up: list[int] = []

    def counted(matrix: Matrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        looked_up.append(len(rows))
        return cells_of(matrix, rows, columns)

    monkeypatch.setattr("penchant.models.item_to_item.cells_of", counted)
    (_, events), _ = member.contributions_to(long, np.array([2, 7]))
    np.testing.assert_allclose(events, member.contributions(long)[1][:, [2, 7]], rtol=1e-6)
    assert looked_up == [75]  # 2 ** (-2 * 75) is 0 in float32
    np.testing.assert_allclose(events.sum(0), member.score(long)[0, [2, 7]], rtol=1e-5)
