"""MovieLens in its official layouts, and with plots and posters beside it.

In: a folder as GroupLens publishes it. Out: a `Dataset`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Dataset
from penchant.data.sources import DataConfig, assemble
from penchant.data.tables import read_table

GENRES = {"genres": "|"}


def read_movielens(config: DataConfig) -> Dataset:
    """Read ratings.dat or ratings.csv, with movies and users where they are there.

    Source: https://files.grouplens.org/datasets/movielens/ml-1m-README.txt and ml-latest-README.html.
    """
    folder = config.path
    if (folder / "ratings.dat").is_file():
        ratings = _dat(folder / "ratings.dat", ["user_id", "item_id", "value", "at"])
        movies = _dat(folder / "movies.dat", ["item_id", "title", "genres"])
        users = _dat(folder / "users.dat", ["user_id", "gender", "age", "occupation", "zip"]).drop("zip")
    elif (folder / "ratings.csv").is_file():
        names = {"userId": "user_id", "movieId": "item_id", "rating": "value", "timestamp": "at"}
        ratings = read_table(folder / "ratings.csv").rename(names)
        movies = read_table(folder / "movies.csv").rename({"movieId": "item_id"})
        users = None
    else:
        raise DataError(
            "There is no ratings.dat or ratings.csv.",
            where=str(folder),
            fix="unpack ml-1m.zip or ml-latest.zip and give that folder",
        )
    settings = config.model_copy(
        update={"default_kind": "rating", "lists": GENRES, "text": config.text or ["title"], "attributes": ["genres"]}
    )
    return assemble(settings, ratings, movies, users, media_root=None)


def read_movielens_mm(config: DataConfig) -> Dataset:
    """Read MovieLens-1M beside plots, credits, posters and written descriptions.

    Ratings of 4 and 5 are taken unless `min_value` says otherwise: only they all have a time. The descriptions were written by
    a language model and may carry outside knowledge, so they are a text column of their own.
    """
    folder = config.path
    ratings = read_table(folder / "interactions.csv.gz").select(
        user_id="user_id", item_id="item_id", value="rating", at="timestamp"
    )
    credits_ = pl.concat_str([pl.col(c).fill_null("") for c in ("director", "writer", "actors")], separator=", ")
    image = pl.when(pl.col("has_image").cast(pl.Int8) == 1).then(pl.format("images/{}.jpg", "item_id"))
    items = read_table(folder / "items.csv").with_columns(
        credits=credits_.str.strip_chars(", "), image=image, year=pl.col("year").cast(pl.Int32)
    )
    items = items.select("item_id", "title", "genres", "year", "rated", "plot", "credits", "llm_description", "image")
    settings = config.model_copy(
        update={
            "default_kind": "rating",
            "min_value": 4.0 if config.min_value is None else config.min_value,
            "lists": GENRES,
            "text": config.text or ["title", "plot", "credits", "llm_description"],
            "media": {"image": "image"},
            "attributes": ["genres", "year", "rated"],
        }
    )
    return assemble(
        settings,
        ratings,
        items,
        read_table(folder / "users.csv"),
        media_root=folder,
        names=("interactions.csv.gz", "items.csv", "users.csv"),
    )


def _dat(path: Path, columns: list[str]) -> pl.DataFrame:
    """Read a `::` file in Latin-1; polars splits on one character only."""
    rows = [line.split("::") for line in path.read_text(encoding="latin-1").splitlines() if line]
    return pl.DataFrame(rows, schema=columns, orient="row")
