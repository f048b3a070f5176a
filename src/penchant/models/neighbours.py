"""Neighbourhood models over items that share users.

In: histories. Out: top-k item-to-item matrices, sparse, so they fit any catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from scipy import sparse

from penchant.core.schema import Content, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, liked, power
from penchant.models.linear import co_occurrences, gram_of
from penchant.models.member import SumOverUsers
from penchant.models.products import Scales, product_top_k, top_k_rows
from penchant.models.shared import computed_once

PAIRS = "users of both items"
"""The sum over users that ItemKNN has."""
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

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        known = self.known_sums(train)
        if not known and train.num_items <= MAX_SHARED_ITEMS and bool((liked(train).data == 1).all()):
            known = {PAIRS: co_occurrences(train)}
        return self.from_sums(known, train, content)

    def user_sums(self, num_items: int) -> dict[str, SumOverUsers]:
        return {PAIRS: pairs_of} if num_items <= MAX_SHARED_ITEMS else {}

    def from_sums(self, sums: Mapping[str, np.ndarray], train: Histories, content: Content = Content.NONE) -> Self:
        users_items = liked(train)
        users_items.data[:] = 1
        count = np.asarray(users_items.sum(0)).ravel()
        left, right = power(count, -self.config.source_exponent), power(count, -self.config.target_exponent)

        gram = sums.get(PAIRS)

        def nearest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            found = self._nearest(gram, users_items, (left, right))
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
        self, gram: Float32[np.ndarray, "items items"] | None, users_items: sparse.csr_array, scales: Scales
    ) -> sparse.csr_array:
        """Return the most similar items of each item, before shrinking; from the users of each pair where they are known."""
        items, k = users_items.shape[1], self.config.neighbours
        if gram is None:
            transposed = sparse.csr_array(users_items.T)
            return product_top_k(transposed, users_items, k, scales=scales, keep_diagonal=False)
        left, right = scales
        return top_k_rows(lambda rows: gram[rows] * left[rows, None] * right[None, :], items, items, k)


def pairs_of(histories: Histories) -> Float32[np.ndarray, "items items"]:
    """Return how many users like both items of each pair."""
    users_items = liked(histories)
    users_items.data[:] = 1
    return gram_of(users_items)


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
        return self.from_sums(self.known_sums(train), train, content)

    def user_sums(self, num_items: int) -> dict[str, SumOverUsers]:
        if self.config.alpha != 1 or num_items > MAX_SHARED_ITEMS:
            return {}
        return {f"walks up to {self.config.max_weight}": self._walks}

    def _walks(self, histories: Histories) -> Float32[np.ndarray, "items items"]:
        """Return the sum over users of likes times likes by the sum of the user's likes."""
        users_items = liked(histories, self.config.max_weight)
        by_user = power(np.asarray(users_items.sum(1)).ravel(), -0.5)
        return gram_of(sparse.csr_array(sparse.diags_array(by_user) @ users_items))

    def from_sums(self, sums: Mapping[str, np.ndarray], train: Histories, content: Content = Content.NONE) -> Self:
        users_items = liked(train, self.config.max_weight)
        count = np.asarray(users_items.sum(0)).ravel()
        items, right = train.num_items, power(count, -self.config.beta)
        if sums:
            (walks,) = (sums[name] for name in self.user_sums(items))
            left = power(count, -1.0)
            self.matrix = top_k_rows(
                lambda rows: walks[rows] * left[rows, None] * right[None, :], items, items, self.config.neighbours
            )
            return self
        by_user = power(np.asarray(users_items.sum(1)).ravel(), -1.0)
        alpha: Any = self.config.alpha  # the stubs allow whole exponents only
        to_item = sparse.csr_array(sparse.diags_array(by_user) @ users_items).power(alpha)
        to_user = sparse.csr_array(sparse.diags_array(power(count, -1.0)) @ users_items.T).power(alpha)
        walked = sparse.csr_array(to_item @ sparse.diags_array(right))
        to_user, walked = to_user.astype(np.float32), walked.astype(np.float32)
        self.matrix = product_top_k(to_user, walked, self.config.neighbours, keep_diagonal=False)
        return self
