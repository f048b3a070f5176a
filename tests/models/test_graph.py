from __future__ import annotations

import numpy as np
import pytest

from penchant.core.schema import Content, Embeddings, Histories
from penchant.models.channels import centred_unit
from penchant.models.graph import GraphFilter, GraphFilterConfig


def dense(histories: Histories) -> np.ndarray:
    out = np.zeros((len(histories), histories.num_items))
    out[histories.user_index(), histories.item_index] = 1
    return out


def step(histories: Histories, a: float, b: float) -> np.ndarray:
    x = dense(histories)
    scaled = x / x.sum(1, keepdims=True) ** a / np.maximum(x.sum(0), 1) ** b
    return scaled.T @ scaled


def fit(histories: Histories, content: Content | None = None, **settings: object) -> np.ndarray:
    matrix = GraphFilter(GraphFilterConfig(**settings)).fit(histories, content or Content()).matrix
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


def test_it_is_a_walk_over_the_normalised_graph(random_histories) -> None:
    expected = step(random_histories, 0.4, 0.2)
    found = fit(random_histories, user_exponent=0.4, item_exponent=0.2, hops=2)
    np.testing.assert_allclose(found, expected @ expected, rtol=1e-4)


def test_shift_moves_weight_from_target_to_source(random_histories) -> None:
    count = dense(random_histories).sum(0)
    expected = step(random_histories, 0.5, 0.5) * count[:, None] ** 0.3 / count[None, :] ** 0.3
    np.testing.assert_allclose(fit(random_histories, shift=0.3), expected, rtol=1e-4)


def test_the_ideal_filter_projects_on_the_smoothest_directions(random_histories) -> None:
    graph = step(random_histories, 0.5, 0.5)
    top = np.linalg.eigh(graph)[1][:, -3:]
    np.testing.assert_allclose(
        fit(random_histories, ideal_weight=0.7, ideal_dim=3), graph + 0.7 * top @ top.T, rtol=1e-3, atol=1e-4
    )


def test_sparse_and_dense_agree_when_nothing_is_cut(random_histories) -> None:
    settings = {"hops": 2, "ideal_weight": 0.1, "ideal_dim": 12, "content_weight": 0.4, "neighbours": 3, "shift": 0.2}
    values = np.random.default_rng(2).normal(size=(12, 4)).astype(np.float32)
    content = Content({"words": Embeddings("words", "text", values, np.ones(12, bool), "test")})
    sparse = fit(random_histories, content, max_dense_items=1, max_entries=12, **settings)
    np.testing.assert_allclose(sparse, fit(random_histories, content, **settings), rtol=1e-3, atol=1e-6)


def test_content_is_mixed_in_by_its_share(random_histories) -> None:
    rng = np.random.default_rng(2)
    channels = {
        name: Embeddings(name, "text", rng.normal(size=(12, 4)).astype(np.float32), np.ones(12, bool), name)
        for name in ("words", "credits")
    }
    graph = step(random_histories, 0.5, 0.5)
    expected = 0.7 * graph / graph.sum(1).mean()
    for name, share in (("words", 0.75), ("credits", 0.25)):
        rows = centred_unit(channels[name].values, channels[name].usable)
        similar = np.maximum(rows @ rows.T, 0)
        np.fill_diagonal(similar, 0)
        expected += 0.3 * share * similar / similar.sum(1, keepdims=True)
    found = fit(random_histories, Content(channels), content_weight=0.3, neighbours=12, weights={"words": 3})
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"hops": 1}, {"hops": 3, "shift": 0.2}, {"hops": 3, "ideal_weight": 0.7, "ideal_dim": 3}]
)
def test_sparse_walks_equal_dense_ones(monkeypatch, random_histories, settings: dict) -> None:
    monkeypatch.setattr("penchant.models.graph.MAX_FILLED", 0)
    expected = fit(random_histories, **settings)
    monkeypatch.setattr("penchant.models.graph.MAX_FILLED", np.inf)
    monkeypatch.setattr("penchant.models.graph.gram_of", None)  # the dense way is not taken
    np.testing.assert_allclose(fit(random_histories, **settings), expected, rtol=1e-4, atol=1e-6)


def test_above_the_limit_the_most_touched_items_take_part(random_histories) -> None:
    x = dense(random_histories)
    kept = np.sort(np.argsort(-x.sum(0), kind="stable")[:5])
    few = x[:, kept]
    scaled = few / np.sqrt(np.maximum(few.sum(1, keepdims=True), 1)) / np.sqrt(few.sum(0))
    expected = scaled.T @ scaled
    values = np.random.default_rng(2).normal(size=(12, 4)).astype(np.float32)
    content = Content({"words": Embeddings("words", "text", values, np.ones(12, bool), "test")})
    member = GraphFilter(GraphFilterConfig(max_items=5, hops=2)).fit(random_histories, content)
    np.testing.assert_allclose(np.asarray(member.matrix), expected @ expected, rtol=1e-4)
    scores = member.score(random_histories)
    np.testing.assert_allclose(scores[:, kept], few @ expected @ expected, rtol=1e-4)
    assert not np.delete(scores, kept, axis=1).any()
    mixed = GraphFilter(GraphFilterConfig(max_items=5, content_weight=0.5, neighbours=3)).fit(random_histories, content)
    assert mixed.matrix.shape == (5, 5)
