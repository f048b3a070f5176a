"""While an artifact is replaced, a reader finds the old one or the new one, never none and never half of each."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from penchant.core import artifacts
from penchant.core.artifacts import MANIFEST, open_artifact, read_artifact, write_artifact
from penchant.core.errors import ArtifactError

TIMES = 60


def write(folder: Path, number: int) -> None:
    def fill(staging: Path) -> None:
        for name in "abc":
            (staging / name).write_text(f"{number}")

    write_artifact(folder, fill, kind="bundle")


def read(folder: Path) -> set[str]:
    """Return what stands in the files of one version, read slowly: after the check of their checksums."""

    def read_all() -> set[str]:
        open_artifact(folder, kind="bundle", exact=True)
        try:
            return {(folder / name).read_text() for name in "abc"}
        except FileNotFoundError as error:
            raise ArtifactError("A file is gone.", where=str(folder), fix="read again") from error

    return read_artifact(folder, read_all)


@pytest.fixture(params=["exchanged", "renamed twice"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "renamed twice":
        monkeypatch.setattr(artifacts, "_exchange", lambda one, other: False)
    else:
        (tmp_path / "x").mkdir()
        (tmp_path / "y").mkdir()
        if not artifacts._exchange(tmp_path / "x", tmp_path / "y"):
            pytest.skip("this file system cannot exchange two folders")
    return str(request.param)


def test_reader_finds_one_whole_version_at_every_moment(tmp_path: Path, way: str):
    folder = tmp_path / "b"
    write(folder, 0)
    seen: list[set[str]] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            try:
                seen.append(read(folder))
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=read_on)
    reader.start()
    for number in range(1, TIMES):
        write(folder, number)
    stop.set()
    reader.join()
    assert errors == []
    assert all(len(version) == 1 for version in seen)
    assert read(folder) == {f"{TIMES - 1}"}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".b")] == []


@pytest.mark.parametrize("way", ["exchanged"], indirect=True)
def test_exchange_leaves_no_moment_without_the_folder(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "b"
    write(folder, 0)
    monkeypatch.setattr(Path, "rename", lambda self, target: pytest.fail("the old folder was moved aside first"))
    write(folder, 1)
    assert read(folder) == {"1"}


def test_damaged_folder_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        artifacts.time, "sleep", lambda seconds: pytest.fail("waited for a folder that does not change")
    )
    write(tmp_path / "b", 0)
    (tmp_path / "b" / "a").write_text("x")
    with pytest.raises(ArtifactError, match="was altered"):
        read(tmp_path / "b")
    with pytest.raises(ArtifactError, match="no finished bundle"):
        read(tmp_path / "none")


def test_moment_between_two_renames_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, aside = tmp_path / "b", tmp_path / ".b.old-7"
    write(folder, 0)
    folder.rename(aside)
    monkeypatch.setattr(artifacts.time, "sleep", lambda seconds: aside.rename(folder))
    assert read(folder) == {"0"}
    assert (folder / MANIFEST).exists()
