"""What a review is about: attributes and words of the catalog that its clauses name, each with the mood of its clause.

In: reviews, and the catalog they are about. Out: one number for each aspect and each column of attributes: above 0 praised, below 0 blamed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.schema import Catalog
from penchant.data.clean.normalisation import words
from penchant.encoders.content import join_text
from penchant.encoders.encoder import Encoder, code_of
from penchant.encoders.mood import LANGUAGES, clauses, is_mood_word, table_mood
from penchant.language.stop_words import stop_words

MAX_WORDS = 3
"""Words of the longest value or name of a column that is looked for."""
NOT_NAMED = 0
"""Code of an aspect that no word names alone: two columns have the same value."""


class ReviewAspectsConfig(Settings):
    """Settings of aspects."""

    names: dict[str, list[str]] = {}
    """Words that name a column of attributes in a review, beside the column's own name: { colour = ["color", "颜色"] }."""
    min_items: int = Field(2, ge=1)
    """Values and words of fewer items are left out."""
    max_item_share: float = Field(0.3, gt=0, le=1)
    """Words of a larger share of the items are left out."""
    min_reviews: int = Field(2, ge=1)
    """Words that fewer reviews name are left out; values are always kept, since reviews name their column."""
    max_values: int = Field(500, ge=0)
    """Values kept, the most frequent first."""
    max_words: int = Field(500, ge=0)
    """Words of the items' texts kept, those that most reviews name first."""
    neutral: float = Field(0.5, ge=0, le=1)
    """What a mention counts in a clause without a word of mood; a praised one counts 1."""


@dataclass(frozen=True)
class Clause:
    """One clause of a review.

    Attributes:
        named: Its words and phrases of up to `MAX_WORDS` words, as codes.
        mood: -1 to 1; 0 where no word says anything.
    """

    named: frozenset[int]
    mood: float


class ReviewAspects(Encoder[ReviewAspectsConfig]):
    """Mentions of the items' attributes and words in a review, with the mood of the clause that holds them.

    A vector has one number for each aspect (a value such as "red", or a word of the items' titles and descriptions), and after them one for each
    column of attributes ("colour"), which stands for the value of the reviewed item. "Lovely colour, poor sole" is 1 at colour and -1 at sole.
    A clause that names something without a mood takes that of the next clause, where this one names nothing ("The sole: poor").

    Mood is read from the table of English and Chinese words of `mood`. The names of aspects are kept as hashes. Without a catalog
    (`about`), the reviews' own words are the aspects.
    """

    modality = "text"
    licence = "none needed"
    cost = "light"
    whole_catalog = True
    has_signs: ClassVar[bool] = True

    config_class = ReviewAspectsConfig

    def __init__(self, config: ReviewAspectsConfig | None = None) -> None:
        super().__init__(config)
        self.catalog: Catalog | None = None

    def about(self, catalog: Catalog) -> Self:
        """Return the encoder of reviews of a catalog's items."""
        placed = copy(self)
        placed.catalog = catalog
        return placed

    def weights(self) -> Any:
        if self.catalog is None:
            return None
        columns = [*self.catalog.text_columns, *self.catalog.attribute_columns]
        return fingerprint(self.catalog.table.select("item_id", *columns).write_json())

    def prepare(self, raw: str) -> list[Clause]:
        return [Clause(_named(clause), float(np.clip(table_mood(clause), -1, 1))) for clause in clauses(raw)]

    def encode(self, prepared: Sequence[list[Clause]]) -> Float32[np.ndarray, "batch dim"]:
        return self.encode_learned(prepared, self.learn(prepared))

    def learn(self, prepared: Sequence[list[Clause]]) -> Mapping[str, np.ndarray]:
        """Return the aspects, and which items have them.

        aspects: code by which each is named. owner: number of its column from 1 on, 0 for a word. column_codes, column_numbers: codes that name a
        column, and its number. item_rows, item_aspects: pairs of a row of the catalog and an aspect it has.
        """
        mentions = Counter(code for review in prepared for code in {c for clause in review for c in clause.named})
        of_columns, values = self._values()
        named = Counter(code for code, _, _ in values)
        aspects = [(code if named[code] == 1 else NOT_NAMED, owner, rows) for code, owner, rows in values]
        taken = {code for code, _ in of_columns} | set(named)
        aspects += [(code, 0, rows) for code, rows in self._words(mentions, len(prepared)) if code not in taken]
        rows = [row for _, _, owned in aspects for row in owned]
        places = [place for place, (_, _, owned) in enumerate(aspects) for _ in owned]
        return {
            "aspects": np.array([code for code, _, _ in aspects], np.uint64),
            "owner": np.array([owner for _, owner, _ in aspects], np.uint32),
            "column_codes": np.array([code for code, _ in of_columns], np.uint64),
            "column_numbers": np.array([number for _, number in of_columns], np.uint32),
            "item_rows": np.array(rows, np.uint32),
            "item_aspects": np.array(places, np.uint32),
        }

    def encode_learned(
        self, prepared: Sequence[list[Clause]], learned: Mapping[str, np.ndarray]
    ) -> Float32[np.ndarray, "batch dim"]:
        """Return one row for each review, -1 to 1; one that names nothing is zero."""
        count, columns = num_aspects(learned), num_columns(learned)
        place = {code: n for n, code in enumerate(learned["aspects"].tolist()) if code != NOT_NAMED}
        numbers = learned["column_numbers"].tolist()
        place |= {c: count + n - 1 for c, n in zip(learned["column_codes"].tolist(), numbers, strict=True)}
        out = np.zeros((len(prepared), max(count + columns, 1)), np.float32)
        for row, review in enumerate(prepared):
            for found, mood in _with_moods(review, place):
                out[row, found] += mood or self.config.neutral
        return np.clip(out, -1, 1)

    def _values(self) -> tuple[list[tuple[int, int]], list[tuple[int, int, list[int]]]]:
        """Return (code, number) of the names of columns, and (code, number of the column, rows of the items) of each value."""
        if self.catalog is None:
            return [], []
        names, values = [], []
        for number, (column, table) in enumerate(self.catalog.categories().items(), 1):
            said = [column, *self.config.names.get(column, [])]
            names += [(code, number) for code in dict.fromkeys(map(_code, said)) if code is not None]
            for (value,), rows in table.group_by("value", maintain_order=True):
                if rows.height >= self.config.min_items and rows.height < len(self.catalog):
                    values.append((_code(str(value)) or NOT_NAMED, number, rows["row"].to_list()))
        values.sort(key=lambda one: -len(one[2]))
        return names, values[: self.config.max_values]

    def _words(self, mentions: Counter[int], num_reviews: int) -> Iterator[tuple[int, list[int]]]:
        """Yield the code of each word that the reviews name and items have, and these items."""
        items: dict[int, list[int]] = {}
        least = min(self.config.min_reviews, max(1, num_reviews))
        catalog = self.catalog
        texts = join_text(catalog, catalog.text_columns) if catalog is not None and catalog.text_columns else []
        for row, text in enumerate(texts):
            for code in {code_of(_form(word)) for word in words(text or "") if _can_name(word)}:
                if mentions[code] >= least:
                    items.setdefault(code, []).append(row)
        if self.catalog is None:
            items = {code: [] for code in mentions}
        most = self.config.max_item_share * len(texts)
        kept = [
            (code, rows)
            for code, rows in items.items()
            if self.catalog is None or self.config.min_items <= len(rows) <= most
        ]
        kept.sort(key=lambda one: (-mentions[one[0]], one[0]))
        yield from kept[: self.config.max_words]


def num_aspects(learned: Mapping[str, np.ndarray]) -> int:
    """Return how many aspects there are: the first numbers of a vector."""
    return len(learned["aspects"])


def num_columns(learned: Mapping[str, np.ndarray]) -> int:
    """Return how many columns of attributes there are: the numbers after those of the aspects."""
    return int(max(learned["owner"].max(initial=0), learned["column_numbers"].max(initial=0)))


def _with_moods(review: list[Clause], place: Mapping[int, int]) -> Iterator[tuple[list[int], float]]:
    """Yield the places that each clause names, and its mood or that of the clause after it."""
    found = [sorted({place[code] for code in clause.named if code in place}) for clause in review]
    for number, (clause, here) in enumerate(zip(review, found, strict=True)):
        mood = clause.mood
        if here and not mood and number + 1 < len(review) and not found[number + 1]:
            mood = review[number + 1].mood
        yield here, mood


def _named(clause: str) -> frozenset[int]:
    cut = [_form(word) for word in words(clause)]
    grams = {" ".join(cut[n : n + length]) for length in range(1, MAX_WORDS + 1) for n in range(len(cut) - length + 1)}
    return frozenset(code_of(gram) for gram in grams)


def _code(phrase: str) -> int | None:
    """Return the code of a value or the name of a column; None where it is too long, or says nothing by itself."""
    cut = words(phrase.replace("_", " "))
    if not 1 <= len(cut) <= MAX_WORDS or (len(cut) == 1 and not _can_name(cut[0])):
        return None
    return code_of(" ".join(map(_form, cut)))


def _can_name(word: str) -> bool:
    """Return whether a word can name an aspect: no stop word, number, single letter or word of mood."""
    is_short = len(word) < 2 and word.isascii()
    return not is_short and not word.isdigit() and word not in stop_words(*LANGUAGES) and not is_mood_word(word)


def _form(word: str) -> str:
    """Return an English word without the s of its plural."""
    is_plural = word.isascii() and len(word) > 3 and word.endswith("s") and not word.endswith("ss")
    return word[:-1] if is_plural else word
