"""Content unlike anything learned is unsure; content like that of training hardly ever is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from PIL import Image

from labelled_media import write_picture, write_samples, write_sound
from penchant.classifiers.bundle import TrainedClassifier
from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.novelty import RATE, Novelty
from penchant.core.schema import Catalog, Embeddings
from penchant.data.clean.function_words import kind_of_language
from penchant.pipelines.classification import ClassificationConfig, run

ENGLISH = [
    "The room was lovely and the staff were kind",
    "I do not like it at all",
    "What a day this was for us",
    "ok",
    "lol 😂",
]
OTHERS = [
    "Le service était très lent et la chambre sale",
    "Das Zimmer war sehr schön und sauber",
    "No me gustó nada la comida del hotel",
    "La camera era molto bella e il cibo non",
    "Eu não gostei do hotel e da comida",
    "Het was een heel mooi hotel en de kamer is goed",
    "房间很干净，服务也很好",
    "Очень хороший отель",
    "호텔이 정말 좋았어요",
    "とても良いホテルでした",
    "فندق رائع جدا",
    "😀😀",
    "!!! ❤️",
]


def texts(values: list[str]) -> ContentBatch:
    table = pl.DataFrame({"item_id": [str(n) for n in range(len(values))], "text": values})
    return ContentBatch(Catalog(table, None, ("text",)), {})


def vectors(values: np.ndarray, name: str = "sound") -> ContentBatch:
    one = Embeddings(name, "audio", values.astype(np.float32), np.ones(len(values), bool), name)
    table = pl.DataFrame({"item_id": [str(n) for n in range(len(values))]})
    return ContentBatch(Catalog(table), {name: one})


def test_languages_by_script_and_function_words() -> None:
    assert [kind_of_language(text) for text in ENGLISH] == ["en", "en", "en", "latin", "latin"]
    kinds = ["fr", "de", "es", "it", "pt", "nl", "zh", "ru", "ko", "ja", "ar", "none", "none"]
    assert [kind_of_language(text) for text in OTHERS] == kinds
    assert kind_of_language("https://example.com/der-die-das @und #nicht") == "none"


def test_other_languages_scripts_and_emoji_alone_are_novel() -> None:
    learned = Novelty.of(texts(ENGLISH * 20), np.zeros(100, np.int64))
    assert learned.is_novel(texts(ENGLISH)).tolist() == [False] * len(ENGLISH)
    assert learned.is_novel(texts(OTHERS)).all()
    chinese = Novelty.of(texts(["房间很干净，服务也很好"] * 60), np.zeros(60, np.int64))
    assert chinese.is_novel(texts(["lol", *ENGLISH[:3]])).all()
    assert not chinese.is_novel(texts(["不好"])).any()
    assert not learned.is_novel(texts([""])).any()  # nothing given is not novel but missing
    mixed = Novelty.of(
        texts([*ENGLISH * 20, "Das war sehr gut und ich bin froh", "Das ist nicht gut", "Ich mag das nicht"]),
        np.zeros(103, np.int64),
    )
    assert not mixed.is_novel(texts(OTHERS[1:2])).any()  # a language that occurred is not novel


def test_vectors_far_from_all_are_novel_and_typical_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((8, 100))

    def draw(count: int) -> np.ndarray:
        return rng.standard_normal((count, 8)) @ mixing + 0.3 * rng.standard_normal((count, 100)) + 5

    learned = Novelty.of(vectors(draw(600)), np.arange(600))
    assert learned.is_novel(vectors(draw(2000))).mean() == pytest.approx(RATE, abs=0.012)
    assert learned.is_novel(vectors(4 * draw(50))).all()
    assert (
        learned.is_novel(vectors(5 + 2 * rng.standard_normal((50, 100)))).mean() > 0.95
    )  # plausible widths, other directions
    again = Novelty.restore(learned.arrays())
    asked = vectors(draw(50) * 1.5)
    assert (again.is_novel(asked) == learned.is_novel(asked)).all()
    assert not Novelty.of(vectors(draw(20)), np.arange(20)).is_novel(vectors(9 * draw(20))).any()  # too few to tell


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    folder = tmp_path_factory.mktemp("seen")
    write_samples(folder, 120, modalities=("audio", "text"))
    settings = {
        "output": folder / "bundle",
        "cache": folder / "cache",
        "data": {"path": folder / "samples.csv", "text": ["text"], "media": {"audio": "audio"}},
        "content": {"sound": {"encoder": "mel"}},
        "classifiers": {"words": {"model": "ngrams", "strength": [4]}, "sound": {"model": "linear"}},
        "fit": {"fusion": ["stacking"], "simple": False, "inner_folds": 0},
        "evaluation": {"intervals": {"resamples": 50}},
    }
    return run(ClassificationConfig.read(settings, where="test"))[0]


def test_silence_noise_and_emoji_are_unsure_and_ordinary_content_is_not(
    seen: TrainedClassifier, tmp_path: Path
) -> None:
    rng = np.random.default_rng(9)
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000, np.float32), 16_000)
    silence = seen.predict(audio=tmp_path / "silence.wav")
    assert silence.is_unsure
    assert any("The sound is silent" in note for note in silence.notes)
    assert set(silence.plausible) == {"cross", "glad"}
    for number, loudness in enumerate((0.05, 0.3)):
        soundfile.write(tmp_path / f"{number}.wav", (loudness * rng.standard_normal(16_000)).clip(-1, 1), 16_000)
        noise = seen.predict(audio=tmp_path / f"{number}.wav")
        assert noise.is_unsure
        assert any("unlike anything learned" in note for note in noise.notes)
    assert seen.predict(text="😀😀").is_unsure
    assert seen.predict(text="Das Zimmer war sehr schön und sauber").is_unsure
    ordinary = [seen.predict(audio=tmp_path / write_sound(tmp_path, n, n % 2 == 1, rng)) for n in range(10, 40)]
    assert np.mean([one.is_unsure for one in ordinary]) < 0.2
    assert [one.label for one in ordinary] == ["cross", "glad"] * 15
    assert ordinary[0].coverage == 0.9


def test_a_blank_picture_is_missing_as_in_training(tmp_path: Path) -> None:
    write_samples(tmp_path, 60, modalities=("image",))
    settings = {
        "output": tmp_path / "bundle",
        "cache": tmp_path / "cache",
        "data": {"path": tmp_path / "samples.csv"},
        "content": {},
        "classifiers": {
            "net": {
                "model": "network",
                "dim": 8,
                "trainer": {"epochs": 1},
                "branches": {"picture": {"modality": "image", "net": "picture_cnn"}},
            }
        },
        "evaluation": {"intervals": {"resamples": 50}},
    }
    made = run(ClassificationConfig.read(settings, where="test"))[0]
    Image.new("RGB", (24, 24), (200, 10, 10)).save(tmp_path / "blank.png")
    found = made.predict(image=tmp_path / "blank.png")
    assert found.is_unsure
    assert any("single colour" in note for note in found.notes)
    rng = np.random.default_rng(1)
    assert not any(
        "single colour" in note for note in made.predict(image=tmp_path / write_picture(tmp_path, 99, True, rng)).notes
    )
