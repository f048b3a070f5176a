"""The screen of what is shown: abuse in two languages and its plain disguises; titles that contain listed letters."""

from __future__ import annotations

from pathlib import Path

import pytest

from hand_made import histories
from penchant.classifiers.output_screen import ClassifierScreen
from penchant.core.errors import ConfigError
from penchant.explanation.profile import Interest, Profile
from penchant.explanation.topics import Topics
from penchant.explanation.written_profile import ProfileWriter
from penchant.language.evidence import NO_NAMES
from penchant.language.screen import ModerationConfig, word_screen


@pytest.mark.parametrize(
    "text",
    [
        "What the FUCK is this?",
        "Ｆｕｃｋ off",
        "you f.u.c.k.i.n.g fool",
        "fu\u200bck you",
        "f*ck it",
        "You n1gg3r",
        "just k.y.s. now",
        "kill  yourself",
        "你个傻 逼",
        "去死吧！",
        "操\u200b你",
    ],
)
def test_abuse_is_refused_however_it_is_written(text: str) -> None:
    assert word_screen().refuses(text)


@pytest.mark.parametrize(
    "text",
    ["Moby Dick and Dick Tracy", "Scunthorpe, a classic assassin", "Bitcoin for all", "他去世了", "操作你的手机"],
)
def test_harmless_words_with_the_same_letters_pass(text: str) -> None:
    assert not word_screen().refuses(text)


def test_only_what_must_not_be_shown_is_withheld() -> None:
    screen, told = word_screen(ModerationConfig(more_words=["kaput*"])), []
    screen.count = told.append
    assert screen.masked("You chose “Fuck Off (1999)” and “Heat”.") == "You chose “…” and “Heat”."
    assert screen.masked("你选过《傻逼》。你喜欢音乐。") == "你选过《…》。你喜欢音乐。"
    assert screen.masked("A kaputter fool. Fine music.") == "… Fine music."
    assert screen.masked("Fine.") == "Fine."
    assert told == ["quotation"] * 3
    assert not word_screen(ModerationConfig(words=False)).refuses("fuck")


def test_a_profile_in_words_withholds_titles_and_keeps_its_numbers() -> None:
    liked = Interest("attribute", "genres", "low", 0.8, 0.2, 2.0, ("Fuck You", "Heat"))
    writer = ProfileWriter(Topics(histories([[0]], 1).item_index, []), NO_NAMES, screen=word_screen())
    (written,) = writer.write([Profile("u", 5, (liked,))])
    assert "80% of your 5 events are low" in written.statements[0].text
    assert "fuck" not in str(written.as_dict()).lower()
    assert written.statements[0].evidence == ("…", "Heat")


def test_a_classifier_judges_what_it_has_learned_about(health: Path) -> None:
    screen = ClassifierScreen(health, ["cross"], 0.5)
    assert screen.refuses("the room was awful and nasty, the bed broken")
    assert not screen.refuses("the room was lovely and joyful, the bed superb")
    with pytest.raises(ConfigError, match="apart"):
        ClassifierScreen(health, ["offensive"], 0.5)
