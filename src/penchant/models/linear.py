"""Linear models with a closed form.

In: histories, and content as side information. Out: a dense items x items matrix whose diagonal is zero.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from jaxtyping import Float32
from scipy import linalg, sparse

from penchant.core.logs import logger
from penchant.core.schema import Content, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, liked, power


class EASE(ItemToItem):
    """Ridge regression of every item on all others, diagonal forbidden.

    With `content_weight`, every content dimension is one more "user" who touched the items by their value in it, so that
    items alike in content support each other and an item nobody touched still has a column.

    Cost: items^3 / 3 operations and items^2 floats (x 2 while fitting).

    Source: Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019, eq. 8;
    Jeunen et al., Closed-form models for collaborative filtering with side-information, RecSys 2020 (CEASE). We add
    `user_exponent`, which divides a user's row by their number of events to that power.
    """

    class Config(ItemToItemConfig):
        """EASE's settings."""

        regularisation: float = 400.0
        """Ridge penalty; larger leans on popular items. Rises with the number of users."""
        user_exponent: float = 0.0
        """Rows are divided by (events of the user) ** this; above 0 heavy users count less."""
        target_exponent: float = 0.0
        """Columns are divided by (users of the item) ** this when scoring; above 0 favours rarer items."""
        content_weight: float = 0.0
        """Weight of content beside behaviour; 0 leaves content out."""
        max_items: int = 20_000
        """Above this many items only the most touched take part (memory 8 bytes x max_items^2)."""

    def channels(self, content: Content) -> tuple[str, ...]:
        return tuple(content.channels) if self.config.content_weight > 0 else ()

    def fit(self, train: Histories, content: Content) -> Self:
        users_items = liked(train)
        kept = _most_touched(users_items, self.config.max_items)
        if len(kept) < train.num_items:
            logger.info("  %s: the %d most touched of %d items take part", self.name, len(kept), train.num_items)
        users_items = users_items[:, kept]
        row_scale = power(np.asarray(users_items.sum(1)).ravel(), -self.config.user_exponent)
        scaled = (sparse.diags_array(row_scale) @ users_items).tocsr().astype(np.float32)
        gram = (scaled.T @ scaled).toarray().astype(np.float32)
        if self.channels(content):
            gram += self.config.content_weight * _content_gram(content, kept)
        weights = solve(gram, self.config.regularisation)
        if self.config.target_exponent:
            weights *= power(np.asarray(users_items.sum(0)).ravel(), -self.config.target_exponent)[None, :]
        self.matrix = weights if len(kept) == train.num_items else _spread(weights, kept, train.num_items)
        return self


def solve(gram: Float32[np.ndarray, "items items"], regularisation: float) -> Float32[np.ndarray, "items items"]:
    """Return I - P / diag(P) with P = (gram + regularisation I)^-1; `gram` is overwritten."""
    gram[np.diag_indices_from(gram)] += np.float32(regularisation)
    factor, info = linalg.lapack.spotrf(gram, lower=1, overwrite_a=1)
    if info:  # float32 lost positive definiteness: rare, and only with a tiny penalty
        factor, _ = linalg.lapack.dpotrf(gram.astype(np.float64), lower=1, overwrite_a=1)
        inverse = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)[0].astype(np.float32)
    else:
        inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    lower = np.tril(inverse, -1)
    diagonal = np.diag(inverse).copy()
    weights = (lower + lower.T) / -diagonal[None, :]
    np.fill_diagonal(weights, 0)
    return np.ascontiguousarray(weights, np.float32)


def _most_touched(users_items: sparse.csr_array, limit: int) -> np.ndarray:
    count = np.bincount(users_items.indices, minlength=users_items.shape[1])
    if len(count) <= limit:
        return np.arange(len(count))
    return np.sort(np.argsort(-count, kind="stable")[:limit])


def _content_gram(content: Content, kept: np.ndarray) -> Float32[np.ndarray, "items items"]:
    """Return the mean over channels of cosine similarity between centred rows."""
    total = np.zeros((len(kept), len(kept)), np.float32)
    for embeddings in content.channels.values():
        rows = centred_unit(embeddings.values, embeddings.usable)[kept]
        total += rows @ rows.T
    return total / max(len(content.channels), 1)


def centred_unit(values: np.ndarray, usable: np.ndarray) -> Float32[np.ndarray, "items dim"]:
    """Return unit rows after the mean of the usable rows is taken off; unusable rows are zero.

    Encoders put all items in a narrow cone; without centring the shared direction hides what tells them apart.
    """
    out = np.zeros_like(values, dtype=np.float32)
    if not usable.any():
        return out
    centred = values[usable] - values[usable].mean(0)
    out[usable] = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return out


def _spread(weights: np.ndarray, kept: np.ndarray, num_items: int) -> sparse.csr_array:
    """Place a matrix over some items into one over all of them."""
    rows = np.repeat(kept, len(kept)).astype(np.int32)
    columns = np.tile(kept, len(kept)).astype(np.int32)
    return sparse.coo_array((weights.ravel(), (rows, columns)), shape=(num_items, num_items)).tocsr()
