"""The page of versions: what each learned from and what became of it; another one is served for a key of the operator alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from chinese_pages import english
from penchant.recommender.recommender import Recommender
from penchant.recommender.versions import VersionRecord, VersionStore, data_range, mark_of
from penchant.service.app import create_app
from penchant.service.security import make_key
from penchant.service.service import ServiceConfig
from penchant.studio.page_context import KEY
from penchant.studio.pages import add_studio

PAGE = {"Sec-Fetch-Site": "same-origin"}
"""What a browser sends with a form of the page itself."""
REPORT = {
    "metric": "ndcg@10",
    "requests": 400,
    "scores": {"version": {"mean": 0.0912}, "parent": {"mean": 0.0899}, "popularity": {"mean": 0.0272}},
    "difference": {"mean": 0.0013, "low": -0.0004, "high": 0.0031},
}


@pytest.fixture
def versions(own_shop: Path) -> VersionStore:
    """Two versions: the served one of a run, and one that waits."""
    store = VersionStore(own_shop)
    store.adopt(made_at=1_700_000_000_000_000)
    bundle = Recommender.load(own_shop)

    def record(number: int) -> VersionRecord:
        return VersionRecord(
            number=number,
            mark="",
            parent=1,
            made_at=1_700_000_600_000_000,
            data=data_range(bundle),
            new_events=12,
            members={"ease": "added"},
            report=REPORT,
        )

    store.publish(bundle, record)
    return store


@pytest.fixture
def client(versions: VersionStore, tmp_path: Path) -> Iterator[TestClient]:
    config = ServiceConfig(
        bundle=versions.bundle, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"]
    )
    with TestClient(create_app(config, add_pages=add_studio), raise_server_exceptions=False) as client:
        yield client


def test_page_shows_where_versions_come_from_and_what_became_of_them(client: TestClient):
    page = client.get("/studio/versions").text
    assert "ndcg@10 0.0912, 0.0899" in page
    assert "+0.0013 [-0.0004, 0.0031]" in page
    assert "2023-11-14 22:23" in page
    assert "waits" in page
    assert "served" in page
    assert page.index(">2</th>") < page.index(">1</th>")  # the newest first
    assert 'href="/studio/versions"' in client.get("/studio/operations").text


@pytest.mark.parametrize(("needed", "is_said"), [(31_234, True), (6000, False), (None, False)])
def test_page_says_when_comparisons_end_too_early(
    client: TestClient, versions: VersionStore, needed: int | None, is_said: bool
):
    versions.report(2, {**REPORT, "needed": needed, "last_look": 6400})
    page = client.get("/studio/versions").text
    assert ("needs about 31,000 requests" in page) == is_said
    assert ("end after 6,400" in page) == is_said
    chinese = client.get("/studio/versions", headers={"Accept-Language": "zh"}).text
    assert ("31,000" in chinese) == is_said
    assert not english(
        chinese,
        {
            "ndcg",
            "ease",
            "English",
            "API",
            "looks",
            "max",
            "requests",
            "max_requests",
            "margin",
            "learning",
            "judging",
            "promote",
            "at_once",
        },
    )


def test_page_is_chinese(client: TestClient):
    page = client.get("/studio/versions", headers={"Accept-Language": "zh"}).text
    assert "模型的版本" in page
    left = {"ndcg", "ease", "English", "API"}
    assert not english(page, left)


def test_operator_serves_another_version_and_the_parent_again(client: TestClient, versions: VersionStore):
    assert versions.served().number == 1  # type: ignore[union-attr]
    done = client.post("/studio/versions/promote", data={"number": "2"}, headers=PAGE, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/studio/versions")
    assert versions.served().number == 2  # type: ignore[union-attr]
    client.app.state.worker.step()  # type: ignore[attr-defined]
    assert client.app.state.service.snapshot.recommender.mark == mark_of(versions.bundle)  # type: ignore[attr-defined]
    assert "Serve version 1 again" in client.get("/studio/versions").text
    client.post("/studio/versions/rollback", headers=PAGE)
    assert [r.outcome for r in versions.records()] == ["promoted", "rolled_back"]


def test_version_with_an_erased_user_is_not_served(client: TestClient, versions: VersionStore):
    client.delete("/v1/users/u1")
    page = client.post("/studio/versions/promote", data={"number": "2"}, headers=PAGE)
    assert page.status_code >= 400
    assert versions.served() is None or versions.served().number != 2  # type: ignore[union-attr]


def test_only_the_operator_changes_what_is_served(client: TestClient, versions: VersionStore):
    service = client.app.state.service  # type: ignore[attr-defined]
    keys = {scope: make_key(service.store, scope, [scope]) for scope in ("read", "admin")}
    service.snapshots.sync(service.store.world_version())
    assert client.get("/studio/versions").status_code == 401
    client.cookies.set(KEY, keys["read"])
    assert "<button aria-label" not in client.get("/studio/versions").text
    for path, data in (("promote", {"number": "2"}), ("rollback", {})):
        assert client.post(f"/studio/versions/{path}", data=data, headers=PAGE).status_code == 403
    client.cookies.set(KEY, keys["admin"])
    assert 'aria-label="Serve version 2"' in client.get("/studio/versions").text
    for origin in ({"Sec-Fetch-Site": "cross-site"}, {}):  # another site makes the browser post
        assert client.post("/studio/versions/promote", data={"number": "2"}, headers=origin).status_code == 403
    assert versions.served().number == 1  # type: ignore[union-attr]


def test_page_without_versions_says_how_to_begin(own_shop: Path, tmp_path: Path):
    config = ServiceConfig(bundle=own_shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config, add_pages=add_studio)) as client:
        assert "penchant serve BUNDLE --learn" in client.get("/studio/versions").text
