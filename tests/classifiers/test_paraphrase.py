"""Training texts in other words: written once by the model that is named, used in training only, and refused where there is no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.classifiers.branches import BranchAugmentationConfig, BranchConfig, make_branch
from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.paraphrase import ParaphraseConfig, paraphrase
from penchant.core.errors import ConfigError, EncoderError
from penchant.core.schema import Catalog
from penchant.language.descriptions import DescriptionWriter

pytest.importorskip("transformers")

TEXTS = ["awful robots", "what love", "silence", "silence", "strange", ""]


def config(parrot: Path, tmp_path: Path, **settings: Any) -> ParaphraseConfig:
    return ParaphraseConfig(model=str(parrot), written=tmp_path / "written", max_tokens=6, **settings)


def test_a_model_writes_once_and_what_is_no_sentence_is_left_out(
    parrot: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = config(parrot, tmp_path)
    expected = ["they fight far.", "Paris is far.", None, None, None, None]
    found = paraphrase(TEXTS, settings)
    assert [text and text.replace(" .", ".") for text in found] == expected
    asked: list[Any] = []
    monkeypatch.setattr(
        DescriptionWriter, "__call__", lambda _, contents: asked.append(contents) or [""] * len(contents)
    )
    assert paraphrase(TEXTS, settings) == found
    assert not asked
    paraphrase(TEXTS, config(parrot, tmp_path, through="French"))
    assert asked == [
        sorted(set(filter(None, TEXTS)), key=lambda text: (-len(text), text))
    ]  # nothing came back to translate


def test_back_translation_passes_texts_through_two_prompts(
    parrot: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, list[str]]] = []

    def answer(writer: DescriptionWriter, contents: list[str]) -> list[str]:
        asked.append((writer.config.prompt.split(".")[0], list(contents)))
        return [f"{content}!" for content in contents]

    monkeypatch.setattr(DescriptionWriter, "__call__", answer)
    assert paraphrase(["good"], config(parrot, tmp_path, through="French")) == ["good!!"]
    assert asked == [
        ("Translate the following into French", ["good"]),
        ("Translate the following into English", ["good!"]),
    ]


def test_training_reads_other_words_and_later_content_does_not(parrot: Path, tmp_path: Path) -> None:
    texts = ["awful robots", "they fight far", "strange"]
    batch = ContentBatch(Catalog(pl.DataFrame({"item_id": list("abc"), "text": texts}), text_columns=("text",)), {})
    branch = make_branch("words", BranchConfig(modality="text", min_count=1))
    branch.learn(batch, np.arange(3))
    change = BranchAugmentationConfig.read(
        {"text": {"deletion": 0}, "paraphrase": config(parrot, tmp_path, probability=1).model_dump()}, where="test"
    )
    branch.vary(batch, change)
    rng = np.random.default_rng(0)
    (own, other, strange) = (array for array in branch.prepare(batch) if array is not None)
    np.testing.assert_array_equal(branch.ready(own, change, rng), other)
    np.testing.assert_array_equal(branch.ready(strange, change, rng), strange)
    np.testing.assert_array_equal(branch.ready(own, None, rng), own)


def test_without_a_model_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="There is no folder"):
        paraphrase(["good"], ParaphraseConfig(model="./absent", written=tmp_path))
    with pytest.raises(ConfigError, match="The prompt has no placeholder for the text"):
        paraphrase(["good"], ParaphraseConfig(prompt="Say it otherwise", written=tmp_path))


def test_texts_longer_than_the_positions_of_a_model_are_left_as_they_are(
    short_sighted: Path, parrot: Path, tmp_path: Path
) -> None:
    for model in (short_sighted, parrot):  # places that are learned end in an error beyond the last, others in nonsense
        settings = ParaphraseConfig(model=str(model), written=tmp_path / "written", prompt="{content}", max_tokens=120)
        found = paraphrase(["robots", "robots fight " * 40], settings)
        assert found[0] is not None
        assert found[1] is None


def test_a_prompt_that_leaves_no_room_is_refused(short_sighted: Path, tmp_path: Path) -> None:
    settings = ParaphraseConfig(model=str(short_sighted), written=tmp_path, prompt="say it again " * 30 + "{content}")
    with pytest.raises(EncoderError, match="reads 64 tokens; the prompt has 90 and leaves none for the content"):
        paraphrase(["good"], settings)
