"""Emotify: music clips and listener reactions.

In: interactions.csv, items.csv and a folder of clips. Out: a `Dataset` of likes, dislikes and neither, without times.
"""

from __future__ import annotations

import polars as pl

from penchant.core.schema import Dataset
from penchant.data.read.columns import rename
from penchant.data.read.sources import DataConfig, assemble
from penchant.data.read.tables import read_table

PROFILE = ("age", "gender", "mother_tongue")


def read_emotify(config: DataConfig) -> Dataset:
    """Read reactions; the release has no user ids, so a user is a combination of age, gender and mother tongue.

    A clip that was both liked and disliked counts as neither.

    Source: Aljanaki, Wiering & Veltkamp, Studying emotion induced by music through a crowdsourcing game, IPM 2016.
    """
    raw = read_table(config.path / "interactions.csv")
    raw = rename(raw, {"user_id": "pseudo_user_id"}, ("item_id", "liked", "disliked", *PROFILE), "data.columns")
    liked, disliked = (pl.col(name).str.strip_chars() == "1" for name in ("liked", "disliked"))
    kind = (
        pl.when(liked & ~disliked)
        .then(pl.lit("like"))
        .when(disliked & ~liked)
        .then(pl.lit("dislike"))
        .otherwise(pl.lit("neither"))
    )
    events = raw.table.select("user_id", "item_id", kind=kind)
    users = raw.table.select("user_id", *PROFILE).unique("user_id", keep="first", maintain_order=True)
    clips = rename(read_table(config.path / "items.csv"), {}, ("item_id", "genre", "audio"), "data.item_columns")
    number = "file_in_genre" if "file_in_genre" in clips.table.columns else "item_id"
    title = pl.format("{} {}", pl.col("genre").str.to_titlecase(), number)
    return assemble(
        config.with_defaults(text=[], media={"audio": "audio"}, attributes=["genre"]),
        raw.having(events),
        clips.having(clips.table.select("item_id", "genre", "audio", title=title)),
        raw.having(users),
        media_root=config.path / config.media_folder,
    )
