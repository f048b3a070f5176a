"""Emotify: clips of music and how listeners took them.

In: interactions.csv, items.csv and a folder of clips. Out: a `Dataset` of likes, dislikes and neither, without times.
"""

from __future__ import annotations

import polars as pl

from penchant.core.schema import Dataset
from penchant.data.sources import DataConfig, assemble
from penchant.data.tables import read_table


def read_emotify(config: DataConfig) -> Dataset:
    """Read reactions; the release has no person, so a listener is a cell of age, gender and mother tongue.

    Source: Aljanaki, Wiering & Veltkamp, Studying emotion induced by music through a crowdsourcing game, IPM 2016.
    """
    raw = read_table(config.path / "interactions.csv")
    kind = (
        pl.when((pl.col("liked") == 1) & (pl.col("disliked") == 0))
        .then(pl.lit("like"))
        .when((pl.col("disliked") == 1) & (pl.col("liked") == 0))
        .then(pl.lit("dislike"))
        .otherwise(pl.lit("neither"))
    )
    events = raw.select("item_id", user_id="pseudo_user_id", kind=kind)
    users = raw.select("age", "gender", "mother_tongue", user_id="pseudo_user_id").unique(
        "user_id", keep="first", maintain_order=True
    )
    items = read_table(config.path / "items.csv").select(
        "item_id", "genre", "audio", title=pl.format("{} {}", pl.col("genre").str.to_titlecase(), "file_in_genre")
    )
    settings = config.model_copy(update={"text": [], "media": {"audio": "audio"}, "attributes": ["genre"]})
    return assemble(
        settings,
        events,
        items,
        users,
        media_root=config.path,
        names=("interactions.csv", "items.csv", "interactions.csv"),
    )
