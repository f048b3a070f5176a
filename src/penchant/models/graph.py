"""Low-pass filters of the item graph.

In: histories, and frozen content graphs. Out: a smoothed item-to-item matrix, with no training at all.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from penchant.core.logs import logger
from penchant.core.schema import Content, Histories
from penchant.models.channels import ContentMix, ContentMixConfig, centred_unit, neighbour_graph, row_normalised
from penchant.models.item_to_item import liked, power, scale
from penchant.models.linear import gram_of, most_touched
from penchant.models.products import Matrix, product_top_k, top_k_rows
from penchant.models.shared import computed_once

MAX_FILLED = 0.05
"""Share of the entries of P above 0 up to which products with it are sparse."""


class GraphFilterConfig(ContentMixConfig):
    """The graph filter's settings."""

    user_exponent: float = 0.5
    """a: how much users with many events are damped."""
    item_exponent: float = 0.5
    """b: how much popular items are damped, as source and as target."""
    shift: float = 0.0
    """c: moves weight from target popularity to source popularity."""
    hops: int = Field(1, ge=1)
    """Steps of the walk, 1 to 3."""
    ideal_weight: float = Field(0.0, ge=0)
    """Weight of the ideal low-pass filter beside P; 0 leaves it out."""
    ideal_dim: int = Field(128, ge=1)
    """Directions the ideal filter lets through."""
    content_weight: float = Field(0.0, ge=0)
    """w: share of the content graph in each step, 0 to 1."""
    neighbours: int = Field(20, ge=1)
    """Items joined to each item in a channel's content graph."""
    max_items: int = Field(1_000_000, ge=1)
    """Above this many items only the most touched take part."""
    max_dense_items: int = Field(15_000, ge=1)
    """Up to this many items the matrix is dense and exact; above, the largest `max_entries` of each row are kept."""
    max_entries: int = Field(400, ge=1)
    """Entries kept for each row of a sparse matrix."""


class GraphFilter(ContentMix[GraphFilterConfig]):
    """Walks of `hops` steps over items that share users, and over items alike in content.

    With R~ = D_u^-a R D_i^-b and P = R~^T R~: matrix = D_i^c ((1 - w) P / |P| + w C)^hops D_i^-c, where C is the mean of the
    channels' frozen neighbour graphs. More hops smooth more, which pays where data is sparse. `ideal_weight` adds the
    projection on the smoothest directions to P.

    Source: Park et al., Turbo-CF, SIGIR 2024 (arXiv 2404.14243); Roh et al., MM-GF, arXiv 2503.04406; Shen et al., How powerful
    is graph convolution for recommendation, CIKM 2021 (GF-CF, the ideal filter). We add the exponent c, which raises
    popular items of the history and damps popular targets.
    """

    config_class = GraphFilterConfig

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        config = self.config
        users_items = liked(train, config.max_weight)
        self.kept = None
        if train.num_items > config.max_items:
            self.kept = most_touched(users_items, config.max_items)
            logger.info("  %s: the %d most touched of %d items take part", self.name, len(self.kept), train.num_items)
            users_items = users_items[:, self.kept]
        items = users_items.shape[1]
        filtered = scale(users_items, config.user_exponent, config.item_exponent)
        key = (config.max_weight, config.user_exponent, config.item_exponent, items)
        right = None
        if config.ideal_weight > 0 and filtered.nnz:
            dim = min(config.ideal_dim, *filtered.shape)
            right = computed_once(train, ("directions", dim, *key), lambda: _directions(filtered, dim))
        count = np.asarray(users_items.sum(0)).ravel()
        pairs = float((np.diff(filtered.indptr).astype(np.float64) ** 2).sum())
        is_dense = items <= config.max_dense_items
        if is_dense and not self.channels(content) and pairs < MAX_FILLED * items**2:
            self.matrix = _shifted(self._walk_sparse(filtered, right), count, config.shift)
            return self
        if is_dense:
            step: Matrix = computed_once(train, ("filtered", *key), lambda: gram_of(filtered)).copy()
        else:
            step = product_top_k(sparse.csr_array(filtered.T), filtered, config.max_entries)
        if right is not None:
            step = self._add_ideal(step, right)
        if self.channels(content):
            step = self._mix(step, content)
        self.matrix = _shifted(_walk(step, self.config.hops, self.config.max_entries), count, self.config.shift)
        return self

    def _walk_sparse(
        self, filtered: sparse.csr_array, right: Float32[np.ndarray, "dim items"] | None
    ) -> Float32[np.ndarray, "items items"]:
        """Return the dense matrix of `_walk` where few entries of P are above 0: a step is a sparse product and one of the ideal directions."""
        step = sparse.csr_array(sparse.csr_array(filtered.T) @ filtered)
        walked: Any = step
        if right is not None:
            weighted = right.T * np.float32(self.config.ideal_weight)
            walked = step.toarray()
            walked += weighted @ right
        for _ in range(self.config.hops - 1):
            before, walked = walked, step @ walked
            if right is not None:
                walked += weighted @ (right @ before)
        return walked if isinstance(walked, np.ndarray) else walked.toarray()

    def _add_ideal(self, step: Matrix, right: Float32[np.ndarray, "dim items"]) -> Matrix:
        """Add ideal_weight x V V^T, V being the first right singular vectors of R~."""
        weighted = right * np.float32(self.config.ideal_weight)
        if isinstance(step, np.ndarray):
            step += right.T @ weighted
            return step
        given, items = step, step.shape[0]
        return top_k_rows(
            lambda rows: given[rows].toarray() + right.T[rows] @ weighted,
            items,
            items,
            self.config.max_entries,
            keep_diagonal=True,
        )

    def _mix(self, step: Matrix, content: Content) -> Matrix:
        """Add the content graphs, after bringing both to row sums of about one."""
        weight = self.config.content_weight
        step = step * np.float32((1 - weight) / max(float(step.sum()) / step.shape[0], 1e-12))
        found = self._read(content)
        for embeddings, part in found:
            share = weight * part / sum(w for _, w in found)
            rows = centred_unit(embeddings.values, embeddings.usable)
            rows = rows if self.kept is None else rows[self.kept]
            graph = row_normalised(neighbour_graph(rows, self.config.neighbours)) * np.float32(share)
            step = (
                np.asarray(step + graph, np.float32) if isinstance(step, np.ndarray) else sparse.csr_array(step + graph)
            )
        return step


def _directions(filtered: sparse.csr_array, dim: int) -> Float32[np.ndarray, "dim items"]:
    """Return the first right singular vectors."""
    return np.asarray(randomized_svd(filtered, dim, random_state=0)[2], np.float32)


def _walk(step: Matrix, hops: int, max_entries: int) -> Matrix:
    """Return step ** hops."""
    walked = step
    for _ in range(hops - 1):
        if isinstance(walked, np.ndarray) or isinstance(step, np.ndarray):
            walked = np.asarray(walked @ step, np.float32)
        else:
            walked = product_top_k(walked, step, max_entries)
    return walked


def _shifted(matrix: Matrix, count: Float32[np.ndarray, " items"], shift: float) -> Matrix:
    if shift == 0:
        return matrix
    left, right = power(np.maximum(count, 1), shift), power(np.maximum(count, 1), -shift)
    if isinstance(matrix, np.ndarray):
        matrix *= left[:, None]
        matrix *= right[None, :]
        return matrix
    return sparse.csr_array(sparse.diags_array(left) @ matrix @ sparse.diags_array(right))
