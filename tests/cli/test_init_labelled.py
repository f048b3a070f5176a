"""`penchant init` on labelled data: a table, a published split, a folder for each class."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from labelled_media import write_picture
from penchant.cli import app
from penchant.data.read.samples import SamplesConfig, read_samples


def init(*words: object) -> str:
    result = CliRunner().invoke(app, ["init", *map(str, words)], env={"COLUMNS": "400"})
    return result.output


def settings(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def test_a_table_with_pictures_becomes_settings_that_pass_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "mood" / "photos" / "2024"
    photos.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["row id,speaker,sentiment,split,comment,picture,app,shop"]
    for n in range(40):
        write_picture(photos, n, n % 2 == 0, rng)
        part = ("train", "dev", "test")[n % 3]
        rows.append(
            f"{n},s{n % 7},{['good', 'bad'][n % 2]},{part},This is a long comment of {n} words,2024/{n}.png,web,{n % 4}"
        )
    (tmp_path / "mood" / "answers.csv").write_text("\n".join(rows), encoding="utf-8")
    shown = init("mood")
    assert "40 samples of 2 classes" in shown, shown
    written = settings(tmp_path / "mood.toml")
    assert written["task"] == "classification"
    assert written["data"] == {
        "path": "mood/answers.csv",
        "columns": {"sample_id": "row id", "label": "sentiment", "group": "speaker", "part": "split"},
        "media_folder": "photos",
    }
    text = (tmp_path / "mood.toml").read_text(encoding="utf-8")
    assert "# classes: bad (20), good (20)" in text or "# classes: good (20), bad (20)" in text
    assert "# text: comment" in text
    assert '# attributes = ["shop"]' in text, "a column of one value says nothing"
    assert "the part that the data itself names" in text


def test_a_folder_for_each_class_and_a_published_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("好", "坏"):
        (tmp_path / "照片" / kind).mkdir(parents=True)
        for n in range(4):
            (tmp_path / "照片" / kind / f"{n}.txt").write_text(f"第{n}条评论，写得很长", encoding="utf-8")
    assert "8 个样本，2 个类别" in init("照片", "--language", "zh")
    assert settings(tmp_path / "照片.toml")["data"] == {"path": "照片"}
    (tmp_path / "split").mkdir()
    for part in ("train", "test"):
        lines = [f"a long text of number {n} in {part},{n % 2}" for n in range(12)]
        (tmp_path / "split" / f"{part}.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    init("split")
    data = settings(tmp_path / "split.toml")["data"]
    assert data == {"path": "split"}
    read = read_samples(SamplesConfig(path=tmp_path / "split")).table
    assert sorted(read["part"].unique()) == ["test", "train"]


def test_a_table_without_labels_says_what_to_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    shown = init("data")
    assert "name the column of classes label" in " ".join(shown.split())
    assert not (tmp_path / "data.toml").exists()
