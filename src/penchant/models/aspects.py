"""Recommend items by the aspects that a user's reviews praise, and against those they blame.

In: histories with a channel of aspects. Out: scores, 0 for users without reviews and for items without aspects.
"""

from __future__ import annotations

import copy
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float32, Int64

from penchant.core.errors import ConfigError, nearest
from penchant.core.schema import Content, Histories, UserChannel
from penchant.models.channels import nearest_fitted, read
from penchant.models.member import Contributions
from penchant.models.user_content import (
    MAX_SPREAD_ROWS,
    FadingContent,
    FadingContentConfig,
    named_user_channels,
    typical_spread,
)


class AspectsConfig(FadingContentConfig):
    """The settings of aspects."""

    channel: str = "aspects"
    """Channel of user content whose encoder is "aspects"."""


class Aspects(FadingContent[AspectsConfig]):
    """Match of the aspects that a user's reviews name with those of the items.

    An event's row of aspects is what its review says of values and words, and for each column it names, the same of the value that the reviewed item
    has there: after "lovely colour, poor sole" of a red shoe with a rubber sole, red counts 1 and rubber -1. A user's profile is the mean of these
    rows (`FadingContent`), and the score of an item the sum over its aspects of the profile times the rarity of the aspect, log(items / items
    with it), in rows of unit length. Scores are divided by one number for everybody. Memory: aspects x items.
    """

    config_class = AspectsConfig
    reading: ClassVar[frozenset[str]] = frozenset({"half_life"})
    learns_from_behaviour: ClassVar[bool] = False

    def __init__(self, config: AspectsConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.has: Float32[np.ndarray, "items aspects"] = np.zeros((0, 0), np.float32)
        """1 where an item has an aspect."""
        self.owner: Int64[np.ndarray, " aspects"] = np.zeros(0, np.int64)
        """Number of the column of each aspect, from 1 on; 0 for a word."""
        self.rows: Float32[np.ndarray, "items aspects"] = np.zeros((0, 0), np.float32)
        """Unit rows, weighted by rarity, divided by the spread of the scores."""

    def channels(self, content: Content) -> tuple[str, ...]:
        return named_user_channels(content, [self.config.channel])

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        channel = train.user_channels.get(self.config.channel)
        if channel is None or self.config.channel not in content.user_channels:
            known = sorted(content.user_channels)
            raise ConfigError(
                f"There is no channel of user content {self.config.channel!r}.",
                where=f"members.{self.name}",
                fix=nearest(self.config.channel, known) if known else "add a [user_content.NAME] table",
            )
        learned = channel.embeddings.learned
        if "item_aspects" not in learned:
            raise ConfigError(
                f"{self.config.channel!r} is no channel of aspects.",
                where=f"members.{self.name}",
                fix=f'set user_content.{self.config.channel}.encoder = "aspects"',
            )
        self.owner = learned["owner"].astype(np.int64)
        self.has = np.zeros((train.num_items, len(self.owner)), np.float32)
        self.has[learned["item_rows"].astype(np.int64), learned["item_aspects"].astype(np.int64)] = 1
        rarity = np.log(train.num_items / np.maximum(self.has.sum(0), 1))
        rows = self.has * rarity.astype(np.float32)
        self.rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        owned = np.flatnonzero(channel.row >= 0)[:MAX_SPREAD_ROWS]
        self.rows = self.rows / np.float32(typical_spread(self._profiles(train, channel, owned) @ self.rows.T))
        return self

    def _profiles(
        self, histories: Histories, channel: UserChannel, owned: Int64[np.ndarray, " owned"]
    ) -> Float32[np.ndarray, "owned aspects"]:
        """Return what the review of each event says of each aspect."""
        said = channel.embeddings.values[channel.row[owned]]
        count = len(self.owner)
        of_columns = np.concatenate([np.zeros((len(owned), 1), np.float32), said[:, count:]], axis=1)
        return np.asarray(said[:, :count] + of_columns[:, self.owner] * self.has[histories.item_index[owned]])

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        profiles = np.zeros((len(histories), len(self.owner)), np.float32)
        channel = histories.user_channels.get(self.config.channel)
        if channel is not None:
            owned = np.flatnonzero(channel.row >= 0)
            shares = self._shares(histories, channel, owned)
            np.add.at(profiles, histories.user_index()[owned], self._profiles(histories, channel, owned) * shares)
        return profiles @ self.rows.T

    def contributions(self, history: Histories) -> Contributions:
        events = np.zeros((history.num_events, history.num_items), np.float32)
        channel = history.user_channels.get(self.config.channel)
        if channel is not None:
            owned = np.flatnonzero(channel.row >= 0)
            profiles = self._profiles(history, channel, owned) * self._shares(history, channel, owned)
            events[owned] = profiles @ self.rows.T
        return np.zeros(history.num_items, np.float32), events

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which a new item has the mean aspects of its nearest fitted items in content; without content it scores 0."""
        grown = copy.copy(self)
        rows, has = (np.zeros((len(new), len(self.owner)), np.float32) for _ in range(2))
        if content.channels:
            near = nearest_fitted(read(content, None, {}, self.name), new)
            rows, has = np.asarray(near @ self.rows, np.float32), np.asarray(near @ self.has, np.float32)
        grown.rows = np.concatenate([self.rows, rows])
        grown.has = np.concatenate([self.has, has])
        return grown

    def arrays(self) -> dict[str, np.ndarray]:
        return {"has": self.has, "owner": self.owner, "rows": self.rows}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.has, self.owner, self.rows = arrays["has"], arrays["owner"], arrays["rows"]
        return self
