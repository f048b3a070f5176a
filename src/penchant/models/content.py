"""What items are, whoever touched them.

In: histories and embeddings. Out: members that score an item nobody has touched yet.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from jaxtyping import Float32
from scipy import sparse
from scipy.sparse.linalg import svds

from penchant.core.errors import ConfigError, nearest
from penchant.core.schema import Content, Embeddings, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, keep_largest, liked, scale
from penchant.models.linear import centred_unit
from penchant.models.member import Member

BLOCK = 1024


class ContentKNN(ItemToItem):
    """Similarity to the items of the history in one channel.

    Each item of the history speaks for its `neighbours` nearest; an item without this content is neither near nor far.
    """

    class Config(ItemToItemConfig):
        """ContentKNN's settings."""

        channel: str = "fused"
        """Which channel to compare in; "fused" is the feature-level fusion of all."""
        neighbours: int = 100
        """Nearest items each item of the history speaks for."""
        sharpness: float = 1.0
        """Similarities are raised to this power; above 1 near twins count more."""

    def channels(self, content: Content) -> tuple[str, ...]:
        return tuple(content.channels) if self.config.channel == "fused" else (self.config.channel,)

    def fit(self, train: Histories, content: Content) -> Self:
        graph = neighbour_graph(pick(content, self.config.channel, self.name), self.config.neighbours, row_sums=False)
        graph.data = graph.data**self.config.sharpness
        self.matrix = graph
        return self


class ContentMap(Member):
    """Content mapped into the space of behaviour.

    Item factors V come from a truncated SVD of the normalised interactions; ridge regression learns V from content on the
    items that were touched, the often-touched counting more; every item is then scored by its predicted factor:
    score = (history @ V) . (content W). A second ridge predicts log popularity from content, as a prior.

    Source: in the spirit of Gantner et al., Learning attribute-to-feature mappings for cold-start recommendations, ICDM 2010.
    """

    class Config(ItemToItemConfig):
        """ContentMap's settings."""

        channels: list[str] | None = None
        """Channels to read; None reads all."""
        dim: int = 64
        """Width of the space of behaviour."""
        regularisation: float = 10.0
        """Ridge penalty of the map, in units of the mean content variance."""
        user_exponent: float = 0.5
        """How much heavy users are held back in that space."""
        item_exponent: float = 0.5
        """How much popular items are held back in that space."""
        popularity_weight: float = 0.0
        """Weight of the popularity predicted from content beside the match; 0 leaves it out."""

    def __init__(self, config: ItemToItemConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.source = self.target = np.zeros((0, 0), np.float32)
        self.prior = np.zeros(0, np.float32)

    def channels(self, content: Content) -> tuple[str, ...]:
        return tuple(content.channels) if self.config.channels is None else tuple(self.config.channels)

    def fit(self, train: Histories, content: Content) -> Self:
        features = _side_by_side([pick(content, name, self.name) for name in self.channels(content)])
        users_items = liked(train)
        count = np.asarray(users_items.sum(0)).ravel()
        dim = min(self.config.dim, min(users_items.shape) - 1)
        _, strength, right = svds(
            scale(users_items, self.config.user_exponent, self.config.item_exponent), k=dim, random_state=0
        )
        factors = (right * strength[:, None]).T.astype(np.float32)
        warm = count > 0
        weight = np.log1p(count)
        self.source = factors
        self.target = _ridge(features, factors, warm, weight, self.config.regularisation)
        popularity = _ridge(features, np.log1p(count)[:, None], warm, np.ones_like(count), self.config.regularisation)[
            :, 0
        ]
        self.prior = np.zeros(train.num_items, np.float32)
        if self.config.popularity_weight:
            spread = (
                np.std(self.source @ self.target.T)
                if train.num_items <= BLOCK
                else np.std(self.source[:BLOCK] @ self.target.T)
            )
            self.prior = (
                self.config.popularity_weight * spread * (popularity - popularity.mean()) / max(popularity.std(), 1e-9)
            ).astype(np.float32)
        return self

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        taste = histories.matrix() @ self.source
        return (taste @ self.target.T + self.prior).astype(np.float32)

    def contributions(
        self, history: Histories
    ) -> tuple[Float32[np.ndarray, " items"], Float32[np.ndarray, "events items"]]:
        events = (self.source[history.item_index] * history.weight[:, None]) @ self.target.T
        return self.prior, events.astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"source": self.source, "target": self.target, "prior": self.prior}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.source, self.target, self.prior = arrays["source"], arrays["target"], arrays["prior"]
        return self


def pick(content: Content, name: str, member: str) -> Embeddings:
    """Return one channel, or the fused vectors.

    Raises:
        ConfigError: There is no such channel.
    """
    if name == "fused" and content.fused is not None:
        return content.fused
    if name in content.channels:
        return content.channels[name]
    raise ConfigError(
        f"There is no content channel {name!r}.",
        where=f"members.{member}.channel",
        fix=nearest(name, {*content.channels, "fused"}),
    )


def neighbour_graph(embeddings: Embeddings, neighbours: int, *, row_sums: bool = True) -> sparse.csr_array:
    """Return (items, items) float32: each item's nearest others by centred cosine, rows summing to 1 if asked.

    Memory: a block of rows x items floats; time: items^2 x dim.
    """
    rows = centred_unit(embeddings.values, embeddings.usable)
    parts = []
    for start in range(0, len(rows), BLOCK):
        similar = rows[start : start + BLOCK] @ rows.T
        own = np.arange(similar.shape[0])
        similar[own, start + own] = 0
        parts.append(keep_largest(similar, neighbours))
    graph = sparse.vstack(parts, format="csr")
    if row_sums:
        total = np.maximum(np.asarray(graph.sum(1)).ravel(), 1e-12)
        graph.data = (graph.data / np.repeat(total, np.diff(graph.indptr))).astype(np.float32)
    return graph


def _side_by_side(channels: list[Embeddings]) -> Float32[np.ndarray, "items dim"]:
    """Return centred unit rows of every channel beside one another; an absent channel stays at its mean, zero."""
    return np.concatenate([centred_unit(e.values, e.usable) for e in channels], axis=1)


def _ridge(
    features: np.ndarray, target: np.ndarray, rows: np.ndarray, weight: np.ndarray, regularisation: float
) -> Float32[np.ndarray, "items outputs"]:
    """Fit weighted ridge on some rows (with an intercept) and predict all rows."""
    x, y, w = features[rows].astype(np.float64), target[rows].astype(np.float64), weight[rows] / weight[rows].mean()
    mean_x, mean_y = np.average(x, axis=0, weights=w), np.average(y, axis=0, weights=w)
    x, y = x - mean_x, y - mean_y
    gram = (x * w[:, None]).T @ x
    gram[np.diag_indices_from(gram)] += regularisation
    solution = np.linalg.solve(gram, (x * w[:, None]).T @ y)
    return ((features - mean_x) @ solution + mean_y).astype(np.float32)
