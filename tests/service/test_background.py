"""A new bundle takes over without a failed request; a wrong one does not."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

from penchant.core.errors import ArtifactError
from penchant.recommender.new_items import encode_new_item
from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from shop import make_bundle


@pytest.fixture
def shop_config(own_shop: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(bundle=own_shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])


def test_new_bundle_takes_over_without_a_failed_request(shop_config: ServiceConfig):
    codes: list[int] = []
    marks: set[str] = set()
    stop = threading.Event()
    with TestClient(create_app(shop_config)) as client:

        def ask() -> None:
            while not stop.is_set():
                answer = client.get("/v1/users/u1/recommendations")
                codes.append(answer.status_code)
                marks.add(answer.json()["bundle"])

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in ("second", "third"):
            make_bundle(shop_config.bundle, version=version)
            client.app.state.worker.step()
        stop.set()
        for thread in threads:
            thread.join()
        assert client.get("/readyz").json()["bundle"] in marks | {client.get("/readyz").json()["bundle"]}
    assert set(codes) == {200}
    assert len(marks) >= 2


def test_another_catalogs_bundle_is_refused(shop_config: ServiceConfig, caplog: pytest.LogCaptureFixture):
    with TestClient(create_app(shop_config)) as client:
        held = client.get("/readyz").json()["bundle"]
        bundle = Recommender.load(shop_config.bundle)
        renamed = bundle.catalog.table.with_columns(item_id="other-" + pl.col("item_id"))
        object.__setattr__(bundle.catalog, "table", renamed)
        bundle.save(shop_config.bundle)
        client.app.state.worker.step()
        assert "of another catalog" in caplog.text
        assert client.get("/readyz").json()["bundle"] == held
        assert client.get("/v1/users/u1/recommendations").json()["items"][0]["item_id"].startswith("i")


def test_altered_bundle_is_refused_and_the_old_one_answers(shop_config: ServiceConfig):
    with TestClient(create_app(shop_config)) as client:
        make_bundle(shop_config.bundle, version="second")
        with (shop_config.bundle / "ensemble.safetensors").open("ab") as file:
            file.write(b"x")
        with pytest.raises(ArtifactError, match="was altered"):
            client.app.state.worker.step()
        assert client.get("/v1/users/u1/recommendations").status_code == 200


def test_altered_bundle_does_not_start(shop_config: ServiceConfig):
    (shop_config.bundle / "ensemble.json").write_text("{}")
    with pytest.raises(ArtifactError, match="was altered"), TestClient(create_app(shop_config)):
        pass


def test_items_taken_in_stay_when_the_bundle_changes(shop_config: ServiceConfig):
    with TestClient(create_app(shop_config)) as client:
        client.put("/v1/items/new", json={"columns": {"title": "t", "genres": ["low"]}})
        client.app.state.worker.step()
        make_bundle(shop_config.bundle, version="second")
        client.app.state.worker.step()
        assert client.get("/readyz").json()["items"] == 25
    with TestClient(create_app(shop_config)) as client:
        assert client.get("/readyz").json()["items"] == 25


def test_undecodable_media_leaves_the_item_without_it(shop_config: ServiceConfig, caplog: pytest.LogCaptureFixture):
    with TestClient(create_app(shop_config)) as client:
        client.put("/v1/items/new", json={"columns": {"title": "t"}, "audio": {"data": "AAAA"}})
        client.app.state.worker.step()
        assert client.get("/v1/items/new").json()["status"] == "ready"
        assert "is added without some content" in caplog.text
        recommender = client.app.state.service.snapshot.recommender
        assert np.isfinite(recommender.score(recommender.history("u1"))).all()


def test_bundle_in_the_moment_between_old_and_new_is_waited_for(shop_config: ServiceConfig, tmp_path: Path):
    with TestClient(create_app(shop_config)) as client:
        shutil.move(shop_config.bundle, tmp_path / "aside")
        client.app.state.worker.step()
        assert client.get("/v1/users/u1/recommendations").status_code == 200


def test_large_catalogs_index_is_built_beside_and_stays_when_an_item_comes(
    shop_config: ServiceConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    pytest.importorskip("faiss")
    monkeypatch.setattr("penchant.recommender.search.EXACT_UP_TO", 20)
    monkeypatch.setattr("penchant.recommender.index.MAX_TAIL", 0.5)
    monkeypatch.setattr("penchant.recommender.index.MAX_SHIFT", 10.0)
    with caplog.at_level("INFO", logger="penchant.service"), TestClient(create_app(shop_config)) as client:
        caretaker, service = client.app.state.worker, client.app.state.service
        before = client.get("/v1/items/i1/similar").json()
        caretaker._indexing.join(60)
        assert "index of 24 rows: HNSW" in caplog.text
        assert not service.snapshot.recommender.finder.is_due
        assert {item["item_id"] for item in client.get("/v1/items/i1/similar").json()["items"]} == {
            item["item_id"] for item in before["items"]
        }
        client.put("/v1/items/new", json={"columns": {"title": "t", "genres": ["low"]}})
        caretaker.step()
        assert client.get("/readyz").json()["items"] == 25
        assert not service.snapshot.recommender.finder.is_due, "the index of before serves on"
        assert client.get("/v1/items/i1/similar").json()["items"]


def test_an_item_that_fails_is_marked_with_its_reason_and_the_others_go_on(
    shop_config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
):
    def encode(bundle: object, encoders: object, row: pl.DataFrame, *others: object) -> object:
        if row["title"][0] == "bad":
            raise MemoryError("a broken encoder")
        return encode_new_item(bundle, encoders, row, *others)

    monkeypatch.setattr("penchant.service.background.encode_new_item", encode)
    with TestClient(create_app(shop_config)) as client:
        for name in ("bad", "good"):
            client.put(f"/v1/items/{name}", json={"columns": {"title": name}})
        client.app.state.worker.step()
        assert client.get("/v1/items/good").json() == {"item_id": "good", "status": "ready", "reason": None}
        bad = client.get("/v1/items/bad").json()
        assert (bad["status"], bad["reason"]) == ("failed", "MemoryError: see the log of the service.")
        assert client.get("/readyz").json()["items"] == 25
        monkeypatch.undo()
        make_bundle(shop_config.bundle, version="second")
        client.app.state.worker.step()
        assert client.get("/v1/items/bad").json()["status"] == "ready", "a new bundle tries again"
        assert client.get("/readyz").json()["items"] == 26


def test_an_item_whose_column_is_gone_fails_alone(shop_config: ServiceConfig):
    with TestClient(create_app(shop_config)) as client:
        client.put("/v1/items/dear", json={"columns": {"title": "t", "price": 3.0}})
        client.put("/v1/items/plain", json={"columns": {"title": "t"}})
        client.app.state.worker.step()
        assert client.get("/readyz").json()["items"] == 26
        bundle = Recommender.load(shop_config.bundle)
        object.__setattr__(bundle.catalog, "table", bundle.catalog.table.drop("price"))
        object.__setattr__(bundle.catalog, "attribute_columns", ("genres",))
        bundle.save(shop_config.bundle)
        client.app.state.worker.step()
        assert client.get("/v1/items/plain").json()["status"] == "ready"
        dear = client.get("/v1/items/dear").json()
        assert dear["status"] == "failed"
        assert "There is no item column 'price'." in dear["reason"]
        assert client.get("/readyz").json()["items"] == 25
