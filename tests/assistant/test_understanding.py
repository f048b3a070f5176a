"""What a message says, in English and Chinese."""

from __future__ import annotations

from typing import Any

import pytest

from penchant.assistant.dialogue import Assistant
from penchant.assistant.terms import Facet
from penchant.assistant.understanding import MAX_CHARACTERS, Query, understand
from penchant.recommender.lists import Edit

SEA, KITCHEN = Facet("topic", "sea · boats · sailors"), Facet("topic", "kitchen · bread · cooking")


def genre(value: str) -> Facet:
    return Facet("genre", value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a comedy please", {"wanted": (genre("Comedy"),)}),
        ("I want comedies, but no thrillers", {"wanted": (genre("Comedy"),), "unwanted": (genre("Thriller"),)}),
        ("no thriller but a comedy", {"wanted": (genre("Comedy"),), "unwanted": (genre("Thriller"),)}),
        ("not a comedy", {"unwanted": (genre("Comedy"),)}),
        ("anything but drama", {"unwanted": (genre("Drama"),)}),
        ("something about boats", {"wanted": (SEA,)}),
        ("a drama about the kitchen under 12", {"wanted": (genre("Drama"), KITCHEN), "at_most": {"price": 12.0}}),
        ("thrillers after 2006", {"wanted": (genre("Thriller"),), "at_least": {"year": 2006.0}}),
        (
            "comedies from the 1980s",
            {"wanted": (genre("Comedy"),), "at_least": {"year": 1980.0}, "at_most": {"year": 1989.0}},
        ),
        ("price between 5 and 9", {"at_least": {"price": 5.0}, "at_most": {"price": 9.0}}),
        ("no more than 8 dollars", {"at_most": {"price": 8.0}}),
        ("something like Harbour Lights", {"like": ("f0",)}),
        ("something like The Long Sea but cheaper", {"like": ("f1",), "at_most": {"price": 8.991}}),
        ("like the second one", {"like": ("f5",)}),
        ("nothing like Knife Work", {"unlike": ("f6",)}),
        ("想看喜剧 comedy", {"wanted": (genre("Comedy"),)}),
        ("想看关于面包的电影", {"wanted": (KITCHEN,)}),
        ("不要厨房，想看小船", {"wanted": (SEA,), "unwanted": (KITCHEN,)}),
        ("不超过8元的", {"at_most": {"price": 8.0}}),
        ("2010年以后的", {"at_least": {"year": 2010.0}}),
        ("8元以下，和面包有关", {"wanted": (KITCHEN,), "at_most": {"price": 8.0}}),
        ("类似海上的灯", {"like": ("f8",)}),
        ("80年代的", {"at_least": {"year": 1980.0}, "at_most": {"year": 1989.0}}),
        ("films of the 10s", {"at_least": {"year": 2010.0}, "at_most": {"year": 2019.0}}),
        ("price between 9 and 5", {"at_least": {"price": 5.0}, "at_most": {"price": 9.0}}),
        ("something like The Long Sea but cheaper, price under 5", {"like": ("f1",), "at_most": {"price": 5.0}}),
        ("no comedy rather a drama", {"wanted": (genre("Drama"),), "unwanted": (genre("Comedy"),)}),
        ("not only comedies", {"wanted": (genre("Comedy"),)}),
        ("no problem give me a comedy", {"wanted": (genre("Comedy"),)}),
        ("I am not sure about a drama", {"wanted": (genre("Drama"),)}),
        ("no idea maybe a drama", {"wanted": (genre("Drama"),)}),
        ("why not a comedy", {"wanted": (genre("Comedy"),)}),
        ("not bad one more drama", {"wanted": (genre("Drama"),)}),
        ("I don't mind a thriller", {"wanted": (genre("Thriller"),)}),
        ("no less than 8 dollars", {"at_least": {"price": 8.0}}),
        ("not less than 8 dollars", {"at_least": {"price": 8.0}}),
        ("not more than 8 dollars", {"at_most": {"price": 8.0}}),
        ("不错来点面包", {"wanted": (KITCHEN,)}),
        ("有没有关于面包的", {"wanted": (KITCHEN,)}),
        ("有没有不超过8元的面包", {"wanted": (KITCHEN,), "at_most": {"price": 8.0}}),
        ("不低于8元的面包", {"wanted": (KITCHEN,), "at_least": {"price": 8.0}}),
        ("不少于8元的面包", {"wanted": (KITCHEN,), "at_least": {"price": 8.0}}),
        ("不知道看什么面包", {"wanted": (KITCHEN,)}),
        ("I like comedies and I'd love a drama", {"wanted": (genre("Comedy"), genre("Drama"))}),
    ],
)
def test_requests_are_understood(assistant: Assistant, text: str, expected: dict[str, Any]) -> None:
    found = understand(text, assistant.terms, shown=("f4", "f5", "f6"))
    given = {name: getattr(found, name) for name in ("wanted", "unwanted", "at_least", "at_most", "like", "unlike")}
    assert {name: value for name, value in given.items() if value} == expected
    assert found.intent == "request"


@pytest.mark.parametrize(
    ("text", "edits"),
    [
        ("I no longer like thrillers", (Edit("genre", "Thriller", "never"),)),
        ("I love comedies", (Edit("genre", "Comedy", "more"),)),
        ("From now on no drama", (Edit("genre", "Drama", "never"),)),
        ("我不喜欢面包", (Edit("topic", "kitchen · bread · cooking", "never"),)),
        ("我喜欢小船", (Edit("topic", "sea · boats · sailors", "more"),)),
        ("I love boats, a harbour", (Edit("topic", "sea · boats · sailors", "more"),)),  # named, and found by meaning
        ("I hate boats, no harbour", (Edit("topic", "sea · boats · sailors", "never"),)),
        ("I no longer like kitchen, baker", (Edit("topic", "kitchen · bread · cooking", "never"),)),
    ],
)
def test_lasting_statements_become_edits(assistant: Assistant, text: str, edits: tuple[Edit, ...]) -> None:
    found = understand(text, assistant.terms)
    assert (found.intent, found.edits, found.unwanted) == ("statement", edits, ())


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("yes", "yes"),
        ("好的", "yes"),
        ("No thanks.", "no"),
        ("不用", "no"),
        ("start over", "reset"),
        ("重新开始", "reset"),
        ("…", "empty"),
        ("", "empty"),
    ],
)
def test_short_answers_have_an_intent(assistant: Assistant, text: str, intent: str) -> None:
    assert understand(text, assistant.terms).intent == intent


def test_words_of_no_name_are_looked_up_by_meaning(assistant: Assistant) -> None:
    assert understand("a baker", assistant.terms).wanted == (KITCHEN,)
    assert KITCHEN in understand("without bakers or a baker", assistant.terms).unwanted


def test_later_wishes_add_and_replace(assistant: Assistant) -> None:
    first = understand("a comedy under 9", assistant.terms)
    second = first.joined(understand("about boats", assistant.terms))
    assert set(second.wanted) == {genre("Comedy"), SEA}
    assert second.at_most == {"price": 9.0}
    third = second.joined(understand("rather a drama", assistant.terms))
    assert set(third.wanted) == {genre("Drama"), SEA}
    fourth = third.joined(understand("no boats", assistant.terms))
    assert (set(fourth.wanted), fourth.unwanted) == ({genre("Drama")}, (SEA,))
    fifth = fourth.joined(understand("about boats", assistant.terms))
    assert (set(fifth.wanted), fifth.unwanted) == ({genre("Drama"), SEA}, ())


def test_an_item_to_be_like_and_words_stay_until_others_are_given(assistant: Assistant) -> None:
    alike = Query(like=("f1",)).joined(understand("a drama", assistant.terms))
    assert (alike.like, alike.wanted) == (("f1",), (genre("Drama"),))
    assert alike.joined(Query(like=("f2",))).like == ("f2",)
    said = Query(words="quiet evenings")
    assert said.joined(Query(at_most={"price": 9.0})).words == "quiet evenings"
    assert said.joined(Query(words="loud nights")).words == "loud nights"
    assert said.joined(Query(like=("f1",))).words == ""


@pytest.mark.parametrize(
    "text",
    ["🙂" * 400_000, "a" * 1_000_000, "je voudrais quelque chose", "((((" * 1000, "no " * 700, "\x00\x01", "间" * 3000],
)
def test_long_and_strange_messages_are_answered(assistant: Assistant, text: str) -> None:
    found = understand(text, assistant.terms)
    assert isinstance(found, Query)
    assert len(found.words) <= MAX_CHARACTERS


@pytest.mark.parametrize(
    "text",
    [
        "quelque chose sur les bateaux",
        "etwas über Boote, aber keine Küche",
        "algo sobre barcos para esta noche",
        "船についての話",
        "배에 관한 영화",
        "что-нибудь о кораблях",
        "κάτι για πλοία",
    ],
)
def test_a_third_language_is_noticed_and_says_nothing(assistant: Assistant, text: str) -> None:
    found = understand(text, assistant.terms)
    assert found.is_foreign
    assert found.is_open


@pytest.mark.parametrize(
    "text", ["Comedy por favor, para la noche", "la la land", "boats", "想看关于面包的电影", "🙂", "12", "der film"]
)
def test_names_of_the_catalog_and_single_words_are_in_no_third_language(assistant: Assistant, text: str) -> None:
    assert not understand(text, assistant.terms).is_foreign


@pytest.mark.parametrize(("text", "named"), [("like item i99999", "i99999"), ("类似物品 i99999", "i99999")])
def test_an_item_that_does_not_exist_is_not_understood(assistant: Assistant, text: str, named: str) -> None:
    found = understand(text, assistant.terms)
    assert found.unknown == (named,)
    assert found.like == ()
