"""Files that are no good are named with the reason, whoever would have read them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from labelled_media import write_samples
from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.media_errors import refused, why_wordless, without_unreadable
from penchant.cli import app
from penchant.core.schema import Catalog, Finding
from penchant.data.media import MediaLimits
from penchant.encoders.content import find_content
from penchant.pipelines.classification import ClassificationConfig, run

CUT = "The picture is cut short or damaged"
FAILED = Finding("ocr.failed", 1, 3, "masked", (), "", "warning")


@pytest.fixture
def pictures(tmp_path: Path) -> Catalog:
    """Return a whole picture, one cut short, and none."""
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    table = pl.DataFrame({"item_id": ["0", "1", "2"], "image": ["whole.png", "cut.png", None]})
    return Catalog(table, media_columns={"image": "image"}, media_root=tmp_path)


def test_what_cannot_be_opened_is_missing_and_says_why(pictures: Catalog, tmp_path: Path) -> None:
    batch, unread = without_unreadable(ContentBatch(pictures, {}), {"image", "text"})
    assert batch.catalog.table["image"].to_list() == ["whole.png", None, None]
    assert [list(one) for one in unread] == [[], ["image"], []]
    error = unread[1]["image"]
    assert error.message.startswith(CUT)
    assert (error.where, bool(error.fix)) == (str(tmp_path / "cut.png"), True)


def test_files_are_opened_again_only_where_one_failed(pictures: Catalog) -> None:
    limits, words = MediaLimits(), [None, None, None]
    assert why_wordless(pictures, "image", words, [], limits) == [{}, {}, {}]
    found = why_wordless(pictures, "image", words, [FAILED], limits)
    assert [list(one) for one in found] == [[], ["image"], []]  # a picture without print is no error


def test_what_an_encoder_refuses_keeps_its_reason(pictures: Catalog) -> None:
    content = find_content(pictures, [], "image", MediaLimits(), where="test")
    error = refused(content, 0, "faces", [f"{content.place(1)}: cut short", f"{content.place(0)}: no face"])
    assert error.message == "The encoder of 'faces' cannot encode this file: no face."
    assert "whole.png" in error.where


def test_a_network_that_opens_files_itself_does_not_guess_from_a_broken_one(tmp_path: Path) -> None:
    write_samples(tmp_path, 24, modalities=("image",))
    net = {"model": "network", "dim": 8, "trainer": {"epochs": 1}, "branches": {"image": {"modality": "image"}}}
    settings = {
        "output": tmp_path / "bundle",
        "cache": tmp_path / "cache",
        "data": {"path": tmp_path / "samples.csv", "text": [], "media": {"image": "image"}},
        "content": {},
        "classifiers": {"pictures": net},
        "evaluation": {"intervals": {"resamples": 20}},
    }
    run(ClassificationConfig.read(settings, where="test"))
    bad = tmp_path / "bad.jpg"
    bad.write_bytes((tmp_path / "1.png").read_bytes()[:900])
    told = CliRunner().invoke(app, ["predict", str(tmp_path / "bundle"), "--image", str(bad)])
    assert told.exit_code == 0, told.output
    assert "UNSURE: needs review" in told.stdout
    assert "nothing could be read: these are the class frequencies of training" in told.stdout
    assert f"image was ignored: {CUT}" in told.stdout
    assert f"\n  where: {bad}\n  fix:   copy it again from its source" in told.stdout
