"""Encode user content: what users wrote, showed and said in events, and what they are.

In: interactions and users with their own text, media and attributes, and the encoder of each channel. Out: `UserContent`, and interactions that
name the vector of each event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from penchant.core.errors import ConfigError
from penchant.core.messages import message
from penchant.core.schema import (
    Catalog,
    Dataset,
    Finding,
    Interactions,
    UserContent,
    UserEmbeddings,
    Users,
    make_findings,
    vector_column,
)
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig, default_text_encoder, encode_catalog

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
        encoded, notes = encode_catalog(
            source.catalog(content, columns), {name: _plain(config)}, cache=cache, limits=limits
        )
        found = encoded[name]
        findings += _about(name, notes)
        embeddings[name] = UserEmbeddings(name, found.modality, config.of, found.values[found.present], found.encoder)
        readable = content.filter(pl.Series(found.present)).drop("row").with_row_index("row").cast({"row": pl.Int32})
        rows = source.table.join(readable, on=columns, how="left", nulls_equal=True, maintain_order="left")["row"]
        if config.of == "events":
            table = table.with_columns(rows.alias(vector_column(name)))
        else:
            of_users = of_users.with_columns(rows.alias(name))
        findings += _coverage(name, len(rows) - rows.null_count(), len(rows))
    changed = Dataset(dataset.catalog, Interactions(table), dataset.users, tuple(findings))
    return changed, UserContent(embeddings, of_users)


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
