"""Encode user content: what users wrote, showed and said in events, and what they are.

In: interactions and users with their own text, media and attributes, and the encoder of each channel. Out: `UserContent`, and interactions that
name the vector of each event. `encode_own` gives the content of one event or user that comes later the same vectors, one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import polars as pl

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ConfigError, DataError, PenchantError, nearest
from penchant.core.logs import logger
from penchant.core.messages import message
from penchant.core.schema import (
    Catalog,
    Dataset,
    Embeddings,
    Finding,
    Interactions,
    OwnContent,
    UserContent,
    UserEmbeddings,
    Users,
    make_findings,
    vector_column,
)
from penchant.data.clean.inspection import InspectionConfig, Inspector, inspect_media
from penchant.data.clean.missing_files import check_files, without
from penchant.data.clean.normalisation import language, normalise_column
from penchant.data.media import MediaLimits
from penchant.encoders.attributes import is_new_value, layout, numeric_columns
from penchant.encoders.catalog import (
    DEFAULT_ENCODERS,
    PRECOMPUTED,
    ChannelConfig,
    cache_key,
    default_text_encoder,
    encode_batches,
    encode_catalog,
    make_encoder,
)
from penchant.encoders.content import find_content, join_text
from penchant.encoders.encoder import Encoder

EVENT_CHANNELS = {"text": "review", "image": "photo", "audio": "voice"}
"""Content of an event to the name of its default channel."""
EVENT_ENCODERS = {"image": "efficientnet", "audio": "mel"}
USER_CHANNELS = {"image": "avatar", "audio": "greeting"}
"""Modality of a user's media to the name of its default channel."""
PROTECTED = (
    r"age|birth|born|sex|gender|race|ethnic|relig|faith|disab|pregnan|orientation|nationality|skin|health|marital"
    r"|年龄|生日|出生|性别|民族|种族|宗教|残疾|怀孕|国籍|婚姻|健康"
)
"""Columns of users with such names are not read unless they are named: decisions by them are forbidden in many places."""


class UserChannelConfig(ChannelConfig):
    """Columns of one channel of user content and their encoder: a `[user_content.NAME]` table."""

    of: Literal["events", "users"] = "events"
    """Whether the columns are those of the events (a review, a photo, a voice note) or of the users (an avatar, a bio, attributes)."""


def is_protected(column: str) -> bool:
    """Return whether a column of users names a protected attribute, such as age or sex."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W]+", " ", column).lower()
    return re.search(rf"(?:^|\s)(?:{PROTECTED})", words) is not None


def default_user_channels(interactions: Interactions, users: Users | None) -> dict[str, UserChannelConfig]:
    """Return one channel for each kind of user content; protected attributes are left out."""
    channels: dict[str, UserChannelConfig] = {}
    table = interactions.table
    for modality, name in EVENT_CHANNELS.items():
        if modality in table.columns and table[modality].count():
            encoder = EVENT_ENCODERS.get(modality) or default_text_encoder(table[modality].drop_nulls().head(2000))
            channels[name] = UserChannelConfig(encoder=encoder, columns=[modality])
    if users is None:
        return channels
    if users.text_columns:
        words = users.table.select(pl.concat_str(users.text_columns, separator="\n", ignore_nulls=True)).to_series()
        encoder = default_text_encoder(words.drop_nulls().head(2000))
        channels["bio"] = UserChannelConfig(encoder=encoder, columns=list(users.text_columns), of="users")
    for modality, name in USER_CHANNELS.items():
        if modality in users.media_columns:
            columns = [users.media_columns[modality]]
            channels[name] = UserChannelConfig(encoder=EVENT_ENCODERS[modality], columns=columns, of="users")
    attributes = [column for column in users.attribute_columns if not is_protected(column)]
    if attributes:
        channels["user_attributes"] = UserChannelConfig(encoder="attributes", columns=attributes, of="users")
    return channels


ADDED = frozenset(("text", "mood"))
"""Columns of events that reading reviews and voice notes may add, so that an unknown one is no error yet."""


def check_user_channel(dataset: Dataset, name: str, config: UserChannelConfig, *, is_named: bool) -> None:
    """Check the encoder, settings, columns and files of one channel, before anything is encoded; no model is loaded and no file opened.

    Args:
        dataset: As it was read.
        name: Of the channel.
        config: Its settings.
        is_named: The settings name the channel; else its columns were recognised.

    Raises:
        ConfigError: A column, an encoder or a setting does not exist, or there is no table of users.
        DataError: None of the files in its column is there.
        MissingExtraError: The encoder's package is not installed.
    """
    source = _Source.of_events(dataset) if config.of == "events" else _Source.of_users(dataset, name)
    if config.of == "events" and not ADDED.isdisjoint(config.columns):
        return
    columns = source.checked(config.columns, name)
    modality = None if config.encoder == PRECOMPUTED else make_encoder(name, _plain(config)).modality
    if modality not in DEFAULT_ENCODERS or source.media_root is None:
        return
    for column in columns:
        recognised = (
            "rename the column"
            if config.of == "events" or dataset.users is None
            else without(column, dataset.users.media_columns, "user_media")
        )
        leave_out = f"leave out [user_content.{name}]" if is_named else recognised
        check_files(source.table[column], modality, source.media_root, leave_out)


def encode_user_content(
    dataset: Dataset, channels: Mapping[str, UserChannelConfig], *, cache: Path, limits: MediaLimits
) -> tuple[Dataset, UserContent]:
    """Return the vectors of every channel, and the data set whose interactions name the vector of each event.

    Equal content is encoded once, in every channel and run; unreadable content is missing, and counted in a finding of the data set.

    Args:
        dataset: Clean; the folder of its media is that of the catalog.
        channels: Name to encoder and columns.
        cache: Folder of vectors kept between runs.
        limits: Of media files.

    Raises:
        ConfigError: A column, an encoder or a setting does not exist, or there is no table of users.
        EncoderError: A model cannot be loaded, or returned vectors that are not finite.
    """
    table, findings = dataset.interactions.table, list(dataset.findings)
    embeddings: dict[str, UserEmbeddings] = {}
    users = pl.DataFrame({"user_id": []}, {"user_id": pl.String}) if dataset.users is None else dataset.users.table
    of_users = users.select("user_id")
    for name, config in channels.items():
        source = _Source.of_events(dataset) if config.of == "events" else _Source.of_users(dataset, name)
        columns = source.checked(config.columns, name)
        content = (
            source.table.select(columns).unique(maintain_order=True).filter(~pl.all_horizontal(pl.all().is_null()))
        )
        content = content.with_row_index("row")
        catalog = source.catalog(content, columns)
        encoder = None if config.encoder == PRECOMPUTED else make_encoder(name, _plain(config)).about(dataset.catalog)
        found, learned = _encode_learned(name, config, encoder, catalog, limits)
        if found is None:
            encoded, notes = encode_catalog(catalog, {name: _plain(config)}, cache=cache, limits=limits)
            found = encoded[name]
            findings += _about(name, notes)
        embeddings[name] = UserEmbeddings(
            name,
            found.modality,
            config.of,
            found.values[found.present],
            found.encoder,
            has_signs=encoder is not None and encoder.has_signs,
            learned=learned,
            languages=_languages(join_text(catalog, columns)) if found.modality == "text" else (),
            seconds=found.seconds,
        )
        readable = content.filter(pl.Series(found.present)).drop("row").with_row_index("row").cast({"row": pl.Int32})
        rows = source.table.join(readable, on=columns, how="left", nulls_equal=True, maintain_order="left")["row"]
        if config.of == "events":
            table = table.with_columns(rows.alias(vector_column(name)))
        else:
            of_users = of_users.with_columns(rows.alias(name))
        findings += _coverage(name, len(rows) - rows.null_count(), len(rows))
    changed = Dataset(dataset.catalog, Interactions(table), dataset.users, tuple(findings))
    return changed, UserContent(embeddings, of_users)


def _encode_learned(
    name: str, config: UserChannelConfig, encoder: Encoder | None, catalog: Catalog, limits: MediaLimits
) -> tuple[Embeddings | None, Mapping[str, np.ndarray]]:
    """Return the vectors of an encoder of a whole catalog, and what it learned; None of one that learns nothing that could be kept.

    Such encoders take seconds: nothing is cached. Content of which the encoder knows nothing has no vector.
    """
    if encoder is None or not encoder.whole_catalog:
        return None, {}
    began = perf_counter()
    content = find_content(catalog, config.columns, encoder.modality, limits, where=f"user_content.{name}")
    keys = sorted(content.first_rows)
    prepared = [encoder.prepare(content.load(content.first_rows[key])) for key in keys]
    learned = encoder.learn(prepared) if keys else None
    if learned is None:
        return None, {}
    vectors = dict(zip(keys, encoder.encode_learned(prepared, learned), strict=True))
    values = np.zeros((len(catalog), len(next(iter(vectors.values())))), np.float32)
    for row, key in enumerate(content.keys):
        if key is not None:
            values[row] = vectors[key]
    mark = cache_key(encoder, limits, keys)
    seconds = perf_counter() - began
    return Embeddings(name, encoder.modality, values, np.any(values != 0, axis=1), mark, seconds=seconds), learned


def _languages(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({language(text) for text in texts if text}))


@dataclass(frozen=True)
class OwnContentReader:
    """Encodes the content of one event or user that came after the run, as the run encoded that of the others.

    Attributes:
        channels: The settings of each channel of user content.
        embeddings: Each channel's vectors in the bundle: what its encoder learned, and the languages of its texts.
        load: Name and settings of a channel to its encoder, loaded.
        limits: Of media files.
        inspection: What counts as a blank picture or a silent sound.
    """

    channels: Mapping[str, UserChannelConfig]
    embeddings: Mapping[str, UserEmbeddings]
    load: Callable[[str, ChannelConfig], Encoder]
    limits: MediaLimits
    inspection: InspectionConfig

    def limited(self, limits: MediaLimits) -> OwnContentReader:
        """Return the same with other limits; what was looked up once is kept."""
        other = replace(self, limits=limits)
        vars(other).update(_readable=self._readable, mark=self.mark)
        return other

    def reads(self, of: str) -> set[str]:
        """Return the columns and the modalities of files that some channel reads."""
        return {*self.media(of), *self.columns(of)}

    def names(self, of: str) -> list[str]:
        """Return the channels of events or users that can read something new."""
        return [name for name in self._readable if self.channels[name].of == of]

    @cached_property
    def _readable(self) -> tuple[str, ...]:
        """The channels that can read something new; looked up once, since that asks every installed package for its encoders."""
        return tuple(name for name, config in self.channels.items() if self._is_readable(name, config))

    def modalities(self, of: str) -> dict[str, str]:
        """Return the modality of each channel of events or users that can read something new."""
        return {name: self.embeddings[name].modality for name in self.names(of)}

    def columns(self, of: str) -> dict[str, str]:
        """Return the columns of words and attributes that some channel reads, with their modality."""
        modalities = self.modalities(of)
        found = {c: m for n, m in modalities.items() for c in self.channels[n].columns if m in ("text", "attribute")}
        return dict(sorted(found.items()))

    def media(self, of: str) -> set[str]:
        """Return the modalities of files that some channel reads."""
        return set(self.modalities(of).values()) - {"text", "attribute"}

    @cached_property
    def mark(self) -> str:
        """Return what changes when some vector would."""
        parts = {
            n: (self.channels[n], self.embeddings[n].encoder) for of in ("events", "users") for n in self.names(of)
        }
        return fingerprint({n: [c.model_dump(mode="json"), e] for n, (c, e) in sorted(parts.items())})

    def checked(self, columns: Mapping[str, Any]) -> list[str]:
        """Return the columns of users whose value was not among those learned from.

        Raises:
            DataError: Nothing reads such a column, or a value is of another type.
        """
        known, new = self.columns("users"), []
        for column, value in columns.items():
            if column not in known:
                raise DataError(
                    f"No channel of user content reads a column {column!r} of users.",
                    where=f"columns.{column}"[:MAX_WHERE],
                    fix=nearest(column, known) if known else "leave it out: the bundle reads nothing about users",
                )
            if value is None:
                continue
            of_column = [self.embeddings[n].learned for n in self.names("users") if column in self.channels[n].columns]
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if known[column] == "text" and not isinstance(value, str):
                raise _of_another_type(column, "words")
            if any(column in numeric_columns(learned) for learned in of_column) and not is_number:
                raise _of_another_type(column, "a number")
            value = self._clean_value(column, value, known[column])
            if any(is_new_value(value, column, learned) for learned in of_column):
                new.append(column)
        return new

    def read(self, of: Literal["events", "users"], content: OwnContent, folder: Path) -> OwnContent:
        """Return the content with its vectors, and with what cannot be read.

        Args:
            of: Whose it is.
            content: Its media are files below `folder`.
            folder: Of the files.

        Raises:
            PenchantError: A model cannot be loaded.
        """
        vectors: dict[str, np.ndarray] = {}
        unreadable: list[str] = []
        for name in self.names(of):
            config, known = self.channels[name], self.embeddings[name]
            encoder = self.encoder(name)
            row = {c: self._value(content, c, encoder.modality) for c in config.columns}
            if all(value is None for value in row.values()):
                continue
            if encoder.modality == "text" and (strange := self._strange_language(row, known)):
                unreadable.append(f"{name}: a text in {strange!r}, of which nothing was learned")
                continue
            catalog = _row_catalog(row, folder)
            if encoder.modality not in ("text", "attribute"):
                inspector = Inspector(self.limits, self.inspection.model_copy(update={"workers": 1}))
                media = {encoder.modality: config.columns[0]}
                table, found = inspect_media(catalog.table, media, lambda _: "it", folder, inspector)
                catalog = replace(catalog, table=table)
                unreadable += [f"{name}: {f.check}" for f in found if f.action == "masked"]
            raw = find_content(catalog, config.columns, encoder.modality, self.limits, where=f"user_content.{name}")
            if raw.keys[0] is None:
                continue
            if known.learned:
                vector = encoder.encode_learned([encoder.prepare(raw.load(0))], known.learned)[0]
                if np.any(vector != 0):
                    vectors[name] = vector
                else:
                    unreadable.append(f"{name}: nothing of it was learned")
                continue
            failures: list[str] = []
            for _, values in encode_batches(encoder, raw, [(raw.keys[0], 0)], failures, size=1, proven=True):
                vectors[name] = values[0]
            unreadable += [f"{name}: {failure.partition(': ')[2] or failure}" for failure in failures]
        usable = {name: v for name, v in vectors.items() if np.isfinite(v).all()}
        return replace(content, vectors=usable, unreadable=tuple(unreadable))

    def merged(self, content: OwnContent, name: str, before: np.ndarray | None) -> np.ndarray | None:
        """Return a user's vector in one channel: what the content says, and for attributes it does not name what was known before."""
        vector, config, learned = content.vectors.get(name), self.channels[name], self.embeddings[name].learned
        touched = [c for c in config.columns if c in content.columns]
        modality = self.embeddings[name].modality
        if modality not in ("text", "attribute"):
            return vector if modality in content.media else before
        if not touched:
            return before
        places = layout(learned) if modality == "attribute" else {}
        if before is None or not places or set(config.columns) <= set(touched):
            return vector
        merged = before.copy()
        for column in touched:
            place = places.get(column, slice(0, 0))
            merged[place] = 0 if vector is None else vector[place]
        return merged if np.any(merged != 0) else None

    def encoder(self, name: str) -> Encoder:
        """Return the encoder of a channel, loaded."""
        return self.load(name, _plain(self.channels[name]))

    def _is_readable(self, name: str, config: UserChannelConfig) -> bool:
        if name not in self.embeddings or config.encoder == PRECOMPUTED:
            return False
        if self.embeddings[name].learned:
            return True
        try:
            return not make_encoder(name, _plain(config)).whole_catalog
        except PenchantError as error:  # of a package that is missing here
            logger.warning("the channel %s reads nothing new: %s fix: %s", name, error.message, error.fix)
            return False

    def _value(self, content: OwnContent, column: str, modality: str) -> Any:
        if modality not in ("text", "attribute"):
            return content.media.get(modality)
        return self._clean_value(column, content.columns.get(column), modality)

    def _clean_value(self, column: str, value: Any, modality: str) -> Any:
        """Return a value as cleaning leaves it."""
        if isinstance(value, str):
            return normalise_column(pl.Series(column, [value])).values[0]
        if isinstance(value, list):
            return [clean for clean in normalise_column(pl.Series(column, value, pl.String)).values if clean]
        return value

    def _strange_language(self, row: Mapping[str, Any], known: UserEmbeddings) -> str:
        """Return the language of a text where no text of that language was learned from."""
        found = language("\n".join(value for value in row.values() if value))
        return found if known.languages and found != "other" and found not in known.languages else ""


MAX_WHERE = 100
"""Longest name of a place in a message that holds a name from a request."""


def _of_another_type(column: str, wanted: str) -> DataError:
    return DataError("A value does not fit its column.", where=f"columns.{column}", fix=f"send {wanted}, or null")


def _row_catalog(row: Mapping[str, Any], folder: Path) -> Catalog:
    """Return one piece of content as a catalog, so that it is found like an item's."""
    table = pl.DataFrame({"item_id": ["it"], **{column: [value] for column, value in row.items()}})
    columns = tuple(row)
    return Catalog(table, None, columns, {}, columns, folder)


def unused_protected(users: Users | None, channels: Mapping[str, UserChannelConfig]) -> list[Finding]:
    """Return a finding about the protected attributes that no channel reads."""
    used = {column for config in channels.values() if config.of == "users" for column in config.columns}
    columns = () if users is None else users.attribute_columns
    names = [column for column in columns if is_protected(column) and column not in used]
    advice = message(
        "they are used for comparing groups in the report alone; to recommend by them, name them in [user_content.NAME] columns"
    )
    return make_findings("users.protected", len(names), len(columns), "kept", examples=names, advice=advice)


@dataclass(frozen=True)
class _Source:
    """The table whose columns a channel reads."""

    table: pl.DataFrame
    noun: str
    media_root: Path | None

    @classmethod
    def of_events(cls, dataset: Dataset) -> _Source:
        return cls(dataset.interactions.table, "events", dataset.catalog.media_root)

    @classmethod
    def of_users(cls, dataset: Dataset, channel: str) -> _Source:
        if dataset.users is None:
            raise ConfigError(
                "There is no table of users.",
                where=f"user_content.{channel}",
                fix="add users.csv, or leave the table out",
            )
        return cls(dataset.users.table, "users", dataset.users.media_root)

    def checked(self, columns: Iterable[str], channel: str) -> list[str]:
        """Return the columns, which exist."""
        columns = list(columns)
        missing = [column for column in columns if column not in self.table.columns]
        if missing or not columns:
            known = ", ".join(column for column in self.table.columns if not column.startswith("vector:"))
            raise ConfigError(
                f"The {self.noun} have no column {missing[0]!r}." if missing else "No column is named.",
                where=f"user_content.{channel}.columns",
                fix=f"name columns of the {self.noun}: {known}",
            )
        return columns

    def catalog(self, content: pl.DataFrame, columns: list[str]) -> Catalog:
        """Return different contents as a catalog, so that they are encoded like items."""
        table = content.select(pl.col("row").cast(pl.String).alias("item_id"), *columns)
        return Catalog(table, None, tuple(columns), {}, tuple(columns), self.media_root)


def _plain(config: UserChannelConfig) -> ChannelConfig:
    """Return the channel as the encoders of items read it; every category counts, since equal content is encoded once."""
    options = {"min_items": 1, **config.options} if config.encoder == "attributes" else config.options
    fields = {name: getattr(config, name) for name in ChannelConfig.model_fields}
    return ChannelConfig(**{**fields, "options": options})


def _about(channel: str, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of encoding with the channel in their name, so that they are not taken for the items'."""
    return [
        Finding(f"{channel}.{f.check}", f.count, f.total, f.action, f.examples, f.advice, f.severity) for f in findings
    ]


def _coverage(channel: str, count: int, total: int) -> list[Finding]:
    advice = message("have content in the channel {channel}", channel=channel)
    return make_findings(f"user_content.{channel}", count, total, "kept", advice=advice)
