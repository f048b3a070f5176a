"""What the words of a request mean in one catalog.

In: a recommender. Out: for a phrase, the attribute values, topics, items or numbers that it names.

Names are found as they stand in the catalog, in both languages of the topics. What no name has is looked up by meaning: the items nearest to
the words vote for their topics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from penchant.core.scripts import HAN
from penchant.data.clean.normalisation import words
from penchant.explanation.topic_names import JOIN
from penchant.recommender.lookup import TOPIC
from penchant.recommender.recommender import Recommender

VOTERS = 20
"""Items nearest to some words that vote for their topics."""
CLEAR_SHARE = 0.5
"""Share of the votes from which words mean a topic."""
POSSIBLE_SHARE = 0.2
"""Share of the votes from which a topic is kept away where it was refused: showing what was refused is the worse mistake."""
NUMBER_WORDS = {
    "price": (
        "price",
        "cost",
        "costs",
        "cheap",
        "expensive",
        "dollar",
        "dollars",
        "euro",
        "euros",
        "价格",
        "价钱",
        "元",
        "块",
        "钱",
        "便宜",
        "贵",
    ),
    "year": ("year", "released", "made", "from", "new", "old", "newer", "older", "年", "年代", "新", "老"),
    "duration": ("minutes", "long", "short", "longer", "shorter", "length", "分钟", "长", "短", "时长"),
    "tempo": ("tempo", "calm", "calmer", "fast", "faster", "slow", "slower", "安静", "平静", "快", "慢"),
}
"""Usual words for usual numbers; a column is also named by its own name."""
NUMBER_COLUMNS = {
    "price": ("price", "cost", "价"),
    "year": ("year", "年"),
    "duration": ("duration", "minutes", "length", "时长"),
    "tempo": ("tempo", "bpm", "节奏", "速度"),
}
"""Parts of the names of columns that hold such a number."""
COMPARATIVES = {
    "cheaper": ("price", -1),
    "less expensive": ("price", -1),
    "more expensive": ("price", 1),
    "便宜": ("price", -1),
    "更贵": ("price", 1),
    "贵一点": ("price", 1),
    "newer": ("year", 1),
    "more recent": ("year", 1),
    "older": ("year", -1),
    "更新": ("year", 1),
    "更老": ("year", -1),
    "shorter": ("duration", -1),
    "longer": ("duration", 1),
    "更短": ("duration", -1),
    "更长": ("duration", 1),
    "calmer": ("tempo", -1),
    "slower": ("tempo", -1),
    "faster": ("tempo", 1),
    "安静": ("tempo", -1),
    "平静": ("tempo", -1),
}
"""Comparison with an item to the number that it is about and its direction."""


@dataclass(frozen=True, order=True)
class Facet:
    """One value of an attribute, or a topic."""

    name: str
    value: str


@dataclass(frozen=True)
class Mention:
    """A place in a request that names something of the catalog.

    Attributes:
        start, end: Characters of the request.
        facets: What it names.
    """

    start: int
    end: int
    facets: tuple[Facet, ...]


class CatalogTerms:
    """Looks up words in one catalog.

    Args:
        recommender: Of the catalog.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        self._lookup = recommender.lookup

    @cached_property
    def _names(self) -> dict[str, tuple[Facet, ...]]:
        """Casefolded phrase to what it names: values of attributes, terms of topics in every language."""
        found: dict[str, set[Facet]] = {}
        topics = self._recommender.topics
        for name, values in self._lookup.facets.items():
            for value in values:
                facet = Facet(name, value)
                shown = [value] if name != TOPIC else [topics.shown(value, lang) for lang in ("", *topics.translations)]
                for text in shown:
                    for phrase in text.split(JOIN) if name == TOPIC else (text,):
                        if len(phrase) > 1 and not phrase.isdigit():
                            found.setdefault(_folded(phrase), set()).add(facet)
        return {phrase: tuple(sorted(facets)) for phrase, facets in found.items()}

    @cached_property
    def _longest(self) -> int:
        return max((len(phrase) for phrase in self._names), default=0)

    @cached_property
    def titles(self) -> dict[str, str]:
        """Casefolded title to item id, the first item of a title; with and without a year in brackets."""
        found: dict[str, str] = {}
        for item_id, title in zip(self._lookup.items.ids, self._lookup.titles, strict=True):
            for form in (title, re.sub(r"\s*\(\d{4}\)$", "", title)):
                found.setdefault(form.casefold().strip(), item_id)
        return found

    def mentions(self, text: str) -> list[Mention]:
        """Return the attribute values and topics that a text names, the longest first at each place, left to right."""
        found: list[Mention] = []
        low, place = text.casefold(), 0
        while place < len(low):
            mention = None if _inside_word(low, place) else self._at(low, place)
            if mention is None:
                place += 1
            else:
                found.append(mention)
                place = mention.end
        return found

    def _at(self, low: str, place: int) -> Mention | None:
        for end in range(min(len(low), place + self._longest + 2), place + 1, -1):
            if not _inside_word(low, end) and (facets := self._names.get(_folded(low[place:end]))):
                return Mention(place, end, facets)
        return None

    def item_in(self, text: str) -> str | None:
        """Return the item whose title a text holds; the longest title wins. A title of one word must be the whole text."""
        low = text.casefold().strip(" .!?。！？\"“”《》「」'")
        if low in self.titles:
            return self.titles[low]
        inside = [t for t in self.titles if t in low and (len(t.split()) > 1 or (HAN.search(t) and len(t) > 2))]
        inside = [
            t for t in inside if not _inside_word(low, low.find(t)) and not _inside_word(low, low.find(t) + len(t))
        ]
        return self.titles[max(inside, key=len)] if inside else None

    def by_meaning(self, text: str, *, refused: bool = False) -> tuple[Facet, ...]:
        """Return the topics that some words mean: those of the items that share the words, and of the items nearest in meaning.

        Args:
            text: Words that name nothing of the catalog.
            refused: Whether the words say what is not wanted; then every topic with some of the votes is returned.
        """
        topics = self._recommender.topics
        if not topics.names or not words(text):
            return ()
        votes: dict[int, float] = {}
        everything = np.ones(len(self._recommender.catalog), bool)
        found = [
            self._recommender.finder.by_shared_words(text, VOTERS, everything),
            self._recommender.search(text, VOTERS),
        ]
        for number, results in enumerate(found):
            labels = [int(topics.labels[self._lookup.row(item.item_id)]) for item in results.items]
            weight = (len(found) - number) / max(len(labels), 1)  # who shares the very words counts twice
            for label in labels:
                if label >= 0:
                    votes[label] = votes.get(label, 0.0) + weight
        whole = sum(len(found) - n for n, results in enumerate(found) if results.items)
        least = (POSSIBLE_SHARE if refused else CLEAR_SHARE) * max(whole, 1)
        return tuple(
            Facet(TOPIC, topics.names[label])
            for label, count in sorted(votes.items(), key=lambda vote: -vote[1])
            if count >= least
        )

    def nearest(self, text: str, count: int) -> list[str]:
        """Return the items that share some words, then those nearest in meaning, each once."""
        everything = np.ones(len(self._recommender.catalog), bool)
        shared = self._recommender.finder.by_shared_words(text, count, everything).items
        near = self._recommender.search(text, count).items
        return list(dict.fromkeys(item.item_id for item in (*shared, *near)))[:count]

    def nearer(self, text: str, than: str) -> list[str]:
        """Return the items that are nearer in meaning to some words than to others."""
        count = len(self._recommender.catalog)
        one, other = (
            {item.item_id: item.similarity for item in self._recommender.search(said, count).items}
            for said in (text, than)
        )
        return [item_id for item_id, similarity in one.items() if similarity > other.get(item_id, 0.0)]

    def number_named(self, text: str, number: float) -> str | None:
        """Return the numeric column that a number in some words is about.

        The column's own name decides, then usual words for it, then the only column in whose range the number lies.
        """
        columns = self._lookup.numbers
        low = text.casefold()
        for column in columns:
            if column.casefold().replace("_", " ") in low:
                return column
        for column in columns:
            kind = next((kind for kind in NUMBER_WORDS if _holds(column, kind)), "")
            if kind and any(_says(low, word) for word in NUMBER_WORDS[kind]) and self._fits(column, number):
                return column
        fitting = [column for column in columns if self._fits(column, number)]
        return fitting[0] if len(fitting) == 1 else None

    def column_like(self, kind: str) -> str | None:
        """Return the numeric column of a usual kind, such as "price"; None where the catalog has none."""
        return next((column for column in self._lookup.numbers if _holds(column, kind)), None)

    def number_of(self, item_id: str, column: str) -> float | None:
        """Return an item's number; None where it has none."""
        value = float(self._lookup.numbers[column][self._lookup.row(item_id)])
        return None if np.isnan(value) else value

    def _fits(self, column: str, number: float) -> bool:
        values = self._lookup.numbers[column]
        known = values[~np.isnan(values)]
        if not len(known):
            return False
        low, high = float(known.min()), float(known.max())
        return low - (high - low) <= number <= high + (high - low)


def _holds(column: str, kind: str) -> bool:
    """Return whether a column's name says that it holds a usual kind of number."""
    return any(part in column.casefold() for part in NUMBER_COLUMNS[kind])


def _folded(phrase: str) -> str:
    """Return a phrase without case, and an English one without the plural of its last word."""
    low = " ".join(phrase.casefold().split())
    if not low.isascii() or len(low) <= 3 or not low.endswith("s"):
        return low
    return low[:-3] + "y" if low.endswith("ies") else low[:-1]


def _inside_word(text: str, place: int) -> bool:
    """Return whether a place lies between two letters of one word; Chinese has no such places."""
    around = text[max(place - 1, 0) : place + 1]
    return len(around) == 2 and all(c.isalnum() and not HAN.match(c) for c in around)


def _says(low: str, word: str) -> bool:
    return word in low if HAN.search(word) else re.search(rf"\b{re.escape(word)}\b", low) is not None
