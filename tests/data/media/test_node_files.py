"""Files of a shard: read at their own path, or fetched from the storage into a folder that ends with the shard."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penchant.core.errors import ExecutorError
from penchant.core.storage import Storage
from penchant.core.traffic import since, so_far
from penchant.data.clean.media_facts import InspectionShard, examine_files, examine_shard
from penchant.data.media import MediaLimits
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
