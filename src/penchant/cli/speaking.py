"""The language of the command line: `penchant COMMAND --language zh`.

In: a language, sentences as messages, the commands. Out: the sentences, the headings of tables and the help texts in that language; what has no
translation stays English.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.table import Table

from penchant.core.errors import ConfigError, nearest
from penchant.core.messages import LANGUAGES, LOCALES, Translator, message

_SPOKEN: ContextVar[Translator | None] = ContextVar("spoken", default=None)
"""The translator of this command; None speaks English."""
OPTION = "--language"
WORDS = {
    str(word): word
    for word in (
        message("item"),
        message("title"),
        message("score"),
        message("why"),
        message("number"),
        message("stream"),
        message("sent"),
        message("record"),
        message("interest"),
        message("value"),
        message("share"),
        message("others"),
        message("strength"),
        message("because of"),
        message("topic"),
        message("items"),
        message("such as"),
        message("part"),
        message("contribution"),
        message("attribution"),
        message("rule"),
        message("attribute"),
        message("importance"),
        message("points"),
        message("group"),
        message("of the catalog"),
        message("of choices"),
        message("of attention"),
        message("ratio"),
        message("channel"),
        message("member"),
        message("event"),
        message("for any user"),
        message("recommender"),
        message("recall"),
        message("against the best baseline"),
        message("classifier"),
        message("accuracy"),
        message("estimate"),
        message("reward a place"),
        message("effective choices"),
        message("variant"),
        message("users"),
        message("metric"),
        message("mean"),
        message("against the first"),
        message("outcome"),
    )
}
"""Headings of tables, and the words that rows begin with."""


def speak(language: str | None) -> None:
    """Let this command speak a language; None is English, which nobody asked for.

    Raises:
        ConfigError: There is no such language.
    """
    if language is not None and language not in LANGUAGES:
        raise ConfigError(f"There is no language {language!r}.", where=OPTION, fix=nearest(language, LANGUAGES))
    _SPOKEN.set(None if language is None else Translator(language))


@contextmanager
def spoken(language: str) -> Iterator[None]:
    """Speak a language in this context, such as that of the report a command has written; English changes nothing."""
    before = _SPOKEN.get()
    if language != "en":
        speak(language)
    try:
        yield
    finally:
        _SPOKEN.set(before)


def spoken_language() -> str:
    """Return the language of this command."""
    translate = _SPOKEN.get()
    return "en" if translate is None else translate.language


def asked_language() -> str:
    """Return the language that was asked for, "" where none was."""
    translate = _SPOKEN.get()
    return "" if translate is None else translate.language


def said(text: str) -> str:
    """Return a message in the language of this command; a text that is no message (a name, a value of the data) stays as it is."""
    translate = _SPOKEN.get()
    return text if translate is None else translate.said(text)


def said_source(text: str) -> str:
    """Return a sentence that a report keeps as plain text, such as "not distinguishable", in the language of this command."""
    translate = _SPOKEN.get()
    return text if translate is None else translate(text)


def said_label(text: str) -> str:
    """Return what a row begins with: "member: ease" has its first word translated."""
    word, mark, rest = text.partition(": ")
    known = WORDS.get(word)
    translate = _SPOKEN.get()
    if known is None or translate is None:
        return said(text)
    return f"{translate(known)}{translate(mark)}{translate.channel(rest) if word == 'channel' else rest}"


class SpokenTable(Table):
    """A table whose headings, and the words its rows begin with, are in the language of this command."""

    def add_column(self, header: Any = "", *arguments: Any, **options: Any) -> None:
        super().add_column(said(WORDS.get(header, header)), *arguments, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        first = [said_label(cells[0])] if cells and isinstance(cells[0], str) else cells[:1]
        super().add_row(*first, *cells[1:], **options)


def named_language(arguments: Sequence[str]) -> str:
    """Return the last language that arguments name, "en" without one; a wrong one is refused later, when options are read."""
    named = "en"
    for word, following in zip(arguments, (*arguments[1:], named), strict=False):
        if word == OPTION:
            named = following
        elif word.startswith(f"{OPTION}="):
            named = word.partition("=")[2]
    return named


def help_texts(language: str) -> dict[str, str]:
    """Return the help texts of commands and options that are translated, English to this language."""
    file = LOCALES / language / "help.json"
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def with_help_in(command: Any, language: str) -> Any:
    """Give a command, its options and its own commands their help texts in a language, in place, and return it."""
    texts = help_texts(language)
    for owner in (command, *command.params):
        shown = getattr(owner, "help", None)
        if shown is not None:
            owner.help = texts.get(shown, shown)
    for one in getattr(command, "commands", {}).values():
        with_help_in(one, language)
    return command
