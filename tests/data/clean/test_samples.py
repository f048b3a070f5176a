"""Samples whose media are not where they should be: the column, the number and the folder are said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from penchant.core.errors import DataError
from penchant.data.clean.dataset import CleanConfig
from penchant.data.clean.samples import clean_samples
from penchant.data.media import MediaLimits
from penchant.data.read.samples import SamplesConfig, read_samples


def write(folder: Path, count: int = 6) -> None:
    """Write words, pictures in `photos`, and before them a second column of pictures that were not copied."""
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / "photos" / f"{number}.png")
    pl.DataFrame(
        {
            "label": ["glad", "cross"] * (count // 2),
            "words": [f"a long enough text about visit number {number}" for number in range(count)],
            "avatar": [f"https-avatars-of-people/{number}/0123456789.png" for number in range(count)],
            "photo": [f"photos/{number}.png" for number in range(count)],
        }
    ).write_csv(folder / "samples.csv")


def test_of_two_columns_of_pictures_the_one_whose_files_exist_is_taken(tmp_path: Path) -> None:
    write(tmp_path)
    samples = read_samples(SamplesConfig(path=tmp_path / "samples.csv"))
    assert samples.media_columns == {"image": "photo"}
    assert samples.text_columns == ("words",)  # long paths are no text
    note = next(f for f in samples.findings if f.check == "samples.roles")
    assert any("avatar" in example for example in note.examples if example.startswith("not used"))
    cleaned = clean_samples(samples, CleanConfig(), MediaLimits())
    assert cleaned.table["photo"].null_count() == 0


def test_a_wrong_media_folder_names_column_count_and_folder(tmp_path: Path) -> None:
    write(tmp_path)
    samples = read_samples(SamplesConfig(path=tmp_path / "samples.csv", media_folder="pictures"))
    with pytest.raises(
        DataError, match=r"None of the 6 files in the column 'avatar' can be used as image: 6 missing"
    ) as caught:
        clean_samples(samples, CleanConfig(), MediaLimits())
    assert str(tmp_path / "pictures") in caught.value.where
    assert "media_folder" in caught.value.fix
    assert "[data] media = {}" in caught.value.fix


def test_files_that_are_all_blank_are_said_to_be_blank(tmp_path: Path) -> None:
    write(tmp_path)
    for file in (tmp_path / "photos").iterdir():
        Image.new("RGB", (8, 8)).save(file)
    samples = read_samples(SamplesConfig(path=tmp_path / "samples.csv"))
    with pytest.raises(DataError, match="can be used as image: 6 blank") as caught:
        clean_samples(samples, CleanConfig(), MediaLimits())
    assert caught.value.fix.startswith("repair the files")
