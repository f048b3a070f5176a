"""What a killed process leaves is removed at the next start; a full disk leaves nothing; a damaged bundle is read once."""

from __future__ import annotations

import base64
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from penchant.core import artifacts
from penchant.core.artifacts import remove_unfinished, write_artifact
from penchant.core.errors import ArtifactError
from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.scratch import ScratchFolder
from shop import make_bundle


@pytest.fixture
def shop_config(own_shop: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(bundle=own_shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])


def kept_files(config: ServiceConfig) -> list[str]:
    """Return the uploads and temporary files; the lock of uploads holds nothing."""
    folders = (config.state_folder / "media", config.state_folder / "scratch")
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in found if path.name != ".lock"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, media: client.put("/v1/items/new", json={"columns": {"title": "t"}, "audio": media}),
        lambda client, media: client.post("/v1/search", json={"audio": media}),
    ],
)
def test_full_disk_during_an_upload_is_a_507_without_a_partial_file(
    config: ServiceConfig, ask: Callable[[TestClient, Any], Any]
):
    media = {"data": base64.b64encode(os.urandom(900_000)).decode()}
    with TestClient(create_app(config), raise_server_exceptions=False) as client:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))  # larger files cannot be written
        try:
            answer = ask(client, media)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert answer.status_code == 507, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "cannot be stored" in answer.json()["detail"]
        assert kept_files(config) == []
        assert client.get("/v1/items/new").status_code == 404
        assert ask(client, media).status_code in (202, 422), "there is room again"


HOLD = """
import sys, time
from pathlib import Path
from penchant.service.scratch import ScratchFolder
scratch = ScratchFolder(Path(sys.argv[1]))
folder = scratch.temporary()
(Path(folder.name) / "picture").write_bytes(b"secret")
print(folder.name, flush=True)
time.sleep(60)
"""


def test_searched_pictures_of_a_killed_process_are_removed_and_those_of_a_running_one_stay(tmp_path: Path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "scratch")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        dead, alive = (Path(process.stdout.readline().strip()) for process in processes if process.stdout)
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        assert (dead / "picture").exists()
        scratch = ScratchFolder(tmp_path / "scratch")
        assert not dead.parent.exists()
        assert (alive / "picture").exists()
        scratch.close()
        assert [path.name for path in (tmp_path / "scratch").iterdir()] == [alive.parent.name]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_content_of_a_request_is_kept_below_the_services_folder_and_not_after_it(
    client: TestClient, config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
):
    seen: list[Path] = []
    monkeypatch.setattr(
        Recommender, "search_media", lambda _self, _modality, file, *_, **__: seen.append(file) or 1 / 0
    )
    client.post("/v1/search", json={"audio": {"data": "AAAA"}})
    assert seen[0].is_relative_to(config.state_folder / "scratch")
    assert kept_files(config) == []


def test_unfinished_folders_are_removed_unless_young_or_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bundle = tmp_path / "bundle"
    write_artifact(bundle, lambda folder: None, kind="test")
    for name in (".bundle.staging-abc", ".bundle.old-12", ".bundle.mine", ".other.staging-abc"):
        (tmp_path / name).mkdir()
    assert remove_unfinished(bundle) == [], "they may not be locked yet"
    monkeypatch.setattr(artifacts, "YOUNG_SECONDS", -1)
    found: list[list[str]] = []

    def write(folder: Path) -> None:
        found.append(remove_unfinished(bundle))
        assert folder.is_dir()

    write_artifact(bundle, write, kind="test")
    assert found == [[".bundle.old-12", ".bundle.staging-abc"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bundle.mine", ".other.staging-abc", "bundle"]


def test_bundle_that_was_to_be_replaced_stays_while_there_is_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(artifacts, "YOUNG_SECONDS", -1)
    (tmp_path / ".bundle.old-12").mkdir()
    assert remove_unfinished(tmp_path / "bundle") == []


def test_service_removes_unfinished_bundles_at_its_start(shop_config: ServiceConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(artifacts, "YOUNG_SECONDS", -1)
    left = shop_config.bundle.with_name(".bundle.staging-abc")
    left.mkdir()
    with TestClient(create_app(shop_config)):
        assert not left.exists()


def test_damaged_bundle_is_read_once_and_again_when_it_is_repaired(
    shop_config: ServiceConfig, monkeypatch: pytest.MonkeyPatch
):
    with TestClient(create_app(shop_config)) as client:
        make_bundle(shop_config.bundle, version="second")
        file = shop_config.bundle / "ensemble.safetensors"
        whole = file.read_bytes()
        file.write_bytes(whole + b"x")
        load, reads = Recommender.load, []
        monkeypatch.setattr(Recommender, "load", lambda folder: reads.append(1) or load(folder))
        with pytest.raises(ArtifactError, match="was altered"):
            client.app.state.worker.step()
        for _ in range(3):
            client.app.state.worker.step()
        assert len(reads) == 1
        before = client.get("/readyz").json()["bundle"]
        file.write_bytes(whole)
        client.app.state.worker.step()
        assert len(reads) == 2
        assert client.get("/readyz").json()["bundle"] != before
