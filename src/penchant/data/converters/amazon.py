"""Amazon Reviews 2023.

In: JSON lines of reviews and of products. Out: a `Dataset`; reviews keep their words, pictures keep their addresses unfetched.
"""

from __future__ import annotations

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Dataset
from penchant.data.sources import DataConfig, assemble
from penchant.data.tables import read_table


def read_amazon_reviews(config: DataConfig) -> Dataset:
    """Read `<Category>.jsonl` and `meta_<Category>.jsonl`, gzipped or not.

    Source: https://amazon-reviews-2023.github.io/ (fields of user reviews and item metadata).
    """
    files = sorted(p for p in config.path.iterdir() if p.name.endswith((".jsonl", ".jsonl.gz")))
    metas = [p for p in files if p.name.startswith("meta_")]
    reviews = [p for p in files if not p.name.startswith("meta_")]
    if not metas or not reviews:
        raise DataError(
            "There is no pair of reviews and meta_ file.",
            where=str(config.path),
            fix="download <Category>.jsonl and meta_<Category>.jsonl",
        )
    raw = read_table(reviews[0])
    text = pl.concat_str([pl.col(c).fill_null("") for c in ("title", "text") if c in raw.columns], separator=". ")
    events = raw.select(user_id="user_id", item_id="parent_asin", value="rating", at="timestamp", text=text)
    products = read_table(metas[0])
    items = products.select(
        "title",
        item_id="parent_asin",
        category=_column(products, "main_category"),
        price=_column(products, "price").cast(pl.Float32, strict=False),
        store=_column(products, "store"),
        description=_joined(products, "description"),
        features=_joined(products, "features"),
        image_address=_first_image(products),
    ).unique("item_id", keep="first", maintain_order=True)
    settings = config.model_copy(
        update={
            "default_kind": "review",
            "text": ["title", "description", "features"],
            "media": {},
            "attributes": ["category", "price", "store"],
        }
    )
    return assemble(
        settings, events, items, None, media_root=config.path, names=(reviews[0].name, metas[0].name, "users")
    )


def _column(table: pl.DataFrame, name: str) -> pl.Expr:
    return pl.col(name) if name in table.columns else pl.lit(None)


def _joined(table: pl.DataFrame, name: str) -> pl.Expr:
    if name not in table.columns:
        return pl.lit(None, pl.String)
    return pl.col(name).list.join(" ") if isinstance(table[name].dtype, pl.List) else pl.col(name).cast(pl.String)


def _first_image(table: pl.DataFrame) -> pl.Expr:
    dtype = table["images"].dtype if "images" in table.columns else None
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        names = [f.name for f in dtype.inner.fields]
        field = "large" if "large" in names else names[0]
        return pl.col("images").list.first().struct.field(field)
    return pl.lit(None, pl.String)
