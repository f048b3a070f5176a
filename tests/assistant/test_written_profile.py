"""Profiles in words: what they say is in the history, in both languages; a model's own inventions are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from hand_made import histories
from penchant.core.errors import ConfigError
from penchant.explanation.profile import ProfileBuilder
from penchant.language.engine import Engine, Prompt
from penchant.recommender.recommender import Recommender


class Saying(Engine):
    """An engine that says one thing."""

    def __init__(self, text: str, languages: Sequence[str] = ("en", "zh")) -> None:
        self._text, self.languages = text, frozenset(languages)
        self.prompts: list[Prompt] = []

    @property
    def provenance(self) -> dict[str, Any]:
        return {"model": "saying"}

    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        self.prompts += prompts
        return [self._text] * len(prompts)

    def stream(self, prompt: Prompt) -> Iterator[str]:
        yield from self.write([prompt])


def test_statements_have_their_events_and_can_be_edited(cinema: Recommender) -> None:
    (written,) = cinema.profile_writer().write([cinema.profile("u2")])
    kitchen = next(s for s in written.statements if s.name == "topic")
    assert kitchen.value == "kitchen · bread · cooking"
    assert "100% of your 3 events" in kitchen.text
    assert set(kitchen.evidence) == {"Bread and Butter (1988)", "The Quiet Kitchen (2001)", "Knife Work (2010)"}
    assert written.written_by == "template"
    assert "kitchen · bread · cooking" in written.text


def test_a_profile_is_written_in_the_readers_language(cinema: Recommender) -> None:
    (written,) = cinema.profile_writer("zh").write([cinema.profile("u2")])
    assert "厨房 · 面包 · 烹饪" in written.text
    assert written.text.startswith("你比其他用户更多地选择")
    with pytest.raises(ConfigError, match="no report in 'fr'"):
        cinema.profile_writer("fr")


def test_a_model_words_it_and_what_it_makes_up_is_dropped(cinema: Recommender) -> None:
    engine = Saying("You enjoy Drama. You always cry at the end.")
    (written,) = cinema.profile_writer(engine=engine).write([cinema.profile("u0")])
    assert (written.paragraph, written.num_dropped, written.written_by) == (("You enjoy Drama.",), 1, "saying")
    assert "u0" not in engine.prompts[0].user


@pytest.mark.parametrize("text", ["", "You will meet a stranger. Buy gold now.", "无关的话。", "la la la la"])
def test_the_template_speaks_where_a_model_says_nothing_true(cinema: Recommender, text: str) -> None:
    profile = cinema.profile("u0")
    (written,) = cinema.profile_writer(engine=Saying(text)).write([profile])
    (fixed,) = cinema.profile_writer().write([profile])
    assert (written.paragraph, written.written_by) == (fixed.paragraph, "template")
    assert "were not supported" in written.reason


def test_a_model_that_does_not_write_the_language_is_not_asked(cinema: Recommender) -> None:
    engine = Saying("You enjoy Drama.", ["en"])
    (written,) = cinema.profile_writer("zh", engine).write([cinema.profile("u0")])
    assert engine.prompts == []
    assert written.reason == "该语言模型不写这种语言"


def test_nobody_and_one_event_have_a_sentence_too(cinema: Recommender) -> None:
    writer = cinema.profile_writer()
    for history in (cinema.history("", ()), cinema.history_of(["f0"])):
        (written,) = writer.write([cinema.profile(history)])
        assert written.text


def test_what_rises_and_what_fades_is_told(cinema: Recommender) -> None:
    rows = [[0, 1, 2, 4, 5, 6, 7, 11]]  # the sea, then the kitchen
    weights = [[1.0] * 7 + [-1.0]]
    own = histories(rows, len(cinema.catalog), weights)
    profile = ProfileBuilder(cinema.catalog, cinema.histories, cinema.topics).profile(own)
    trends = {i.value: i.trend for i in profile.interests}
    assert trends["kitchen · bread · cooking"] > 0.5
    assert profile.disliked == ("一笑而过",)
    (written,) = cinema.profile_writer().write([profile])
    assert "there is more of kitchen · bread · cooking" in written.text
    assert "You did not like “一笑而过”." in written.text
    steady = histories([[4, 5, 6, 7]], len(cinema.catalog))
    found = ProfileBuilder(cinema.catalog, cinema.histories, cinema.topics).profile(steady).interests
    assert all(np.isclose(i.trend, 0) for i in found if i.kind == "topic")
