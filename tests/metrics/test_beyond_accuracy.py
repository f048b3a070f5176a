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
    row = variety.beyond_accuracy("x", np.array([[0, 1]], np.int32), 1, popularity=np.array([3, 0]), num_users=3)
    assert (row.coverage, row.novelty) == (0.5, 0)
    assert np.isnan(row.diversity)


def test_variety_equals_the_plain_formulas():
    rng = np.random.default_rng(5)
    ranked = np.array([rng.permutation(12)[:6] for _ in range(9)], np.int32)
    ranked[3, 4:] = -1
    popularity = rng.integers(0, 30, 12)
    vectors = rng.normal(size=(12, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = variety.beyond_accuracy("x", ranked, 5, popularity=popularity, num_users=40, vectors=vectors)
    rows = [[i for i in row[:5] if i >= 0] for row in ranked.tolist()]
    times = [sum(item in row for row in rows) for item in range(12)]
    bits = [-np.log2((count + 1) / 41) for count in popularity]
    pairs = [[1 - vectors[a] @ vectors[b] for n, a in enumerate(row) for b in row[n + 1 :]] for row in rows]
    spread = sum(abs(a - b) for a in times for b in times)
    assert (found.name, found.k) == ("x", 5)
    assert found.coverage == sum(count > 0 for count in times) / 12
    assert found.novelty == pytest.approx(np.mean([np.mean([bits[i] for i in row]) for row in rows]))
    assert found.diversity == pytest.approx(np.mean([np.mean(one) for one in pairs]), abs=1e-6)
    assert found.gini == pytest.approx(spread / (2 * 12 * sum(times)))


def test_nothing_shown_is_zero_and_nothing_known_is_no_number():
    empty = np.full((2, 3), -1, np.int32)
    found = variety.beyond_accuracy(
        "x", empty, 3, popularity=np.ones(4, int), num_users=5, vectors=np.eye(4, dtype=np.float32)
    )
    assert (found.coverage, found.gini) == (0.0, 0.0)
    assert np.isnan([found.novelty, found.diversity]).all()
    assert variety.coverage(np.zeros(0, int)) == 0.0


def test_attribute_vectors_are_of_unit_length_and_zero_where_nothing_is_known():
    vectors = variety.attribute_vectors([pl.Series([["a", "a", "b"], [], None]), pl.Series([1, None, None])])
    assert np.linalg.norm(vectors.toarray(), axis=1) == pytest.approx([1, 0, 0])
    assert vectors.toarray()[0] == pytest.approx(np.full(3, 1 / np.sqrt(3)))
    assert vectors.shape == (3, 3)
