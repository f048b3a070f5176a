"""Items touched by the same people.

In: histories. Out: top-k item-to-item matrices, sparse, so they fit any catalog.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy import sparse

from penchant.core.schema import Content, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, liked, power, product_top_k


class ItemKNN(ItemToItem):
    """Cosine similarity of item columns, shrunk where few people met both.

    Source: Deshpande & Karypis, Item-based top-N recommendation algorithms, TOIS 2004.
    """

    class Config(ItemToItemConfig):
        """ItemKNN's settings."""

        neighbours: int = 200
        """Most similar items kept for each item."""
        shrinkage: float = 10.0
        """Pseudo-users added to every pair; larger trusts rare pairs less."""

    def fit(self, train: Histories, content: Content) -> Self:
        users_items = liked(train)
        users_items.data[:] = 1
        count = np.asarray(users_items.sum(0)).ravel()
        unit = (users_items @ sparse.diags_array(power(count, -0.5))).tocsr().astype(np.float32)
        similar = product_top_k(unit.T.tocsr(), unit, self.config.neighbours)
        if self.config.shrinkage:
            similar = _shrink(similar, count, self.config.shrinkage)
        self.matrix = similar
        return self


class RP3beta(ItemToItem):
    """Random walk item -> user -> item -> popularity held back by beta.

    Source: Paudel et al., Updatable, accurate, diverse, and scalable recommendations, TiiS 2017.
    """

    class Config(ItemToItemConfig):
        """RP3beta's settings."""

        alpha: float = 1.0
        """Exponent of the transition probabilities."""
        beta: float = 0.4
        """Exponent of the reached item's popularity, divided out; larger recommends rarer items."""
        neighbours: int = 300
        """Reached items kept for each item."""

    def fit(self, train: Histories, content: Content) -> Self:
        users_items = liked(train)
        by_user = power(np.asarray(users_items.sum(1)).ravel(), -1.0)
        count = np.asarray(users_items.sum(0)).ravel()
        to_item = (sparse.diags_array(by_user) @ users_items).tocsr().power(self.config.alpha)
        to_user = (sparse.diags_array(power(count, -1.0)) @ users_items.T).tocsr().power(self.config.alpha)
        reward = sparse.diags_array(power(count, -self.config.beta))
        walked = (to_item @ reward).tocsr().astype(np.float32)
        self.matrix = product_top_k(to_user.astype(np.float32), walked, self.config.neighbours)
        return self


def _shrink(similar: sparse.csr_array, count: np.ndarray, shrinkage: float) -> sparse.csr_array:
    """Multiply each cosine by n / (n + shrinkage), n being the number of users who met both items."""
    rows = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
    both = similar.data * np.sqrt(count[rows] * count[similar.indices])
    similar.data = (similar.data * both / (both + shrinkage)).astype(np.float32)
    return similar
