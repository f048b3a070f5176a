"""A recommender before the first event: from content alone, and from what everybody does as soon as a service knows it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from penchant.cli import app as commands
from penchant.core.errors import DataError
from penchant.pipelines.day_zero import day_zero
from penchant.pipelines.recommendation_settings import RecommendationConfig
from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.studio.pages import add_studio


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("day-zero")
    kinds = ["tea", "coffee", "soap"]
    pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(90)],
            "title": [f"{kinds[n % 3]} {n}" for n in range(90)],
            "genres": [kinds[n % 3] for n in range(90)],
            "code": [f"c{n}" for n in range(90)],
        }
    ).write_csv(home / "items.csv")
    (home / "shop.toml").write_text(
        f"""name = "shop"
output = "{home / "bundle"}"
cache = "{home / "cache"}"
[data]
path = "{home}"
[content.genres]
encoder = "attributes"
columns = ["genres", "code"]
"""
    )
    answer = CliRunner().invoke(commands, ["day-zero", str(home / "shop.toml"), "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["items"] == 90
    return home


def test_content_alone_finds_what_is_alike(settings: Path):
    recommender = Recommender.load(settings / "bundle")
    found = recommender.recommend(recommender.history_of(["i0", "i15"]), 4)
    assert [item.title.split()[0] for item in found] == ["tea"] * 4
    assert found.basis == "history"
    assert len(recommender.histories) == 0


def test_the_service_begins_with_it_and_learns_what_is_chosen(settings: Path, tmp_path: Path):
    config = ServiceConfig(
        bundle=settings / "bundle", folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"]
    )
    with TestClient(create_app(config, add_pages=add_studio)) as client:
        assert client.get("/v1/users/anybody/recommendations").json()["basis"] == "popularity"
        assert client.get("/").status_code == 200
        assert client.get("/studio/operations").status_code == 200
        for n in range(8):
            client.post("/v1/events", json={"user_id": f"u{n}", "item_id": "i7", "kind": "purchase"})
        client.app.state.worker.step()
        first = client.get("/v1/users/anybody/recommendations?k=1").json()["items"][0]
        assert first["item_id"] == "i7"  # what everybody chose
        own = client.get("/v1/users/u0/recommendations?k=3").json()["items"]
        assert {item["title"].split()[0] for item in own} == {"coffee"}  # like i7
        assert client.get("/v1/users/u0/profile").status_code == 200


def test_without_items_or_content_the_reason_is_told(settings: Path, tmp_path: Path):
    config = RecommendationConfig.read({"name": "x", "data": {"path": tmp_path}}, where="test")
    with pytest.raises(DataError, match=r"(?s)no file of items.*items = "):
        day_zero(config)
    pl.DataFrame({"item_id": ["a", "b"]}).write_csv(tmp_path / "items.csv")
    bare = {"name": "x", "data": {"path": tmp_path}, "output": tmp_path / "out", "cache": tmp_path / "cache"}
    with pytest.raises(DataError, match="Nothing of the items can be encoded"):
        day_zero(RecommendationConfig.read(bare, where="test"))
