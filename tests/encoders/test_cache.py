"""What was stored comes back bit for bit, and what was damaged does not come back at all."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from penchant.core.errors import ArtifactError
from penchant.encoders.cache import VectorCache

KEYS = [f"{number:032x}" for number in range(100)]
VALUES = np.random.default_rng(0).standard_normal((100, 24)).astype(np.float32)


def filled(folder: Path) -> Path:
    cache = VectorCache(folder, "test")
    for start in range(0, 100, 10):
        cache.append(KEYS[start : start + 10], VALUES[start : start + 10])
    return folder / "vectors_test"


def everything(folder: Path) -> dict[str, np.ndarray]:
    return {
        key: value
        for keys, values in VectorCache(folder, "test").read()
        for key, value in zip(keys, values, strict=True)
    }


def data_files(table: Path) -> list[Path]:
    return sorted(table.iterdir())


def num_files(folder: Path) -> int:
    return len(data_files(folder / "vectors_test"))


def test_read_gives_equal_bits(tmp_path: Path) -> None:
    filled(tmp_path)
    found = everything(tmp_path)
    assert list(found) == KEYS
    np.testing.assert_array_equal(np.stack(list(found.values())), VALUES)


def test_read_of_nothing_gives_nothing(tmp_path: Path) -> None:
    assert everything(tmp_path) == {}


def test_other_encoder_sees_none_of_it(tmp_path: Path) -> None:
    filled(tmp_path)
    assert list(VectorCache(tmp_path, "another").read()) == []


def test_compact_joins_files_and_keeps_rows(tmp_path: Path) -> None:
    filled(tmp_path)
    assert num_files(tmp_path) == 10
    VectorCache(tmp_path, "test").compact()
    assert num_files(tmp_path) == 1
    assert len(everything(tmp_path)) == 100


def test_append_keeps_files_bounded(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, "test")
    for number in range(300):
        cache.append([f"{number:032x}"], VALUES[:1])
    assert num_files(tmp_path) < 50


def test_flipped_byte_in_a_vector_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = filled(tmp_path)
    row = VALUES[57].tobytes()
    file = next(f for f in data_files(table) if row in f.read_bytes())
    raw = bytearray(file.read_bytes())
    raw[raw.index(row) + 5] ^= 1
    file.write_bytes(raw)
    with caplog.at_level(logging.WARNING, "penchant"):
        found = everything(tmp_path)
    assert set(KEYS) - set(found) == {KEYS[57]}
    assert "1 vectors of the cache" in caplog.text
    assert "were altered; they are computed again" in caplog.text
    caplog.clear()
    assert len(everything(tmp_path)) == 99  # the bad row is gone, and so is the warning
    assert not caplog.text


@pytest.mark.parametrize("harm", ["half", "empty", "gone", "noise"])
def test_damaged_file_costs_vectors_but_no_crash(tmp_path: Path, harm: str) -> None:
    table = filled(tmp_path)
    for number, file in enumerate(data_files(table)[:-3:3]):
        raw = file.read_bytes()
        if harm == "gone":
            file.unlink()
        else:
            noise = np.random.default_rng(number).bytes(len(raw))
            file.write_bytes({"half": raw[: len(raw) // 2], "empty": b"", "noise": noise}[harm])
    found = everything(tmp_path)
    assert len(found) == 70
    for key, value in found.items():
        np.testing.assert_array_equal(value, VALUES[KEYS.index(key)])
    cache = VectorCache(tmp_path, "test")
    cache.append(KEYS, VALUES)
    cache.compact()
    assert len(everything(tmp_path)) == 100


def test_damaged_table_is_said_and_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = filled(tmp_path)
    for file in data_files(table):
        file.write_bytes(file.read_bytes()[:20])
    with caplog.at_level(logging.WARNING, "penchant"):
        assert everything(tmp_path) == {}
    assert "is damaged" in caplog.text
    assert "its vectors are computed again" in caplog.text
    assert data_files(table) == []


def test_folder_that_is_a_file_is_explained(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    place.write_text("not a folder")
    with pytest.raises(ArtifactError, match="The vectors cannot be stored") as caught:
        VectorCache(place, "test")
    assert caught.value.where == str(place / "vectors_test")
    assert "free some space, or set `cache` to a writable folder" in caught.value.fix


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from penchant.core.errors import ArtifactError
from penchant.encoders.cache import VectorCache
cache = VectorCache(Path(sys.argv[1]), "test")
cache.append(["small"], np.ones((1, 8), np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    cache.append([str(n) for n in range(500)], np.random.rand(500, 1000).astype(np.float32))
except ArtifactError as error:
    print(error)
"""


def test_write_that_fails_is_explained_and_keeps_what_was_there(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "The vectors cannot be stored" in done.stdout, done.stderr
    assert "finished batches are kept" in done.stdout
    assert list(everything(tmp_path)) == ["small"]


def test_cache_keeps_what_its_vectors_took_to_encode(tmp_path: Path):
    cache = VectorCache(tmp_path, "abc")
    assert cache.seconds(10) is None
    cache.add_time(2.0, 6.0, 3)
    cache.add_time(1.0, 0.0, 0)
    assert cache.seconds(3) == 8.0
    cache.add_time(4.0, 6.0, 1)
    assert VectorCache(tmp_path, "abc").seconds(8) == 4.0 + 12 / 4 * 8
    (tmp_path / "vectors_abc.json").write_text("{")
    assert cache.seconds(3) is None
