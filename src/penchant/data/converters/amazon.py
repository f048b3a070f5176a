"""Amazon Reviews 2023.

In: JSON lines of reviews and of products. Out: a `Dataset`; reviews keep their words, pictures keep their addresses unfetched.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Dataset
from penchant.data.read.sources import DataConfig, assemble
from penchant.data.read.tables import PolarsType, read_table

ENDINGS = (".jsonl", ".jsonl.gz")
REVIEW: dict[str, PolarsType] = {
    "user_id": pl.String,
    "parent_asin": pl.String,
    "rating": pl.Float32,
    "timestamp": pl.Int64,
    "title": pl.String,
    "text": pl.String,
}
PRODUCT: dict[str, PolarsType] = {
    "parent_asin": pl.String,
    "title": pl.String,
    "main_category": pl.String,
    "store": pl.String,
    "price": pl.String,
    "description": pl.List(pl.String),
    "features": pl.List(pl.String),
    "categories": pl.List(pl.String),
    "images": pl.List(pl.Struct({"large": pl.String, "hi_res": pl.String})),
}
"""Only these fields are read: `details` has other keys in every product, thousands in all."""


def read_amazon_reviews(config: DataConfig) -> Dataset:
    """Read `<Category>.jsonl` and `meta_<Category>.jsonl`, gzipped or not.

    Source: https://amazon-reviews-2023.github.io/ (fields of user reviews and item metadata).
    """
    reviews, meta = _pair(config)
    raw = read_table(reviews, schema=REVIEW)
    words = pl.concat_str("title", "text", separator=". ", ignore_nulls=True)
    events = raw.table.select(
        user_id="user_id",
        item_id="parent_asin",
        value="rating",
        at=pl.col("timestamp").cast(pl.Datetime("ms")),  # the layout defines milliseconds
        text=pl.when(words != "").then(words),
    )
    settings = config.with_defaults(
        default_kind="review",
        text=["title", "description", "features"],
        media={},
        attributes=["category", "categories", "price", "store"],
    )
    products = read_table(meta, schema=PRODUCT)
    return assemble(
        settings,
        raw.having(events),
        products.having(_products(products.table)),
        None,
        media_root=config.path / config.media_folder if config.media else None,
    )


def _products(table: pl.DataFrame) -> pl.DataFrame:
    description, features = (
        pl.when(pl.col(name).list.len() > 0).then(pl.col(name).list.join(" ", ignore_nulls=True)).alias(name)
        for name in ("description", "features")
    )
    first = pl.col("images").list.first()
    return table.select(
        "title",
        description,
        features,
        "categories",
        "store",
        item_id="parent_asin",
        category="main_category",
        price=pl.col("price").str.extract(r"(\d[\d,]*\.?\d*)").str.replace_all(",", "").cast(pl.Float32, strict=False),
        image_address=pl.coalesce(first.struct.field("large"), first.struct.field("hi_res")),
    ).unique("item_id", keep="first", maintain_order=True)


def _pair(config: DataConfig) -> tuple[Path, Path]:
    """Return the file of reviews and the meta_ file that goes with it."""
    folder = config.path
    names = {p.name: p for p in sorted(folder.iterdir()) if p.name.endswith(ENDINGS)} if folder.is_dir() else {}
    pairs = {
        name: meta
        for name in names
        for other, meta in names.items()
        if other.removesuffix(".gz") == f"meta_{name.removesuffix('.gz')}"
    }
    if config.interactions is not None:
        pairs = {name: meta for name, meta in pairs.items() if name == config.interactions}
    if len(pairs) == 1:
        ((name, meta),) = pairs.items()
        return names[name], meta
    if pairs:
        raise DataError(
            f"There are {len(pairs)} categories: {', '.join(sorted(pairs))}.",
            where=str(folder),
            fix='choose one: [data] interactions = "<Category>.jsonl"',
        )
    raise DataError(
        "There is no pair of reviews and meta_ file.",
        where=str(folder),
        fix="download <Category>.jsonl and meta_<Category>.jsonl into one folder",
    )
