"""Labelled tables and folders as people have them: typed sloppily, cut oddly, in every script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import Finding, Samples
from penchant.data.clean.dataset import CleanConfig
from penchant.data.clean.samples import clean_samples
from penchant.data.media import MediaLimits
from penchant.data.read.samples import SamplesConfig, read_samples, samples_from

HAPPY, SAD = "what a wonderful day this has been", "nothing ever works and it rains again"


def table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {"label": ["happy", "sad"] * 3, "text": [f"{t} {n}" for n, t in enumerate([HAPPY, SAD] * 3)], **columns}
    )


def notes(samples: Samples) -> dict[str, Finding]:
    return {finding.check: finding for finding in samples.findings}


def test_csv_is_read_in_three_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("comment,mood,user\n" + f"{HAPPY},happy,ann\n{SAD},sad,bo\n" * 2)
    columns = {"label": "mood", "group": "user"}
    samples = read_samples(SamplesConfig(path=tmp_path / "mine.csv", columns=columns))
    assert samples.classes == ("happy", "sad")
    assert samples.text_columns == ("comment",)
    assert samples.sample_ids == ["2", "3", "4", "5"]  # rows of the file
    assert samples.labels().tolist() == [0, 1, 0, 1]
    assert samples.table["group"].to_list() == ["ann", "bo", "ann", "bo"]


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_parquet_and_json_lines_are_read(tmp_path: Path, ending: str) -> None:
    write = {"parquet": pl.DataFrame.write_parquet, "jsonl": pl.DataFrame.write_ndjson}[ending]
    write(table(), tmp_path / f"samples.{ending}")
    assert len(read_samples(SamplesConfig(path=tmp_path))) == 6


def test_files_of_a_published_split_are_one_set(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        table(part=["train"] * 6).write_csv(tmp_path / f"{name}.csv")  # a column that contradicts the files
    samples = read_samples(SamplesConfig(path=tmp_path))
    assert samples.table["part"].value_counts().sort("part").rows() == [("test", 6), ("train", 6), ("validation", 6)]
    assert len(samples) == 18


def test_folder_for_each_class_joins_files_of_one_name(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for mood in ("happy", "sad"):
            home = tmp_path / part / mood
            home.mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(home / "1.png")
            (home / "1.txt").write_text("مرحبا 😀" if mood == "happy" else "雨")
            (home / "notes.xyz").write_text("not content")
    samples = read_samples(SamplesConfig(path=tmp_path))
    assert samples.sample_ids == ["test/happy/1", "test/sad/1", "train/happy/1", "train/sad/1"]
    assert samples.media_columns == {"image": "image"}
    assert samples.text_columns == ("text",)
    assert samples.table.row(0, named=True)["image"] == "test/happy/1.png"
    assert samples.table["part"].to_list() == ["test", "test", "train", "train"]


def test_folder_of_nothing_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a table nor one folder of files for each class"):
        read_samples(SamplesConfig(path=tmp_path))


def test_label_column_with_a_slip_is_suggested() -> None:
    with pytest.raises(DataError, match="There is no column 'lable'") as caught:
        samples_from(table(), SamplesConfig(columns={"label": "lable"}))
    assert "'label'" in caught.value.fix
    with pytest.raises(DataError, match="There is no column 'label'") as caught:
        samples_from(table().rename({"label": "labell"}))
    assert "'labell'" in caught.value.fix


def test_misspelled_classes_are_pointed_out() -> None:
    labels = ["positive"] * 100 + ["negative"] * 100 + ["postive", "Positive ", " negative"]
    samples = samples_from(pl.DataFrame({"label": labels, "text": [HAPPY] * 203}), SamplesConfig(text=["text"]))
    assert samples.classes == ("negative", "positive", "postive")
    assert notes(samples)["labels.case"].count == 1
    assert notes(samples)["labels.spelling"].count == 2
    assert '[data.labels] "postive" = "positive"' in notes(samples)["labels.typo"].examples[0]
    mended = samples_from(
        pl.DataFrame({"label": labels, "text": [HAPPY] * 203}),
        SamplesConfig(text=["text"], labels={"postive": "positive"}),
    )
    assert mended.classes == ("negative", "positive")


def test_labels_are_renamed_and_wrong_names_refused() -> None:
    numbers = table().with_columns(label=pl.Series([1.0, 0.0] * 3))
    renamed = samples_from(numbers, SamplesConfig(labels={"1": "yes", "0": "no"}))
    assert renamed.classes == ("no", "yes")
    assert renamed.labels().tolist() == [1, 0] * 3
    with pytest.raises(DataError, match=r"No row has the label 'hapy', which \[data.labels\] names") as caught:
        samples_from(table(), SamplesConfig(labels={"hapy": "glad"}))
    assert "'happy'" in caught.value.fix


def test_one_class_is_refused_with_a_fix() -> None:
    with pytest.raises(
        DataError, match="All 6 rows have the label 'happy': there are no two classes to learn"
    ) as caught:
        samples_from(table(label=["happy"] * 6))
    assert "add samples of another class" in caught.value.fix
    with pytest.raises(DataError, match="No row has a label"):
        samples_from(table(label=pl.Series([None] * 6, dtype=pl.String)))


def test_column_of_ids_is_no_column_of_labels() -> None:
    frame = pl.DataFrame({"label": [f"x{n}" for n in range(50)], "text": [HAPPY] * 50})
    with pytest.raises(DataError, match="50 rows have 50 different labels: this is not a column of classes"):
        samples_from(frame)


def test_rows_without_label_and_repeated_ids_are_dropped_with_counts() -> None:
    frame = table(sample_id=["a", "b", "c", "d", "d", "f"]).with_columns(
        label=pl.Series(["happy", "sad", None, "sad", "sad", " "])
    )
    samples = samples_from(frame)
    assert samples.sample_ids == ["a", "b", "d"]
    assert notes(samples)["labels.missing"].count == 2
    assert notes(samples)["samples.duplicate"].count == 1
    assert notes(samples)["labels.rare"].count == 2


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match="No column holds text, media or attributes"):
        samples_from(pl.DataFrame({"label": ["a", "b"], "x": ["1", "2"]}))
    with pytest.raises(DataError, match="named in") as caught:
        samples_from(table(), SamplesConfig(text=["texts"]))
    assert "'text'" in caught.value.fix


def test_path_and_format_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file or folder 'gone.csv'"):
        read_samples(SamplesConfig(path=tmp_path / "gone.csv"))
    with pytest.raises(ConfigError, match="There is no labelled source 'davidsn'") as caught:
        read_samples(SamplesConfig(path=tmp_path, format="davidsn"))
    assert "'davidson'" in caught.value.fix


def test_catalog_holds_content_and_no_label() -> None:
    samples = samples_from(table(group=["g"] * 6, mood_votes=[1] * 6), SamplesConfig(attributes=["mood_votes"]))
    assert samples.catalog().table.columns == ["item_id", "text", "mood_votes"]
    assert samples.take(np.array([3, 0])).sample_ids == [samples.sample_ids[3], samples.sample_ids[0]]


def test_clean_mends_words_in_every_script_and_ten_megabytes(tmp_path: Path) -> None:
    texts = ["<b>great</b> 😀👨‍👩‍👧", "\u202eשלום עולם", "word " * 2_000_000, "雨" * 100_000, "cafÃ©", "   "]
    samples = samples_from(table(text=texts), SamplesConfig(text=["text"]))
    cleaned = clean_samples(samples, CleanConfig(), MediaLimits())
    assert cleaned.table["text"].to_list()[:2] == ["great 😀👨‍👩‍👧", "שלום עולם"]
    assert cleaned.table["text"][4] == "café"
    assert len(cleaned) == 5
    assert notes(cleaned)["samples.empty"].examples == ("sample 5",)
    assert notes(cleaned)["text.html"].count == 1


def test_clean_counts_contradictions_and_unusable_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(tmp_path / f"{name}.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "blank.png")
    paths = ["a.png", "a.png", "b.png", "blank.png", "../x.png", None]
    frame = pl.DataFrame({"label": ["happy", "sad"] * 3, "picture": paths})
    samples = samples_from(frame, SamplesConfig(path=tmp_path, media={"image": "picture"}))
    cleaned = clean_samples(samples, CleanConfig(), MediaLimits())
    assert len(cleaned) == 3
    assert notes(cleaned)["image.blank"].count == notes(cleaned)["image.outside"].count == 1
    assert notes(cleaned)["samples.empty"].count == 3
    assert notes(cleaned)["labels.contradiction"].examples == ("samples 0, 1 are equal but called happy and sad",)


def test_clean_refuses_when_no_file_is_there(tmp_path: Path) -> None:
    frame = pl.DataFrame({"label": ["a", "b"], "picture": ["1.png", "2.png"]})
    samples = samples_from(frame, SamplesConfig(path=tmp_path, media={"image": "picture"}))
    with pytest.raises(DataError, match=r"None of the 2 files in the column .picture. can be used as image: 2 missing"):
        clean_samples(samples, CleanConfig(), MediaLimits())


@pytest.mark.parametrize(
    ("name", "folder", "size", "classes"),
    [
        ("mm_sentiment", "mm_sentiment", 3000, ("negative", "neutral", "positive")),
        ("zh_sentiment", "zh_sentiment", 7766, ("negative", "positive")),
        ("cold", "moderation", 37_480, ("offensive", "safe")),
        ("davidson", "moderation", 24_783, ("hate", "neither", "offensive")),
        ("memes", "meme_moderation", 1008, ("harmless", "offensive")),
        ("depresjon", "health_depresjon", 55, ("condition", "control")),
        ("cough", "health_cough", 1322, ("negative", "positive")),
    ],
)
def test_published_sets_are_read_without_what_gives_the_label_away(
    shared_data: Path, name: str, folder: str, size: int, classes: tuple[str, ...]
) -> None:
    samples = read_samples(SamplesConfig(format=name, path=shared_data / folder))
    assert len(samples) == size
    assert samples.classes == classes
    content = set(samples.catalog().table.columns)
    assert not content & {"hate_speech", "Valence", "Level2", "fine-grained-label", "source", "topic", "split", "count"}
    for column in samples.media_columns.values():
        first = str(samples.table[column][0]).partition("#")[0]
        assert (samples.media_root or Path()).joinpath(first).is_file()
    if name == "cold":
        assert samples.table["part"].value_counts().sort("part").rows() == [
            ("test", 5323),
            ("train", 25_726),
            ("validation", 6431),
        ]
