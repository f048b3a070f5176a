"""Neighbourhood models over items that share users.

In: histories. Out: top-k item-to-item matrices, sparse, so they fit any catalog.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from pydantic import Field
from scipy import sparse

from penchant.core.schema import Content, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, liked, power
from penchant.models.linear import co_occurrence_sums, co_occurrences
from penchant.models.products import Scales, product_top_k, top_k_rows
from penchant.models.shared import computed_once
from penchant.models.user_sums import UserSums

MAX_SHARED_ITEMS = 4_000
"""Up to this many items the dense co-occurrences are computed once for all members (4 bytes x items^2)."""


class ItemKNNConfig(ItemToItemConfig):
    """ItemKNN's settings."""

    neighbours: int = Field(200, ge=1)
    """Most similar items kept for each item."""
    shrinkage: float = Field(10.0, ge=0)
    """Users who met both items at which their similarity is halved; larger trusts rare pairs less."""
    source_exponent: float = 0.5
    """a: division by the number of users of the item in the history to this power."""
    target_exponent: float = 0.5
    """b: the same of the scored item; larger recommends rarer items."""


class ItemKNN(ItemToItem[ItemKNNConfig]):
    """Cosine similarity of item columns, shrunk where few users have both.

    similarity(i, j) = both / (i's users ** a x j's users ** b); a = b = 0.5 is the cosine. The nearest are chosen by it, then
    each is multiplied by both / (both + shrinkage): shrinking first chose worse neighbours (MovieLens-1M).
    Dislikes do not count as users here; when scoring, they lower the neighbours of the disliked item.

    Source: Deshpande & Karypis, Item-based top-N recommendation algorithms, TOIS 2004.
    """

    config_class = ItemKNNConfig

    def user_sums(self, train: Histories) -> UserSums:
        return co_occurrence_sums() if train.num_items <= MAX_SHARED_ITEMS else {}

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        users_items = liked(train)
        is_binary = bool((users_items.data == 1).all())
        users_items.data[:] = 1
        count = np.asarray(users_items.sum(0)).ravel()
        left, right = power(count, -self.config.source_exponent), power(count, -self.config.target_exponent)

        def nearest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            found = self._nearest(train, users_items, is_binary, (left, right))
            return found.data, found.indices, found.indptr

        key = ("nearest", self.config.neighbours, self.config.source_exponent, self.config.target_exponent)
        data, indices, indptr = computed_once(train, key, nearest)
        if self.config.shrinkage > 0:
            source = np.repeat(np.arange(train.num_items), np.diff(indptr))
            both = data / (left[source] * right[indices])
            data = (data * both / (both + self.config.shrinkage)).astype(np.float32)
        self.matrix = sparse.csr_array((data, indices, indptr), shape=(train.num_items, train.num_items))
        return self

    def _nearest(
        self, train: Histories, users_items: sparse.csr_array, is_binary: bool, scales: Scales
    ) -> sparse.csr_array:
        """Return the most similar items of each item, before shrinking."""
        items, k = train.num_items, self.config.neighbours
        if not is_binary or items > MAX_SHARED_ITEMS:
            transposed = sparse.csr_array(users_items.T)
            return product_top_k(transposed, users_items, k, scales=scales, keep_diagonal=False)
        gram, (left, right) = co_occurrences(train), scales
        return top_k_rows(lambda rows: gram[rows] * left[rows, None] * right[None, :], items, items, k)


class RP3betaConfig(ItemToItemConfig):
    """RP3beta's settings."""

    alpha: float = Field(1.0, ge=0)
    """Exponent of the transition probabilities."""
    beta: float = Field(0.4, ge=0)
    """Exponent of the reached item's popularity, divided out; larger recommends rarer items."""
    neighbours: int = Field(300, ge=1)
    """Reached items kept for each item."""
    max_weight: float = Field(1.0, gt=0)
    """Largest weight of one user and item while fitting; above 1 repeats and strong kinds of event count more."""


class RP3beta(ItemToItem[RP3betaConfig]):
    """Random walk item -> user -> item, popularity damped by beta.

    Source: Paudel et al., Updatable, accurate, diverse, and scalable recommendations, TiiS 2017.
    """

    config_class = RP3betaConfig

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        users_items = liked(train, self.config.max_weight)
        by_user = power(np.asarray(users_items.sum(1)).ravel(), -1.0)
        count = np.asarray(users_items.sum(0)).ravel()
        alpha: Any = self.config.alpha  # the stubs allow whole exponents only
        to_item = sparse.csr_array(sparse.diags_array(by_user) @ users_items).power(alpha)
        to_user = sparse.csr_array(sparse.diags_array(power(count, -1.0)) @ users_items.T).power(alpha)
        walked = sparse.csr_array(to_item @ sparse.diags_array(power(count, -self.config.beta)))
        to_user, walked = to_user.astype(np.float32), walked.astype(np.float32)
        self.matrix = product_top_k(to_user, walked, self.config.neighbours, keep_diagonal=False)
        return self
