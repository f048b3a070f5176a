"""Labelled tasks over HTTP: what `penchant predict` says, under the service's limits and scopes, and nothing is kept."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import trimesh
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from labelled_media import write_samples, write_sound
from penchant import cli
from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.prediction import Prediction
from penchant.client import Client, ServiceError
from penchant.core.errors import ArtifactError
from penchant.pipelines.classification import NOT_A_DIAGNOSIS, ClassificationConfig, run
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.schemas import PredictionOut
from penchant.service.security import make_key
from penchant.service.service import Service

GLAD = "a lovely room and joyful staff"


@pytest.fixture(scope="module")
def client(shop: Path, health: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("state")
    media = folder / "allowed"
    media.mkdir()
    write_sound(media, 1, glad=False, rng=np.random.default_rng(1))
    config = ServiceConfig(
        bundle=shop,
        tasks={"health": health},
        folder=folder,
        media_folder=media,
        watch_seconds=60,
        host_names=["testserver"],
    )
    with TestClient(create_app(config), raise_server_exceptions=False) as client:
        yield client


def test_answer_is_that_of_the_command_line(client: TestClient, health: Path):
    answer = client.post("/v1/predict/health", json={"text": GLAD})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    said = TrainedClassifier.load(health).predict(text=GLAD)
    assert (found["task"], found["label"]) == ("health", "glad")
    assert found["score"] == pytest.approx(said.score)
    assert found["threshold"] == pytest.approx(said.threshold)
    assert found["probabilities"] == pytest.approx(dict(said.probabilities))
    assert found["is_unsure"] is said.is_unsure
    assert {word for word, _ in found["evidence"][:2]} == {"lovely", "joyful"}
    assert NOT_A_DIAGNOSIS in found["notes"]


def test_every_part_of_a_prediction_is_in_the_answer():
    assert {field.name for field in fields(Prediction)} <= set(PredictionOut.model_fields)


def test_sound_is_heard_from_the_body_and_from_the_media_folder(client: TestClient, tmp_path: Path):
    name = write_sound(tmp_path, 2, glad=True, rng=np.random.default_rng(2))
    data = base64.b64encode((tmp_path / name).read_bytes()).decode()
    high = client.post("/v1/predict/health", json={"audio": {"data": data}}).json()
    low = client.post("/v1/predict/health", json={"audio": {"file": "1.wav"}}).json()
    assert high["probabilities"]["glad"] > low["probabilities"]["glad"] + 0.03
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    assert not (service.config.state_folder / "media").exists(), "what was judged is not kept"


def test_doubtful_and_unreadable_content_asks_for_a_person(client: TestClient):
    broken = client.post("/v1/predict/health", json={"audio": {"data": base64.b64encode(b"noise").decode()}}).json()
    assert broken["is_unsure"]
    assert broken["notes"][0].startswith("nothing could be read")


def test_unknown_task_is_told_which_there_are(client: TestClient):
    answer = client.post("/v1/predict/sentiment", json={"text": "x"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "There is no task 'sentiment'."
    assert answer.json()["fix"] == "Known names: health."
    assert client.get("/readyz").json()["tasks"] == ["health"]


def test_service_without_tasks_says_how_to_get_one(config: ServiceConfig):
    with TestClient(create_app(config)) as bare:
        assert "--task NAME=BUNDLE" in bare.post("/v1/predict/health", json={"text": "x"}).json()["fix"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "The content holds nothing to classify: the classifier reads text, audio."),
        ({"image": {"data": "eA=="}}, "The content holds nothing to classify"),
        ({"audio": {"data": "no base64!"}}, "The data is not base64."),
        ({"audio": {"file": "../secret.key"}}, "'../secret.key' leads out of the media folder."),
        ({"audio": {"url": "https://127.0.0.1/x.wav"}}, "127.0.0.1"),
        ({"audio": {}}, "0 sources were given."),
        ({"words": "x"}, "Extra inputs are not permitted"),
        ({"text": ""}, "at least 1 character"),
        ({"signal": {"data": "eA==", "ending": "../x"}}, "pattern"),
    ],
)
def test_what_cannot_be_judged_is_told(client: TestClient, body: dict[str, object], detail: str):
    answer = client.post("/v1/predict/health", json=body)
    assert answer.status_code == 422, answer.text
    assert detail in answer.json()["detail"]


def test_key_needs_the_scope_read(shop: Path, health: Path, tmp_path: Path):
    app = create_app(
        ServiceConfig(
            bundle=shop, tasks={"health": health}, folder=tmp_path, watch_seconds=60, host_names=["testserver"]
        )
    )
    with TestClient(app) as client:
        service: Service = app.state.service
        keys = {scope: make_key(service.store, scope, [scope]) for scope in ("read", "write")}
        service.snapshots.sync(service.store.world_version())
        asked = {
            scope: client.post("/v1/predict/health", json={"text": GLAD}, headers={"Authorization": f"Bearer {key}"})
            for scope, key in keys.items()
        }
        assert client.post("/v1/predict/health", json={"text": GLAD}).status_code == 401
    assert {scope: answer.status_code for scope, answer in asked.items()} == {"read": 200, "write": 403}


def test_folder_without_a_classifier_stops_the_start(shop: Path, tmp_path: Path):
    with (
        pytest.raises(ArtifactError),
        TestClient(create_app(ServiceConfig(bundle=shop, tasks={"x": shop}, folder=tmp_path))),
    ):
        pass


def test_python_client_predicts(client: TestClient):
    shop = Client(http=client)
    assert shop.predict("health", GLAD)["label"] == "glad"
    assert shop.predict("health", {"text": "awful and broken"}, evidence=False)["evidence"] == []
    with pytest.raises(ServiceError, match="There is no task 'mood'"):
        shop.predict("mood", GLAD)


def test_shape_and_readings_are_known_by_their_ending(shop: Path, tmp_path: Path):
    write_samples(tmp_path, 24, modalities=("mesh", "signal"))
    settings = {
        "name": "things",
        "output": tmp_path / "bundle",
        "cache": tmp_path / "cache",
        "data": {"path": tmp_path / "samples.csv", "text": [], "media": {"mesh": "mesh", "signal": "signal"}},
        "content": {"shape": {"encoder": "shape"}, "rhythm": {"encoder": "signal"}},
        "classifiers": {"shape": {"model": "linear"}, "rhythm": {"model": "linear"}},
        "fit": {"fusion": ["stacking"]},
        "evaluation": {"intervals": {"resamples": 50}},
    }
    run(ClassificationConfig.read(settings, where="test"))
    box = trimesh.creation.box((3, 1, 0.2)).export(file_type="ply")
    readings = pl.read_csv(tmp_path / "signals" / "1.csv").write_csv().encode()
    given = {
        "mesh": {"data": base64.b64encode(box).decode(), "ending": ".ply"},
        "signal": {"data": base64.b64encode(readings).decode(), "ending": ".csv"},
    }
    config = ServiceConfig(
        bundle=shop,
        tasks={"things": tmp_path / "bundle"},
        folder=tmp_path / "state",
        media_folder=tmp_path,
        host_names=["testserver"],
    )
    with TestClient(create_app(config)) as client:
        labels = [client.post("/v1/predict/things", json={name: one}).json() for name, one in given.items()]
        named = client.post("/v1/predict/things", json={"signal": {"file": "signals/1.csv"}}).json()
    assert [one["label"] for one in labels] == ["cross", "glad"]
    assert named["probabilities"] == pytest.approx(labels[1]["probabilities"])


@pytest.mark.parametrize("options", [["sentiment"], ["=x"], ["a="], ["a=x", "a=y"]])
def test_task_that_names_no_bundle_is_told(shop: Path, options: list[str]):
    told = CliRunner().invoke(
        cli.app, ["serve", str(shop), *(part for option in options for part in ("--task", option))]
    )
    assert told.exit_code == 1
    assert "does not name a new task" in told.output
