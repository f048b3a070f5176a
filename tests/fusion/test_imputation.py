"""Holes are filled by the mean of neighbours; the worlds are small enough to work the answer out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics.pairwise import cosine_similarity

from penchant.core.schema import Embeddings
from penchant.fusion.imputation import content_graph, coverage, impute, item_graph


def embeddings(values: list[list[float]], present: list[bool]) -> Embeddings:
    return Embeddings("image", "image", np.array(values, np.float32), np.array(present), "e")


def path(*weights: float) -> sparse.csr_array:
    """Return items in a line, each tied to the next."""
    return sparse.csr_array(np.diag(weights, 1) + np.diag(weights, -1))


def test_hole_takes_the_weighted_mean_of_present_neighbours() -> None:
    graph = sparse.csr_array(np.array([[0, 3, 1], [1, 0, 0], [1, 0, 0.0]]))
    found = impute(embeddings([[9, 9], [4, 0], [0, 8]], [False, True, True]), graph)
    np.testing.assert_allclose(found.values, [[3, 2], [4, 0], [0, 8]])
    assert found.imputed is not None
    assert found.imputed.tolist() == [True, False, False]
    assert found.present.tolist() == [False, True, True]


def test_missing_neighbour_gets_no_weight() -> None:
    graph = sparse.csr_array(np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0.0]]))
    found = impute(embeddings([[0.0], [6.0], [0.0]], [False, True, False]), graph)
    assert found.values[0] == 6  # not 3


def test_content_travels_several_steps_and_no_further() -> None:
    found = impute(embeddings([[8.0], *[[0.0]] * 5], [True, *[False] * 5]), path(1, 1, 1, 1, 1))
    assert found.imputed is not None
    assert found.imputed.tolist() == [False, True, True, True, False, False]
    np.testing.assert_allclose(found.values[:4, 0], 8)


def test_item_without_a_path_stays_missing() -> None:
    found = impute(embeddings([[1.0], [2.0], [0.0]], [True, True, False]), path(1, 0))
    assert found.usable.tolist() == [True, True, False]


def test_present_rows_are_never_changed() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((50, 4)).astype(np.float32)
    present = rng.random(50) < 0.6
    start = Embeddings("image", "image", np.where(present[:, None], values, 0), present, "e")
    found = impute(start, sparse.csr_array(rng.random((50, 50))))
    np.testing.assert_array_equal(found.values[present], values[present])


@pytest.mark.parametrize("present", [[True, True], [False, False]])
def test_nothing_to_fill_or_to_fill_from_changes_nothing(present: list[bool]) -> None:
    start = embeddings([[1.0], [2.0]], present)
    found = impute(start, path(1))
    np.testing.assert_array_equal(found.values, start.values)
    assert found.imputed is not None
    assert not found.imputed.any()


def test_item_graph_equals_cosine_of_sklearn() -> None:
    users_items = sparse.random_array(
        (40, 25), density=0.3, rng=np.random.default_rng(0), format="csr", dtype=np.float32
    )
    graph = item_graph(users_items, neighbours=5, block=7).toarray()
    expected = cosine_similarity(users_items.toarray().T)
    np.fill_diagonal(expected, 0)
    for row, true in zip(graph, expected, strict=True):
        best = np.argsort(-true)[:5]
        np.testing.assert_allclose(row[best], true[best] / true[best].sum(), rtol=1e-5)
        assert (row > 0).sum() == 5


def test_item_graph_keeps_few_edges_where_all_are_alike() -> None:
    graph = item_graph(sparse.csr_array(np.ones((1, 300), np.float32)), neighbours=10)
    assert np.diff(graph.indptr).tolist() == [10] * 300


def test_item_graph_leaves_untouched_items_alone() -> None:
    graph = item_graph(sparse.csr_array(np.array([[1, 1, 0], [1, 0, 0]], np.float32)))
    np.testing.assert_allclose(graph.toarray(), [[0, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_item_graph_of_one_item_is_empty() -> None:
    assert item_graph(sparse.csr_array(np.ones((3, 1), np.float32))).nnz == 0


def test_content_graph_reaches_items_nobody_touched() -> None:
    text = embeddings([[1, 0], [0.9, 0.1], [0, 1], [0, 0]], [True, True, True, False])
    graph = content_graph(text, neighbours=1)
    assert graph.toarray().argmax(1)[:2].tolist() == [1, 0]
    assert graph[[3]].nnz == 0
    image = impute(embeddings([[5.0], [0.0], [7.0], [0.0]], [True, False, True, False]), graph)
    assert image.values[1] == 5


def test_mean_of_neighbours_comes_nearer_than_the_mean_of_all() -> None:
    """Items of one topic share users and looks; a hidden picture should be guessed from its topic."""
    rng = np.random.default_rng(0)
    topic = np.repeat(np.arange(4), 25)
    looks = rng.standard_normal((4, 8))[topic] + 0.3 * rng.standard_normal((100, 8))
    users = sparse.csr_array(
        (rng.random((200, 100)) < np.where(topic == np.arange(200)[:, None] % 4, 0.3, 0.02)) * np.float32(1)
    )
    present = rng.random(100) < 0.7
    start = Embeddings("image", "image", np.where(present[:, None], looks, 0).astype(np.float32), present, "e")
    found = impute(start, item_graph(users))
    hidden = ~present & found.usable
    error = np.square(found.values - looks)[hidden].mean()
    assert hidden.sum() > 20
    assert error < 0.3 * np.square(looks[present].mean(0) - looks)[hidden].mean()


def test_coverage_is_a_line_of_the_report() -> None:
    found = impute(embeddings([[1.0], [0.0], [0.0]], [True, False, False]), path(1, 0))
    finding = coverage(found)
    assert finding.check == "content.image.missing"
    assert finding.examples == ("image: 2 of 3 items without; 1 imputed from neighbours",)
    assert coverage(embeddings([[1.0]], [True])).examples == ()
