"""Uploaded files live as long as an item uses them."""

from __future__ import annotations

import base64
import errno
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.store import StoredItem
from penchant.service.uploads import UploadStore


def put(client: TestClient, item_id: str, content: bytes | None) -> None:
    body: dict[str, Any] = {"columns": {"title": "t"}}
    if content is not None:
        body["audio"] = {"data": base64.b64encode(content).decode()}
    assert client.put(f"/v1/items/{item_id}", json=body).status_code == 202


def held(config: ServiceConfig) -> set[bytes]:
    return {path.read_bytes() for path in (config.state_folder / "media").iterdir() if path.name != ".lock"}


def test_file_goes_with_the_last_item_that_uses_it(config: ServiceConfig):
    with TestClient(create_app(config)) as client:
        for item_id, content in (("a", b"shared"), ("b", b"shared"), ("c", b"first")):
            put(client, item_id, content)
        client.app.state.worker.step()
        assert held(config) == {b"shared", b"first"}
        client.delete("/v1/items/a")
        put(client, "c", b"second")
        client.app.state.worker.step()
        assert held(config) == {b"shared", b"second"}
        client.delete("/v1/items/b")
        put(client, "c", None)
        client.app.state.worker.step()
        assert held(config) == set()


def test_parts_of_a_killed_process_go_and_other_files_stay(config: ServiceConfig):
    media = config.state_folder / "media"
    media.mkdir(parents=True)
    (media / f".{'0' * 32}.4711").write_bytes(b"part")
    (media / f".{'0' * 32}.{'ab' * 8}").write_bytes(b"part")
    (media / "README").write_bytes(b"not an upload")
    with TestClient(create_app(config)):
        assert held(config) == {b"not an upload"}


def test_full_disk_before_the_lock_is_held_is_a_507(config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    def full(_uploads: UploadStore) -> Path:
        raise OSError(errno.ENOSPC, "full")

    with TestClient(create_app(config), raise_server_exceptions=False) as client:
        monkeypatch.setattr(UploadStore, "_lock_file", full)
        refused = client.put("/v1/items/a", json={"columns": {"title": "t"}, "audio": {"data": "AAAA"}})
        assert (refused.status_code, refused.json()["where"]) == (507, "audio")
        assert client.get("/v1/items/a").status_code == 404


def test_file_whose_item_another_process_is_storing_stays(config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    with TestClient(create_app(config)) as client, TestClient(create_app(config)) as other:
        plain = client.app.state.service.store.put_item

        def put_item(item: StoredItem) -> None:
            other.app.state.service.store.put_item(StoredItem("x", "withdrawn", "{}"))
            other.app.state.worker.step()  # the file is there, its item not yet
            plain(item)

        monkeypatch.setattr(client.app.state.service.store, "put_item", put_item)
        put(client, "a", b"sound")
        for service in (client, other):
            service.app.state.worker.step()
        assert held(config) == {b"sound"}
        monkeypatch.undo()
        other.delete("/v1/items/a")
        other.app.state.worker.step()
        assert held(config) == set()


def test_search_and_predict_do_not_touch_the_files_of_items(config: ServiceConfig, shop: Path):
    sound = (shop.parent / "media" / "1.wav").read_bytes()
    with TestClient(create_app(config)) as client:
        put(client, "a", sound)
        client.app.state.worker.step()
        found = client.post("/v1/search", json={"audio": {"data": base64.b64encode(sound).decode()}})
        assert found.status_code == 200
        client.app.state.worker.step()
        assert held(config) == {sound}


def test_file_system_without_locks_stores_items_and_removes_nothing(
    config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("penchant.service.uploads.fcntl.flock", no_locks)
    with TestClient(create_app(config)) as client:
        put(client, "a", b"sound")
        client.delete("/v1/items/a")
        client.app.state.worker.step()
        assert held(config) == {b"sound"}, "nothing shows whether another process stores an item with it"
        monkeypatch.undo()
        client.delete("/v1/items/a")
        client.app.state.worker.step()
        assert held(config) == set()
