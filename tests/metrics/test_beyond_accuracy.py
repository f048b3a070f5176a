import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import pdist

from penchant.metrics import beyond_accuracy as variety


def test_exposure_coverage_and_gini_of_lists_counted_by_hand():
    shown = variety.exposure(np.array([[0, 1], [0, -1]], np.int32), 4)
    assert shown.tolist() == [2, 1, 0, 0]
    assert variety.coverage(shown) == 0.5
    # mean absolute difference over twice the mean: (2*(1+2+2+1+1+0)/16) / (2*0.75)
    assert variety.gini(shown) == pytest.approx((14 / 16) / 1.5)


def test_gini_is_0_when_even_and_nears_1_on_one_item():
    assert variety.gini(np.full(7, 3)) == pytest.approx(0)
    assert variety.gini(np.eye(1, 100, dtype=int)[0]) == pytest.approx(0.99)


def test_novelty_is_bits_of_the_share_of_users():
    ranked = np.array([[0, 1], [1, -1], [-1, -1]], np.int32)
    bits = variety.novelty(ranked, np.array([7, 1]), 7)
    assert bits[:2].tolist() == [1.0, 2.0]
    assert np.isnan(bits[2])


def test_diversity_equals_every_pair_measured(monkeypatch):
    monkeypatch.setattr(variety, "BATCH_USERS", 2)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ranked = np.array([rng.permutation(9)[:5] for _ in range(5)], np.int32)
    expected = [pdist(vectors[row], "cosine").mean() for row in ranked]
    assert variety.diversity(ranked, vectors) == pytest.approx(expected, abs=1e-6)


def test_diversity_leaves_out_items_without_a_vector():
    vectors = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    found = variety.diversity(np.array([[0, 1, 2], [0, 2, -1]], np.int32), vectors)
    assert found[0] == pytest.approx(1)
    assert np.isnan(found[1])


def test_attribute_vectors_take_words_and_lists():
    genre = pl.Series([["war", "love"], ["war"], None])
    place = pl.Series(["sea", None, "sea"])
    vectors = variety.attribute_vectors([genre, place])
    cosines = (vectors @ vectors.T).toarray()
    assert cosines[0] == pytest.approx([1, 1 / np.sqrt(3), 1 / np.sqrt(3)])
    assert cosines[1, 2] == 0
    assert variety.diversity(np.array([[1, 2]], np.int32), vectors) == pytest.approx(1)


def test_variety_gathers_the_four_numbers():
    row = variety.variety("x", np.array([[0, 1]], np.int32), 1, popularity=np.array([3, 0]), num_users=3)
    assert (row.coverage, row.novelty) == (0.5, 0)
    assert np.isnan(row.diversity)
