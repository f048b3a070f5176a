"""Files of a shard: read at their own path, or fetched from the storage into a folder that ends with the shard."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from copying_executor import CopyingExecutor
from penchant.core.errors import ExecutorError
from penchant.core.executor import computing_on
from penchant.core.storage import Storage
from penchant.core.traffic import since, so_far
from penchant.data.clean.media_facts import InspectionShard, examine_files, examine_shard
from penchant.data.media import MediaLimits, UnusableMediaError
from penchant.data.media.node_files import NodeFiles


@pytest.fixture
def media(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "media" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(tmp_path / "media" / name)
    return tmp_path / "media"


def shard_of(media: Path, names: list[str], storage: Storage | None) -> InspectionShard:
    files = NodeFiles.of(media, names, "image", storage)
    return InspectionShard(tuple(range(len(names))), tuple(names), files, "image", MediaLimits())


def test_a_node_without_the_media_folder_sees_the_same_files_from_the_storage(media: Path, tmp_path: Path) -> None:
    names = ["a.png", "sub/b.png", "gone.png", "../secret.png"]
    expected, _ = examine_files(names[:2], "image", root=media, limits=MediaLimits())
    shard = shard_of(media, names, Storage.of(str(tmp_path / "storage")))
    size = sum((media / name).stat().st_size for name in names[:2])
    shutil.rmtree(media)
    before = so_far()
    found = examine_shard(shard)
    assert since(before).fetched == size
    assert [fact.get("hash") for _, fact in found[:2]] == expected["hash"].to_list()
    assert [fact.get("check") for _, fact in found] == [None, None, "missing", "outside"]
    assert not list(tmp_path.glob("penchant-media-*"))


def test_names_that_lead_out_of_the_folder_and_back_never_write_to_the_files_themselves(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(media / "a.png"), "../media/sub/b.png", "sub/../a.png"]
    expected, _ = examine_files(names, "image", root=media, limits=MediaLimits())
    for file in ("a.png", "sub/b.png"):
        os.utime(media / file, (1, 1))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    executor = CopyingExecutor()
    executor.storage = Storage.of(str(tmp_path / "storage"))
    with computing_on(executor):
        found, _ = examine_files(names, "image", root=media, limits=MediaLimits())
    assert found["hash"].null_count() == 0
    assert found["hash"].to_list() == expected["hash"].to_list()
    assert [(media / file).stat().st_mtime for file in ("a.png", "sub/b.png")] == [1, 1]
    assert not list(temporary.iterdir())
    with (
        pytest.raises(UnusableMediaError, match="leads out of the media folder"),
        shard_of(media, names[:1], executor.storage).files.here(),
    ):
        pass


def test_the_key_of_a_signal_stays_in_its_name(media: Path) -> None:
    assert NodeFiles.name_of(media, "sub/../all.csv#p/../1", "signal") == "all.csv#p/../1"
    assert NodeFiles.name_of(media, "../out.png", "image") == "../out.png"


def test_files_are_copied_once_and_again_when_they_changed(media: Path, tmp_path: Path) -> None:
    storage = Storage.of(str(tmp_path / "storage"))
    first = NodeFiles.of(media, ["a.png"], "image", storage).stored
    assert NodeFiles.of(media, ["a.png"], "image", storage).stored == first
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(media / "a.png")
    assert NodeFiles.of(media, ["a.png"], "image", storage).stored != first
    assert len(storage.names("media")) == 2


def test_a_file_that_left_the_storage_is_named(media: Path, tmp_path: Path) -> None:
    storage = Storage.of(str(tmp_path / "storage"))
    shard = shard_of(media, ["a.png"], storage)
    (name,) = storage.names("media")
    (tmp_path / "storage" / name).unlink()
    with pytest.raises(ExecutorError, match=f"'{name}' is missing from the storage"):
        examine_shard(shard)
    assert examine_shard(shard_of(media, ["a.png"], storage))[0][1].get("check") is None  # it is copied again


def test_a_node_without_the_media_folder_and_without_storage_says_so(media: Path) -> None:
    shard = shard_of(media, ["a.png"], None)
    shutil.rmtree(media)
    with pytest.raises(ExecutorError, match="This node does not have the media folder") as found:
        examine_shard(shard)
    assert "ray.storage" in found.value.fix
