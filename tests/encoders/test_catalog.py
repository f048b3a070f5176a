"""A catalog goes in, vectors and honest counts come out; killed, damaged and odd input included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from PIL import Image

from penchant.core.config import Settings
from penchant.core.errors import ConfigError, EncoderError
from penchant.core.schema import Catalog, Embeddings
from penchant.data.media import MediaLimits
from penchant.encoders import catalog as module
from penchant.encoders.catalog import ChannelConfig, default_channels, encode_catalog
from penchant.encoders.encoder import Encoder
from penchant.fusion.imputation import coverage

LIMITS = MediaLimits()


class LengthsConfig(Settings):
    """Nothing to set."""


class Lengths(Encoder):
    """An encoder whose right answer is plain: the length of the text, and what happens to odd words."""

    modality = "text"
    licence = "none needed"
    cost = "light"
    batch_size = 3

    config_class = LengthsConfig

    seen: list[list[str]] = []

    def weights(self) -> Any:
        return None

    def prepare(self, raw: str) -> str:
        if raw == "unpreparable":
            raise ValueError("this text cannot be prepared")
        return raw

    def encode(self, prepared: Sequence[str]) -> np.ndarray:
        type(self).seen.append(list(prepared))
        if "refused" in prepared:
            raise RuntimeError("this batch is refused")
        return np.array([[len(t), np.nan if t == "nan" else 1.0] for t in prepared], np.float32)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> type[Lengths]:
    """Put `lengths` into the table for one test."""
    monkeypatch.setitem(module.ENCODERS._entries, "lengths", f"{__name__}:Lengths")
    monkeypatch.setattr(Lengths, "seen", [])
    return Lengths


def texts(values: list[str | None]) -> Catalog:
    ids = [f"i{n}" for n in range(len(values))]
    return Catalog(
        pl.DataFrame({"item_id": ids, "plot": values}, schema={"item_id": pl.String, "plot": pl.String}),
        text_columns=("plot",),
    )


def encode(catalog: Catalog, cache: Path, **settings: Any) -> tuple[Embeddings, list[Any]]:
    found, findings = encode_catalog(catalog, {"c": ChannelConfig(**settings)}, cache=cache, limits=LIMITS)
    return found["c"], findings


def test_missing_text_is_masked_not_zero_data(lengths: Any, tmp_path: Path) -> None:
    found, findings = encode(texts(["four", None, "  ", "three"]), tmp_path, encoder="lengths")
    assert findings == []  # nothing failed; what is missing is told once imputation had its turn
    assert found.present.tolist() == [True, False, False, True]
    assert found.values[:, 0].tolist() == [4, 0, 0, 5]
    assert coverage(found).examples == ("c: 2 of 4 items without; 0 imputed from neighbours",)


def test_equal_content_is_encoded_once(lengths: Any, tmp_path: Path) -> None:
    found, _ = encode(texts(["same", "other", "same", "same"]), tmp_path, encoder="lengths")
    assert sorted(t for batch in lengths.seen for t in batch) == ["other", "same"]
    assert found.values[:, 0].tolist() == [4, 5, 4, 4]


def test_what_learns_from_the_catalog_counts_items_and_not_contents(tmp_path: Path) -> None:
    kinds = [f"kind {row % 5}" for row in range(200)]
    catalog = Catalog(
        pl.DataFrame({"item_id": [f"i{row}" for row in range(200)], "kind": kinds}), attribute_columns=("kind",)
    )
    found, _ = encode(catalog, tmp_path, encoder="attributes", columns=["kind"])
    assert found.values.shape == (200, 5)
    np.testing.assert_array_equal(found.values @ found.values.T, np.equal.outer(kinds, kinds))
    credits, _ = encode(
        texts(["Ann, Bo"] * 3 + ["Cy"] * 2 + ["Dee"]), tmp_path, encoder="tfidf", options={"names": True}
    )
    assert np.any(credits.values != 0, axis=1).tolist() == [True] * 5 + [False]
    # as often as items have it, a content is part of the name in the cache: the vectors above hold for no other counts
    fewer, _ = encode(texts(["Ann, Bo", "Cy", "Dee"]), tmp_path, encoder="tfidf", options={"names": True})
    assert fewer.encoder != credits.encoder
    assert not fewer.values.any()
    again, _ = encode(texts(["Ann, Bo"] * 3 + ["Cy"] * 2 + ["Dee"]), tmp_path, encoder="tfidf", options={"names": True})
    np.testing.assert_array_equal(again.values, credits.values)


def test_second_run_encodes_nothing_and_gives_equal_bits(lengths: Any, tmp_path: Path) -> None:
    first, _ = encode(texts(["a", "bb", "ccc", "dddd"]), tmp_path, encoder="lengths")
    lengths.seen.clear()
    second, _ = encode(texts(["dddd", "a", "bb", "ccc"]), tmp_path, encoder="lengths")
    assert lengths.seen == []
    np.testing.assert_array_equal(second.values, first.values[[3, 0, 1, 2]])


def test_changed_item_alone_is_encoded_again(lengths: Any, tmp_path: Path) -> None:
    encode(texts(["a", "bb", "ccc"]), tmp_path, encoder="lengths")
    lengths.seen.clear()
    encode(texts(["a", "bb", "changed"]), tmp_path, encoder="lengths")
    assert lengths.seen == [["changed"]]


def test_batches_hold_alike_lengths_and_follow_the_setting(lengths: Any, tmp_path: Path) -> None:
    values = ["x" * n for n in (1, 9, 2, 8, 3, 7)]
    encode(texts(values), tmp_path / "own", encoder="lengths")
    assert [[len(t) for t in batch] for batch in lengths.seen] == [[9, 8, 7], [3, 2, 1]]
    lengths.seen.clear()
    encode(texts(values), tmp_path / "set", encoder="lengths", batch_size=2)
    assert [len(batch) for batch in lengths.seen] == [2, 2, 2]


@pytest.mark.parametrize("odd", ["unpreparable", "refused"])
def test_item_the_encoder_fails_on_is_noted_and_left_out(lengths: Any, tmp_path: Path, odd: str) -> None:
    found, findings = encode(texts(["a", odd, "bb", "ccc"]), tmp_path, encoder="lengths", batch_size=4)
    assert found.present.tolist() == [True, False, True, True]
    failed = findings[0]
    assert (failed.check, failed.count, failed.total, failed.severity) == ("encode.failed", 1, 4, "warning")
    assert failed.examples[0].startswith("item i1: ")
    # that one is tried again, alone, and still does not stop the run
    again, findings = encode(texts(["a", odd, "bb", "ccc"]), tmp_path, encoder="lengths")
    assert again.present.tolist() == [True, False, True, True]
    assert findings[0].count == 1


def test_encoder_that_fails_on_everything_stops_at_once(
    lengths: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lengths, "prepare", _refuse)
    with pytest.raises(EncoderError, match="Lengths fails on every item of its first batch") as caught:
        encode(texts(["a", "bb", "ccc"]), tmp_path, encoder="lengths")
    assert "nothing can be prepared" in caught.value.message
    assert "check that its model and settings suit this content" in caught.value.fix


def _refuse(self: Any, raw: str) -> str:
    raise ValueError("nothing can be prepared")


def test_vector_that_is_no_number_names_the_item(lengths: Any, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="The vector of item i1 holds NaN or infinity") as caught:
        encode(texts(["a", "nan", "bb"]), tmp_path, encoder="lengths")
    assert caught.value.where == "content.c"
    assert "try another encoder" in caught.value.fix


def test_whole_catalog_encoder_follows_the_catalog(tmp_path: Path) -> None:
    settings = {"encoder": "tfidf", "options": {"names": True, "min_items": 1, "dim": 2}}
    small, _ = encode(texts(["Ann, Bo", "Ann", "Bo, Cy"]), tmp_path, **settings)
    again, _ = encode(texts(["Ann, Bo", "Ann", "Bo, Cy"]), tmp_path, **settings)
    large, _ = encode(texts(["Ann, Bo", "Ann", "Bo, Cy", "Cy, Di"]), tmp_path, **settings)
    np.testing.assert_array_equal(small.values, again.values)
    assert small.encoder == again.encoder != large.encoder
    assert large.present.all()


def test_chinese_and_english_text_share_one_channel(tmp_path: Path) -> None:
    values = ["战争与和平的故事", "a story of war and peace", "怎样烤一个苹果派", "how to bake an apple pie"]
    catalog = texts(values)
    assert default_channels(catalog)["text"].encoder == "e5"
    assert default_channels(texts(["only English here"] * 3))["text"].encoder == "minilm"
    unit = encode(catalog, tmp_path, encoder="e5")[0].unit()
    similar = unit @ unit.T
    assert similar[0, 1] > max(similar[0, 2], similar[0, 3])
    assert similar[2, 3] > max(similar[2, 0], similar[2, 1])


def pictures(root: Path) -> Catalog:
    Image.new("RGB", (40, 30), "red").save(root / "red.png")
    Image.linear_gradient("L").save(root / "grey.jpg")
    (root / "text.png").write_text("this is no picture")
    paths = ["red.png", "grey.jpg", "text.png", None, "absent.png", "../outside.png", "red.png"]
    table = pl.DataFrame({"item_id": [str(n) for n in range(7)], "poster": paths})
    return Catalog(table, media_columns={"image": "poster"}, media_root=root)


def test_bad_picture_is_noted_with_its_path_and_left_out(tmp_path: Path) -> None:
    found, findings = encode(pictures(tmp_path), tmp_path / "cache", encoder="efficientnet", batch_size=2)
    assert found.present.tolist() == [True, True, False, False, False, False, True]
    assert found.dim == 1280
    np.testing.assert_array_equal(found.values[0], found.values[6])
    failed = findings[0]
    assert (failed.check, failed.count) == ("encode.failed", 3)
    assert any("item 2, text.png: The file is not a picture" in line for line in failed.examples)
    assert any("item 4, absent.png: There is no file 'absent.png'" in line for line in failed.examples)
    assert any("item 5, ../outside.png" in line and "leads out of the media folder" in line for line in failed.examples)


def test_no_readable_file_leaves_an_empty_channel(tmp_path: Path) -> None:
    catalog = Catalog(
        pl.DataFrame({"item_id": ["a", "b"], "clip": ["x.wav", "y.wav"]}),
        media_columns={"audio": "clip"},
        media_root=tmp_path,
    )
    found, findings = encode(catalog, tmp_path / "cache", encoder="mel")
    assert not found.present.any()
    assert findings[0].count == 2


@pytest.mark.parametrize(
    ("settings", "message", "fix"),
    [
        ({"encoder": "minlm"}, "There is no encoder 'minlm'", "'minilm'"),
        ({"encoder": "minilm", "columns": ["plott"]}, "There is no item column 'plott'", "'plot'"),
        ({"encoder": "mel"}, "The catalog has no audio column", "columns = "),
        (
            {"encoder": "efficientnet", "columns": ["plot"]},
            "The folder of the image files is not known",
            "media_folder",
        ),
        (
            {"encoder": "efficientnet", "columns": ["plot", "item_id"]},
            "reads one column, not 2",
            "one \\[content.NAME\\]",
        ),
        ({"encoder": "minilm", "options": {"tokens": 3}}, "There is no setting 'tokens'", "'max_tokens'"),
        ({"encoder": "precomputed"}, "Precomputed vectors need a path", "path = "),
    ],
)
def test_wrong_settings_are_explained(tmp_path: Path, settings: dict[str, Any], message: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        encode(texts(["a", "b"]), tmp_path, **settings)
    assert fix.replace("\\", "") in caught.value.fix
    assert "content.c" in caught.value.where or settings["encoder"] == "minlm"


def test_sound_limit_is_part_of_what_is_cached(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", np.cumsum(rng.standard_normal(48_000)) / 500, 16_000)
    catalog = Catalog(
        pl.DataFrame({"item_id": ["a"], "clip": ["a.wav"]}), media_columns={"audio": "clip"}, media_root=tmp_path
    )
    channel = {"c": ChannelConfig(encoder="mel")}
    whole, _ = encode_catalog(catalog, channel, cache=tmp_path / "cache", limits=LIMITS)
    part, _ = encode_catalog(catalog, channel, cache=tmp_path / "cache", limits=MediaLimits(max_seconds=1))
    assert np.abs(whole["c"].values - part["c"].values).max() > 0


WORKER = """
import sys, time
from pathlib import Path
import polars as pl
from penchant.core.schema import Catalog
from penchant.data.media import MediaLimits
from penchant.encoders.audio import Mel
from penchant.encoders.catalog import ChannelConfig, encode_catalog
root, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
encode = Mel.encode
def watched(self, prepared):
    with log.open("a") as file:
        file.write(f"{len(prepared)}\\n")
    time.sleep(pause)
    return encode(self, prepared)
Mel.encode = watched
paths = sorted(p.name for p in root.glob("*.wav"))
catalog = Catalog(pl.DataFrame({"item_id": paths, "clip": paths}), media_columns={"audio": "clip"}, media_root=root)
channel = ChannelConfig(encoder="mel", batch_size=4)
encode_catalog(catalog, {"c": channel}, cache=root / "cache", limits=MediaLimits())
"""


def test_killed_run_loses_at_most_one_batch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        soundfile.write(tmp_path / f"{number:02}.wav", 0.1 * rng.standard_normal(8_000), 16_000)
    logs = [tmp_path / f"log{number}" for number in range(3)]
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    killed = subprocess.Popen([*command, str(logs[0]), "0.1"])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not logs[0].exists() or len(logs[0].read_text().split()) < 6):
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    began = sum(map(int, logs[0].read_text().split()))
    assert 24 <= began < 60
    for log in logs[1:]:
        subprocess.run([*command, str(log), "0"], check=True)
    assert 60 - began <= sum(map(int, logs[1].read_text().split())) <= 60 - began + 4
    assert not logs[2].exists()

    catalog = Catalog(
        pl.DataFrame({"item_id": [f"{n:02}.wav" for n in range(60)], "clip": [f"{n:02}.wav" for n in range(60)]}),
        media_columns={"audio": "clip"},
        media_root=tmp_path,
    )
    resumed, _ = encode(catalog, tmp_path / "cache", encoder="mel")
    fresh, _ = encode(catalog, tmp_path / "fresh", encoder="mel")
    np.testing.assert_array_equal(resumed.values, fresh.values)


def test_damaged_cache_is_mended_by_the_next_run(tmp_path: Path, lengths: Any) -> None:
    catalog = texts([f"text {'x' * n}" for n in range(30)])
    first, _ = encode(catalog, tmp_path, encoder="lengths")
    files = sorted(tmp_path.glob("vectors_*/*.parquet"), key=lambda p: p.stat().st_mtime)
    for file in files:
        file.write_bytes(file.read_bytes()[:40])
    second, _ = encode(catalog, tmp_path, encoder="lengths")
    np.testing.assert_array_equal(first.values, second.values)
    lengths.seen.clear()
    encode(catalog, tmp_path, encoder="lengths")
    assert lengths.seen == []
