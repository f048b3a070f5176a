"""The mood of what users write, in English and Chinese, without a classifier having to be trained first.

In: texts, and ratings where there are some. Out: how good or bad each text or clause says something is. A table of words with negations and
contrasts knows some texts; a linear model learns the rest in seconds, from the rated texts of the run or else from those that the table is sure of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64, Int8

from penchant.data.clean.normalisation import language, words
from penchant.encoders.mood_words import BAD, CONTRASTS, GOOD, NEGATIONS, STRONG

LANGUAGES = ("en", "zh")
REACH = 3
"""Words (English) or table words (Chinese) before a word of mood in which a negation turns it."""
NEGATED, INTENSIFIED = -0.8, 1.5
"""What a negation and an intensifier multiply a word's mood by."""
SURE = 1.5
"""Absolute mood from which on a text teaches the linear model."""
LEAST_TEXTS = 200
"""Texts that a linear model is learned from at least; with fewer the table of words decides alone."""
RATED_SHARE = 1 / 3
"""Rated texts taken as bad and as good: those below and above these shares of the ratings."""
MAX_CHARACTERS = 5000
_CHINESE_GAP = 4
"""Characters between two Chinese table words beyond which a negation does not reach."""
_END = re.compile(r"[.!?;,:\n。！？；，、：…~～]+|\s[-–—]+\s")


def clauses(text: str) -> list[str]:
    """Return the clauses of a text in order: cut at punctuation and before words of contrast."""
    parts = []
    for part in _END.split(text[:MAX_CHARACTERS]):
        parts += [one.strip() for one in _contrast().split(part)]
    return [part for part in parts if part]


def table_mood(text: str) -> float:
    """Return the mood of a text by its words: above 0 good, below 0 bad, 0 where no word says anything; rarely beyond 4.

    Words of mood add up over the clauses and are divided by the root of their number. Source: as VADER (Hutto and Gilbert, ICWSM 2014), with tables of our own.
    """
    values = [value for clause in clauses(text) for value in _values(clause)]
    return float(sum(values) / np.sqrt(len(values))) if values else 0.0


def is_mood_word(word: str) -> bool:
    """Return whether a table holds a word, as a word of mood, a negation or an intensifier."""
    return any(word in _table(name) for name in LANGUAGES)


@dataclass(frozen=True)
class MoodReader:
    """Reads the mood of texts of any script; other languages than `LANGUAGES` have none.

    Attributes:
        models: Language to its linear model, where one was learned.
        learned_from: Language to what taught it: "ratings" or "table".
    """

    models: Mapping[str, Any]
    learned_from: Mapping[str, str]

    @classmethod
    def fit(cls, texts: Sequence[str], ratings: Float64[np.ndarray, " texts"] | None = None) -> MoodReader:
        """Learn from texts of a run, some seconds for 10,000 of them.

        Args:
            texts: What users wrote, each text once.
            ratings: Of the same events, NaN where there is none; the lowest third counts as bad, the highest as good.
        """
        models, learned_from = {}, {}
        spoken = np.array([language(text) for text in texts])
        table = np.array([table_mood(text) for text in texts])
        for name in LANGUAGES:
            rows = np.flatnonzero(spoken == name)
            label, source = _labels(table[rows], None if ratings is None else ratings[rows])
            known = np.flatnonzero(label != 0)
            if min((label > 0).sum(), (label < 0).sum()) * 2 >= LEAST_TEXTS:
                models[name] = _linear([texts[row] for row in rows[known].tolist()], label[known])
                learned_from[name] = source
        return cls(models, learned_from)

    def __call__(self, texts: Sequence[str]) -> Float64[np.ndarray, " texts"]:
        """Return the probability that each text is good; NaN in other languages, 0.5 where nothing is known."""
        found = np.full(len(texts), np.nan)
        spoken = np.array([language(text) for text in texts])
        for name in LANGUAGES:
            rows = np.flatnonzero(spoken == name)
            if not len(rows):
                continue
            mine = [texts[row] for row in rows.tolist()]
            logit = np.array([table_mood(text) for text in mine])
            if name in self.models:
                learned = _decision(self.models[name], mine)
                logit = learned if self.learned_from[name] == "ratings" else logit + learned
            found[rows] = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
        return found


def _labels(
    table: Float64[np.ndarray, " texts"], ratings: Float64[np.ndarray, " texts"] | None
) -> tuple[Int8[np.ndarray, " texts"], str]:
    """Return -1, 0 (not known) or 1 for each text, by its rating where enough are rated and agree with the words, and what they come from."""
    if ratings is not None:
        rated = ratings[np.isfinite(ratings)]
        if len(rated) >= LEAST_TEXTS and rated.min() < rated.max():
            low, high = np.quantile(rated, [RATED_SHARE, 1 - RATED_SHARE])
            low = low if low < high else rated[rated < high].max(initial=rated.min())
            high = high if low < high else rated[rated > low].min()
            is_good, is_bad = ratings >= high, ratings <= low
            if _agree(table[is_good], table[is_bad]):  # else the number is a price or seconds
                return (is_good.astype(np.int8) - is_bad.astype(np.int8)), "ratings"
    return (table >= SURE).astype(np.int8) - (table <= -SURE).astype(np.int8), "table"


def _agree(good: Float64[np.ndarray, " good"], bad: Float64[np.ndarray, " bad"]) -> bool:
    """Return whether texts with high ratings clearly have better words than those with low ones."""
    if min(len(good), len(bad)) < 10:
        return False
    error = np.sqrt(good.var() / len(good) + bad.var() / len(bad))
    return bool(good.mean() - bad.mean() > max(3 * error, 0.3))


def _linear(texts: Sequence[str], label: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, class_weight="balanced", max_iter=200).fit(_features(texts), label)


def _decision(model: Any, texts: Sequence[str]) -> Float64[np.ndarray, " texts"]:
    return np.asarray(model.decision_function(_features(texts)), np.float64)


def _features(texts: Sequence[str]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(analyzer=_grams, n_features=2**18, alternate_sign=False)
    return hashing.transform(texts)


def _grams(text: str) -> list[str]:
    cut = words(text[:MAX_CHARACTERS])
    return [*cut, *(f"{one} {two}" for one, two in pairwise(cut))]


def _values(clause: str) -> list[float]:
    """Return the mood of each word of mood in a clause, turned by negations and stronger after intensifiers."""
    found: list[float] = []
    tokens = (
        _chinese(clause) if language(clause) == "zh" else [(place, word) for place, word in enumerate(_english(clause))]
    )
    table = _table("zh" if language(clause) == "zh" else "en")
    gap = _CHINESE_GAP if language(clause) == "zh" else REACH
    for number, (place, word) in enumerate(tokens):
        value = table.get(word)
        if value is None or isinstance(value, str):
            continue
        before = [table.get(w) for at, w in tokens[max(0, number - REACH) : number] if place - at <= gap + 1]
        mood = value * (INTENSIFIED if "strong" in before else 1.0)
        turned = sum(one == "not" for one in before) % 2 == 1
        found.append(mood * NEGATED if turned else mood)
    return found


def _english(clause: str) -> list[str]:
    return re.findall(r"[a-z]+(?:['-][a-z]+)*", clause.lower().replace("’", "'"))


def _chinese(clause: str) -> list[tuple[int, str]]:
    """Return the words of the table in a clause with their places, the longest first at each place."""
    table, found, place = _table("zh"), [], 0
    while place < len(clause):
        word = next((clause[place : place + n] for n in range(6, 0, -1) if clause[place : place + n] in table), None)
        if word is not None:
            found.append((place, word))
        place += len(word) if word else 1
    return found


@cache
def _table(name: str) -> dict[str, float | str]:
    """Return word to mood (1 or -1), or to "not" or "strong"."""
    table: dict[str, float | str] = dict.fromkeys(STRONG[name].split(), "strong")
    table |= dict.fromkeys(NEGATIONS[name].split(), "not")
    return table | dict.fromkeys(GOOD[name].split(), 1.0) | dict.fromkeys(BAD[name].split(), -1.0)


@cache
def _contrast() -> re.Pattern[str]:
    english = "|".join(CONTRASTS["en"])
    return re.compile(rf"\b(?={english})\b(?=(?:{english})\b)|(?={'|'.join(CONTRASTS['zh'])})", re.IGNORECASE)
