"""What reading reviews is worth, on a world in which some events are regretted and only the user's words tell.

In: folders of trained sentiment classifiers, made by `penchant run configs/sentiment-zh.toml` and `configs/sentiment.toml`, or none. Out: how
often they and the built-in mood are right about a review, and NDCG@20 with their moods, without, and with the true ones, on what users truly liked.

    python benchmarks/reviews.py FOLDER zh=runs/sentiment-zh en=runs/sentiment
    python benchmarks/reviews.py FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import polars as pl

from penchant.classifiers.reviews import ReviewsConfig, classify_reviews
from penchant.core.logs import show_logs
from penchant.core.schema import Content, Dataset, Interactions, Vocabulary
from penchant.data.clean.dataset import clean
from penchant.data.histories import build_histories
from penchant.data.read.sources import read
from penchant.data.split.interactions import split
from penchant.encoders.catalog import encode_catalog
from penchant.experiment.fit import OURS, fit
from penchant.metrics.intervals import paired_difference
from penchant.metrics.ranking import measure
from penchant.pipelines.recommendation import RecommendationConfig, at_test, before_test, choose_members, fuse
from penchant.world import WorldConfig, make_world

DISLIKED = ("skip", "regret")
KEY = ["user_id", "item_id", "at"]


def main(folder: Path, sentiment: dict[str, Path]) -> None:
    show_logs()
    size = WorldConfig(size="small", media=False, defects=False, regret_share=0.25, review_share=0.6)
    truth = make_world(folder / "world", size)
    config = RecommendationConfig.read(
        {
            "data": {"path": folder / "world"},
            "cache": folder / "cache",
            "content": {"words": {"encoder": "minilm"}},
            "fit": {"ablation": False},
        },
        where="benchmark",
    )
    dataset = clean(read(config.data), config.clean, config.media)
    readers = {"built in": ReviewsConfig(built_in=True)} | (
        {"with": ReviewsConfig(sentiment=sentiment)} if sentiment else {}
    )
    moods = {
        name: classify_reviews(dataset, reader, config.media, cache=folder / "cache").interactions.table
        for name, reader in readers.items()
    }
    reasons = truth.events().with_columns(pl.col("at").dt.replace_time_zone("UTC").cast(pl.Datetime("us", "UTC")))
    events = dataset.interactions.table.join(reasons, on=KEY, how="left", maintain_order="left")
    true_mood = pl.when(pl.col("text").is_not_null()).then(
        pl.when(pl.col("reason").is_in(DISLIKED)).then(pl.lit("unhappy")).otherwise(pl.lit("happy"))
    )
    arms = {
        "without": events.drop("mood", strict=False),
        **{name: events.with_columns(mood=table["mood"]) for name, table in moods.items()},
        "true moods": events.with_columns(mood=true_mood),
    }
    for name in moods:
        print(name)
        _accuracy(arms[name].with_columns(true=true_mood))
    scores = {name: _score(name, table, dataset, config) for name, table in arms.items()}
    for name in [*moods, "true moods"]:
        gap = paired_difference(scores[name], scores["without"])
        print(f"{name} minus without: {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] {gap.outcome}")


def _accuracy(events: pl.DataFrame) -> None:
    """Print how often a mood is the true one, by language, where the classifier is sure."""
    said = events.filter(pl.col("text").is_not_null())
    chinese = pl.col("text").str.contains(r"\p{Han}")
    for name, rows in (("zh", said.filter(chinese)), ("en", said.filter(~chinese))):
        sure = rows.filter(pl.col("mood").is_not_null())
        unhappy = rows.filter(pl.col("true") == "unhappy")
        found = unhappy.filter(pl.col("mood") == "unhappy").height / unhappy.height
        wrong = rows.filter(pl.col("mood") == "unhappy", pl.col("true") == "happy").height
        print(
            f"{name}: {rows.height} reviews, {rows['text'].n_unique()} different; sure of {sure.height / rows.height:.1%}, right of "
            f"these {(sure['mood'] == sure['true']).mean():.1%}; found {found:.1%} of {unhappy.height} unhappy, {wrong} false alarms"
        )


def _score(name: str, events: pl.DataFrame, dataset: Dataset, config: RecommendationConfig) -> pl.Series:
    """Return each test user's NDCG@20 on what they truly liked; the parts, users and truth are those of every other arm."""
    data = replace(dataset, interactions=Interactions(events))
    parts = split(data.interactions, config.split, config.seed)
    validation, known = before_test(data.catalog, parts, config)
    embeddings, _ = encode_catalog(
        data.catalog, config.content or {}, cache=config.cache / "vectors", limits=config.media
    )
    content, fusion = fuse(Content(embeddings), validation, config)
    tables = choose_members(parts, content, validation, config).tables
    trained = fit(tables, validation, known, content, fusion, config.fit, cutoff=20)
    test = at_test(data.catalog, parts, config)
    liked = parts.test.where(~pl.col("reason").is_in(DISLIKED))
    items, users = Vocabulary(data.catalog.item_ids), test.histories.user_ids
    plain = Interactions(liked.table.drop("mood", strict=False))
    truth = build_histories(plain, items, config.histories, users=users, seed=config.seed)
    lists = trained.pool.rank({OURS: trained.ours.weights}, test.histories, 20)[OURS]
    score = measure(lists, truth, ks=[20], metrics=["ndcg"])["ndcg@20"]
    print(f"{name}: NDCG@20 {score.mean():.4f}, {len(score)} users", flush=True)
    return score


if __name__ == "__main__":
    main(Path(sys.argv[1]), {name: Path(path) for name, path in (pair.split("=", 1) for pair in sys.argv[2:])})
