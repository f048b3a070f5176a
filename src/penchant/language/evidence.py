"""Check sentences against the evidence they were written from.

In: sentences, and statements that are known to be true. Out: the sentences in which every name, number, frequency, comparison and other
word of content follows from a statement; the others are dropped and counted.

The check reads words, so it refuses some sentences that are true; it is made not to keep one that is false.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from penchant.core.scripts import HAN
from penchant.language.grounding import SENTENCE
from penchant.language.stop_words import stop_words


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MAX_NAME_WORDS = 12
"""A longer name is looked for by its first words."""
STEM = 5
"""Words of content are the same where so many first letters are."""
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
TOKEN = re.compile(r"[\w'’-]+|[^\w\s]")
CLAUSE = re.compile(r"[,;:，；：、]|\s[–—-]\s|\b(?:and|but|while|whereas|with)\b")
QUOTES = re.compile(r"[“”\"《》「」]")
QUOTED = re.compile(r"[“\"《「]([^”\"》」]+)[”\"》」]")
QUANTIFIERS = _words(
    "all always avoid average best better despise dislike dislikes ever every everything favorite favourite few fewer first frequently half hardly "
    "hate hates higher highest largest last lately least less lower lowest mainly majority many more most mostly much never no none nothing not "
    "often once only prefer prefers preferred primarily rarely rather recently same seldom several sometimes strongest than twice usually worse "
    "worst rises fades rising fading"
)
"""Frequencies, comparisons and negations: each needs a statement that says the same of the same thing."""
QUANTIFIERS_ZH = _words(
    "总是 从不 从来 最 所有 每 更 只 经常 很少 不 没 全部 大多 多数 少数 一半 偶尔 高于 低于 多于 少于 比 近来 最近 首先 讨厌 一直 越来越"
)
NEUTRAL = _words(
    "are besides book books choice choices choose chosen collection course drawn engage enjoy enjoys example examples film films found genre include "
    "includes including interest interested interests item items kind kinds like likes liked listen listener look movie movies music news people "
    "picked pick product products profile read reader seem seems select selected selection shop show shows song songs stories story such taste "
    "tastes tend tends theme themes thing things title titles topic topics type types user users values variety viewer viewing watch watched "
    "watching works"
)
"""Words that claim nothing beside what they name."""
NEUTRAL_ZH = frozenset(
    "你您的是有了在和与及也对中这那些个为常被都看听读买选择喜欢感兴趣偏好用户内容作品电影音乐商品主题类型例如比如包括等以及其中还很"
)
MIN_KNOWN_ZH = 0.6
"""Share of the other Chinese characters of a sentence that its evidence must have."""


def quotable(title: str) -> str:
    """Return a title without quotation marks of its own, so that it cannot end its quotation."""
    return QUOTES.sub("'", title)


class CatalogNames:
    """Everything of a catalog that has a name; made once for a catalog, since its cost grows with it.

    Args:
        titles: All titles, as written.
        values: All values of attributes and topics, the same in any case of letters.
    """

    def __init__(self, titles: Iterable[str] = (), values: Iterable[str] = ()) -> None:
        self.titles = frozenset(map(quotable, titles))
        self._values = frozenset(v.casefold() for v in values if len(v) > 2 or HAN.search(v))

    def __contains__(self, name: str) -> bool:
        return name in self.titles or name.casefold() in self._values


NO_NAMES = CatalogNames()


@dataclass(frozen=True)
class Evidence:
    """What sentences may say.

    Attributes:
        statements: Sentences that are true.
        names: Of the catalog: a sentence may name one only if a statement does.
        language: The sentences are to be written in.
    """

    statements: tuple[str, ...]
    names: CatalogNames = NO_NAMES
    language: str = "en"

    def checked(self, text: str) -> tuple[tuple[str, ...], int]:
        """Return the supported sentences of a text, and how many were dropped."""
        sentences = [s.strip() for line in text.splitlines() for s in SENTENCE.split(line) if s.strip()]
        kept = tuple(dict.fromkeys(s for s in sentences if not self.unsupported(s)))
        return kept, len(set(sentences)) - len(kept)

    def unsupported(self, sentence: str) -> list[str]:
        """Return what of a sentence does not follow from the statements; empty for a supported one."""
        if bool(HAN.search(sentence)) != (self.language == "zh") and not self._says(sentence):
            return [sentence]  # another language
        named = self._named(sentence)
        if not named and not self._says(sentence) and not self._content(sentence):
            return [sentence]  # it says nothing
        found = [name for name in named if not any(_within(name, s) for s in self.statements)]
        found += self._unknown_words(sentence)
        subject: set[str] = set()
        for clause in CLAUSE.split(sentence):
            names = self._named(clause)
            subject = names or subject
            claims = _claims(clause)
            if claims and not any(
                claims <= _claims(s) and all(_within(n, s) for n in subject) for s in self.statements
            ):
                found += sorted(claims)
        return found

    def _says(self, sentence: str) -> bool:
        """Return whether a statement is this very sentence."""
        return any(sentence.strip() == statement.strip() for statement in self.statements)

    def _named(self, text: str) -> set[str]:
        """Return what a text names: in quotation marks, titles, and values of the catalog."""
        quoted = {name.strip() for name in QUOTED.findall(text)}
        return quoted | {name for name in _phrases(text) if name in self.names}

    @cached_property
    def _words(self) -> frozenset[str]:
        """Stems of the statements' own words; those of titles, which third parties write, support nothing."""
        return frozenset(_stem(word) for s in self.statements for word in WORD.findall(QUOTED.sub(" ", s)))

    @cached_property
    def _characters(self) -> frozenset[str]:
        return frozenset(QUOTED.sub(" ", "".join(self.statements))) | NEUTRAL_ZH

    def _unknown_words(self, sentence: str) -> list[str]:
        """Return words of content, and names by their capitals, that no statement has."""
        bare = QUOTED.sub(" ", sentence)
        if self.language == "zh":
            own = HAN.findall(bare)
            known = sum(c in self._characters for c in own) / max(len(own), 1)
            return [] if known >= MIN_KNOWN_ZH else [bare.strip()]
        return [word for word in self._content(bare) if _stem(word) not in self._words]

    def _content(self, text: str) -> list[str]:
        """Return the words of a text that claim something, in Chinese its characters."""
        bare = QUOTED.sub(" ", text)
        if self.language == "zh":
            return [c for c in HAN.findall(bare) if c not in NEUTRAL_ZH]
        return [w for w in WORD.findall(bare) if w.casefold() not in stop_words("en") | NEUTRAL | QUANTIFIERS]


def _claims(text: str) -> set[str]:
    """Return the numbers, frequencies, comparisons and negations of a text."""
    bare = QUOTED.sub(" ", text)
    numbers = {n.replace(",", "").rstrip(".") for n in NUMBER.findall(bare)}
    words = {w.casefold() for w in WORD.findall(bare)}
    negated = {"not"} if any(w.endswith(("n't", "n’t")) for w in words) else set()
    chinese = {q for q in QUANTIFIERS_ZH if q in bare} if HAN.search(bare) else set()
    return numbers | (words & QUANTIFIERS) | negated | chinese


def _within(name: str, statement: str) -> bool:
    """Return whether a statement names something, as whole words."""
    low, place = statement.casefold(), statement.casefold().find(name.casefold())
    if place < 0:
        return False
    if HAN.search(name):
        return True
    ends = (low[place - 1 : place], low[place + len(name) : place + len(name) + 1])
    return not any(c.isalnum() for c in ends)


def _phrases(text: str) -> Iterator[str]:
    """Yield the runs of words of a text, and of characters where it is Chinese, that may be a name."""
    tokens = [(m.start(), m.end()) for m in TOKEN.finditer(text)]
    for first, (start, _) in enumerate(tokens):
        for _, end in tokens[first : first + MAX_NAME_WORDS]:
            yield text[start:end]
    if HAN.search(text):
        for start in range(len(text)):
            for end in range(start + 2, min(start + MAX_NAME_WORDS, len(text)) + 1):
                yield text[start:end]


def _stem(word: str) -> str:
    return word.casefold().removesuffix("'s").removesuffix("’s")[:STEM]
