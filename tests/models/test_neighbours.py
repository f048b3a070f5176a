from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from penchant.core.schema import Content, Histories
from penchant.models.neighbours import ItemKNN, ItemKNNConfig, RP3beta, RP3betaConfig


def dense(histories: Histories) -> np.ndarray:
    out = np.zeros((len(histories), histories.num_items))
    out[histories.user_index(), histories.item_index] = 1
    return out


def test_item_knn_is_the_cosine_of_scikit_learn(random_histories) -> None:
    member = ItemKNN(ItemKNNConfig(neighbours=12, shrinkage=0)).fit(random_histories, Content())
    expected = cosine_similarity(dense(random_histories).T)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(member.matrix.toarray(), expected, rtol=1e-5, atol=1e-6)


def test_shrinkage_weakens_what_few_people_share(random_histories) -> None:
    member = ItemKNN(ItemKNNConfig(neighbours=3, shrinkage=7)).fit(random_histories, Content())
    plain = ItemKNN(ItemKNNConfig(neighbours=3, shrinkage=0)).fit(random_histories, Content()).matrix.toarray()
    both = dense(random_histories).T @ dense(random_histories)
    np.testing.assert_allclose(member.matrix.toarray(), plain * both / (both + 7), rtol=1e-5)
    assert (np.count_nonzero(plain, axis=1) <= 3).all()


def test_exponents_hold_back_popular_targets(random_histories) -> None:
    member = ItemKNN(ItemKNNConfig(neighbours=12, shrinkage=0, source_exponent=0.2, target_exponent=0.9))
    x = dense(random_histories)
    count = x.sum(0)
    expected = (x.T @ x) / count[:, None] ** 0.2 / count[None, :] ** 0.9
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(member.fit(random_histories, Content()).matrix.toarray(), expected, rtol=1e-5)


def test_rp3beta_is_the_dense_formula(random_histories) -> None:
    member = RP3beta(RP3betaConfig(alpha=1.3, beta=0.6, neighbours=12)).fit(random_histories, Content())
    x = dense(random_histories)
    to_item, to_user = x / x.sum(1, keepdims=True), x.T / x.sum(0)[:, None]
    expected = to_user**1.3 @ to_item**1.3 / x.sum(0)[None, :] ** 0.6
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(member.matrix.toarray(), expected, rtol=1e-4)
