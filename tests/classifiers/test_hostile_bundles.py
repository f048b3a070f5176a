"""A classifier's bundle whose checksums are right, but whose parts do not fit together, is refused with three lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from penchant.classifiers.bundle import TrainedClassifier
from penchant.core.artifacts import MANIFEST, checksum
from penchant.core.errors import ArtifactError


@pytest.fixture
def own_health(health: Path, tmp_path: Path) -> Path:
    """Return a copy of the classifier that a test may change."""
    return Path(shutil.copytree(health, tmp_path / "bundle"))


def facts(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        held = json.loads((folder / "classifier.json").read_text())
        change(held)
        (folder / "classifier.json").write_text(json.dumps(held))

    return write


def arrays(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        held = load_file(folder / "learned.safetensors")
        held[name] = np.ascontiguousarray(change(held[name]))
        save_file(held, folder / "learned.safetensors")

    return write


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a class too many": (facts(lambda f: f["classes"].append("third")), "bias has shape (2,), not (3,)"),
    "a class twice": (facts(lambda f: f.update(classes=["a", "a"])), "two or more different names"),
    "no classes": (facts(lambda f: f.update(classes=[])), "two or more different names"),
    "a member less": (facts(lambda f: f["members"].pop("sound")), "names other members"),
    "biases of another number of classes": (arrays("words/bias", lambda a: a[:1]), "the member 'words' has a bias"),
    "weights of another number of classes": (arrays("words/weight", lambda a: a[:1]), "the member 'words' has a bias"),
    "a prior of another number of classes": (arrays("combined/prior", lambda a: a[:1]), "prior has shape (1,)"),
    "a factor that is no number": (arrays("combined/factor", lambda a: a * np.nan), "factor has shape"),
    "a negative weight": (arrays("combined/weight", lambda a: a - 99), "a weight is negative"),
    "no arrays": (lambda folder: save_file({}, folder / "learned.safetensors"), "KeyError"),
    "no safetensors": (lambda folder: (folder / "learned.safetensors").write_bytes(b"\xff" * 64), "cannot be used"),
    "no JSON": (lambda folder: (folder / "classifier.json").write_text("[" * 100_000), "RecursionError"),
}


@pytest.mark.parametrize("case", CASES)
def test_classifier_that_no_run_writes_is_refused_with_three_lines(own_health: Path, case: str):
    change, message = CASES[case]
    change(own_health)
    manifest = json.loads((own_health / MANIFEST).read_text())
    manifest["files"] = {name: checksum(own_health / name) for name in manifest["files"]}
    (own_health / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError) as caught:
        TrainedClassifier.load(own_health)
    assert message in caught.value.message
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == ["where:", "fix:"]


def test_file_that_the_manifest_does_not_name_is_refused(own_health: Path):
    (own_health / "more.bin").write_text("x")
    with pytest.raises(ArtifactError, match=r"does not name the file 'more\.bin'"):
        TrainedClassifier.load(own_health)
