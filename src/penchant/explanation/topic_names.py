"""Names of topics: the terms that stand in a topic's items far more often than in others.

In: the words and attribute values of items, and the topic of each. Out: a name for each topic in each language of the catalog.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Int32

from penchant.core.spacing import evenly_spaced
from penchant.data.clean.normalisation import words
from penchant.language.stop_words import stop_words

TERMS_PER_TOPIC = 3
JOIN = " · "
"""Between the terms of a name."""
FEWEST_OF_LANGUAGE = 20
"""A language with fewer items is centred with all others, and gives no names."""
COMMON_VALUE = 0.01
"""Share of all items from which an attribute value names a topic: a genre, not one of a thousand developers."""
NAMED_ITEMS = 100_000
"""Items of a language whose terms are counted at most, evenly spaced: a term that names a topic is frequent in it."""
STEM = 5
"""Letters at the beginning by which two words are taken for forms of one."""


def without_repeats(names: Iterable[str]) -> tuple[str, ...]:
    """Return names without topics that say again what another name says, such as "Kitchen · cooking" beside the category "Kitchen"."""
    given = tuple(dict.fromkeys(names))
    plain = {name.casefold() for name in given if JOIN not in name}
    return tuple(n for n in given if JOIN not in n or plain.isdisjoint(term.casefold() for term in n.split(JOIN)))


def name_topics(
    documents: Sequence[str],
    spoken: np.ndarray,
    tables: Mapping[str, pl.DataFrame],
    labels: Int32[np.ndarray, " items"],
    num_topics: int,
) -> tuple[list[str], dict[str, list[str]]]:
    """Return distinct names in the main language, and names in each language where several have items enough.

    A name is made of the terms with the highest class-based TF-IDF (Grootendorst 2022, BERTopic) among words and attribute values.

    Args:
        documents: The text of each item.
        spoken: (items,) its language.
        tables: Attribute to rows of `row` and `value`; their values are terms too.
        labels: Topic of each item, -1 for none.
        num_topics: Number of topics.
    """
    values: list[set[str]] = [set() for _ in documents]
    for table in tables.values():
        common = table.group_by("value").len().filter(pl.col("len") >= COMMON_VALUE * len(documents))
        for row, value in table.join(common, on="value").select("row", "value").iter_rows():
            values[row].add(str(value))
    counts = Counter(spoken[labels >= 0].tolist())
    languages = [name for name, count in counts.most_common() if count >= FEWEST_OF_LANGUAGE] or [
        counts.most_common(1)[0][0]
    ]
    found: dict[str, list[str]] = {}
    for name in languages:
        rows = np.flatnonzero((spoken == name) & (labels >= 0))
        rows = evenly_spaced(rows, NAMED_ITEMS)
        terms = [_terms(documents[row], name) | values[row] for row in rows.tolist()]
        found[name] = _distinctive(terms, labels[rows], num_topics, name)
    main = found[languages[0]]
    for name in languages[1:]:
        main = [own or other for own, other in zip(main, found[name], strict=True)]
    main = _distinct([name or f"group {t + 1}" for t, name in enumerate(main)])
    return main, {
        name: [own or other for own, other in zip(found[name], main, strict=True)]
        for name in languages
        if len(languages) > 1
    }


def _terms(text: str, spoken: str) -> set[str]:
    """Return the words of a text that can name something: no stop words, numbers or single letters."""
    stop = stop_words(spoken)
    return {w for w in words(text) if len(w) > 1 and w not in stop and not any(c.isdigit() for c in w)}


def _distinctive(terms: Sequence[set[str]], labels: np.ndarray, num_topics: int, spoken: str) -> list[str]:
    """Return for each topic the terms that stand in its items far more often than in others; "" where no term does."""
    inside = [Counter[str]() for _ in range(num_topics)]
    for found, label in zip(terms, labels.tolist(), strict=True):
        inside[label].update(found)
    overall = Counter[str]()
    for counts in inside:
        overall.update(counts)
    names = []
    for counts, size in zip(inside, np.bincount(labels, minlength=num_topics).tolist(), strict=True):
        outside = max(len(terms) - size, 1)
        strength = {
            term: count * float(np.log(count / size * outside / (overall[term] - count + 0.5)))
            for term, count in counts.items()
            if count >= max(2, 0.02 * size)
        }
        best = sorted((t for t, s in strength.items() if s > 0), key=lambda t: (-strength[t], t))
        names.append(JOIN.join(_unlike(_nouns(best, spoken))[:TERMS_PER_TOPIC]))
    return names


def _nouns(terms: Sequence[str], spoken: str) -> list[str]:
    """Return the terms with nouns first where a tagger is at hand (jieba, Chinese)."""
    head = list(terms[: 4 * TERMS_PER_TOPIC])
    if spoken != "zh":
        return head
    import jieba.posseg

    def is_noun(term: str) -> bool:
        tags = [pair.flag for pair in jieba.posseg.cut(term)]
        return len(tags) > 0 and tags[-1].startswith(("n", "vn"))

    return sorted(head, key=lambda term: not is_noun(term))


def _unlike(terms: Sequence[str]) -> list[str]:
    """Leave out a term that begins like one before it: heart and hearts, Romance and romantic."""
    kept: dict[str, str] = {}
    for term in terms:
        kept.setdefault(term.casefold()[:STEM] if term.isascii() else term, term)
    return list(kept.values())


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names with a number added to those that stood before."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
