"""Every metric of the table keeps the contract."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from penchant.metrics import METRICS

hit_rows = arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 12)))


@pytest.fixture(scope="module", params=METRICS.names())
def metric(request):
    return METRICS.load(request.param)


@given(hits=hit_rows, k=st.integers(1, 15), extra=st.integers(0, 20))
def test_metric_gives_one_number_from_0_to_1_for_each_user(metric, hits, k, extra):
    values = metric(hits, hits.sum(axis=1) + extra, k)
    assert values.shape == (len(hits),)
    assert (values >= 0).all()
    assert (values <= 1 + 1e-12).all()


@given(hits=hit_rows, k=st.integers(1, 12))
def test_metric_never_falls_when_a_hit_moves_up(metric, hits, k):
    num_relevant = hits.sum(axis=1)
    best = -np.sort(-hits.astype(int), axis=1) > 0
    assert (metric(best, num_relevant, k) >= metric(hits, num_relevant, k) - 1e-12).all()


@given(hits=hit_rows, k=st.integers(1, 12))
def test_metric_reads_only_the_first_k(metric, hits, k):
    num_relevant = hits.sum(axis=1)
    assert np.array_equal(metric(hits, num_relevant, k), metric(hits[:, :k], num_relevant, k))


def test_metric_is_1_for_a_perfect_list(metric):
    assert metric(np.ones((2, 4), bool), np.array([4, 4]), 4) == pytest.approx(1)


def test_metric_is_0_without_a_hit_and_without_a_true_item(metric):
    assert metric(np.zeros((2, 4), bool), np.array([3, 0]), 4).tolist() == [0, 0]
