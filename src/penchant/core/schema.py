"""Data structures that every stage shares.

In: checked tables and arrays. Out: `Catalog`, `Interactions`, `Users`, `Samples`, `Vocabulary`, `Embeddings`, `Content`, `Histories`, `Recommendations`.

`_id` is the outside key (always str); `_index` is the dense row number. Only `Vocabulary` converts between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int32, Int64
from scipy import sparse

from penchant.core.errors import DataError
from penchant.core.scripts import wide_punctuation

MAX_ID = 256
"""Longest user, item or event id, in characters."""
MAX_EXAMPLES = 5
"""Examples of one finding."""
INTERACTION_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "at": pl.Datetime("us", "UTC"),
    "kind": pl.String,
    "value": pl.Float32,
}
"""Columns every `Interactions` table has; `text`, `image`, `audio` and `part` may follow."""

MODALITIES = ("text", "image", "audio", "video", "mesh", "signal", "attribute")
CONTEXT = "context"
"""Encoder of the channels of circumstances, and their name together beside the modalities."""
BEHAVIOUR = "behaviour"
"""Name for information from interactions alone, used beside the channel names."""


@dataclass(frozen=True)
class Catalog:
    """Items: one row each, `item_id` first.

    Attributes:
        table: `item_id` (str, unique) and every other column, text already normalised.
        title_column: Column shown as the name of an item; None shows the id.
        text_columns: Text columns.
        media_columns: Modality to the column holding a path below `media_root` (null where the item has none).
        attribute_columns: Categories and numbers; a category column holds str or list[str].
        media_root: Folder that no media path may leave; None without media.
    """

    table: pl.DataFrame
    title_column: str | None = None
    text_columns: tuple[str, ...] = ()
    media_columns: Mapping[str, str] = field(default_factory=dict)
    attribute_columns: tuple[str, ...] = ()
    media_root: Path | None = None

    def __len__(self) -> int:
        return self.table.height

    @property
    def item_ids(self) -> list[str]:
        return self.table["item_id"].to_list()

    def titles(self) -> list[str]:
        """Return the title of each item as a reader expects it, with the wide marks after a Chinese character; the id where it has none."""
        if self.title_column is None:
            return self.item_ids
        title = wide_punctuation(pl.col(self.title_column).cast(pl.String))
        return self.table.select(pl.coalesce(title, pl.col("item_id"))).to_series().to_list()

    def categories(self) -> dict[str, pl.DataFrame]:
        """Return the categorical attributes: column to a table of `row` (item_index) and `value`, one row for each value of a list."""
        tables = {}
        for column in self.attribute_columns:
            dtype = self.table[column].dtype
            if dtype.is_numeric() or dtype.is_temporal():
                continue
            table = self.table.select(row=pl.int_range(pl.len()), value=column)
            if isinstance(dtype, pl.List):
                table = table.explode("value")
            tables[column] = table.with_columns(pl.col("value").cast(pl.String)).drop_nulls()
        return tables


@dataclass(frozen=True)
class Users:
    """Users: one row each.

    Attributes:
        table: `user_id` (str, unique) and every other column.
        attribute_columns: Categories and numbers.
        text_columns: What users wrote about themselves, such as a bio.
        media_columns: Modality to the column holding a path below `media_root`, such as an avatar.
        media_root: Folder that no media path may leave; None without media.
    """

    table: pl.DataFrame
    attribute_columns: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    media_columns: Mapping[str, str] = field(default_factory=dict)
    media_root: Path | None = None


@dataclass(frozen=True)
class Interactions:
    """Events, in any order: the columns of `INTERACTION_SCHEMA`, plus the user's own `text`, `image` and `audio` if there are any.

    A `part` column (train, validation, test) is present if the data has a published split, a `mood` column (happy, unhappy) if reviews
    were classified.
    """

    table: pl.DataFrame

    def __len__(self) -> int:
        return self.table.height

    def where(self, condition: pl.Expr) -> Interactions:
        """Keep the rows that meet a condition."""
        return Interactions(self.table.filter(condition))


class Vocabulary:
    """Ids in dense order; converts `_id` to `_index`."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: list[str] = list(ids)
        self._series = pl.Series("id", self.ids, dtype=pl.String)
        self._index = {key: number for number, key in enumerate(self.ids)}
        if len(self._index) != len(self.ids):
            repeated = self._series.filter(self._series.is_duplicated())[0]
            raise DataError(
                f"The id {repeated!r} occurs more than once.", where="a table of ids", fix="keep one row for each id"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def index(self, key: str) -> int:
        """Return the row number of an id.

        Raises:
            KeyError: The id is unknown.
        """
        return self._index[key]

    def indices(self, keys: pl.Series) -> Int64[np.ndarray, " rows"]:
        """Return row numbers of many ids, -1 for an unknown one."""
        table = pl.DataFrame({"id": self._series, "row": np.arange(len(self.ids), dtype=np.int64)})
        rows = pl.DataFrame({"id": keys.cast(pl.String)}).join(table, on="id", how="left", maintain_order="left")
        return rows["row"].fill_null(-1).to_numpy()


@dataclass(frozen=True)
class ChannelSource:
    """The content behind the vectors of one channel, for a member that trains the channel's encoder further.

    Attributes:
        encoder: Name of the encoder.
        options: Its settings.
        load: Row to opened content; raises `MediaError` where a file cannot be used. None where only `prepared` is known.
        prepared: Row to content as the encoder's network reads it (token ids, pixels), of items that came after the fit.
        kept: What members computed from all of the content, by a name; members with equal settings compute it once.
    """

    encoder: str
    options: Mapping[str, Any]
    load: Callable[[int], Any] | None = None
    prepared: Mapping[int, np.ndarray] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Embeddings:
    """Vectors of one channel, one row for each item of the catalog.

    Attributes:
        name: Channel, for example "plot" or "poster".
        modality: One of `MODALITIES`.
        values: (items, dim) float32; rows without content are zero and must not be used.
        present: (items,) whether the item has this content (imputed rows excluded).
        encoder: Fingerprint of the encoder and its settings.
        imputed: (items,) whether a missing row was imputed; None before imputation.
        source: The content itself; None where it is not at hand: vectors made elsewhere, or read from a bundle.
        seconds: To load the encoder and encode the catalog, measured when the vectors were made; None where it was not measured.
    """

    name: str
    modality: str
    values: Float32[np.ndarray, "items dim"]
    present: Bool[np.ndarray, " items"]
    encoder: str
    imputed: Bool[np.ndarray, " items"] | None = None
    source: ChannelSource | None = field(default=None, compare=False, repr=False)
    seconds: float | None = None

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    @property
    def usable(self) -> Bool[np.ndarray, " items"]:
        """Rows with a vector: present or imputed."""
        return self.present if self.imputed is None else self.present | self.imputed

    def rows(self, index: Int64[np.ndarray, " some"] | slice) -> Float32[np.ndarray, "some dim"]:
        """Return the vectors of some items."""
        return self.values[index]

    def with_rows(self, values: Float32[np.ndarray, "new dim"], present: Bool[np.ndarray, " new"]) -> Embeddings:
        """Return the embeddings with more items, none of them imputed.

        Args:
            values: Their vectors; zero where an item has no content.
            present: Whether it has.
        """
        return replace(self, values=np.concatenate([self.values, values]), **self._with_masks(present))

    def having_source(self, source: ChannelSource) -> Embeddings:
        """Return the same with the content itself."""
        return replace(self, source=source)

    def _with_masks(self, present: Bool[np.ndarray, " new"]) -> dict[str, Any]:
        """Return what says of each item whether it has this content, with more items."""
        imputed = None if self.imputed is None else np.concatenate([self.imputed, np.zeros(len(present), bool)])
        return {"present": np.concatenate([self.present, present]), "imputed": imputed}

    def unit(self) -> Float32[np.ndarray, "items dim"]:
        """Return rows of unit length; rows without content stay zero."""
        values = np.where(self.usable[:, None], self.values, 0.0)
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        return (values / np.maximum(norms, 1e-12)).astype(np.float32)


@dataclass(frozen=True)
class UserEmbeddings:
    """Vectors of what users wrote, showed or said, of what they are, or of the circumstances of an event: one channel of user content.

    Attributes:
        name: Channel, for example "review", "photo" or "avatar"; no channel of the items has this name.
        modality: One of `MODALITIES`.
        of: What a vector belongs to: an event, a user, or the circumstances of an event ("requests"), which are known when a list is asked for.
        values: (rows, dim) float32; one row for each different content.
        encoder: Fingerprint of the encoder and its settings.
        has_signs: Whether the vectors say themselves what is liked and what is not; else a vector of a disliked event counts against what
            it shows.
        labels: (rows,) the value that each row stands for, where it is a category; else ().
        learned: What an encoder of a whole catalog learned from all content (`Encoder.learn`), so that later content gets a vector too; empty
            where the encoder needs nothing, or cannot give later content one.
        languages: Of the texts, by script (`clean.normalisation.language`); () where they are not known.
        seconds: As of `Embeddings`.
    """

    name: str
    modality: str
    of: Literal["events", "users", "requests"]
    values: Float32[np.ndarray, "rows dim"]
    encoder: str
    has_signs: bool = False
    labels: tuple[str, ...] = ()
    learned: Mapping[str, np.ndarray] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    seconds: float | None = None

    def compacted(self, rows: Iterable[np.ndarray]) -> tuple[UserEmbeddings, Int32[np.ndarray, " rows_plus_1"]]:
        """Return the vectors that some rows name, and the new number of each row; of -1, the last entry, it is -1. Labels keep all their rows."""
        used = np.unique(np.concatenate([np.zeros(0, np.int32), *rows]))
        used = np.arange(len(self.values)) if self.labels else used[used >= 0]
        number = np.full(len(self.values) + 1, -1, np.int32)
        number[used] = np.arange(len(used), dtype=np.int32)
        return (self if self.labels else replace(self, values=self.values[used])), number


@dataclass(frozen=True)
class OwnContent:
    """What one user wrote, showed or said in an event, or what they told of themself, as it came after the bundle was written.

    Attributes:
        columns: Words and attributes by column: `text` of an event; the columns of users. None: the user took it back.
        media: Modality to the name of a file.
        vectors: Channel to vector; a channel that is not named has none.
        unreadable: What could not be read, in words.
    """

    columns: Mapping[str, Any] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)
    vectors: Mapping[str, Float32[np.ndarray, " dim"]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class UserContent:
    """All user content of a run: vectors, and the row of each user's.

    The row of an event's vector is in the interactions, in the column `vector_column(name)`; it is null where the event has none.

    Attributes:
        embeddings: Name to vectors.
        users: `user_id`, and one column for each channel of users with the row of the vector, null where the user has none.
        derived: Name to what computes a channel of the person from their history.
    """

    embeddings: Mapping[str, UserEmbeddings] = field(default_factory=dict)
    users: pl.DataFrame = field(default_factory=lambda: pl.DataFrame({"user_id": []}, {"user_id": pl.String}))
    derived: Mapping[str, HistoryReader] = field(default_factory=dict)

    def encoders(self) -> dict[str, str]:
        """Return the fingerprint of each channel's encoder, for `Content.user_channels`."""
        every: list[tuple[str, UserEmbeddings | HistoryReader]] = [*self.embeddings.items(), *self.derived.items()]
        return {name: e.encoder for name, e in every}


def vector_column(channel: str) -> str:
    """Return the name of the interactions' column that holds the row of each event's vector."""
    return f"vector:{channel}"


def context_column(name: str) -> str:
    """Return the name of the interactions' column that holds one circumstance of each event."""
    return f"context:{name}"


SILENCED = -2
"""In place of the row of an event's vector: the event had content, which adds nothing here and keeps its share of a mean."""


@dataclass(frozen=True)
class UserChannel:
    """A channel of user content beside the histories it belongs to.

    Attributes:
        embeddings: The vectors, shared by all histories cut from the same ones.
        row: (events,) or (users,) row of the vector of each event or user; -1 where there is none, `SILENCED` where it is not to be read.
        requested: (users,) row of the vector of each request, in a channel of circumstances; None where they are not known.
    """

    embeddings: UserEmbeddings
    row: Int32[np.ndarray, " owners"]
    requested: Int32[np.ndarray, " users"] | None = None

    @property
    def is_of_events(self) -> bool:
        """Whether `row` has one entry for each event."""
        return self.embeddings.of != "users"

    def cleared(self, histories: Histories) -> UserChannel:
        """Return the channel beside histories none of whose events and users has any content."""
        owners = histories.num_events if self.is_of_events else len(histories)
        return UserChannel(self.embeddings, np.full(owners, -1, np.int32))

    def extended(self, vectors: Sequence[Float32[np.ndarray, " dim"] | None]) -> UserChannel:
        """Return the channel with further owners and their vectors; None, or a vector of another width, is none. Vectors nobody has are dropped."""
        dim = self.embeddings.values.shape[1]
        usable = [v is not None and v.shape == (dim,) and bool(np.isfinite(v).all()) for v in vectors]
        new = [np.asarray(v, np.float32) for v, is_usable in zip(vectors, usable, strict=True) if is_usable]
        row = np.concatenate([self.row, np.full(len(vectors), -1, np.int32)])
        if not new or self.embeddings.labels:
            return replace(self, row=row)
        embeddings, number = self.embeddings.compacted([self.row])
        row = number[row]
        row[len(self.row) + np.flatnonzero(usable)] = len(embeddings.values) + np.arange(len(new), dtype=np.int32)
        embeddings = replace(embeddings, values=np.concatenate([embeddings.values, np.stack(new)]))
        return replace(self, embeddings=embeddings, row=row)

    def taken(self, users: slice | np.ndarray, events: slice | np.ndarray) -> UserChannel:
        """Return the channel of chosen users and events."""
        requested = None if self.requested is None else self.requested[users]
        return replace(self, row=self.row[events if self.is_of_events else users], requested=requested)


@dataclass(frozen=True)
class Content:
    """Content that members may read: channels of the items, their fusion, and the names of the channels of user content.

    Attributes:
        channels: Name to embeddings, rows aligned with the catalog.
        fused: Feature-level fusion of the channels; None where no channel exists or fusion is off.
        user_channels: Channels of user content that a member may read, each with the fingerprint of its encoder; their vectors are in
            `Histories.user_channels`.
    """

    NONE: ClassVar[Content]
    """No content at all."""

    channels: Mapping[str, Embeddings] = field(default_factory=dict)
    fused: Embeddings | None = None
    user_channels: Mapping[str, str] = field(default_factory=dict)

    def only(self, names: Iterable[str]) -> Content:
        """Return some channels only; the fused vectors, which mix all channels, are dropped."""
        kept = set(names)
        channels = {name: e for name, e in self.channels.items() if name in kept}
        return Content(channels, user_channels={n: e for n, e in self.user_channels.items() if n in kept})


Content.NONE = Content()


class HistoryReader(Protocol):
    """What computes a channel of the person from their history: a vector for each user, of nothing but the events that the histories hold.

    So a history that is cut for training or validation has the vector of what is left of it, and a new event changes the next one.
    """

    @property
    def encoder(self) -> str:
        """Fingerprint of the encoder, for `Content.user_channels`."""

    def __call__(self, histories: Histories) -> UserChannel:
        """Return the channel: a row for each user, -1 where a history says nothing."""

    def of(self, catalog: Catalog, topics: Any) -> HistoryReader:
        """Return the reader over a catalog that has grown, with its content groups."""

    def forget(self) -> None:
        """Drop everything that was computed of histories."""


LATEST = np.iinfo(np.int64).max
"""Time of a request that comes after every event: what is served now."""


@dataclass(frozen=True)
class Histories:
    """Compressed rows of events, one row for each user, oldest event first.

    Attributes:
        user_ids: (users,) outside keys.
        offsets: (users + 1,) position of each user's first event.
        item_index: (events,) row of the catalog.
        at: (events,) microseconds since 1970, UTC.
        weight: (events,) event weight; negative means dislike.
        num_items: Number of rows of the catalog.
        requested_at: (users,) time of the request that each history is read for, microseconds since 1970, UTC; 0 where it is not known,
            `LATEST` for a request after every event. None: nobody said; an ensemble then reads every history for `LATEST`.
        user_channels: Name to a channel of user content.
        derived: Name to what computes a channel from these very histories; see `channel`.
    """

    user_ids: list[str]
    offsets: Int64[np.ndarray, " users_plus_1"]
    item_index: Int32[np.ndarray, " events"]
    at: Int64[np.ndarray, " events"]
    weight: Float32[np.ndarray, " events"]
    num_items: int
    requested_at: Int64[np.ndarray, " users"] | None = None
    user_channels: Mapping[str, UserChannel] = field(default_factory=dict)
    derived: Mapping[str, HistoryReader] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user_ids)

    def encoders(self) -> dict[str, str]:
        """Return the fingerprint of the encoder of each channel of the person, for `Content.user_channels`."""
        return {n: c.embeddings.encoder for n, c in self.user_channels.items()} | {
            n: reader.encoder for n, reader in self.derived.items()
        }

    def channel(self, name: str) -> UserChannel | None:
        """Return a channel of the person: computed from these histories, or user content beside them; None where there is none."""
        reader = self.derived.get(name)
        return self.user_channels.get(name) if reader is None else reader(self)

    @property
    def num_events(self) -> int:
        return int(self.offsets[-1])

    @classmethod
    def empty(cls, num_items: int, user_id: str = "") -> Histories:
        """Return one user with an empty history."""
        empty = np.zeros(0, np.int64)
        return cls.of_one(user_id, empty.astype(np.int32), empty, empty.astype(np.float32), num_items)

    @classmethod
    def of_one(cls, user_id: str, item_index: np.ndarray, at: np.ndarray, weight: np.ndarray, num_items: int) -> Self:
        """Return one user's history from events in time order, oldest first."""
        return cls([user_id], np.array([0, len(item_index)], np.int64), item_index, at, weight, num_items)

    @classmethod
    def joined(cls, histories: Sequence[Histories]) -> Histories:
        """Return the users of several histories over one catalog, in order; there is at least one history."""
        if len(histories) == 1:
            return histories[0]
        return cls(
            [user for h in histories for user in h.user_ids],
            np.concatenate([[0], np.cumsum(np.concatenate([h.lengths() for h in histories]))]).astype(np.int64),
            np.concatenate([h.item_index for h in histories]),
            np.concatenate([h.at for h in histories]),
            np.concatenate([h.weight for h in histories]),
            histories[0].num_items,
            _joined_requests(histories),
            _joined_channels(histories),
            next((h.derived for h in histories if h.derived), {}),
        )

    def appended(
        self,
        item_index: np.ndarray,
        at: np.ndarray,
        weight: np.ndarray,
        vectors: Sequence[Mapping[str, Float32[np.ndarray, " dim"]]] | None = None,
    ) -> Histories:
        """Return one user's history with later events; `vectors` are those of each event by channel, None where they have no user content."""
        vectors = [{}] * len(item_index) if vectors is None else vectors
        return replace(
            self,
            offsets=np.array([0, self.num_events + len(item_index)], np.int64),
            item_index=np.concatenate([self.item_index, item_index]).astype(np.int32),
            at=np.concatenate([self.at, at]).astype(np.int64),
            weight=np.concatenate([self.weight, weight]).astype(np.float32),
            user_channels={
                name: channel.extended([one.get(name) for one in vectors]) if channel.is_of_events else channel
                for name, channel in self.user_channels.items()
            },
        )

    def under(self, circumstances: Mapping[str, str]) -> tuple[Histories, int]:
        """Return the same histories, read for requests under circumstances (name to value), and how many of these nothing was learned about."""
        channels, unknown = dict(self.user_channels), 0
        for name, value in circumstances.items():
            channel = channels.get(name)
            if channel is None or channel.embeddings.of != "requests" or value not in channel.embeddings.labels:
                unknown += 1
                continue
            row = np.int32(channel.embeddings.labels.index(value))
            channels[name] = replace(channel, requested=np.full(len(self), row, np.int32))
        return replace(self, user_channels=channels), unknown

    def requested(self, at: int | Int64[np.ndarray, " users"]) -> Histories:
        """Return the same histories, read for requests at these times."""
        return replace(self, requested_at=np.broadcast_to(np.asarray(at, np.int64), len(self)))

    def under_circumstances_of(self, truth: Histories) -> Histories:
        """Return the same histories, read for requests under the circumstances of each user's first event in `truth`."""
        first, some = truth.offsets[:-1], truth.lengths() > 0
        channels = dict(self.user_channels)
        for name, channel in truth.user_channels.items():
            if name in channels and channel.embeddings.of == "requests":
                requested = np.full(len(self), -1, np.int32)
                requested[some] = channel.row[first[some]]
                channels[name] = replace(channels[name], requested=requested)
        return replace(self, user_channels=channels)

    def requests(self) -> Int64[np.ndarray, " users"]:
        """Return the time of the request of each user: `requested_at`; where it is not known, that of the user's last event (0 without)."""
        known = np.zeros(len(self), np.int64) if self.requested_at is None else self.requested_at
        last = np.zeros(len(self), np.int64)
        last[self.lengths() > 0] = self.at[self.offsets[1:][self.lengths() > 0] - 1]
        return np.where(known > 0, known, last)

    def lengths(self) -> Int64[np.ndarray, " users"]:
        """Return the number of events of each user."""
        return np.diff(self.offsets)

    def user_index(self) -> Int64[np.ndarray, " events"]:
        """Return the row of the user of each event."""
        return np.repeat(np.arange(len(self)), self.lengths())

    def has_same_events(self, other: Histories) -> bool:
        """Return whether the users and their events are equal, over catalogs whose rows mean the same items; user content is not compared."""
        if self.item_index is other.item_index:
            return True
        return self.user_ids == other.user_ids and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("offsets", "item_index", "at", "weight")
        )

    def matrix(self) -> sparse.csr_array:
        """Return the (users, items) float32 sums of weights; columns sorted, duplicates summed."""
        parts = (self.weight, self.item_index, self.offsets)
        # copied, because summing duplicates works in place and these arrays are shared
        matrix = sparse.csr_array(parts, shape=(len(self), self.num_items), copy=True)
        matrix.sum_duplicates()
        return matrix

    def weighted(self, weight: Float32[np.ndarray, " events"]) -> Histories:
        """Return the same events with other weights."""
        return replace(self, weight=np.asarray(weight, np.float32))

    def ages(self) -> Int64[np.ndarray, " events"]:
        """Return the number of later events of the same user for each event (0 for the last)."""
        ends = np.repeat(self.offsets[1:], self.lengths())
        return ends - 1 - np.arange(self.num_events)

    def rows(self, start: int, stop: int) -> Histories:
        """Return users start to stop, without copying events."""
        stop = min(stop, len(self))
        first, last = self.offsets[start], self.offsets[stop]
        return Histories(
            self.user_ids[start:stop],
            self.offsets[start : stop + 1] - first,
            self.item_index[first:last],
            self.at[first:last],
            self.weight[first:last],
            self.num_items,
            None if self.requested_at is None else self.requested_at[start:stop],
            self._channel_rows(slice(start, stop), slice(first, last)),
            self.derived,
        )

    def take(self, users: Int64[np.ndarray, " chosen"]) -> Histories:
        """Return chosen users in the given order."""
        lengths = self.lengths()[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        events = np.repeat(self.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Histories(
            [self.user_ids[u] for u in users],
            offsets,
            self.item_index[events],
            self.at[events],
            self.weight[events],
            self.num_items,
            None if self.requested_at is None else self.requested_at[users],
            self._channel_rows(users, events),
            self.derived,
        )

    def where(self, keep: Bool[np.ndarray, " events"]) -> Histories:
        """Return the events that are kept; every user stays, with an empty history where none is."""
        return replace(
            self,
            offsets=np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)[self.offsets],
            item_index=self.item_index[keep],
            at=self.at[keep],
            weight=self.weight[keep],
            user_channels=self._channel_rows(slice(None), keep),
        )

    def _channel_rows(self, users: slice | np.ndarray, events: slice | np.ndarray) -> dict[str, UserChannel]:
        """Return the channels of user content of chosen users and events."""
        return {name: channel.taken(users, events) for name, channel in self.user_channels.items()}

    def batches(self, size: int) -> Iterator[Histories]:
        """Yield consecutive groups of at most `size` users."""
        for start in range(0, len(self), size):
            yield self.rows(start, start + size)


def _joined_requests(histories: Sequence[Histories]) -> Int64[np.ndarray, " users"] | None:
    if all(h.requested_at is None for h in histories):
        return None
    return np.concatenate(
        [h.requested(LATEST).requested_at if h.requested_at is None else h.requested_at for h in histories]
    )


def _joined_channels(histories: Sequence[Histories]) -> dict[str, UserChannel]:
    """Return the channels that any of the histories has; their vectors are joined unless all share them."""
    joined = {}
    for name in dict.fromkeys(name for h in histories for name in h.user_channels):
        found = [h.user_channels.get(name) for h in histories]
        different = list({id(c.embeddings): c.embeddings for c in found if c is not None}.values())
        parts, number, start = different, {}, {id(different[0]): np.int32(0)}
        if len(different) > 1:  # of the vectors of a whole bundle, only those that are referred to
            compacted = [e.compacted([c.row for c in found if c is not None and c.embeddings is e]) for e in different]
            parts = [e for e, _ in compacted]
            number = {id(e): rows for e, (_, rows) in zip(different, compacted, strict=True)}
            begins = np.cumsum([0, *(len(e.values) for e in parts[:-1])])
            start = {id(e): np.int32(begin) for e, begin in zip(different, begins, strict=True)}

        def placed(
            rows: np.ndarray, e: UserEmbeddings, number: Any = number, start: Mapping[int, Any] = start
        ) -> np.ndarray:
            own = number[id(e)][rows] if number else rows
            return np.where(rows >= 0, own + start[id(e)], rows)

        rows, requested = [], []
        for h, channel in zip(histories, found, strict=True):
            owners = len(h) if different[0].of == "users" else h.num_events
            own, asked = np.full(owners, -1, np.int32), np.full(len(h), -1, np.int32)
            if channel is not None:
                own = placed(channel.row, channel.embeddings)
                asked = asked if channel.requested is None else placed(channel.requested, channel.embeddings)
            rows.append(own)
            requested.append(asked)
        embeddings = parts[0]
        if len(parts) > 1:
            labels = tuple(label for e in parts for label in e.labels)
            embeddings = replace(embeddings, values=np.concatenate([e.values for e in parts]), labels=labels)
        is_asked = any(channel is not None and channel.requested is not None for channel in found)
        asked_rows = np.concatenate(requested).astype(np.int32) if is_asked else None
        joined[name] = UserChannel(embeddings, np.concatenate(rows).astype(np.int32), asked_rows)
    return joined


@dataclass(frozen=True)
class Recommendations:
    """Ranked lists.

    Attributes:
        user_ids: (users,) outside keys.
        item_index: (users, k) rows of the catalog, best first, -1 where a list is shorter.
        score: (users, k) descending, -inf where a list is shorter.
    """

    user_ids: list[str]
    item_index: Int32[np.ndarray, "users k"]
    score: Float32[np.ndarray, "users k"]

    def table(self, item_ids: Sequence[str]) -> pl.DataFrame:
        """Return `user_id`, `item_id`, `rank` (1 is best) and `score`, one row for each item of each list.

        Args:
            item_ids: The catalog's ids, in the order of its rows.
        """
        user, place = np.nonzero(self.item_index >= 0)
        return pl.DataFrame(
            {
                "user_id": pl.Series(self.user_ids, dtype=pl.String).gather(user),
                "item_id": pl.Series(item_ids, dtype=pl.String).gather(self.item_index[user, place]),
                "rank": (place + 1).astype(np.int32),
                "score": self.score[user, place],
            }
        )


@dataclass(frozen=True)
class Finding:
    """One observation about the data and the action taken.

    Attributes:
        check: Stable name, for example "image.blank" or "events.duplicate".
        count: Number of rows or files.
        total: Number of rows or files examined.
        action: "kept", "repaired", "dropped" or "masked".
        examples: First examples, each with its place ("items.csv row 812, media/812.png").
        advice: What the user may do about it.
        severity: "info", "warning" or "error" (an error stops a run).
    """

    check: str
    count: int
    total: int
    action: str
    examples: tuple[str, ...] = ()
    advice: str = ""
    severity: str = "info"


def make_findings(
    check: str,
    count: int,
    total: int,
    action: str,
    *,
    examples: Iterable[str] = (),
    advice: str,
    severity: str = "info",
) -> list[Finding]:
    """Return one finding with at most `MAX_EXAMPLES` examples, or none where `count` is 0."""
    if not count:
        return []
    return [Finding(check, count, total, action, tuple(islice(examples, MAX_EXAMPLES)), advice, severity)]


@dataclass(frozen=True)
class Dataset:
    """The three tables that were read, with the findings of reading and cleaning."""

    catalog: Catalog
    interactions: Interactions
    users: Users | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Split:
    """Interactions in three parts that share no row; ordered in time if `kind` says so.

    Attributes:
        kind: "user_time", "last_out", "global_time", "rolling_time", "random", "cold_items", "cold_users" or "published".
        cold_items: Items whose every interaction is in test (for "cold_items"); ranking is then among these.
        cold_validation_items: The same for validation.
        checks: Verified properties ("no row in two parts", "ties broken at random: 34.1 %", ...).
        between: Events that are known at the test, but neither learned from before validation nor asked for; None where there are none.
    """

    kind: str
    train: Interactions
    validation: Interactions
    test: Interactions
    cold_items: tuple[str, ...] = ()
    cold_validation_items: tuple[str, ...] = ()
    checks: tuple[Finding, ...] = ()
    between: Interactions | None = None

    @property
    def before_test(self) -> tuple[Interactions, ...]:
        """All that is known before the test."""
        return (self.train, self.validation) if self.between is None else (self.train, self.validation, self.between)


@dataclass(frozen=True)
class Samples:
    """Labelled content: one row each, `sample_id` first.

    Attributes:
        table: `sample_id` (str, unique), `label` (str, one of `classes`), every column of content, and where there are such
            `group` (str: speaker, patient, author) and `part` (train, validation, test).
        classes: Class names, sorted; the position is the class number.
        text_columns: Text columns.
        media_columns: Modality to the column holding a path below `media_root` (null where the sample has none).
        attribute_columns: Categories and numbers used as input; never the label, the group or the part.
        media_root: Folder that no media path may leave; None without media.
        findings: Findings of reading and cleaning.
    """

    table: pl.DataFrame
    classes: tuple[str, ...]
    text_columns: tuple[str, ...] = ()
    media_columns: Mapping[str, str] = field(default_factory=dict)
    attribute_columns: tuple[str, ...] = ()
    media_root: Path | None = None
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return self.table.height

    @property
    def sample_ids(self) -> list[str]:
        return self.table["sample_id"].to_list()

    def labels(self) -> Int64[np.ndarray, " samples"]:
        """Return the class number of each sample."""
        return Vocabulary(self.classes).indices(self.table["label"])

    def catalog(self) -> Catalog:
        """Return the content without labels, as a catalog."""
        media = [column for column in self.media_columns.values() if column in self.table.columns]
        columns = dict.fromkeys((*self.text_columns, *media, *self.attribute_columns))
        table = self.table.select(pl.col("sample_id").alias("item_id"), *columns)
        return Catalog(
            table, None, self.text_columns, self.media_columns, self.attribute_columns, media_root=self.media_root
        )

    def take(self, rows: Int64[np.ndarray, " chosen"]) -> Samples:
        """Return chosen samples in the given order; the classes do not change."""
        return replace(self, table=self.table[rows])


@dataclass(frozen=True)
class SampleSplit:
    """Samples in three parts that share no sample and no group; rows of a `Samples`, ascending.

    Attributes:
        kind: "published", "stratified" or "fold".
        checks: Verified properties ("no group in two parts", classes that a part lacks, ...).
    """

    kind: str
    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]
    test: Int64[np.ndarray, " test"]
    checks: tuple[Finding, ...] = ()
