"""Profiles in words: what they say is in the history, in both languages; a model's own inventions are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from hand_made import histories
from penchant.core.errors import ConfigError
from penchant.explanation.profile import Interest, Profile, ProfileBuilder, item_weight
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
    profile = ProfileBuilder(cinema.catalog, item_weight(cinema.histories), cinema.topics).profile(own)
    trends = {i.value: i.trend for i in profile.interests}
    assert trends["kitchen · bread · cooking"] > 0.5
    assert profile.disliked == ("一笑而过",)
    (written,) = cinema.profile_writer().write([profile])
    assert "there is more of kitchen · bread · cooking" in written.text
    assert "You did not like “一笑而过”." in written.text
    steady = histories([[4, 5, 6, 7]], len(cinema.catalog))
    found = ProfileBuilder(cinema.catalog, item_weight(cinema.histories), cinema.topics).profile(steady).interests
    assert all(np.isclose(i.trend, 0) for i in found if i.kind == "topic")


def interest(value: str, kind: str = "attribute", *, share: float = 0.6, trend: float = 0.0) -> Interest:
    return Interest(kind, "genre" if kind == "attribute" else "price", value, share, 0.2, 1.0, ("Big", "Big"), trend)


def test_only_clear_trends_are_told(cinema: Recommender) -> None:
    trends = (interest("Comedy", trend=0.4), interest("Drama", trend=-0.4), interest("Horror", trend=0.2))
    (written,) = cinema.profile_writer().write([Profile("u", 9, trends)])
    assert "there is more of Comedy." in written.text
    assert "there is less of Drama." in written.text
    told = [s.text for s in written.statements]
    assert ["of late there are more" in text for text in told] == [True, False, False]
    assert ["of late there are fewer" in text for text in told] == [False, True, False]
    assert "for example “Big”." in told[2]


def test_numbers_are_told_with_their_direction(cinema: Recommender) -> None:
    low, high = interest("low", "number", share=0.1), interest("high", "number", share=0.3)
    (written,) = cinema.profile_writer().write([Profile("u", 9, (low, high))])
    assert [s.text for s in written.statements] == [
        "The price of what you choose is on average 0.1, lower than that of all users, 0.2.",
        "The price of what you choose is on average 0.3, higher than that of all users, 0.2.",
    ]


def test_the_strongest_interests_and_modalities_are_stated(cinema: Recommender) -> None:
    many = tuple(interest(f"value {n}") for n in range(8))
    (written,) = cinema.profile_writer().write([Profile("u", 9, many, {"text": 0.95, "image": 0.05})])
    assert [s.value for s in written.statements] == [f"value {n}" for n in range(5)] + [""]
    assert written.statements[-1].text == "Your recommendations rest on text."
