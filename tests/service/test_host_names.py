"""Which host names are answered: a page that points its own name at this machine reaches nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from penchant.core.errors import ConfigError
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.host_names import is_allowed
from penchant.service.security import make_key
from penchant.studio.pages import add_studio

LOCAL = ("localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "127.8.9.10:1", "[::1]", "[::1]:8000")
FOREIGN = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "evil.localhost",
    "127.0.0.1.evil.example",
    "127.1",
    "0.0.0.0",
    "10.0.0.1:8000",
    "[::2]",
    "[::ffff:10.0.0.1]",
    "localhost@evil.example",
    "localhost:8000:8000",
    "localhost/",
    "localhost, evil.example",
    "",
)


@pytest.fixture
def plain(config: ServiceConfig) -> Iterator[TestClient]:
    """Return a client of an open service without further names."""
    app = create_app(config.model_copy(update={"host_names": []}), add_pages=add_studio)
    with TestClient(app, base_url="http://localhost:8000") as client:
        yield client


def test_loopback_names_are_allowed_and_no_others():
    assert [host for host in LOCAL if not is_allowed(host, ())] == []
    assert [host for host in FOREIGN if is_allowed(host, ("shop.internal",))] == []
    assert is_allowed("Shop.Internal:443", ("shop.internal",))


def test_open_service_answers_no_other_name_on_any_address(plain: TestClient):
    for path in ("/v1/export/u1", "/docs", "/openapi.json", "/healthz", "/", "/studio/static/studio.css", "/nowhere"):
        assert plain.get(path, headers={"Host": "127.0.0.1:8000"}).status_code in (200, 404)
        for host in FOREIGN:
            refused = plain.get(path, headers={"Host": host})
            assert refused.status_code == 421, (path, host)
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["x-request-id"]
    twice = plain.get("/v1/export/u1", headers=[("Host", "localhost"), ("Host", "evil.example")])
    assert twice.status_code == 421


def test_matching_host_and_origin_of_another_site_change_nothing(plain: TestClient):
    form = {"user_id": "x", "item_id": "i1", "mode": "act"}
    evil = {"Host": "evil.example", "Origin": "http://evil.example"}
    for more in ({}, {"Sec-Fetch-Site": "same-origin"}, {"HX-Request": "true"}):
        assert plain.post("/studio/event", data=form, headers={**evil, **more}).status_code == 421
    ours = {"Origin": "http://localhost:8000"}
    assert plain.post("/studio/event", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
    assert plain.post("/studio/event", data=form, headers=ours, follow_redirects=False).status_code == 200
    assert len(plain.get("/v1/export/x").json()["events"]) == 1


def test_configured_names_are_answered_with_and_without_keys(config: ServiceConfig):
    named = config.model_copy(update={"host_names": ["shop.internal"]})
    with TestClient(create_app(named), base_url="http://shop.internal") as client:
        assert client.get("/v1/export/u1").status_code == 200
        make_key(client.app.state.service.store, "k", ["admin"])
        client.app.state.worker.step()
        assert client.get("/v1/export/u1").status_code == 401
        assert client.get("/v1/export/u1", headers={"Host": "evil.example"}).status_code == 421


def test_keys_without_names_answer_any_name_and_redirect_to_none(plain: TestClient):
    key = make_key(plain.app.state.service.store, "k", ["admin"])
    plain.app.state.worker.step()
    headers = {"Host": "evil.example", "Authorization": f"Bearer {key}"}
    assert plain.get("/v1/export/u1", headers=headers).status_code == 200
    paths = [route.path.replace("{user_id:id}", "u1") for route in plain.app.routes if hasattr(route, "path")]
    for path in [*paths, "/studio/users", "/studio/static", "/v1/search", "/healthz", "//evil.example"]:
        for asked in (path, f"{path}/"):
            answer = plain.get(asked, headers=headers, follow_redirects=False)
            assert "evil.example" not in answer.headers.get("location", ""), asked


@pytest.mark.parametrize("name", ["https://shop", "shop:80", "*", "*.shop", "a b", "", "shop/"])
def test_name_that_is_none_is_told(config: ServiceConfig, name: str):
    with pytest.raises(ConfigError, match="host_names"):
        ServiceConfig.read({"bundle": config.bundle, "host_names": [name]}, where="options")
