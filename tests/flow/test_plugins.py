"""A package outside Penchant adds one name to every table: each works in a full run, a reloaded bundle and the service."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

import penchant
from penchant.classifiers import BRANCHES, CLASSIFIERS
from penchant.classifiers.bundle import TrainedClassifier
from penchant.core.errors import ConfigError
from penchant.data import LABELLED, SOURCES
from penchant.encoders import ENCODERS
from penchant.fusion import FUSIONS, LAYERS
from penchant.metrics import METRICS
from penchant.models import MODELS
from penchant.networks import BACKBONES
from penchant.pipelines import classification
from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig

TABLES = {
    "encoders": (ENCODERS, "Letters"),
    "models": (MODELS, "Together"),
    "classifiers": (CLASSIFIERS, "FirstLetter"),
    "branches": (BRANCHES, "Counts"),
    "fusions": (FUSIONS, "Scaled"),
    "fusion_layers": (LAYERS, "Largest"),
    "backbones": (BACKBONES, "Running"),
    "metrics": (METRICS, "first_hit"),
    "sources": (SOURCES, "read_shop"),
    "labelled": (LABELLED, "read_words"),
}
SHOP = """
name = "toy"
output = "bundle"
cache = "cache"
[data]
format = "toy"
path = "."
[content.counts]
encoder = "toy"
columns = ["title"]
options.letters = "az"
[content.words]
encoder = "tfidf"
columns = ["title"]
[fusion]
kind = "toy"
options.scale = [3.0, 5.0]
[members.toy]
model = "toy"
strength = 2.0
[members.network]
model = "sequence"
backbone = "toy"
fusion = "toy"
dim = 8
heads = 1
epochs = 1
refit_epochs = 1
max_length = 8
held_out_users = 0
[fit]
ablation = false
[evaluation]
ks = [5]
cutoff = 5
"""
WORDS = """
task = "classification"
name = "words"
kind = "other"
output = "words"
cache = "cache"
[data]
format = "toy"
path = "."
text = ["text"]
[content]
[classifiers.letter]
model = "toy"
certainty = 0.8
[classifiers.net]
model = "network"
fusion = "toy"
dim = 8
trainer.epochs = 3
branches.counts.modality = "toy"
branches.words.modality = "text"
branches.words.net = "toy"
[fit]
fusion = ["stacking"]
simple = false
[evaluation]
intervals.resamples = 50
"""


def install(folder: Path, name: str, entries: dict[str, str]) -> None:
    """Write what `pip install` writes: a package's metadata and entry points, by group."""
    about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = "".join(f"[penchant.{group}]\n{line}\n" for group, line in entries.items())
    (about / "entry_points.txt").write_text(groups)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the toy package, and return a folder with the settings of two runs that name all it offers."""
    folder = tmp_path_factory.mktemp("plugins")
    site = folder / "site"
    install(site, "penchant-toy", {g: f"toy = penchant_toy:{attribute}" for g, (_, attribute) in TABLES.items()})
    shutil.copy(Path(__file__).parent / "plugin" / "penchant_toy.py", site)
    (folder / "toy.toml").write_text(SHOP)
    (folder / "words.toml").write_text(WORDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.chdir(folder)
        yield folder
    sys.modules.pop("penchant_toy", None)
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def bundle(home: Path) -> Recommender:
    penchant.run(home / "toy.toml")
    return penchant.load(home / "bundle")


@pytest.fixture(scope="module")
def words(home: Path) -> Path:
    classification.run(classification.ClassificationConfig.from_toml(home / "words.toml"))
    return home / "words"


@pytest.mark.parametrize("group", TABLES)
def test_table_loads_the_name_of_the_package(home: Path, group: str) -> None:
    table, attribute = TABLES[group]
    assert table.names()[-1] == "toy"
    assert table.load("toy").__name__ == attribute


def test_reloaded_bundle_has_what_the_package_made(bundle: Recommender) -> None:
    counts, fused = bundle.content.channels["counts"], bundle.content.fused
    assert fused is not None
    first = bundle.catalog.titles()[0]
    assert counts.values[0].tolist() == [first.count("a"), first.count("z")] == [5, 0]
    assert bundle.facts["fusion"]["kind"] == "toy"
    assert np.array_equal(fused.values, counts.values * np.float32(bundle.facts["fusion"]["scale"]))
    assert bundle.facts["fusion"]["scale"] in (3.0, 5.0)
    assert {"toy", "network"} <= set(bundle.tables)
    assert bundle.ensemble.weights["toy"] > 0


def test_report_has_the_metric_of_the_package(home: Path, bundle: Recommender) -> None:
    leaderboard = json.loads((home / "bundle" / "report" / "report.json").read_text())["leaderboard"]
    built_in = ["recall", "precision", "hit_rate", "ndcg", "mrr", "map"]
    assert leaderboard["metrics"] == [f"{name}@5" for name in (*built_in, "toy")]
    ours = leaderboard["rows"][0]["scores"]
    assert 0 < ours["toy@5"]["mean"] <= ours["hit_rate@5"]["mean"]
    assert "toy@5" in (home / "bundle" / "report" / "report.html").read_text()


def test_service_answers_with_what_the_package_made(bundle: Recommender, words: Path, tmp_path: Path) -> None:
    assert bundle.folder is not None
    config = ServiceConfig(
        bundle=bundle.folder, tasks={"words": words}, folder=tmp_path, watch_seconds=60, host_names=["testserver"]
    )
    with TestClient(create_app(config)) as client:
        for item in ("i0", "i1", "i2"):
            client.post("/v1/events", json={"user_id": "new", "item_id": item})
        listed = client.get("/v1/users/new/recommendations", params={"k": 5}).json()["items"]
        assert {int(item["item_id"][1:]) < 15 for item in listed} == {True}
        said = client.post("/v1/predict/words", json={"text": "aaaa b"}).json()
        assert said["label"] == "glad"


def test_reloaded_classifier_has_the_members_of_the_package(words: Path) -> None:
    loaded = TrainedClassifier.load(words)
    assert {type(m).__name__ for m in loaded.members.values()} == {"FirstLetter", "NetworkClassifier"}
    network = loaded.members["net"]
    assert type(network.branches["counts"]).__name__ == "Counts"
    assert type(network.net.fusion).__name__ == "Largest"
    assert type(network.net.nets["words"].backbone).__name__ == "Running"
    rows = json.loads((words / "report" / "report.json").read_text())["labelled"]["rows"]
    assert "letter" in {row["name"] for row in rows}


WRONG = {
    "a function for a class": (
        "models",
        "wrong:function",
        r"'wrong' is the function .*not a subclass of Member",
        "derive",
    ),
    "another base class": ("encoders", "wrong:Other", r"class Other, not a subclass of Encoder", r"encoder\.Encoder"),
    "a class that lacks parts": ("fusions", "wrong:Half", "lacks __call__", "implement"),
    "a class for a function": ("metrics", "wrong:Other", "class Other, not a function", r"f\(hits, num_relevant, k\)"),
    "a function of other arguments": ("sources", "wrong:none", r"cannot be called as f\(config\)", "signature"),
    "no such attribute": ("classifiers", "wrong:Gone", "cannot be imported: AttributeError", "uninstall toy-wrong 1.0"),
    "a module that fails": ("branches", "broken:Any", "cannot be imported: ValueError: no licence", "uninstall"),
}


@pytest.mark.parametrize("case", WRONG)
def test_entry_that_is_not_what_the_table_holds_is_refused(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, value, message, fix = WRONG[case]
    install(tmp_path, "toy-wrong", {group: f"wrong = {value}"})
    (tmp_path / "wrong.py").write_text(
        "from penchant.fusion.fusion import Fusion\n"
        "def function(hits, num_relevant, k): ...\ndef none(): ...\n"
        "class Other: ...\nclass Half(Fusion): ...\n"
    )
    (tmp_path / "broken.py").write_text("raise ValueError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    with pytest.raises(ConfigError, match=message) as caught:
        TABLES[group][0].load("wrong")
    sys.modules.pop("wrong", None)
    assert caught.value.where == f"toy-wrong 1.0: entry point penchant.{group}: wrong = {value}"
    assert re.search(fix, caught.value.fix)


def test_name_of_two_packages_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "toy-ease", {"models": "ease = somewhere:EASE\nours = a:A"})
    install(tmp_path, "toy-other", {"models": "ours = b:B"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"2 packages offer the model .ease.: penchant, toy-ease 1\.0") as caught:
        MODELS.load("ease")
    assert caught.value.fix == "rename it in toy-ease 1.0, or uninstall that package"
    with pytest.raises(ConfigError, match="2 packages offer the model 'ours'"):
        MODELS.load("ours")
    assert MODELS.names().count("ease") == 1
