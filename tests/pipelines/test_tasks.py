"""One entrance for every task: TOML, settings objects and tables in memory give the same result; wrong names are refused early."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import penchant
from penchant.classifiers.bundle import TrainedClassifier
from penchant.core.errors import ArtifactError, ConfigError
from penchant.pipelines import recommendation
from penchant.pipelines.tasks import read_settings
from penchant.recommender.recommender import Recommender

EVENTS = """
[data]
path = "data"
[content]
[members.popularity]
model = "popularity"
[members.ease]
model = "ease"
regularisation = 10
[fit]
ablation = false
"""
REVIEWS = """
task = "classification"
[data]
path = "reviews.csv"
"""


def events(num_users: int = 40, num_items: int = 12) -> pl.DataFrame:
    """Return users who prefer even or odd items, eight events each."""
    rng = np.random.default_rng(0)
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{item}", "at": 1_600_000_000 + 3600 * place}
        for user in range(num_users)
        for place, item in enumerate(rng.permutation(num_items // 2)[:6] * 2 + user % 2)
    ]
    return pl.DataFrame(rows)


def reviews(count: int = 60) -> pl.DataFrame:
    """Return texts whose label follows from one word."""
    rng = np.random.default_rng(1)
    fill = [
        "room",
        "bed",
        "view",
        "desk",
        "lamp",
        "floor",
        "stairs",
        "door",
        "window",
        "breakfast",
        "pool",
        "garden",
        "street",
        "bar",
    ]
    texts = [
        " ".join([*rng.choice(fill, 12), "lovely" if n % 2 else "dirty", *rng.choice(fill, 6)]) for n in range(count)
    ]
    return pl.DataFrame({"text": texts, "label": ["good" if n % 2 else "bad" for n in range(count)]})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with a recommendation and a labelled task."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    events().write_csv(tmp_path / "data" / "interactions.csv")
    (tmp_path / "shop.toml").write_text(EVENTS)
    reviews().write_csv(tmp_path / "reviews.csv")
    (tmp_path / "reviews.toml").write_text(REVIEWS)
    return tmp_path


def numbers(found: Any) -> dict[str, Any]:
    """Return the scores of a report, without times."""
    report = found.report.read()
    return {row["name"]: row["scores"] for row in (report.get("leaderboard") or report["labelled"])["rows"]}


@pytest.mark.parametrize(
    "form", [lambda t: t, lambda t: t.to_pandas(), lambda t: t.to_arrow()], ids=["polars", "pandas", "arrow"]
)
def test_tables_in_memory_and_files_give_the_same_recommender(home: Path, form: Callable[[pl.DataFrame], Any]) -> None:
    settings = {
        "content": {},
        "members": {"popularity": {"model": "popularity"}, "ease": {"model": "ease", "regularisation": 10}},
        "fit": {"ablation": False},
    }
    from_file = penchant.run(home / "shop.toml", name="file")
    table = pl.read_csv(home / "data" / "interactions.csv")
    from_table = penchant.run(interactions=form(table), name="table", **settings)
    assert isinstance(from_table, Recommender)
    assert numbers(from_table) == numbers(from_file)
    assert (from_table.folder, from_file.folder) == (Path("runs/table"), Path("runs/file"))
    history = from_file.history_of(["i0", "i2"])
    assert np.array_equal(from_table.score(history), from_file.score(history))


def test_a_settings_object_runs_and_keywords_replace_its_values(home: Path) -> None:
    config = recommendation.RecommendationConfig.from_toml(home / "shop.toml")
    found = penchant.run(config, name="object", seed=3)
    assert found.report.read()["seed"] == 3
    assert read_settings(config, {"name": "other"}).name == "other"
    assert config.name == "run"


def test_a_labelled_task_runs_from_toml_and_from_a_table(home: Path) -> None:
    from_file = penchant.run(home / "reviews.toml", name="file")
    from_table = penchant.run(samples=pl.read_csv(home / "reviews.csv"), task="classification", name="table")
    assert isinstance(from_file, TrainedClassifier)
    assert numbers(from_table) == numbers(from_file)
    assert from_table.predict(text="lovely view").label == "good"


def test_load_returns_what_the_folder_holds(home: Path) -> None:
    penchant.run(home / "shop.toml", name="shop")
    penchant.run(home / "reviews.toml", name="reviews")
    assert isinstance(penchant.load("runs/shop"), Recommender)
    assert isinstance(penchant.load("runs/reviews"), TrainedClassifier)
    with pytest.raises(ArtifactError, match="no finished recommender or classifier"):
        penchant.load(home / "data")


def test_a_report_shows_itself_in_a_notebook_frame(home: Path) -> None:
    report = penchant.run(home / "shop.toml").report
    page = report._repr_html_()
    assert page.startswith("<iframe srcdoc=")
    assert "<script" not in page  # the page is escaped into the attribute
    assert "&lt;html" in page
    assert report.html.is_file()


@pytest.mark.parametrize(
    ("settings", "message", "where"),
    [
        ({"task": "clasification"}, "task = 'clasification' does not fit", "task"),
        ({"evaluation": {"positive": "god"}}, "There is no class 'god'", "evaluation.positive"),
        ({"evaluation": {"within": "town"}}, "There is no (sample )?column 'town'", "evaluation.within"),
        ({"fit": {"tune": {"costs": {"god": 2.0}}}}, "There is no class 'god'", "fit.tune.costs"),
        ({"classifiers": {"words": {"model": "ngram"}}}, "There is no classifier 'ngram'", "classifiers.words"),
    ],
)
def test_a_misspelt_name_is_refused_before_anything_is_encoded(
    home: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str, where: str
) -> None:
    monkeypatch.setattr("penchant.pipelines.classification.encode_catalog", lambda *_, **__: pytest.fail("encoded"))
    with pytest.raises(ConfigError, match=message) as error:
        penchant.run(home / "reviews.toml", **settings)
    assert where in error.value.where
    assert error.value.fix


@pytest.mark.parametrize(
    ("settings", "message", "where"),
    [
        ({"evaluation": {"group": "age"}}, "There is no column of users 'age'", "evaluation.group"),
        ({"evaluation": {"cutoff": 7}}, "evaluation.cutoff = 7 is not among", "evaluation.cutoff"),
        ({"members": {"one": {"model": "eese"}}}, "There is no model 'eese'", "members.one"),
    ],
)
def test_a_misspelt_name_of_a_recommendation_is_refused_before_anything_is_encoded(
    home: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str, where: str
) -> None:
    monkeypatch.setattr("penchant.pipelines.recommendation.encode_catalog", lambda *_, **__: pytest.fail("encoded"))
    with pytest.raises(ConfigError, match=message) as error:
        penchant.run(home / "shop.toml", **settings)
    assert where in error.value.where


def test_tables_of_another_task_are_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="takes no table 'samples'"):
        penchant.run(interactions=events(), samples=reviews(), task="recommendation")
    with pytest.raises(ConfigError, match="Samples are given and no task"):
        penchant.run(samples=reviews())
    with pytest.raises(ConfigError, match="There is nothing to run"):
        penchant.run()
    with pytest.raises(ConfigError, match="There is no task 'clasification'"):
        penchant.run(samples=reviews(), task="clasification")


def test_the_report_warns_of_languages_only_where_the_encoder_lacks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"u{user},i{item:02},{1_600_000_000 + item}" for user in range(30) for item in range(user % 3, 12, 2)]
    Path("interactions.csv").write_text("user_id,item_id,at\n" + "\n".join(rows))
    titles = "\n".join(f"i{n:02},第{n}件红色的茶杯" for n in range(12))
    Path("items.csv").write_text("item_id,title\n" + titles, encoding="utf-8")
    Path("run.toml").write_text(
        '[content.titles]\nencoder = "tfidf"\n[members.ease]\nmodel = "ease"\n[fit]\nablation = false\n'
    )
    assert "not English" not in json.dumps(penchant.run("run.toml").report.read())
