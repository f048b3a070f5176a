"""MIND, the Microsoft News Dataset.

In: behaviors.tsv and news.tsv. Out: a `Dataset` of clicks; news shown and not clicked are left out.
"""

from __future__ import annotations

import polars as pl

from penchant.core.schema import Dataset
from penchant.data.sources import DataConfig, assemble
from penchant.data.tables import read_table

BEHAVIORS = ["impression_id", "user_id", "at", "history", "impressions"]
NEWS = ["item_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities"]


def read_mind(config: DataConfig) -> Dataset:
    """Read clicks (N12-1 in impressions) and the click history, whose times are unknown.

    Source: https://github.com/msnews/msnews.github.io/blob/master/assets/doc/introduction.md.
    """
    behaviors = read_table(config.path / "behaviors.tsv", separator="\t", columns=BEHAVIORS)
    at = pl.col("at").str.to_datetime("%m/%d/%Y %I:%M:%S %p", time_zone="UTC")
    shown = behaviors.select("user_id", at=at, item_id=pl.col("impressions").str.split(" ")).explode("item_id")
    clicks = shown.filter(pl.col("item_id").str.ends_with("-1")).with_columns(pl.col("item_id").str.strip_suffix("-1"))
    past = behaviors.group_by("user_id").agg(pl.col("history").drop_nulls().first()).drop_nulls()
    first = behaviors.select(at.min()).item()
    history = past.select(
        "user_id", at=pl.lit(first, pl.Datetime("us", "UTC")), item_id=pl.col("history").str.split(" ")
    ).explode("item_id")
    columns = ["user_id", "item_id", "at"]
    events = pl.concat([history.select(columns), clicks.select(columns)]).unique(["user_id", "item_id"], keep="first")
    news = read_table(config.path / "news.tsv", separator="\t", columns=NEWS).select(NEWS[:5])
    settings = config.model_copy(
        update={
            "default_kind": "click",
            "text": ["title", "abstract"],
            "media": {},
            "attributes": ["category", "subcategory"],
        }
    )
    return assemble(settings, events, news, None, media_root=None, names=("behaviors.tsv", "news.tsv", "users"))
