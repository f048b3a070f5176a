"""MovieLens in its official formats, and with plots and posters.

In: a folder as GroupLens publishes it. Out: a `Dataset`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Dataset
from penchant.data.read.columns import rename
from penchant.data.read.sources import DataConfig, assemble
from penchant.data.read.tables import RawTable, read_table

RATINGS = ["user_id", "item_id", "value", "at"]
MOVIES = ["item_id", "title", "genres"]
USERS = ["user_id", "gender", "age", "occupation", "zip"]
CSV_NAMES = {"user_id": "userId", "item_id": "movieId", "value": "rating", "at": "timestamp"}
CREDITS = ("director", "writer", "actors")


def read_movielens(config: DataConfig) -> Dataset:
    """Read ratings.dat or ratings.csv, with movies, and with users and tags where they exist.

    Users' tags become the column `tags`, which is used only where `text` names it: some were given after the test began.

    Source: https://files.grouplens.org/datasets/movielens/ml-1m-README.txt and ml-latest-README.html.
    """
    folder = config.path
    users = None
    if (folder / "ratings.dat").is_file():
        ratings, movies = _dat(folder / "ratings.dat", RATINGS), _dat(folder / "movies.dat", MOVIES)
        tags = _dat(folder / "tags.dat", ["user_id", "item_id", "tag", "at"]) if _has(folder, "tags.dat") else None
        if _has(folder, "users.dat"):
            users = _dat(folder / "users.dat", USERS)
            users = users.having(
                users.table.drop("zip")
            )  # nearly one for each user: it identifies users more than it describes them
    elif (folder / "ratings.csv").is_file():
        ratings = rename(read_table(folder / "ratings.csv"), CSV_NAMES, (), "data.columns")
        movies = rename(read_table(folder / "movies.csv"), {"item_id": "movieId"}, tuple(MOVIES), "data.item_columns")
        tags = read_table(folder / "tags.csv") if _has(folder, "tags.csv") else None
        tags = tags and rename(tags, {"item_id": "movieId"}, ("tag",), "data.columns")
    else:
        raise DataError(
            "There is no ratings.dat or ratings.csv.",
            where=str(folder),
            fix="unpack ml-1m.zip or ml-latest.zip and give that folder",
        )
    movies = movies.having(_with_year(_without_none(movies.table)))
    if tags is not None:
        movies = movies.having(movies.table.join(_tags_of(tags.table), on="item_id", how="left"))
    settings = config.with_defaults(
        default_kind="rating", lists={"genres": "|"}, text=["title"], media={}, attributes=["genres", "year"]
    )
    return assemble(settings, ratings, movies, users, media_root=folder / config.media_folder)


def read_movielens_mm(config: DataConfig) -> Dataset:
    """Read MovieLens-1M beside plots, credits, posters and written descriptions.

    Ratings of 4 and 5 are taken unless `min_value` is set: only they all have a time. The descriptions were written by
    a language model and may carry outside knowledge, so they are a text column of their own.
    """
    folder = config.path
    ratings = read_table(folder / "interactions.csv.gz")
    ratings = rename(ratings, {"value": "rating", "at": "timestamp"}, ("user_id", "item_id"), "data.columns")
    films = rename(read_table(folder / "items.csv"), {}, (*MOVIES, *CREDITS, "has_image"), "data.item_columns")
    credits_ = pl.concat_str([pl.col(column) for column in CREDITS], separator=", ", ignore_nulls=True)
    columns = [*MOVIES, "year", "rated", "plot", "credits", "llm_description", "image"]
    items = films.table.with_columns(
        credits=pl.when(credits_ != "").then(credits_),
        image=pl.when(pl.col("has_image").str.strip_chars() == "1").then(pl.format("images/{}.jpg", "item_id")),
    ).select(columns)
    settings = config.with_defaults(
        default_kind="rating",
        min_value=4.0,
        lists={"genres": "|"},
        text=["title", "plot", "credits", "llm_description"],
        media={"image": "image"},
        attributes=["genres", "year", "rated"],
    )
    users = read_table(folder / "users.csv") if _has(folder, "users.csv") else None
    return assemble(
        settings, _only_events(ratings), films.having(items), users, media_root=folder / config.media_folder
    )


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _dat(path: Path, columns: list[str]) -> RawTable:
    """Read a `::` file; ML-1M is in Latin-1, ML-10M in UTF-8."""
    return read_table(path, separator="::", columns=columns, quote=None)


def _only_events(raw: RawTable) -> RawTable:
    """Leave out the columns of published splits."""
    return raw.having(raw.table.select("user_id", "item_id", "value", "at"))


def _without_none(movies: pl.DataFrame) -> pl.DataFrame:
    """Replace "(no genres listed)" by null."""
    return movies.with_columns(genres=pl.when(pl.col("genres") != "(no genres listed)").then("genres"))


def _with_year(movies: pl.DataFrame) -> pl.DataFrame:
    """Take the year from "Toy Story (1995)"."""
    return movies.with_columns(year=pl.col("title").str.extract(r"\((\d{4})\)\s*$"))


def _tags_of(tags: pl.DataFrame) -> pl.DataFrame:
    """Return each film's tags, the most given first."""
    counts = tags.drop_nulls("tag").group_by("item_id", pl.col("tag").str.to_lowercase()).len()
    ordered = counts.sort("item_id", "len", "tag", descending=[False, True, False])
    return ordered.group_by("item_id").agg(tags=pl.col("tag").str.join(", "))
