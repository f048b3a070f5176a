"""Draw a world with user content whose vectors are drawn too, as those of an encoder that makes mistakes.

In: a seed and numbers of users and items. Out: events, channels of the items and of user content, and who shows what: in a second, without media.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from penchant.core.schema import (
    Catalog,
    Dataset,
    Embeddings,
    Interactions,
    UserContent,
    UserEmbeddings,
    vector_column,
)
from penchant.core.seeds import generator
from penchant.data.media import MediaLimits
from penchant.encoders.user_content import UserChannelConfig, encode_user_content
from penchant.experiment.defaults import ASPECTS
from penchant.world import WorldConfig
from penchant.world.choices import ItemSampler, draw_events
from penchant.world.items import ATTRIBUTES, make_items
from penchant.world.projects import ANNOUNCED_IN, Projects
from penchant.world.settings import decide
from penchant.world.user_content import IDLE_AVATAR_SHARE, IDLE_SHARE
from penchant.world.users import UserPopulation, make_users
from penchant.world.words import write_items, write_wish

ITEM_CHANNELS = {"image": "motif", "text": "topic", "audio": "timbre"}
"""Modality of an item to the attribute it shows."""
MODALITIES = {"photo": "image", "review": "text", "voice": "audio"}
NOISE = 0.35
"""Deviation of each number of a vector from the value it stands for."""


@dataclass(frozen=True)
class DrawnWorld:
    """A world, and the interests that users show in each channel (as `truth/projects`)."""

    dataset: Dataset
    user_content: UserContent
    embeddings: dict[str, Embeddings]
    projects: pl.DataFrame

    def users_showing(self, channel: str) -> list[str]:
        """Return the ids of the users who show an interest in a channel."""
        return self.projects.filter(pl.col("channel") == channel)["user_id"].unique().to_list()


def draw_world(seed: int, users: int, num_items: int, *, with_aspects: bool = False) -> DrawnWorld:
    """Return a world; `with_aspects` writes the items' and the reviews' words and reads what these are about."""
    plan = decide(WorldConfig(num_users=users, num_items=num_items, user_content=True, seed=seed))
    items, population, rng = make_items(plan, seed), make_users(plan, seed), np.random.default_rng(seed)
    projects, sampler = Projects.draw(population, seed), ItemSampler.build(items)
    drawn = draw_events(population, np.arange(users), sampler, plan.events_per_user, rng, projects=projects)
    embeddings = {
        channel: Embeddings(
            channel, channel, _vectors(sampler.codes[name], name, rng), np.ones(num_items, bool), f"drawn {channel}"
        )
        for channel, name in ITEM_CHANNELS.items()
    }
    user, day = drawn["user_index"].to_list(), (drawn["at"].dt.ordinal_day() - 1).to_list()
    rows_announcing = np.flatnonzero(drawn["announces"]).tolist()
    announced = {row: projects.announced(user[row], day[row]) for row in rows_announcing}
    own, rows = {}, {}
    for channel in ANNOUNCED_IN:
        code = _shown(channel, announced, (drawn["kind"] == "skip").to_numpy(), rng)
        own[channel], rows[vector_column(channel)] = _channel(channel, "events", code, ANNOUNCED_IN[channel], rng)
    badge = np.where(rng.random(users) < IDLE_AVATAR_SHARE, rng.integers(0, len(ATTRIBUTES["motif"]), users), -1)
    badge = np.where(projects.avatar >= 0, projects.avatar, badge)
    own["avatar"], avatars = _channel("avatar", "users", badge, "motif", rng)
    ids = population.table["user_id"]
    table = drawn.select(
        user_id=ids[drawn["user_index"]],
        item_id=items["item_id"][drawn["item_index"]],
        at=pl.col("at").dt.replace_time_zone("UTC"),
        kind="kind",
        value=pl.lit(None, pl.Float32),
    ).with_columns(**rows)
    dataset = Dataset(Catalog(items.select("item_id")), Interactions(table))
    content = UserContent(own, pl.DataFrame({"user_id": ids, "avatar": avatars}))
    truth = projects.table(population, table.filter(drawn["announces"]).select("user_id", "at"))
    if with_aspects:
        dataset, content = _aspects(dataset, content, items, population, user, announced, seed)
    return DrawnWorld(dataset, content, embeddings, truth)


def _shown(
    channel: str, announced: dict[int, tuple[str, str]], is_skip: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the code of the value that each event shows in a channel, -1 for none."""
    values = ATTRIBUTES[ANNOUNCED_IN[channel]]
    code = np.full(len(is_skip), -1)
    if channel != "review":
        idle = rng.random(len(is_skip)) < IDLE_SHARE
        code[idle] = rng.integers(0, len(values), idle.sum())
    for row, (shown, value) in announced.items():
        if shown == channel:
            code[row] = values.index(value)
    return np.where(is_skip, -1, code)


def _channel(
    name: str, of: Literal["events", "users"], code: np.ndarray, attribute: str, rng: np.random.Generator
) -> tuple[UserEmbeddings, pl.Series]:
    """Return a channel of user content that shows values of an attribute, and the row of each owner; code -1 has none."""
    has = code >= 0
    row = np.where(has, np.cumsum(has) - 1, -1)
    modality = MODALITIES.get(name, "image")
    embeddings = UserEmbeddings(name, modality, of, _vectors(code[has], attribute, rng), f"drawn {modality}")
    return embeddings, pl.Series(row, dtype=pl.Int32).replace(-1, None)


def _vectors(code: np.ndarray, attribute: str, rng: np.random.Generator) -> np.ndarray:
    values = np.eye(len(ATTRIBUTES[attribute]))[code]
    return (values + NOISE * rng.normal(size=values.shape)).astype(np.float32)


def _aspects(
    dataset: Dataset,
    content: UserContent,
    items: pl.DataFrame,
    population: UserPopulation,
    user: list[int],
    announced: dict[int, tuple[str, str]],
    seed: int,
) -> tuple[Dataset, UserContent]:
    """Return the same with the channel of aspects, read from words as the world writes them."""
    rng, languages = generator(seed, "drawn.words"), population.table["language"]
    titles, descriptions = write_items(
        items["topic"].to_list(), items["language"].to_list(), items["has_text"].to_list(), rng
    )
    texts: list[str | None] = [None] * len(user)
    for row, (shown, value) in announced.items():
        if shown == "review":
            texts[row] = write_wish(value, languages[user[row]], rng)
    columns = items.select("item_id").with_columns(title=pl.Series(titles), description=pl.Series(descriptions))
    worded = replace(
        dataset,
        catalog=Catalog(columns, "title", ("title", "description")),
        interactions=Interactions(dataset.interactions.table.with_columns(text=pl.Series(texts, dtype=pl.String))),
    )
    channel = {ASPECTS: UserChannelConfig(encoder="aspects", columns=["text"])}
    with tempfile.TemporaryDirectory() as cache:
        worded, read = encode_user_content(worded, channel, cache=Path(cache), limits=MediaLimits())
    table = worded.interactions.table.drop("text")
    embeddings = {**content.embeddings, **read.embeddings}
    return replace(dataset, interactions=Interactions(table)), replace(content, embeddings=embeddings)
