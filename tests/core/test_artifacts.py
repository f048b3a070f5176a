import errno
import subprocess
import sys
from pathlib import Path

import pytest

from penchant.core.artifacts import MANIFEST, fingerprint, open_artifact, write_artifact
from penchant.core.errors import ArtifactError


def fill(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"12345")


def test_artifact_opens_with_its_facts(tmp_path: Path):
    folder = write_artifact(tmp_path / "b", fill, kind="bundle", facts={"seed": 1})
    assert open_artifact(folder, kind="bundle")["facts"] == {"seed": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_flipped_byte_is_found(tmp_path: Path):
    folder = write_artifact(tmp_path / "b", fill, kind="bundle")
    (folder / "a.bin").write_bytes(b"12346")
    with pytest.raises(ArtifactError, match="was altered"):
        open_artifact(folder, kind="bundle")


@pytest.mark.parametrize(("name", "message"), [("a.bin", "is missing"), (MANIFEST, "no finished bundle")])
def test_missing_file_is_found(tmp_path: Path, name: str, message: str):
    folder = write_artifact(tmp_path / "b", fill, kind="bundle")
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=message):
        open_artifact(folder, kind="bundle")


def test_manifest_cannot_name_a_file_outside(tmp_path: Path):
    folder = write_artifact(tmp_path / "b", fill, kind="bundle")
    manifest = (folder / MANIFEST).read_text().replace("a.bin", "../secret")
    (folder / MANIFEST).write_text(manifest)
    with pytest.raises(ArtifactError, match="outside its folder"):
        open_artifact(folder, kind="bundle")


def test_failure_leaves_the_old_artifact(tmp_path: Path):
    folder = write_artifact(tmp_path / "b", fill, kind="bundle")

    def fail(staging: Path) -> None:
        fill(staging)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_artifact(folder, fail, kind="bundle")
    assert open_artifact(folder, kind="bundle")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_full_disk_says_so(tmp_path: Path):
    def fail(staging: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match="No space left on device"):
        write_artifact(tmp_path / "b", fail, kind="bundle")


FILLER = """
import resource, sys
from pathlib import Path
import numpy as np, polars as pl
from safetensors.numpy import save_file
from penchant.core.artifacts import write_artifact
from penchant.core.errors import ArtifactError
numbers = np.random.default_rng(0).random(50_000)
writers = {
    "safetensors": lambda folder: save_file({"a": numbers}, folder / "a"),
    "polars": lambda folder: pl.DataFrame({"a": numbers}).write_parquet(folder / "a"),
    "python": lambda folder: (folder / "a").write_bytes(numbers.tobytes()),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    write_artifact(Path(sys.argv[1]), writers[sys.argv[2]], kind="bundle")
except ArtifactError as error:
    print(error)
"""


@pytest.mark.parametrize("library", ["safetensors", "polars", "python"])
def test_disk_that_takes_no_more_says_so_whoever_writes(tmp_path: Path, library: str):
    command = [sys.executable, "-c", FILLER, str(tmp_path / "b"), library]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Could not write bundle: File too large." in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_never_replaced(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("dear")
    with pytest.raises(ArtifactError, match="holds other files"):
        write_artifact(tmp_path / "b", fill, kind="bundle")


def test_fingerprint_ignores_key_order_and_sees_values():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
