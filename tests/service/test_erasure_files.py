"""An erased user is in no file: neither in the report of the bundle, nor anywhere else that `erase --verify` searches."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

from named_user import SEEN, USER, grep, with_named_user
from penchant.core.artifacts import REPORT, open_artifact, write_artifact
from penchant.recommender.recommender import Recommender
from penchant.reporting.report import user_label
from penchant.reporting.written import WrittenReport, without_examples
from penchant.service import erasure
from penchant.service.app import create_app
from penchant.service.bundle_search import ids_in_folder
from penchant.service.config import ServiceConfig
from penchant.service.security import Secret, make_key
from penchant.service.store import Store
from penchant.studio.pages import add_studio


@pytest.fixture
def named_shop(own_shop: Path, tmp_path: Path) -> Path:
    """Return the shop's bundle with `USER` in the place of u1, and with a report whose example is this user."""
    return with_named_user(own_shop, tmp_path / "written")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path / 'state' / 'store.db'}")
    yield store
    store.close()


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    return Secret.read(tmp_path / "state" / "secret.key")


def test_report_names_no_user(named_shop: Path):
    report = WrittenReport.beside(named_shop)
    assert grep(report.folder, USER) == []
    assert report.read()["examples"][0]["user"] == "user A"
    assert {file.name for file in grep(report.folder, SEEN)} >= {"report.html", "report.json"}
    assert [user_label(n) for n in (1, 25, 26, 702)] == ["user B", "user Z", "user AA", "user AAA"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_examples_of_the_report_need_the_scope_personal(named_shop: Path, tmp_path: Path):
    config = ServiceConfig(bundle=named_shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config, add_pages=add_studio)) as client:
        store = client.app.state.service.store
        pages = {}
        for scopes in ("read", "read,personal"):
            key = make_key(store, scopes, scopes.split(","))
            client.app.state.service.snapshots.sync(store.world_version())
            client.cookies.set("penchant_key", key)
            pages[scopes] = client.get("/studio/report").text
    assert SEEN in pages["read,personal"]
    assert SEEN not in pages["read"]
    assert "<h1>" in pages["read"]
    assert pages["read"] == without_examples(pages["read,personal"])


def test_erased_user_is_found_nowhere(named_shop: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    tempfile_folder = tmp_path / "temporary"
    tempfile_folder.mkdir()
    monkey = pytest.MonkeyPatch()
    monkey.setattr(tempfile, "tempdir", str(tempfile_folder))
    config = ServiceConfig(bundle=named_shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    (tmp_path / "written").rename(tmp_path.parent / f"{tmp_path.name}-source")  # the run's own copy is out of reach
    with TestClient(create_app(config)) as client:
        client.app.state.worker.refit = lambda: None  # done below, in this process
        client.post("/v1/events", json={"user_id": USER, "item_id": "i3", "event_id": "bought"})
        client.patch(f"/v1/users/{USER}/profile", json={"edits": [{"name": "item", "value": "i3", "action": "more"}]})
        client.get(f"/v1/users/{USER}/recommendations?reasons=true")
        client.get(f"/v1/export/{USER}")
        assert grep(tmp_path, USER)
        assert client.delete(f"/v1/users/{USER}").status_code == 200
        service = client.app.state.service
        erasure.finish(config.bundle, service.store, service.secret)
        client.app.state.worker.step()
        client.get(f"/v1/users/{USER}/recommendations")
        assert client.get("/readyz").json()["users"] == 39
        assert grep(tmp_path / "state", USER) == []
        assert client.get("/metrics").text.count(USER) == 0
    monkey.undo()
    assert grep(tmp_path, USER, SEEN) == []
    assert USER not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("penchant"))


def test_verify_finds_an_erased_user_in_any_file(named_shop: Path, store: Store, secret: Secret, tmp_path: Path):
    erasure.erase(store, secret, Recommender.load(named_shop), USER)
    erasure.finish(named_shop, store, secret)
    assert erasure.verify(named_shop, store, secret).files == ()
    report = tmp_path / "report"
    report.mkdir()
    for file in WrittenReport.beside(named_shop).folder.iterdir():
        (report / file.name).write_bytes(file.read_bytes())
    with (report / "report.html").open("a") as page:
        page.write(f"<p>Suggested to <b>{USER}</b></p>")
    Recommender.load(named_shop).save(named_shop, report=report)
    found = erasure.verify(named_shop, store, secret)
    assert found.files == ("bundle/report/report.html",)
    assert not found.is_clean
    assert "1 files of the bundle name erased users: bundle/report/report.html" in found.lines()


def test_report_of_an_earlier_version_loses_its_pages(named_shop: Path, tmp_path: Path):
    report, copy = WrittenReport.beside(named_shop), tmp_path / "copy"
    for page in (report.html, report.markdown):
        page.write_text(page.read_text().replace("<!-- examples -->", ""))
    copy.mkdir()
    report.copy_without_examples(copy)
    assert report.has_unmarked_examples
    assert sorted(file.name for file in copy.iterdir()) == ["messages.json", "report.json"]
    assert grep(copy, SEEN) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps({"rows": [{"note": f"bought by {USER}."}]})),
        ("b.json", json.dumps({USER: 1})),
        ("c.html", f"<li>{USER}</li>"),
        ("d.html", "<li>Zo&euml; &amp; Max</li>"),
        ("e.md", "**anna\\@shop.example**: a tune"),
        ("f.txt", f"x\n{USER}\ny"),
        ("g.json", json.dumps({"user": "42"})),
        ("h.bin", f"\0\1 {USER} \2"),
    ],
)
def test_id_is_found_in_every_kind_of_file(tmp_path: Path, name: str, text: str):
    folder = write_artifact(tmp_path / "b", lambda into: (into / name).write_text(text), kind="bundle")
    ids = {USER, "Zoë & Max", "42"}
    assert ids_in_folder(folder, ids.__contains__) == [f"b/{name}"]


def test_id_is_found_in_tables_and_beside_the_folder(tmp_path: Path):
    def write(into: Path) -> None:
        pl.DataFrame({"item_id": ["7", USER], "tags": [["x"], ["by anna"]]}).write_parquet(into / "catalog.parquet")
        pl.DataFrame({"user_id": ["42"]}).write_parquet(into / "users.parquet")
        (into / "facts.json").write_text(json.dumps({"items": ["7", USER], "seed": "42"}))

    folder = write_artifact(tmp_path / "b", write, kind="bundle")
    open_artifact(folder, kind="bundle")
    assert ids_in_folder(folder, {"7", USER}.__contains__) == []  # ids of items, where items stand
    assert ids_in_folder(folder, {"42"}.__contains__) == ["b/users.parquet"]
    assert ids_in_folder(folder, {"anna"}.__contains__) == ["b/catalog.parquet"]
    (tmp_path / ".b.old-7").mkdir()
    (tmp_path / ".b.old-7" / "x.txt").write_text("max")
    assert ids_in_folder(folder, {"max"}.__contains__) == [".b.old-7/x.txt"]
    assert (folder.parent / REPORT).exists() is False
