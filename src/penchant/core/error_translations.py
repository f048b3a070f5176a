"""Errors in the reader's language.

In: a `PenchantError`, whose three parts are finished English sentences. Out: the same parts in another language. The English text is matched
to its template ("There is no {0} in {1}."), and what stood in the gaps is put into the template's translation; a text without a template
stays English. The places that raise an error know nothing of this; `make messages` collects their templates.
"""

from __future__ import annotations

import json
import re
from functools import cache
from string import Formatter
from typing import NamedTuple

from penchant.core.errors import PenchantError
from penchant.core.messages import LOCALES, Message, Translator

MIN_LETTERS = 12
"""Of its own that a template has to have, before a value that another template captured is taken for a sentence and translated too: names of
the data are left alone."""
WORDS = "words"
"""`{0:words}` in a translation: this gap holds words of ours, such as "encoder", and not a name of the data."""


class ErrorParts(NamedTuple):
    """What is wrong, where, and how to mend it."""

    message: str
    where: str
    fix: str


def translated_parts(error: PenchantError, language: str) -> ErrorParts:
    """Return the parts of an error in a language; what has no translation is English."""
    texts = _texts(language)
    parts = (str(error.message), str(error.where), str(error.fix))
    if isinstance(error.message, Message):
        return ErrorParts(Translator(language).said(error.message), *map(texts.translated, parts[1:]))
    return ErrorParts(*map(texts.translated, parts))


def translated_text(text: str, language: str) -> str:
    """Return a sentence of an error, such as a library's reason, in a language; one without a translation stays English."""
    return _texts(language).translated(text)


class ErrorTexts:
    """The templates of one language.

    Args:
        templates: English to translation, both with numbered gaps.
    """

    def __init__(self, templates: dict[str, str]) -> None:
        self._whole = {english: text for english, text in templates.items() if "{" not in english}
        self._templates = sorted(
            (_Template.of(english, text) for english, text in templates.items() if "{" in english),
            key=lambda one: (
                one.pattern.startswith("(.*)"),
                -one.num_letters,
            ),  # of several that fit, the one with most text of its own
        )

    def translated(self, text: str, min_letters: int = 0) -> str:
        """Return a text in this language, as it is where no template with so many letters fits it."""
        if text in self._whole and _num_letters(text) >= min_letters:
            return self._whole[text]
        for template in self._templates:
            values = template.values(text) if template.num_letters >= min_letters else None
            if values is not None:
                return template.translation.format(*(_Captured(value, self) for value in values))
        return text


class _Template(NamedTuple):
    pattern: str
    longest: str
    num_letters: int
    translation: str

    @classmethod
    def of(cls, english: str, translation: str) -> _Template:
        pieces = [(literal, gap) for literal, gap, _, _ in Formatter().parse(english)]
        pattern = "".join(re.escape(literal) + ("" if gap is None else "(.*?)") for literal, gap in pieces)
        pattern = re.sub(r"^\(\.\*\?\)", "(.*)", pattern)  # a file and its row: the folder may have such words too
        literals = [literal for literal, _ in pieces]
        return cls(pattern, max(literals, key=len), _num_letters("".join(literals)), translation)

    def values(self, text: str) -> tuple[str, ...] | None:
        """Return what stands in the gaps; None where the text is not of this template."""
        found = re.fullmatch(self.pattern, text, re.DOTALL) if self.longest in text else None
        if found is None:
            return None
        is_word = self.longest.strip().isalpha() and any("/" in value for value in found.groups()[1:])
        return None if is_word else found.groups()  # "my row data/items.csv" is no row


def _num_letters(text: str) -> int:
    return sum(map(str.isalpha, text))


class _Captured:
    """What stood in a gap: a name or a number stays as it is, a sentence is translated."""

    def __init__(self, text: str, texts: ErrorTexts) -> None:
        self._text, self._texts = text, texts

    def __format__(self, kind: str) -> str:
        least = 0 if kind == WORDS else MIN_LETTERS
        text = self._texts.translated(self._text, least)
        if text != self._text or self._text.endswith("."):
            return text
        return self._texts.translated(f"{self._text}.", least).rstrip(".。")  # quoted without its full stop


@cache
def _texts(language: str) -> ErrorTexts:
    file = LOCALES / language / "errors.json"
    return ErrorTexts(json.loads(file.read_text("utf-8")) if file.is_file() else {})
