"""Bundles of labelled tasks from the command line: evaluated on new labels, listed, given odd content, and read from long tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from labelled_media import write_samples, write_signal
from penchant.classifiers.bundle import TrainedClassifier
from penchant.cli import app
from penchant.core.logs import LINE_SECONDS, logger, progress_bar
from penchant.pipelines.classification import ClassificationConfig, run
from penchant.pipelines.moderation import ModerationConfig, fixed

QUICK = {"intervals": {"resamples": 50}}


def trained(folder: Path, **settings: Any) -> TrainedClassifier:
    whole = {
        "name": "mood",
        "output": folder / "runs" / "mood",
        "cache": folder / "cache",
        "content": {},
        "classifiers": {"words": {"model": "ngrams", "strength": [4]}},
        "evaluation": QUICK,
        "fit": {"simple_minutes": 0},
        **settings,
    }
    return run(ClassificationConfig.read(whole, where="test"))[0]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    folder = tmp_path_factory.mktemp("words")
    write_samples(folder, 60)
    return trained(folder, data={"path": folder / "samples.csv", "text": ["text"], "media": {}})


def said(*arguments: object) -> str:
    found = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_half_of_an_emoji_is_read(words: TrainedClassifier) -> None:
    cut = words.predict(text="a lovely and superb bed \ud83d")
    assert cut.label == "glad"
    assert words.predict(text={"text": "awful \udcff nasty"}).label == "cross"
    assert words.predict(text="a lovely bed 🙂").probabilities == words.predict(text="a lovely bed 🙂").probabilities


def test_a_bundle_is_evaluated_on_new_labels(words: TrainedClassifier, tmp_path: Path) -> None:
    write_samples(tmp_path, 20, seed=3).rename({"label": "truth"}).write_csv(tmp_path / "new.csv")
    told = said("evaluate", words.folder, "--table", tmp_path / "new.csv", "--column", "label=truth")
    assert told.startswith("20 samples, 20 independent units")
    assert "accuracy: 1.000 [0.8" in told  # the exact interval of 20 of 20
    plain = json.loads(
        said("evaluate", words.folder, "--table", tmp_path / "new.csv", "--column", "label=truth", "--json")
    )
    assert plain["rows"][0]["scores"]["accuracy"]["mean"] == 1
    assert "10 test samples" in said("evaluate", words.folder)
    assert "Classification results" in said("evaluate", words.folder, "--markdown")
    failed = CliRunner().invoke(app, ["evaluate", str(words.folder), "--table", str(tmp_path / "new.csv")])
    assert failed.exit_code == 1


def test_bundles_are_listed(words: TrainedClassifier) -> None:
    assert words.folder is not None
    told = said("list", "bundles", "--folder", words.folder.parent)
    assert told.strip() == f"{words.folder}  classifier, classification: cross, glad"
    assert json.loads(said("list", "bundles", "--folder", words.folder.parent, "--json"))[0]["classes"] == [
        "cross",
        "glad",
    ]
    assert "no bundle below" in said("list", "bundles", "--folder", words.folder / "report")


def test_a_detector_does_not_claim_to_know_class_frequencies(tmp_path: Path) -> None:
    detector = fixed(ModerationConfig(name="nudity"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = detector.predict(image=tmp_path / "broken.png")
    assert found.is_unsure
    assert not any("class frequencies" in note for note in found.notes)
    assert found.notes[0].startswith("nothing could be read: this is no measurement")


def write_long(folder: Path, count: int) -> list[str]:
    """Write people.csv and readings.csv, one long table of all readings; return the labels."""
    rng = np.random.default_rng(1)
    labels = ["cross", "glad"] * (count // 2)
    parts = []
    for number, label in enumerate(labels):
        one = pl.read_csv(folder / write_signal(folder, number, label == "glad", rng))
        parts.append(one.select(pl.lit(f"p{number}").alias("sample_id"), "seconds", "level"))
    pl.concat(parts).write_csv(folder / "readings.csv")
    pl.DataFrame({"sample_id": [f"p{n}" for n in range(count)], "label": labels}).write_csv(folder / "people.csv")
    return labels


def test_a_bundle_of_one_long_table_judges_the_same_layout(tmp_path: Path) -> None:
    write_long(tmp_path, 40)
    made = trained(
        tmp_path,
        data={"path": tmp_path / "people.csv", "signals": "readings.csv", "text": []},
        content={"signal": {"encoder": "signal"}},
        classifiers={"signal": {"model": "linear"}},
    )
    assert made.inputs.signals == "readings.csv"
    new = tmp_path / "new"
    new.mkdir()
    labels = write_long(new, 6)
    pl.read_csv(new / "people.csv").select("sample_id").write_csv(new / "asked.csv")
    said("predict", made.folder, "--table", new / "asked.csv", "--output", new / "by_people.csv")
    assert pl.read_csv(new / "by_people.csv")["predicted"].to_list() == labels
    said("predict", made.folder, "--table", new / "readings.csv", "--output", new / "by_readings.csv")
    answered = pl.read_csv(new / "by_readings.csv")
    assert answered["sample_id"].to_list() == [f"p{n}" for n in range(6)]
    assert answered["predicted"].to_list() == labels
    assert made.predict(signal=new / "signals" / "1.csv").label == "glad"


def test_a_column_named_signal_and_folders_of_parts_are_recognised(tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.mkdir()
    write_samples(table, 40, modalities=("signal",))
    made = trained(
        table, data={"path": table / "samples.csv"}, content=None, classifiers={"signal": {"model": "linear"}}
    )
    assert dict(made.inputs.media_columns) == {"signal": "signal"}
    parts, rng = tmp_path / "parts", np.random.default_rng(0)
    for part, count in (("train", 16), ("validation", 8), ("test", 8)):
        for number in range(count):
            kind = ("cross", "glad")[number % 2]
            home = parts / part / kind
            home.mkdir(parents=True, exist_ok=True)
            write_signal(home, number, kind == "glad", rng)
    fixed_parts = trained(parts, data={"path": parts}, content=None, classifiers={"signal": {"model": "linear"}})
    plain = json.loads((parts / "runs" / "mood" / "report" / "report.json").read_text())
    assert plain["labelled"]["num_samples"] == 8
    assert fixed_parts.classes == ("cross", "glad")


def test_progress_is_told_in_lines_without_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger=logger.name), progress_bar("encode words", 100) as bar:
        bar.advance(1)
        bar._said_at -= LINE_SECONDS
        bar._began -= 41 * 60  # 41 in 41 minutes: 59 minutes for the other 59
        bar.advance(40)
    assert [record.getMessage().strip() for record in caplog.records] == ["encode words: 41 of 100, about 59 min left"]
