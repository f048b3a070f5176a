"""A bundled detector becomes a classifier without training; what it holds back is never shown as it is. The pictures are drawn, and harmless."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw

from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.prediction import region_line
from penchant.core.errors import ConfigError, DataError
from penchant.encoders.nudity import EXPOSED, LABELS, Nudity
from penchant.pipelines.moderation import ModerationConfig, run

pytest.importorskip("onnxruntime")
pytest.importorskip("nudenet", reason="pip install 'penchant[moderation]'", exc_type=ImportError)


def draw(path: Path, *, seed: int = 0) -> Path:
    """Draw a house under a sun, with noise."""
    picture = Image.new("RGB", (120, 90), "skyblue")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((30, 40, 80, 80), "firebrick")
    pen.polygon(((25, 40), (55, 15), (85, 40)), "saddlebrown")
    pen.ellipse((95, 5, 115, 25), "gold")
    noise = np.random.default_rng(seed).integers(-20, 20, (90, 120, 3))
    Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)).save(path)
    return path


def config(folder: Path, **settings: Any) -> ModerationConfig:
    return ModerationConfig.read({"output": folder / "bundle", **settings}, where="test")


def test_a_harmless_picture_is_allowed_and_comes_back_equal(tmp_path: Path) -> None:
    trained = run(config(tmp_path))
    said = TrainedClassifier.load(tmp_path / "bundle").predict(image=draw(tmp_path / "house.png"))
    assert said == trained.predict(image=tmp_path / "house.png")
    assert (said.label, said.is_unsure, said.regions) == ("allowed", False, ())
    seen = Nudity().encode([Nudity().prepare(Image.open(tmp_path / "house.png"))])[0]
    strongest = max(seen[LABELS.index(label)] for label in EXPOSED)
    assert said.probabilities["nudity"] == pytest.approx(strongest, abs=1e-4)
    assert "not a calibrated probability" in said.notes[-1]


def test_threshold_and_doubt_are_where_the_settings_say(tmp_path: Path) -> None:
    from penchant.pipelines.moderation import fixed

    decision = fixed(config(tmp_path, threshold=0.6, review_from=0.4)).combined.decision
    yes = np.array([0.39, 0.41, 0.59, 0.61, 0.76, 0.78])
    probability = np.stack([1 - yes, yes], axis=1)
    assert decision.answers(probability).tolist() == [0, 0, 0, 1, 1, 1]
    assert decision.is_unsure(probability).tolist() == [False, True, True, True, True, False]
    np.testing.assert_allclose(decision.thresholds(probability)[:, 1], 0.6)


def test_the_report_shows_blurred_previews_only(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    for number in range(3):
        draw(folder / f"{number}.png", seed=number)
    (folder / "broken.jpg").write_bytes(b"no picture")
    run(config(tmp_path, path=folder, threshold=1e-5, review_from=1e-5))  # so low that anything is blocked
    report = tmp_path / "bundle" / "report"
    judged = pl.read_parquet(report / "predictions.parquet")
    assert judged.sort("image")["predicted"].to_list()[:3] == ["nudity"] * 3
    about = json.loads((report / "report.json").read_text())["screening"]
    assert (about["num_pictures"], about["num_blocked"], about["num_doubtful"], about["num_unread"]) == (4, 3, 1, 1)
    page = (report / "report.html").read_text()
    assert "could not be opened" in page
    assert "default-src 'none'" in page
    shown = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(shown) == 3
    for one in shown:
        preview = np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("L"), float)
        raw = Image.open(folder / "0.png").convert("L").resize((preview.shape[1], preview.shape[0]))
        assert np.abs(np.diff(preview)).max() < 0.5 * np.abs(np.diff(np.asarray(raw, float))).max()  # no edge is left


def test_regions_lie_in_the_picture_and_are_told_in_words(tmp_path: Path) -> None:
    run(config(tmp_path, threshold=1e-5, review_from=1e-5))
    said = TrainedClassifier.load(tmp_path / "bundle").predict(image=draw(tmp_path / "house.png"))
    assert said.label == "nudity"
    assert said.regions
    assert said.regions[0].score == pytest.approx(said.score, abs=1e-3)
    for region in said.regions:
        assert region.label in EXPOSED
        assert 0 <= region.left <= region.left + region.width <= 1.0001
        assert 0 <= region.top <= region.top + region.height <= 1.0001
    assert re.fullmatch(r"\w+ 0\.\d\d at \d+% from the left, \d+% from the top", region_line(said.regions[0]))


def test_scores_are_those_of_the_wheels_own_detector(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    from nudenet import NudeDetector

    detector = Nudity()
    picture = draw(tmp_path / "house.png")
    pixels = detector.prepare(Image.open(picture))
    own = NudeDetector().onnx_session.run(None, {"images": pixels[None]})[0][0, 4:].max(axis=1)
    np.testing.assert_allclose(detector.encode([pixels])[0], own, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"labels": ["BUTTOCKS"]}, ConfigError, "The detector has no label 'BUTTOCKS'"),
        ({"path": "absent"}, DataError, "There are no pictures to classify"),
    ],
)
def test_what_does_not_fit_is_said(
    settings: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        run(config(tmp_path, **settings))


def test_asking_from_above_the_threshold_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('task = "moderation"\nthreshold = 0.3\nreview_from = 0.4\n')
    with pytest.raises(ConfigError, match="review_from = 0"):
        ModerationConfig.from_toml(file)
