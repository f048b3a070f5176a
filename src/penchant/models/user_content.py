"""Members that read user content: what users wrote, showed and said, and what they are.

In: histories with channels of user content. Out: scores that exist for users without any event, and are 0 for users without content.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Float32, Float64, Int64
from pydantic import Field
from scipy import linalg, sparse
from typing_extensions import TypeVar

from penchant.core.config import Settings
from penchant.core.errors import ConfigError, nearest
from penchant.core.schema import CONTEXT, SILENCED, Content, Embeddings, Histories, UserChannel
from penchant.models.channels import centred_unit, named, nearest_fitted, pick, read
from penchant.models.item_to_item import liked
from penchant.models.member import Contributions, Member, Removal

MAX_SPREAD_ROWS = 1000
"""Rows of scores by which the spread of a member is estimated."""
SHRINKAGE = 1.0
"""Pseudo-events without content added to a user's number of events with content: one photo says less than ten."""
MAX_EARLIER = 20
"""Earlier events with content that each event is learned from in each channel."""
MOMENTS = 4
"""Places at which a history is cut to learn from a channel that is computed from it: each event is learned from the cut before it."""
MAX_ROWS = 20_000
"""Events whose inputs are held at once."""


class FadingContentConfig(Settings):
    """Settings of members that read user content."""

    half_life: float = Field(0.0, ge=0)
    """Later events of the user after which the content of an event counts half; 0: it counts in full for ever."""


FadingContentT_co = TypeVar("FadingContentT_co", bound=FadingContentConfig, default=FadingContentConfig, covariant=True)


class UserContentRegressionConfig(FadingContentConfig):
    """The settings of user content regression."""

    learns: Literal["halves", "later"] = "halves"
    """From which content to which items it learns. halves: from that of every other event to the items of the remaining ones. later: from that of
    all earlier events to the item of each event, as lists are asked for; for content that tells what comes next."""
    channels: list[str] | None = None
    """Channels of user content to read; None reads all."""
    regularisation: float = Field(100.0, gt=0)
    """Penalty of the map from content to items; larger trusts content less."""
    dim: int = Field(128, ge=1)
    """Main directions kept of each channel."""


class FadingContent(Member[FadingContentT_co]):
    """Base class of members that read the content of events as a mean in which that of older events counts less.

    Scores are divided by one number for everybody, so the ensemble takes them as they are.
    """

    standardised: ClassVar[bool] = False
    removal: Removal = "mean"

    def _shares(
        self, histories: Histories, channel: UserChannel, owned: Int64[np.ndarray, " owned"]
    ) -> Float32[np.ndarray, "owned 1"]:
        """Return the share of each owner's vector in the mean of its user, negative for what they dislike; 1 in a channel of users."""
        if not channel.is_of_events:
            return np.ones((len(owned), 1), np.float32)
        user, weight = histories.user_index(), _fading(self.config.half_life, histories.ages())
        counted = (channel.row >= 0) | (channel.row == SILENCED)
        divisor = np.bincount(user[counted], weight[counted], len(histories)) + SHRINKAGE
        share = weight[owned] / divisor[user[owned]]
        return _signs(histories, channel, owned) * share.astype(np.float32)[:, None]


class UserContentRegression(FadingContent[UserContentRegressionConfig]):
    """Ridge regression from user content to the items that users choose.

    z is the mean of the vectors of a user's own content in each channel, side by side; score = z B with B = (Z^T Z + lambda I)^-1 Z^T Y.
    Y is 1 for chosen items, less each item's share of all choices, so that B holds no popularity. The content of an event tells much about the item of
    that very event, which is never recommended: so each user is learned from twice, from the content of every other event to the
    items of the remaining ones. A vector of the user themself (an avatar, attributes) is in both.

    Scores are divided by the mean standard deviation of those of the users learned from, the same number for everybody: who shows more, or what says
    more, keeps larger scores. Cost: users x dim^2 for the fit, dim x items for a score. Memory: dim x items.

    Source: multivariate ridge regression (Hoerl and Kennard, 1970); the separation of input and target events as in EASE's zero diagonal.
    """

    config_class = UserContentRegressionConfig

    def __init__(self, config: UserContentRegressionConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.projections: dict[str, ChannelProjection] = {}
        self.maps: dict[str, Float32[np.ndarray, "dim items"]] = {}

    def channels(self, content: Content) -> tuple[str, ...]:
        return named_user_channels(content, self.config.channels)

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        own = {name: channel for name in self.channels(content) if (channel := train.channel(name)) is not None}
        if not own:
            raise ConfigError(
                "There is no user content to read.",
                where=f"members.{self.name}",
                fix="add a [user_content.NAME] table, or leave this member out",
            )
        self.projections = {name: ChannelProjection.fit(channel, self.config.dim) for name, channel in own.items()}
        learning = self._later(train) if self.config.learns == "later" else self._halves(train)
        dim, count = sum(one.dim for one in self.projections.values()), train.num_items
        gram, target, total = np.zeros((dim, dim)), np.zeros((dim, count)), np.zeros(dim)
        chosen_items = np.zeros(count)
        for inputs, chosen in learning:
            features = inputs.astype(np.float64)
            gram += features.T @ features
            found: Any = chosen.T @ features
            target += found.T
            total += features.T @ np.asarray(chosen.sum(1)).ravel()
            chosen_items += np.asarray(chosen.sum(0)).ravel()
        gram[np.diag_indices_from(gram)] += self.config.regularisation
        target -= np.outer(total, chosen_items / max(float(chosen_items.sum()), 1.0))
        solution = linalg.solve(gram, target, assume_a="pos").astype(np.float32)
        sample = np.concatenate(list(self._inputs(train).values()), axis=1)
        solution /= typical_spread(sample[np.any(sample != 0, axis=1)][:MAX_SPREAD_ROWS] @ solution)
        ends = np.cumsum([one.dim for one in self.projections.values()])
        self.maps = dict(zip(own, np.split(solution, ends[:-1]), strict=True))
        return self

    def _halves(self, train: Histories) -> Iterator[tuple[Float32[np.ndarray, "users dim"], sparse.csr_array]]:
        """Yield the content of half of each user's events, and the items of the other half."""
        even = train.ages() % 2 == 0
        for read_part in (even, ~even):
            inputs = np.concatenate(list(self._inputs(train.where(read_part)).values()), axis=1)
            yield inputs, liked(train.where(~read_part))

    def _later(self, train: Histories) -> Iterator[tuple[Float32[np.ndarray, "events dim"], sparse.csr_array]]:
        """Yield the content known before each chosen event, and its item, `MAX_ROWS` events at a time."""
        user = train.user_index()
        events = np.flatnonzero(train.weight > 0)
        derived = {name: self._before(train, name) for name in self.projections if name in train.derived}
        projected = {
            name: one(train.user_channels[name].embeddings.values)
            for name, one in self.projections.items()
            if name not in derived
        }
        for start in range(0, len(events), MAX_ROWS):
            part = events[start : start + MAX_ROWS]
            inputs = []
            for name in self.projections:
                if name in derived:
                    before, moment = derived[name]
                    inputs.append(before[moment[part]])
                    continue
                channel, vectors = train.user_channels[name], projected[name]
                if channel.is_of_events:
                    inputs.append(self._earlier(train, channel, vectors, user, part))
                    continue
                row, own = channel.row[user[part]], np.zeros((len(part), vectors.shape[1]), np.float32)
                own[row >= 0] = vectors[row[row >= 0]]
                inputs.append(own)
            ones = np.ones(len(part), np.float32)
            shape = (len(part), train.num_items)
            chosen = sparse.csr_array((ones, (np.arange(len(part)), train.item_index[part])), shape=shape)
            yield np.concatenate(inputs, axis=1), chosen

    def _earlier(
        self,
        train: Histories,
        channel: UserChannel,
        vectors: Float32[np.ndarray, "rows dim"],
        user: Int64[np.ndarray, " events"],
        events: Int64[np.ndarray, " chosen"],
    ) -> Float32[np.ndarray, "chosen dim"]:
        """Return the mean content of a channel before each chosen event."""
        owned = np.flatnonzero(channel.row >= 0)
        if not len(owned):
            return np.zeros((len(events), vectors.shape[1]), np.float32)
        signs = _signs(train, channel, owned)[:, 0]
        before = np.searchsorted(owned, events)  # the number of owned events before each
        rows, columns, weights = [], [], []
        for lag in range(1, MAX_EARLIER + 1):
            place = before - lag
            same = np.flatnonzero((place >= 0) & (user[owned[place]] == user[events]))
            if not len(same):
                break
            rows.append(same)
            columns.append(place[same])
            weights.append(_fading(self.config.half_life, events[same] - owned[place[same]] - 1))
        if not rows:
            return np.zeros((len(events), vectors.shape[1]), np.float32)
        row, column, weight = np.concatenate(rows), np.concatenate(columns), np.concatenate(weights)
        divisor = np.bincount(row, weight, len(events)) + SHRINKAGE
        used, place = np.unique(column, return_inverse=True)
        shares = sparse.csr_array((weight * signs[column], (row, place)), shape=(len(events), len(used)))
        mean: Any = shares @ vectors[channel.row[owned[used]]]
        return np.asarray(mean / divisor[:, None], np.float32)

    def _before(
        self, train: Histories, name: str
    ) -> tuple[Float32[np.ndarray, "moments dim"], Int64[np.ndarray, " events"]]:
        """Return a derived channel of the beginnings of each history, cut at `MOMENTS` places, and the one each event is learned from."""
        lengths, ages = train.lengths(), train.ages()
        position = np.repeat(lengths, lengths) - 1 - ages
        part = position * MOMENTS // np.maximum(np.repeat(lengths, lengths), 1)
        vectors = [self._of_users(train.where(part < moment), name) for moment in range(MOMENTS)]
        return np.concatenate(vectors), part * len(train) + train.user_index()

    def _of_users(self, histories: Histories, name: str) -> Float32[np.ndarray, "users dim"]:
        """Return each user's own vector in a channel of users, zeros without one."""
        channel, projection = histories.channel(name), self.projections[name]
        found = np.zeros((len(histories), projection.dim), np.float32)
        if channel is not None:
            owned = np.flatnonzero(channel.row >= 0)
            found[owned] = projection(channel.embeddings.values[channel.row[owned]])
        return found

    def _inputs(self, histories: Histories) -> dict[str, Float32[np.ndarray, "users dim"]]:
        """Return each user's mean vector in each channel, zeros where there is no content."""
        inputs = {}
        for name, projection in self.projections.items():
            channel = histories.user_channels.get(name)
            if channel is not None and channel.is_of_events:
                owned = np.flatnonzero(channel.row >= 0)
                total = np.zeros((len(histories), projection.dim), np.float32)
                user = histories.user_index()[owned]
                np.add.at(
                    total,
                    user,
                    projection(channel.embeddings.values[channel.row[owned]]) * self._shares(histories, channel, owned),
                )
                inputs[name] = total
            else:
                inputs[name] = self._of_users(histories, name)
        return inputs

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        scores = np.zeros((len(histories), histories.num_items), np.float32)
        for name, inputs in self._inputs(histories).items():
            scores += inputs @ self.maps[name]
        return scores

    def contributions(self, history: Histories) -> Contributions:
        prior = np.zeros(history.num_items, np.float32)
        events = np.zeros((history.num_events, history.num_items), np.float32)
        for name, projection in self.projections.items():
            channel = history.channel(name)
            if channel is None:
                continue
            owned = np.flatnonzero(channel.row >= 0)
            vectors = projection(channel.embeddings.values[channel.row[owned]])
            if channel.is_of_events:
                events[owned] += (vectors * self._shares(history, channel, owned)) @ self.maps[name]
            elif len(owned):
                prior += vectors[0] @ self.maps[name]
        return prior, events

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which a new item has the mean column of its nearest fitted items in content; without content it scores 0."""
        grown = copy.copy(self)
        dims = {name: len(one) for name, one in self.maps.items()}
        columns = {name: np.zeros((dim, len(new)), np.float32) for name, dim in dims.items()}
        if content.channels:
            near = nearest_fitted(read(content, None, {}, self.name), new)
            columns = {name: np.asarray((near @ one.T).T, np.float32) for name, one in self.maps.items()}
        grown.maps = {name: np.concatenate([one, columns[name]], axis=1) for name, one in self.maps.items()}
        return grown

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {f"map/{name}": one for name, one in self.maps.items()}
        for name, projection in self.projections.items():
            arrays |= {f"mean/{name}": projection.mean, f"axes/{name}": projection.axes}
        return arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.maps = _with_prefix(arrays, "map/")
        means, axes = _with_prefix(arrays, "mean/"), _with_prefix(arrays, "axes/")
        self.projections = {name: ChannelProjection(means[name], axes[name]) for name in self.maps}
        return self


class ChannelProjection:
    """Unit rows of a channel of user content, in their main directions.

    Args:
        mean: (dim of the encoder,) mean of the vectors that were learned from; it is taken off first, as in `centred_unit`.
        axes: (dim of the encoder, dim) orthogonal directions.
    """

    def __init__(self, mean: Float32[np.ndarray, " encoded"], axes: Float32[np.ndarray, "encoded dim"]) -> None:
        self.mean, self.axes = mean, axes

    @classmethod
    def fit(cls, channel: UserChannel, dim: int) -> Self:
        """Learn from the vectors that the histories of a channel refer to."""
        from sklearn.utils.extmath import randomized_svd  # slow to import, and no service needs it

        used = np.unique(channel.row[channel.row >= 0])
        values = channel.embeddings.values[used]
        if not len(used):
            width = channel.embeddings.values.shape[1]
            return cls(np.zeros(width, np.float32), np.zeros((width, 1), np.float32))
        mean = values.mean(0)
        rows = centred_unit(values, np.ones(len(values), bool))
        if rows.shape[1] <= dim:
            return cls(mean, np.eye(rows.shape[1], dtype=np.float32))
        _, _, right = randomized_svd(rows, min(dim, *rows.shape), random_state=0)
        return cls(mean, np.ascontiguousarray(right.T, np.float32))

    @property
    def dim(self) -> int:
        return int(self.axes.shape[1])

    def __call__(self, values: Float32[np.ndarray, "rows encoded"]) -> Float32[np.ndarray, "rows dim"]:
        return np.asarray(centred_on(values, self.mean) @ self.axes, np.float32)


class UserContentKNNConfig(FadingContentConfig):
    """The settings of user content neighbours."""

    channel: str = ""
    """Channel of user content."""
    item_channel: str = ""
    """Channel of the items that was encoded in the same way."""
    sharpness: float = Field(1.0, gt=0)
    """Similarities are raised to this power, keeping their sign; above 1 near items count more."""


class UserContentKNN(FadingContent[UserContentKNNConfig]):
    """Cosine between what users wrote, showed or said and the items' content of the same encoder.

    Both sides are centred, each by its own mean: photos of users and pictures of a shop differ as a whole. A user's events with content count the
    same, or the older the less. Items without content score 0. Scores are divided by one number for everybody, as in `UserContentRegression`. Cost of a score: vectors x
    dim x items.
    """

    config_class = UserContentKNNConfig
    reading: ClassVar[frozenset[str]] = frozenset({"half_life"})
    learns_from_behaviour: ClassVar[bool] = False
    needs_every_channel: ClassVar[bool] = True

    def __init__(self, config: UserContentKNNConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.mean: Float32[np.ndarray, " dim"] = np.zeros(0, np.float32)
        """Of the users' vectors."""
        self.items: Float32[np.ndarray, "items dim"] = np.zeros((0, 0), np.float32)
        """Centred unit rows; zeros for an item without content."""
        self.spread = np.ones(1, np.float32)
        """What scores are divided by."""

    def channels(self, content: Content) -> tuple[str, ...]:
        return (*named_user_channels(content, [self.config.channel]), *named(content, [self.config.item_channel]))

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        embeddings = pick(content, self.config.item_channel, self.name)
        channel = train.channel(self.config.channel)
        if channel is None or self.config.channel not in content.user_channels:
            known = sorted(content.user_channels)
            raise ConfigError(
                f"There is no channel of user content {self.config.channel!r}.",
                where=f"members.{self.name}",
                fix=nearest(self.config.channel, known) if known else "add a [user_content.NAME] table",
            )
        if channel.embeddings.values.shape[1] != embeddings.dim:
            raise ConfigError(
                f"{self.config.channel!r} and {self.config.item_channel!r} have vectors of {channel.embeddings.values.shape[1]} and "
                f"{embeddings.dim} numbers.",
                where=f"members.{self.name}",
                fix="name two channels of the same encoder",
            )
        used = channel.row[channel.row >= 0]
        values = channel.embeddings.values
        self.mean = values[used].mean(0) if len(used) else np.zeros(values.shape[1], np.float32)
        self.items, self.spread = self._placed(embeddings, train.num_items), np.ones(1, np.float32)
        owned = np.flatnonzero(channel.row >= 0)[:MAX_SPREAD_ROWS]
        self.spread = np.array([typical_spread(self._similar(channel, owned))], np.float32)
        return self

    def _placed(self, embeddings: Embeddings, fitted: int) -> Float32[np.ndarray, "items dim"]:
        return centred_unit(embeddings.values, embeddings.usable, fitted)

    def _similar(self, channel: UserChannel, owned: Int64[np.ndarray, " owned"]) -> Float32[np.ndarray, "owned items"]:
        similar = centred_on(channel.embeddings.values[channel.row[owned]], self.mean) @ self.items.T
        if self.config.sharpness != 1:
            similar = np.sign(similar) * np.abs(similar) ** np.float32(self.config.sharpness)
        return np.asarray(similar / self.spread, np.float32)

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        scores = np.zeros((len(histories), histories.num_items), np.float32)
        channel = histories.channel(self.config.channel)
        if channel is None:
            return scores
        owned = np.flatnonzero(channel.row >= 0)
        user = histories.user_index()[owned] if channel.is_of_events else owned
        shares = self._shares(histories, channel, owned)
        for start in range(0, len(owned), 4096):  # bounds the memory where a user has thousands of photos
            part = slice(start, start + 4096)
            np.add.at(scores, user[part], self._similar(channel, owned[part]) * shares[part])
        return scores

    def contributions(self, history: Histories) -> Contributions:
        prior = np.zeros(history.num_items, np.float32)
        events = np.zeros((history.num_events, history.num_items), np.float32)
        channel = history.channel(self.config.channel)
        if channel is not None:
            owned = np.flatnonzero(channel.row >= 0)
            similar = self._similar(channel, owned) * self._shares(history, channel, owned)
            if channel.is_of_events:
                events[owned] = similar
            elif len(owned):
                prior = similar[0]
        return prior, events

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy with the rows of the new items."""
        grown = copy.copy(self)
        rows = self._placed(pick(content, self.config.item_channel, self.name), new.start)
        grown.items = np.concatenate([self.items, rows[new.start :]])
        return grown

    def arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self.mean, "items": self.items, "spread": self.spread}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.mean, self.items, self.spread = arrays["mean"], arrays["items"], arrays["spread"]
        return self


def typical_spread(scores: Float32[np.ndarray, "rows items"]) -> float:
    """Return the mean standard deviation of rows of scores over the items; 1 where there is none."""
    spread = float(scores.std(1).mean()) if len(scores) else 0.0
    return spread if spread > 1e-12 else 1.0


def centred_on(
    values: Float32[np.ndarray, "rows dim"], mean: Float32[np.ndarray, " dim"]
) -> Float32[np.ndarray, "rows dim"]:
    """Return unit rows after a given mean is taken off."""
    centred = values - mean
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12), np.float32)


def _fading(half_life: float, age: Int64[np.ndarray, " events"]) -> Float64[np.ndarray, " events"]:
    """Return the weight of content by the number of later events of its user."""
    return np.power(0.5, age / half_life) if half_life else np.ones(len(age))


def _signs(
    histories: Histories, channel: UserChannel, owned: Int64[np.ndarray, " owned"]
) -> Float32[np.ndarray, "owned 1"]:
    """Return -1 for the content of disliked events, which counts against what it shows, else 1."""
    if not channel.is_of_events or channel.embeddings.has_signs:
        return np.ones((len(owned), 1), np.float32)
    return np.where(histories.weight[owned] < 0, np.float32(-1), np.float32(1))[:, None]


def named_user_channels(content: Content, chosen: list[str] | None) -> tuple[str, ...]:
    """Return the channels of user content that a member reads: all, or those chosen that may be read."""
    if chosen is None:
        return tuple(sorted(name for name, encoder in content.user_channels.items() if encoder != CONTEXT))
    return tuple(name for name in chosen if name in content.user_channels)


def _with_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
