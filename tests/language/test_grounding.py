"""What stands in the source is kept, what was added is not."""

from __future__ import annotations

import pytest

from penchant.language.grounding import grounded, whole_sentences

SOURCE = "title: Toy Story (1995)\nplot: A cowboy doll named Woody is jealous of a spaceman."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A doll named Woody is jealous.", "A doll named Woody is jealous."),
        ("Woody's rival is a spaceman.", "Woody's rival is a spaceman."),
        ("It was made by Pixar. A doll is jealous.", "A doll is jealous."),
        ("It came out in 1995. It won in 1996!", "It came out in 1995."),
        ("Fans of Shrek will like it.", ""),
        ("一个牛仔玩偶。 很嫉妒！", "一个牛仔玩偶。 很嫉妒！"),
        ("", ""),
    ],
)
def test_sentences_that_name_what_the_source_does_not_are_taken_out(text: str, kept: str) -> None:
    assert grounded(text, SOURCE) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [("One.\n\nTwo. And thr", "One. Two."), ("no end", ""), ("你好。再见", "你好。"), ("", "")],
)
def test_text_ends_with_its_last_whole_sentence(text: str, kept: str) -> None:
    assert whole_sentences(text) == kept
