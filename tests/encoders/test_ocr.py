"""What stands written in a picture becomes words, in Chinese and English, once for each picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from PIL import Image, ImageDraw, ImageFont

from penchant.classifiers.bundle import TrainedClassifier
from penchant.core.errors import ConfigError, MissingExtraError
from penchant.core.schema import Catalog, Dataset, Interactions, Samples
from penchant.data.media import MediaLimits
from penchant.encoders import ocr
from penchant.encoders.ocr import OcrConfig, OcrReader, read_items_pictures, read_pictures, read_samples_pictures
from penchant.pipelines.classification import ClassificationConfig, run

pytest.importorskip("rapidocr", reason="pip install 'penchant[ocr]'")

ENGLISH = "The staff was very rude"
CHINESE = "服务员态度非常差"
CHINESE_FONTS = (
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/arphic/uming.ttc",
)


def draw(path: Path, *lines: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont | None = None) -> None:
    picture = Image.new("RGB", (460, 30 + 60 * len(lines)), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((20, 20 + 60 * number), line, "black", font or ImageFont.load_default(32))
    picture.save(path)


def samples(folder: Path) -> Samples:
    """Return a picture with words, the same once more, one without, a broken one and none."""
    draw(folder / "said.png", ENGLISH)
    shutil.copy(folder / "said.png", folder / "again.png")
    draw(folder / "bare.png", "")
    (folder / "broken.png").write_bytes(b"no picture")
    names = ["said.png", "again.png", "bare.png", "broken.png", None]
    table = pl.DataFrame(
        {"sample_id": list("abcde"), "label": ["glad", "cross", "glad", "cross", "glad"], "image": names}
    )
    return Samples(table, ("cross", "glad"), media_columns={"image": "image"}, media_root=folder)


def test_words_in_pictures_join_the_text_and_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = samples(tmp_path)
    found = read_samples_pictures(given, OcrConfig(), MediaLimits(), cache=tmp_path / "cache")
    assert found.text_columns == ("picture_text",)
    assert found.table["picture_text"].to_list() == [ENGLISH, ENGLISH, None, None, None]
    counts = {finding.check: (finding.count, finding.total) for finding in found.findings}
    assert counts == {"ocr.read": (1, 3), "ocr.failed": (1, 3)}
    assert "broken.png" in found.findings[1].examples[0]
    read: list[int] = []
    monkeypatch.setattr(ocr.OcrReader, "extract", lambda *_: read.append(1) or "")
    again = read_samples_pictures(given, OcrConfig(), MediaLimits(), cache=tmp_path / "cache")
    assert again.table.equals(found.table)
    assert not read


def test_chinese_and_english_are_read_in_one_picture(tmp_path: Path) -> None:
    known = next((path for path in CHINESE_FONTS if Path(path).is_file()), None)
    if known is None:
        pytest.skip("no Chinese font: apt-get install fonts-wqy-microhei")
    draw(tmp_path / "a.png", CHINESE, ENGLISH, font=ImageFont.truetype(known, 32))
    catalog = Catalog(
        pl.DataFrame({"item_id": ["a"], "image": ["a.png"]}), media_columns={"image": "image"}, media_root=tmp_path
    )
    (text,), _ = read_pictures(catalog, OcrReader(OcrConfig()), MediaLimits(), cache=None)
    assert text is not None
    assert CHINESE in text
    assert ENGLISH in text


def test_items_get_the_words_of_their_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr.OcrReader, "extract", lambda *_: "sale")
    given = samples(tmp_path)
    events = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String, "at": pl.Datetime("us", "UTC")})
    dataset = Dataset(given.catalog(), Interactions(events))
    found = read_items_pictures(dataset, OcrConfig(into="print"), MediaLimits(), cache=tmp_path / "cache")
    assert found.catalog.text_columns == ("print",)
    assert found.catalog.table["print"].to_list() == ["sale", "sale", "sale", None, None]


def test_a_column_of_that_name_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is a column 'image' already"):
        read_samples_pictures(samples(tmp_path), OcrConfig(into="image"), MediaLimits(), cache=tmp_path / "cache")


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "MODEL", "no_such_reader")
    with pytest.raises(MissingExtraError, match="'no_such_reader' is not installed") as caught:
        OcrReader(OcrConfig()).load()
    assert caught.value.fix == "pip install 'penchant[ocr]'"


def test_a_bundle_reads_the_pictures_it_is_asked_about(tmp_path: Path) -> None:
    names, labels = [], []
    for number in range(24):
        label = ("cross", "glad")[number % 2]
        picture = Image.new("RGB", (230, 40), "white")
        words = ("awful food", "lovely food")[number % 2]
        ImageDraw.Draw(picture).text((10 + number // 2, 4), words, "black", ImageFont.load_default(28))
        picture.save(tmp_path / f"{number}.png")
        names.append(f"{number}.png")
        labels.append(label)
    pl.DataFrame({"label": labels, "image": names}).write_csv(tmp_path / "samples.csv")
    settings = {
        "output": tmp_path / "bundle",
        "cache": tmp_path / "cache",
        "data": {"path": tmp_path / "samples.csv", "text": [], "media": {"image": "image"}},
        "content": {},
        "ocr": {"search_side": 64},
        "classifiers": {"words": {"model": "ngrams", "strength": [4]}},
        "fit": {"simple_minutes": 0},
        "evaluation": {"intervals": {"resamples": 50}},
    }
    run(ClassificationConfig.read(settings, where="test"))
    said = TrainedClassifier.load(tmp_path / "bundle").predict(image=tmp_path / "1.png")
    assert (said.label, said.written) == ("glad", "lovely food")
    assert said.evidence[0][0] == "lovely"
