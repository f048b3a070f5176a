"""The screen that written text passes before it is shown.

In: a sentence of a language model, or a fixed sentence that quotes what third parties wrote. Out: whether it may be shown, or what of it may.

A list of words knows the plainest abuse and nothing else; a classifier that was trained on labelled posts (`classifiers/output_screen.py`) knows more.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import Field

from penchant.core.config import Settings
from penchant.core.scripts import HAN
from penchant.language.engine import EngineConfig
from penchant.language.evidence import QUOTED

LANGUAGES = ("en", "zh")
MAX_MESSAGE = 20_000
"""Characters of a message that any service reads at most."""
WITHHELD = "…"
"""In place of a quotation that is not shown."""
ENDS = re.compile(r"(?<=[.!?。！？])")
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
SPELT = re.compile(r"(?<![^\W\d_])((?:[^\W\d_][.\-_*·•]){2,}[^\W\d_])(?![^\W\d_])")
"""A word in single letters, as in f.u.c.k."""
LEET = str.maketrans({"@": "a", "$": "s", "0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "!": "i"})


class ModerationConfig(Settings):
    """What is kept from being shown: the `[language.moderation]` table."""

    words: bool = True
    """Use the list of severe insults, slurs and threats that comes with Penchant, English and Chinese."""
    more_words: list[str] = []
    """Further words and phrases; `*` at the end of one stands for any further letters."""
    classifiers: list[Path] = []
    """Folders that `penchant run` wrote for labelled texts (`configs/moderation-en.toml`, `moderation-zh.toml`): each sentence is classified by those of them
    that know its language."""
    labels: list[str] = ["offensive", "hate"]
    """Classes that are not shown."""
    threshold: float = Field(0.5, gt=0, le=1)
    """Probability of these classes together from which on a sentence is not shown."""


class LimitsConfig(Settings):
    """How much one API key may ask of the routes that talk (`/v1/chat`, `/v1/users/{id}/profile/words`): the `[language.limits]` table.

    Requests without a key, to a service that has none, share one allowance. Each process counts for itself.
    """

    per_minute: int | None = Field(60, ge=1)
    """Requests a minute of one key; None sets no limit but the key's own for all routes."""
    keys: dict[str, Annotated[int, Field(ge=1)]] = {}
    """Name of a key to its requests a minute, in place of `per_minute`."""
    max_characters: int = Field(2000, ge=1, le=MAX_MESSAGE)
    """Length of a message, the words of a spoken one included; a longer one is refused."""


class LanguageConfig(EngineConfig):
    """Which engine writes, how much is asked of it, and what is shown."""

    is_apart: bool = True
    """Answer chats and word profiles in a process beside the service, with a lower priority, so that lists do not wait for them. False saves its memory."""
    threads: int = Field(1, ge=1)
    """Cores of a local engine beside a service, where it has a process of its own and a lower priority."""
    rewrite_after: int = Field(5, ge=1)
    """New events of a user after which a profile that a language model worded is written again, in the background, when it is read; the older one is shown with its date."""
    moderation: ModerationConfig = ModerationConfig()
    """What is kept from being shown."""
    limits: LimitsConfig = LimitsConfig()
    """How much one API key may ask of a service."""


class Screen(ABC):
    """Decides what may be shown.

    Attributes:
        count: Is told "sentence" or "quotation" of each text that was not shown.
    """

    def __init__(self) -> None:
        self.count: Callable[[str], object] = lambda _what: None

    @abstractmethod
    def refuses(self, text: str) -> bool:
        """Return whether a text must not be shown."""

    def allows(self, sentence: str) -> bool:
        """Return whether a sentence of an engine is shown."""
        if not self.refuses(sentence):
            return True
        self.count("sentence")
        return False

    def masked(self, text: str) -> str:
        """Return fixed sentences in which quotations that must not be shown are withheld, and sentences that must not be shown without these."""
        if not self.refuses(text):
            return text
        self.count("quotation")
        shorter = QUOTED.sub(lambda m: m[0].replace(m[1], WITHHELD) if self.refuses(m[1]) else m[0], text)
        if not self.refuses(shorter):
            return shorter
        parts = ENDS.split(shorter)
        return "".join(
            part[: len(part) - len(part.lstrip())] + WITHHELD if self.refuses(part) else part for part in parts
        )


class WordScreen(Screen):
    """Refuses texts with listed words, whatever their case, width, hidden characters, and letters written as signs or one by one.

    Args:
        words: Words and phrases; `*` at the end of one stands for any further letters.
    """

    def __init__(self, words: Iterable[str]) -> None:
        super().__init__()
        plain = [_plain(word) for word in words if word.strip()]
        han = [re.escape(word) for word in plain if HAN.search(word)]
        latin = [_pattern(word) for word in plain if not HAN.search(word)]
        self._han = re.compile("|".join(han) or "(?!)")
        self._latin = re.compile(rf"(?<![^\W_])(?:{'|'.join(latin) or '(?!)'})(?![^\W_])")

    def refuses(self, text: str) -> bool:
        plain = _plain(text)
        joined = SPELT.sub(lambda m: re.sub(r"[^\w]|_", "", m[0]), plain)
        return (
            any(self._latin.search(form) for form in {plain, joined, joined.translate(LEET)})
            or self._han.search(re.sub(r"[\W_]", "", plain)) is not None
        )


class Screens(Screen):
    """Refuses what any of several screens refuses."""

    def __init__(self, screens: Iterable[Screen]) -> None:
        super().__init__()
        self._screens = tuple(screens)

    def refuses(self, text: str) -> bool:
        return any(screen.refuses(text) for screen in self._screens)


@lru_cache(maxsize=1)
def listed_words() -> tuple[str, ...]:
    """Return the list that comes with Penchant."""
    folder = files("penchant.language") / "blocked_words"
    lines = [line for name in LANGUAGES for line in (folder / f"{name}.txt").read_text("utf-8").splitlines()]
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def word_screen(config: ModerationConfig | None = None) -> WordScreen:
    """Return the screen of the lists of words that the settings name."""
    config = config or ModerationConfig()
    return WordScreen([*(listed_words() if config.words else ()), *config.more_words])


def _plain(text: str) -> str:
    return INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()


def _pattern(word: str) -> str:
    stem = r"\W+".join(re.escape(part) for part in word.removesuffix("*").split())
    return stem + (r"[^\W_]*" if word.endswith("*") else "")
