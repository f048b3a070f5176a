"""Heat lies on what adds to a score, in every modality, and says so where it does not."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from typer.testing import CliRunner

from labelled_media import CROSS, GLAD
from penchant.classifiers.bundle import TrainedClassifier
from penchant.cli import app
from penchant.core.errors import ConfigError, DataError, NotFoundError
from penchant.data.media.alignment import Stream
from penchant.data.media.signals import Signal
from penchant.encoders.image import EfficientNet
from penchant.encoders.video import VideoClip
from penchant.explanation.heat import content_heat, cut, encoder_heat
from penchant.explanation.heat_of_classifier import classifier_heat
from penchant.recommender.recommender import Recommender
from penchant.reporting.heat import Heat
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.studio.pages import add_studio
from penchant.world.planted import plant_motifs, plant_topics


def test_a_word_that_carries_the_score_is_hottest() -> None:
    def score(texts: Sequence[str]) -> np.ndarray:
        return np.array([2.0 * ("violin" in text) - 1.0 * ("noise" in text) for text in texts])

    heat = content_heat("text", "text", "A noise, and then <b>the violin</b> begins to play a long tune", score)
    assert heat.pieces[heat.hottest[0]] == "violin"
    assert dict(zip(heat.pieces, heat.values, strict=True))["noise"] == -1
    assert heat.passes
    assert '<mark class="heat-9" title="+2.000">violin</mark>' in heat.html()
    assert "&lt;b&gt;the" in heat.html()
    assert "fails its check" in replace(heat, lost=(0.1, 0.2)).said
    empty = content_heat("text", "text", "", score)
    assert (empty.pieces, empty.html()) == ((), "")


def test_time_and_pitch_of_a_tone_are_hottest() -> None:
    at = np.arange(32_000) / 16_000
    samples = np.where(at < 1, np.sin(2 * np.pi * 200 * at), np.sin(2 * np.pi * 5000 * at)).astype(np.float32)

    def score(sounds: Sequence[np.ndarray]) -> np.ndarray:
        spectra = [np.abs(np.fft.rfft(sound)) ** 2 for sound in sounds]
        return np.array([s[np.linspace(0, 8000, len(s)) > 4000].sum() / 1e6 for s in spectra])

    heat = content_heat("audio", "sound", samples, score)
    band, frame = heat.hottest
    assert band >= 6
    assert frame >= 8
    assert heat.passes
    covered = cut("audio", "sound", samples).cover(np.zeros((8, 16), bool))
    assert covered == pytest.approx(samples, abs=1e-4)  # nothing is covered, nothing changes
    assert Image.open(io.BytesIO(heat.png())).size == (448, 222)


def test_a_stretch_of_a_series_is_hottest() -> None:
    at = np.arange(240, dtype=np.float64)
    values = np.stack([(at >= 200) & (at < 210), np.zeros(240)], axis=1).astype(np.float64)
    values[5] = np.nan
    series = Signal(Stream(at, values), ("x", "y"), False)

    def score(versions: Sequence[Signal]) -> np.ndarray:
        return np.array([np.nanmax(one.stream.values) for one in versions])

    heat = content_heat("signal", "wrist", series, score)
    assert heat.hottest[0] == 20
    assert heat.passes
    assert heat.image().size == (448, 222)


def test_frames_of_a_video_and_octants_of_a_mesh() -> None:
    import trimesh

    clip = VideoClip([np.full(3, n) for n in range(4)], None)
    heat = content_heat(
        "video", "clip", clip, lambda clips: np.array([float(sum((f == 2).all() for f in c.frames)) for c in clips])
    )
    assert heat.pieces[heat.hottest[0]] == "frame 3"
    ball, far = trimesh.creation.icosphere(), trimesh.creation.icosphere()
    far.apply_translation((10, 10, 10))
    heat = content_heat(
        "mesh", "shape", ball + far, lambda ms: np.array([float(m.triangles_center[:, 0].max()) for m in ms])
    )
    assert heat.pieces[heat.hottest[0]].startswith("right back high")
    assert heat.image().width == 448
    with pytest.raises(ConfigError, match="no heat over attribute"):
        content_heat("attribute", "a", {}, lambda _: np.zeros(1))


def test_places_of_efficientnet_average_to_its_vector_and_grad_cam_finds_the_planted_motif() -> None:
    rng = np.random.default_rng(1)
    encoder = EfficientNet()
    encoder.load()
    asked, other = (
        np.mean([_unit(encoder, plant_motifs((motif, motif), "teal", rng).image) for _ in range(3)], axis=0)
        for motif in ("rays", "waves")
    )
    picture = plant_motifs(("rays", "waves"), "teal", rng)
    assert encoder.places(picture.image).mean((0, 1)) == pytest.approx(
        encoder.encode([encoder.prepare(picture.image)])[0], abs=1e-4
    )
    heat = encoder_heat(encoder, "image", picture.image, lambda v: np.asarray(v @ (asked - other), np.float64))
    assert heat.method == "grad_cam"
    row, column = heat.hottest
    point = ((column + 0.5) / heat.values.shape[1], (row + 0.5) / heat.values.shape[0])
    assert picture.is_at("rays", *point)
    assert not picture.is_at("waves", *point)
    assert heat.passes


def _unit(encoder: EfficientNet, picture: Image.Image) -> np.ndarray:
    vector = encoder.encode([encoder.prepare(picture)])[0]
    return np.asarray(vector / np.linalg.norm(vector))


def test_planted_sentences_are_where_the_truth_says() -> None:
    planted = plant_topics(("sea", "space"), "en", np.random.default_rng(0))
    assert set(planted.spans) == {"sea", "space"}
    ((start, stop),) = planted.spans["sea"]
    assert planted.is_at("sea", start)
    assert not planted.is_at("space", start)
    assert planted.text[start:stop].strip()


def test_heat_of_an_item_in_python_the_command_line_and_the_studio(shop: Path, tmp_path: Path) -> None:
    recommender = Recommender.load(shop)
    assert recommender.heat_channels == ("sound",)
    heat = recommender.heat("i3", "sound", "u0")
    high = heat.values[5:].max()
    assert high > heat.values[:3].max()  # i3 is a tone of 1,500 Hz, which u0 likes
    assert heat.passes
    alike = recommender.heat("i3", "sound")
    assert alike.method == "occlusion"
    with pytest.raises(NotFoundError, match="No heat can be drawn over the channel 'soun'"):
        recommender.heat("i3", "soun")
    with pytest.raises(NotFoundError, match="There is no item"):
        recommender.heat("nothing", "sound")
    catalog = recommender.catalog
    table = catalog.table.with_columns(sound=pl.lit(None, pl.String))
    with pytest.raises(NotFoundError, match="The item 'i3' has no audio"):
        replace(recommender, catalog=replace(catalog, table=table)).heat("i3", "sound")
    printed = CliRunner().invoke(
        app, ["explain", str(shop), "--item", "i3", "--heat", str(tmp_path / "heat"), "--json"]
    )
    assert printed.exit_code == 0, printed.output
    (written,) = json.loads(printed.output)
    assert Path(written["file"]).read_bytes()[:4] == b"\x89PNG"
    config = ServiceConfig(bundle=shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config, add_pages=add_studio)) as client:
        assert "/studio/heat?item=i3&amp;channel=sound" in client.get("/studio/item?id=i3").text
        page = client.get("/studio/heat?item=i3&channel=sound&user=u0")
        assert page.status_code == 200
        assert "data:image/png;base64," in page.text
        assert client.get("/studio/heat?item=i3&channel=other").status_code == 404
        client.put("/v1/items/i3", json={"columns": {"title": "another"}})
        client.delete("/v1/items/i4")
        assert client.get("/studio/heat?item=i4&channel=sound").status_code == 404


def test_heat_of_a_classifier(health: Path, tmp_path: Path) -> None:
    trained = TrainedClassifier.load(health)
    text = f"the room was {GLAD[0]} and the staff {GLAD[1]} but breakfast {CROSS[0]}"
    (heat,) = classifier_heat(trained, text=text, label="glad")
    assert heat.pieces[heat.hottest[0]] in GLAD
    assert dict(zip(heat.pieces, heat.values, strict=True))[CROSS[0]] < 0
    sound = next(path for path in sorted(health.parent.glob("*.wav")))
    heats: dict[str, Any] = {h.modality: h for h in classifier_heat(trained, text=text, audio=sound)}
    assert set(heats) == {"text", "audio"}
    assert heats["audio"].values.shape == (8, 16)
    with pytest.raises(DataError, match="There is no class 'calm'"):
        classifier_heat(trained, text=text, label="calm")
    arguments = ["predict", str(health), "--text", text, "--heat", str(tmp_path)]
    printed = CliRunner().invoke(app, arguments)
    assert printed.exit_code == 0, printed.output
    assert isinstance(heat, Heat)
    assert "mark" in (tmp_path / "text.html").read_text(encoding="utf-8")
