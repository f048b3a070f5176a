"""Ids in paths: a slash of an id is percent-encoded, and a plain one never reaches another route's handler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.client import Client
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.paths import IdConvertor, PathMiddleware
from penchant.studio.pages import add_studio

IDS = ("a/b", "/", "//", "a/recommendations", "u1/profile", "%2F", "100%", "a%252Fb", "用户/é 1", "?x=1#y", "a;b", "+")
WRONG = {
    ("DELETE", "/v1/users/u3/profile"): "GET, PATCH",
    ("DELETE", "/v1/users/u3/recommendations"): "GET",
    ("PUT", "/v1/users/u3/profile"): "GET, PATCH",
    ("DELETE", "/v1/users/u3/explanations/i1"): "GET",
    ("PUT", "/v1/items/i1/similar"): "GET",
    ("DELETE", "/v1/items/i1/similar"): "GET",
    ("POST", "/v1/items/i1"): "DELETE, GET, PUT",
    ("POST", "/v1/users/u3"): "DELETE, GET, PATCH",
    ("GET", "/v1/events"): "POST",
    ("DELETE", "/v1/export/u3"): "GET",
    ("GET", "/v1/predict/health"): "POST",
    ("POST", "/healthz"): "GET",
    ("GET", "/studio/event"): "POST",
    ("PUT", "/studio/search"): "GET, POST",
    ("POST", "/studio/static/studio.css"): "GET",
}
NOWHERE = (
    ("DELETE", "/v1/users/a/b"),
    ("DELETE", "/v1/users/a/b/profile"),
    ("GET", "/v1/users/a/b/profile"),
    ("GET", "/v1/users/a/b/recommendations"),
    ("GET", "/v1/export/a/b"),
    ("PUT", "/v1/items/a/b"),
    ("GET", "/v1/items/a/b/similar"),
    ("DELETE", "/v1/users/u3/"),
    ("DELETE", "/v1/users/"),
    ("GET", "/v1/users//profile"),
    ("GET", "/v1/users/u3/explanations/a/b"),
)


@pytest.fixture
def paths(config: ServiceConfig) -> Iterator[TestClient]:
    with TestClient(create_app(config, add_pages=add_studio), raise_server_exceptions=False) as client:
        yield client


def test_other_methods_of_a_path_are_refused_with_those_it_has(paths: TestClient):
    for (method, path), allowed in WRONG.items():
        answer = paths.request(method, path)
        assert (answer.status_code, answer.headers.get("allow")) == (405, allowed), (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
    for method, path in NOWHERE:
        assert paths.request(method, path).status_code == 404, (method, path)
    assert paths.app.state.service.store.erasures() == []
    assert paths.app.state.service.store.items() == []


def test_ids_with_slashes_and_percent_signs_reach_every_route(paths: TestClient):
    shop = Client(http=paths)
    for name in IDS:
        shop.event(name, "i1", event_id="e")
        assert [e["user_id"] for e in shop.export(name)["events"]] == [name]
        assert shop.recommend(name, k=1)["user_id"] == name
        assert shop.edit_profile(name, {"name": "item", "value": "i2", "action": "never"})["edits"]
        assert shop.profile(name)["edits"]
        assert shop.explain(name, "i3")["by_member"]
        assert shop.put_item(name, {"title": name})["item_id"] == name
        assert shop.item(name)["item_id"] == shop.withdraw(name)["item_id"] == name
        address = f"/studio/user?id={quote(name, safe='')}"
        assert paths.get(address).status_code == 200
        shop.erase(name)
        assert shop.export(name)["events"] == []
        assert paths.get(address).status_code == 404


def test_encoding_twice_is_not_decoded_twice(paths: TestClient):
    assert paths.get("/v1/export/a%252Fb").json()["user_id"] == "a%2Fb"
    assert paths.get("/%76%31/export/a%2fb").json()["user_id"] == "a/b"


@settings(deadline=None)
@given(
    segments=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1), is_raw=st.booleans()
)
def test_segments_come_back_as_they_were_sent(segments: list[str], is_raw: bool):
    if not is_raw:  # a server without the raw path cannot tell an encoded slash from another
        segments = [segment.replace("/", "") or "x" for segment in segments]
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(map(IdConvertor().convert, scope["path"].split("/")))

    raw = "/".join(quote(segment, safe="") for segment in segments).encode()
    scope = {"type": "http", "path": "/".join(segments), **({"raw_path": raw} if is_raw else {})}
    asyncio.run(PathMiddleware(app)(scope, None, None))  # type: ignore[arg-type]
    assert seen == segments
