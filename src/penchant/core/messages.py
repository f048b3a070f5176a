"""Translatable sentences.

In: an English source string with named placeholders, and their values. Out: a `Message`: the finished English text, which logs, errors and
JSON use as it is, and from which a page makes the same sentence in the reader's language.
"""

from __future__ import annotations

import gettext
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from penchant.core.errors import ConfigError, nearest

LOCALES = Path(__file__).parents[1] / "locales"
LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""Language to the `lang` attribute of a page."""


class Message(str):
    """The finished English text, with its source string and values.

    Args:
        msgid: English, with placeholders like `{count}`; the key of the catalogs.
        values: Placeholder to its value: text, a number, another message, or a tuple of names, which is shown as a list.
    """

    msgid: str
    values: Mapping[str, Any]

    def __new__(cls, msgid: str, values: Mapping[str, Any] | None = None) -> Message:
        values = values or {}
        shown = {name: ", ".join(value) if isinstance(value, tuple) else value for name, value in values.items()}
        self = super().__new__(cls, msgid.format(**shown) if shown else msgid)
        self.msgid, self.values = msgid, values
        return self

    def __getnewargs__(self) -> tuple[str, Mapping[str, Any]]:  # type: ignore[override]  # for pickle and copy
        return self.msgid, self.values


def message(msgid: str, /, **values: Any) -> Message:
    """Return a translatable message; `make messages` finds its source string by the name of this function."""
    return Message(msgid, values)


CHANNELS = {
    "behaviour": message("behaviour"),
    "text": message("text"),
    "image": message("image"),
    "audio": message("audio"),
    "video": message("video"),
    "mesh": message("mesh"),
    "signal": message("signal"),
    "attribute": message("attributes"),
    "attributes": message("attributes"),
    "mixed content": message("mixed content"),
    "fused": message("everything"),
    "review": message("users' reviews"),
    "photo": message("users' photos"),
    "voice": message("users' voice notes"),
    "avatar": message("users' avatars"),
    "bio": message("users' bios"),
    "greeting": message("users' greetings"),
    "user_attributes": message("users' attributes"),
    "written_profile": message("the profile in words"),
    "context": message("circumstances of the request"),
}
"""Display names of the modalities, and of the default channels of user content; a channel of another name keeps it."""


def channel_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of channels as the value of a placeholder; those of modalities are translated."""
    return tuple(CHANNELS.get(name, name) for name in names)


def packed(text: str) -> str:
    """Return a message as JSON with its source string and values, for `unpacked`; other text as it is."""
    return json.dumps(_plain(text), ensure_ascii=False) if isinstance(text, Message) else text


def unpacked(text: str) -> str:
    """Return the message that was packed; other text stays as it is."""
    return _rebuilt(json.loads(text)) if text.startswith('{"msgid": ') else text


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return {"msgid": value.msgid, "values": {name: _plain(inner) for name, inner in value.values.items()}}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _rebuilt(value: Any) -> Any:
    if isinstance(value, dict):
        return Message(value["msgid"], {name: _rebuilt(inner) for name, inner in value["values"].items()})
    return tuple(map(_rebuilt, value)) if isinstance(value, list) else value


class Translator:
    """Renders messages in one language.

    Args:
        language: A key of `LANGUAGES`.

    Raises:
        ConfigError: There is no such language.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ConfigError(
                f"There is no report in {language!r}.", where="report: language", fix=nearest(language, LANGUAGES)
            )
        self.language = language
        self.lang = LANGUAGES[language]

    def __call__(self, text: str, /, **values: Any) -> str:
        """Return a source string, or a message, in this language; one that no catalog has stays English.

        Args:
            text: A source string, or a message with its values.
            values: Of the source string's placeholders.
        """
        msgid, values = (text.msgid, {**text.values, **values}) if isinstance(text, Message) else (text, values)
        translated = _catalog(self.language).gettext(msgid) if msgid else ""
        shown = {name: self._shown(value) for name, value in values.items()}
        return translated.format(**shown) if values else translated

    def said(self, text: str) -> str:
        """Return a message in this language; a text that is no message (a name, a value of the data) stays as it is."""
        return self(text) if isinstance(text, Message) else text

    def channel(self, name: str) -> str:
        """Return the display name of a modality; another channel keeps its name."""
        return self(CHANNELS[name]) if name in CHANNELS else name

    def _shown(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return _catalog(self.language).pgettext("between names of a list", ", ").join(map(self.said, value))
        return self.said(value) if isinstance(value, str) else value


def preferred_language(accepted: str) -> str:
    """Return the supported language of highest weight in an Accept-Language header, English where there is none."""
    weighted = []
    for place, part in enumerate(accepted.split(",")[:20]):
        tag, _, parameters = part.strip().partition(";")
        found = re.search(r"q=([01](?:\.\d+)?)", parameters)
        weighted.append((-float(found[1]) if found else -1.0, place, tag.split("-")[0].lower()))
    return next((tag for weight, _, tag in sorted(weighted) if tag in LANGUAGES and weight < 0), "en")


@cache
def _catalog(language: str) -> gettext.NullTranslations:
    return gettext.translation("penchant", LOCALES, [language], fallback=language == "en")
