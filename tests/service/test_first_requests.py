"""What somebody meets who calls the service for the first time: examples, keys that are called otherwise, a service that is down."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from penchant.cli import app as commands
from penchant.client import Client, ServiceError
from penchant.core.errors import ConfigError
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.server import serve


@pytest.fixture(scope="module")
def client(shop: Path, tmp_path_factory: pytest.TempPathFactory):
    app = create_app(ServiceConfig(bundle=shop, folder=tmp_path_factory.mktemp("first")))
    with TestClient(app, base_url="http://localhost") as client:
        yield client


def test_every_call_with_a_body_shows_one(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    calls = [call for methods in schema["paths"].values() for call in methods.values() if "requestBody" in call]
    assert len(calls) == 9
    for call in calls:
        assert call["requestBody"]["content"]["application/json"]["examples"], call["operationId"]
    page = client.get("/docs").text
    assert page.count("<h3>Body</h3>") == 9
    assert page.count("<h3>Example: ") >= 9


@pytest.mark.parametrize(
    ("method", "path", "body", "fix"),
    [
        ("POST", "/v1/search", {"text": "x"}, "it is called 'words' here; allowed keys: audio, image, k, words"),
        (
            "POST",
            "/v1/predict/health",
            {"words": "x"},
            "it is called 'text' here; allowed keys: audio, evidence, image",
        ),
        (
            "POST",
            "/v1/events",
            {"user": "u", "item_id": "i1"},
            "add 'user_id'; allowed keys: at, audio, event_id, image",
        ),
        ("POST", "/v1/events", {"events": [{"user_id": "u"}]}, "add"),
        ("POST", "/v1/sessions/recommendations", {"histori": []}, "did you mean 'history'? allowed keys: about, allow"),
        (
            "PATCH",
            "/v1/users/u1/profile",
            {"edits": [{"nam": "x"}]},
            "add 'name'; allowed keys: action, name, strength, value",
        ),
        ("PUT", "/v1/items/i1", {"zzzz": 1}, "leave it out; allowed keys: audio, columns, image"),
        ("POST", "/v1/search", {"image": {"path": "x.jpg"}}, "leave it out; allowed keys: data, file, url"),
        (
            "GET",
            "/v1/users/u1/recommendations?wher=a:b",
            None,
            "did you mean 'where'? allowed keys: k, where, at_least",
        ),
    ],
)
def test_errors_list_the_allowed_keys(client: TestClient, method: str, path: str, body: object, fix: str) -> None:
    answer = client.request(method, path, json=body) if body is not None else client.request(method, path)
    assert answer.status_code == 422, answer.text
    assert answer.json()["fix"].startswith(fix)


def test_a_filter_that_no_item_passes_says_so(client: TestClient) -> None:
    answer = client.get("/v1/users/u0/recommendations", params={"where": "item:i99"})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "No item has item 'i99'."
    assert "Did you mean" in answer.json()["fix"]


def test_a_taken_port_is_told_before_the_bundle_is_read(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Another program listens at 127.0.0.1:{port}") as caught:
            serve(ServiceConfig(bundle=tmp_path / "none", folder=tmp_path / "state"), port=port)
        assert f"--port {port + 1}" in caught.value.fix
        shown = CliRunner().invoke(
            commands, ["serve", str(tmp_path / "none"), "--port", str(port)], env={"COLUMNS": "300"}
        )
        assert "Another program listens" in shown.output
        assert shown.exit_code == 1
    with pytest.raises(ConfigError, match="cannot be listened at"):
        serve(ServiceConfig(bundle=tmp_path / "none", folder=tmp_path / "state"), host="203.0.113.1", port=8000)


def test_a_client_says_that_the_service_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}/") as client,
        pytest.raises(ServiceError, match="cannot be reached") as caught,
    ):
        client.recommend("u1")
    assert caught.value.status == 0
    assert caught.value.where == f"http://127.0.0.1:{port}/v1/users/u1/recommendations"
    assert "penchant serve BUNDLE" in caught.value.fix


def test_a_client_says_that_the_service_is_slow() -> None:
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen()
        address = f"http://127.0.0.1:{slow.getsockname()[1]}"
        with (
            Client(address, timeout=0.2) as client,
            pytest.raises(ServiceError, match="did not answer in time") as caught,
        ):
            client.search("shoes")
    assert "timeout" in caught.value.fix
