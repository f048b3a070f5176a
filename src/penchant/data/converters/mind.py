"""MIND, the Microsoft News Dataset.

In: behaviors.tsv and news.tsv. Out: a `Dataset` of clicks; news shown and not clicked are left out.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Dataset, make_findings
from penchant.data.read.sources import DataConfig, assemble
from penchant.data.read.tables import RawTable, read_table

BEHAVIORS = ["impression_id", "user_id", "at", "history", "impressions"]
NEWS = ["item_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities"]
TIME_FORMAT = "%m/%d/%Y %I:%M:%S %p"


def read_mind(config: DataConfig) -> Dataset:
    """Read clicks (N12-1 in impressions) and each user's earlier clicks.

    The history has an order and no times: its last click is put one second before the user's first impression, the one before
    it two seconds, and so on.

    Source: https://github.com/msnews/msnews.github.io/blob/master/assets/doc/introduction.md.
    """
    raw = read_table(config.path / "behaviors.tsv", separator="\t", columns=BEHAVIORS, quote=None)
    behaviors = raw.table.with_columns(at=_times(raw))
    history = _history(behaviors)
    events = pl.concat([history, _clicks(behaviors)]).unique(["user_id", "item_id"], keep="first", maintain_order=True)
    if events.height == 0:
        raise DataError(
            "No impression names a click (N12-1).",
            where=raw.name,
            fix="use the training or validation part: the test part has no labels",
        )
    news = read_table(config.path / "news.tsv", separator="\t", columns=NEWS, quote=None)
    settings = config.with_defaults(
        default_kind="click", text=["title", "abstract"], media={}, attributes=["category", "subcategory"]
    )
    dataset = assemble(settings, raw.having(events), news.having(news.table.select(NEWS[:5])), None, media_root=None)
    advice = message("clicks before the first impression have no times: their order was kept, one second apart")
    notes = make_findings("mind.history", history.height, events.height, "repaired", advice=advice)
    return replace(dataset, findings=(*dataset.findings, *notes))


def _times(raw: RawTable) -> pl.Series:
    values = raw.table["at"]
    times = values.str.strip_chars().str.to_datetime(TIME_FORMAT, time_unit="us", strict=False)
    bad = times.is_null() & values.is_not_null()
    problem = "{value} is not a time such as 11/15/2019 8:55:22 AM."
    raw.refuse(bad, values, "at", problem, "download behaviors.tsv again")
    return times.dt.replace_time_zone("UTC")


def _clicks(behaviors: pl.DataFrame) -> pl.DataFrame:
    shown = behaviors.select("user_id", pl.col("impressions").str.split(" ").alias("item_id"), "at")
    shown = shown.explode("item_id").filter(pl.col("item_id").str.ends_with("-1"))
    return shown.with_columns(pl.col("item_id").str.strip_suffix("-1")).sort("at", maintain_order=True)


def _history(behaviors: pl.DataFrame) -> pl.DataFrame:
    first = behaviors.sort("at", maintain_order=True).unique("user_id", keep="first", maintain_order=True)
    past = first.drop_nulls("history").with_columns(item_id=pl.col("history").str.split(" "))
    before = pl.int_ranges(pl.col("item_id").list.len(), 0, -1).alias("before")
    past = past.with_columns(before).explode("item_id", "before").filter(pl.col("item_id") != "")
    return past.select("user_id", "item_id", at=pl.col("at") - pl.duration(seconds="before"))
