"""Finds English that is left in a Chinese page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html.parser import HTMLParser

NAMES = {"Penchant", "Python", "Popularity", "ItemKNN", "kNN", "EASE", "UTC", "ID", "bootstrap"}
METRICS = {"NDCG", "Recall", "Precision", "MRR", "MAP", "AUC", "ROC"}
UNITS = {"ms", "min", "MB", "GB"}
FORMATS = {"UTF", "JPEG", "PNG", "WAV", "FLAC", "Ogg", "MP3", "MP4", "OBJ", "PLY", "CSV"}
SETTINGS = {"data", "text", "media", "attributes"}
KNOWN = NAMES | METRICS | UNITS | FORMATS | SETTINGS
"""What Chinese writes in Latin letters too."""


class Text(HTMLParser):
    """Collects what a person reads or hears, without code, titles, the reasons that are made of titles, and other words of the data (`given`)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said: list[str] = []
        self._skipped: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if self._skipped or tag in ("style", "code") or known.get("class") in ("title", "reason", "given"):
            self._skipped += [] if tag in ("img", "br", "meta") else [tag]
            return
        self.said += [known[name] or "" for name in ("aria-label", "data-label") if name in known and tag != "audio"]

    def handle_endtag(self, tag: str) -> None:
        if self._skipped and self._skipped[-1] == tag:
            self._skipped.pop()

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.said.append(data)


def english(page: str, names: Iterable[str]) -> list[str]:
    """Return each phrase with Latin words that are neither known nor names of this run, settings or code."""
    allowed = KNOWN | set(names)
    phrases = []
    for phrase in Text(page).said:
        plain = re.sub(r"`[^`]*`|'[^']*'|\[[\w.*]+\]|\b[a-z_]+\.[a-z_]+\b|\b\w*_\w*\b", " ", phrase)
        if set(re.findall(r"[A-Za-z][a-z]*[A-Za-z]+\d?", plain)) - allowed:
            phrases.append(phrase.strip())
    return phrases
