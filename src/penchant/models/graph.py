"""Low-pass filters of the item graph.

In: histories, and frozen content graphs. Out: a smoothed item-to-item matrix, with no training at all.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy import sparse

from penchant.core.schema import Content, Histories
from penchant.models.content import neighbour_graph
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, liked, power, product_top_k, scale


class GraphFilter(ItemToItem):
    """Walks of `hops` steps over items that share users, and over items alike in content.

    With R~ = D_u^-a R D_i^-b and P = R~^T R~: matrix = D_i^c ((1 - w) P / |P| + w C)^hops D_i^-c, where C is the mean of the
    channels' frozen neighbour graphs. More hops smooth more, which pays where data is sparse.

    Source: Park et al., Turbo-CF, SIGIR 2024 (arXiv 2404.14243); Roh et al., MM-GF, arXiv 2503.04406. We add the exponent c,
    which lets popular items of the history speak louder and holds popular targets back.
    """

    class Config(ItemToItemConfig):
        """The graph filter's settings."""

        user_exponent: float = 0.5
        """a: how much heavy users are held back."""
        item_exponent: float = 0.5
        """b: how much popular items are held back, as source and as target."""
        shift: float = 0.0
        """c: moves weight from target popularity to source popularity."""
        hops: int = 1
        """Steps of the walk, 1 to 3."""
        content_weight: float = 0.0
        """w: share of the content graph in each step, 0 to 1."""
        neighbours: int = 20
        """Items joined to each item in a channel's content graph."""
        max_dense_items: int = 15_000
        """Up to this many items the matrix is dense and exact; above, the largest `max_entries` of each row are kept."""
        max_entries: int = 400
        """Entries kept for each row of a sparse matrix."""

    def channels(self, content: Content) -> tuple[str, ...]:
        return tuple(content.channels) if self.config.content_weight > 0 else ()

    def fit(self, train: Histories, content: Content) -> Self:
        users_items = liked(train)
        filtered = scale(users_items, self.config.user_exponent, self.config.item_exponent)
        if train.num_items <= self.config.max_dense_items:
            step = (filtered.T @ filtered).toarray().astype(np.float32)
        else:
            step = product_top_k(filtered.T.tocsr(), filtered, self.config.max_entries, keep_diagonal=True)
        if self.channels(content):
            step = _mix(step, content, self.config.content_weight, self.config.neighbours)
        walked = step
        for _ in range(self.config.hops - 1):
            walked = (
                walked @ step
                if isinstance(step, np.ndarray)
                else product_top_k(walked, step, self.config.max_entries, keep_diagonal=True)
            )
        self.matrix = _shifted(walked, np.asarray(users_items.sum(0)).ravel(), self.config.shift)
        return self


def _mix(
    step: np.ndarray | sparse.csr_array, content: Content, weight: float, neighbours: int
) -> np.ndarray | sparse.csr_array:
    """Add the content graphs, after bringing both to row sums of about one."""
    mean_row = float(step.sum()) / max(step.shape[0], 1)
    graphs = [neighbour_graph(e, neighbours) for e in content.channels.values()]
    graph = sum(graphs[1:], graphs[0]) * (weight / len(graphs))
    step = step * np.float32((1 - weight) / max(mean_row, 1e-12))
    return np.asarray(step + graph, np.float32) if isinstance(step, np.ndarray) else (step + graph).tocsr()


def _shifted(matrix: np.ndarray | sparse.csr_array, count: np.ndarray, shift: float) -> np.ndarray | sparse.csr_array:
    if shift == 0:
        return matrix
    left, right = power(np.maximum(count, 1), shift), power(np.maximum(count, 1), -shift)
    if isinstance(matrix, np.ndarray):
        matrix *= left[:, None]
        matrix *= right[None, :]
        return matrix
    return (sparse.diags_array(left) @ matrix @ sparse.diags_array(right)).tocsr()
