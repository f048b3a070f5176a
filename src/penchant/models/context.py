"""Popularity under the circumstances of the request.

In: events with their circumstances. Out: a prior for each request, by its circumstances.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float32, Int64
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.schema import CONTEXT, Content, Histories, UserChannel
from penchant.models.member import Contributions, ContributionsTo, Member, prior_to


class ContextPopularityConfig(Settings):
    """The settings of popularity by context."""

    channels: list[str] | None = None
    """Circumstances to read; None reads all."""
    pseudo_events: float = Field(200.0, gt=0)
    """Events at the overall popularity added to those of each circumstance: larger trusts circumstances less."""


class ContextPopularity(Member[ContextPopularityConfig]):
    """Sum over the circumstances of the request of log P(item | circumstance) - log P(item).

    Naive Bayes: circumstances count as independent given the item. A circumstance that is not known, or was never seen, adds 0. The ensemble reads the
    scores as they are, so that a circumstance that says little weighs little. Cost and memory: values x items.

    Source: Maron, Automatic indexing (J. ACM, 1961), with Dirichlet smoothing toward the overall popularity.
    """

    config_class = ContextPopularityConfig
    standardised: ClassVar[bool] = False
    reading = frozenset({"pseudo_events"})

    def __init__(self, config: ContextPopularityConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.counts: dict[str, Float32[np.ndarray, "values items"]] = {}
        """Events of each value and fitted item."""

    def channels(self, content: Content) -> tuple[str, ...]:
        chosen = self.config.channels
        return tuple(name for name in sorted(content.user_channels) if _is_circumstance(content, name, chosen))

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        self.counts = {
            name: _counts(train, train.user_channels[name])
            for name in self.channels(content)
            if name in train.user_channels
        }
        return self

    def _lift(self, name: str, values: Int64[np.ndarray, " chosen"]) -> Float32[np.ndarray, "chosen items"]:
        """Return the summand of chosen values of one circumstance."""
        counts = self.counts[name]
        overall = (counts.sum(0) + 0.5) / (counts.sum() + 0.5 * counts.shape[1])
        counts = counts[values]
        total = counts.sum(1, keepdims=True) + self.config.pseudo_events
        return np.log((counts + self.config.pseudo_events * overall) / total / overall).astype(np.float32)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        scores = np.zeros((len(histories), histories.num_items), np.float32)
        for name in self.counts:
            channel = histories.user_channels.get(name)
            if channel is None or channel.requested is None:
                continue
            known = np.flatnonzero(channel.requested >= 0)
            values, place = np.unique(channel.requested[known], return_inverse=True)
            lift = self._lift(name, values)
            scores[known, : lift.shape[1]] += lift[place]
        return scores

    def contributions(self, history: Histories) -> Contributions:
        return self.score(history)[0], np.zeros((history.num_events, history.num_items), np.float32)

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        return prior_to(self.score(history)[0], history, items)

    def add_items(self, content: Content, new: range) -> Self:
        """Return the member itself: it scores items without events 0."""
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(self.counts)

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.counts = dict(arrays)
        return self


def _is_circumstance(content: Content, name: str, chosen: list[str] | None) -> bool:
    return content.user_channels[name] == CONTEXT and (chosen is None or name in chosen)


def _counts(train: Histories, channel: UserChannel) -> Float32[np.ndarray, "values items"]:
    counts = np.zeros((len(channel.embeddings.values), train.num_items), np.float32)
    known = (channel.row >= 0) & (train.weight > 0)
    np.add.at(counts, (channel.row[known], train.item_index[known]), 1)
    return counts
