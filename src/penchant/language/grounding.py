"""Check generated text against its source.

In: a text and its source. Out: the sentences whose names and numbers the source contains.
"""

from __future__ import annotations

import re

SENTENCE = re.compile(r"(?<=[.!?。！？])\s*")
ENDS = (".", "!", "?", "。", "！", "？")
WORD = re.compile(r"[\w'’-]+")


def whole_sentences(text: str) -> str:
    """Return the text up to its last whole sentence, on one line; "" where there is none."""
    line = " ".join(text.split())
    end = max(line.rfind(mark) for mark in ENDS)
    return line[: end + 1]


def first_sentence(text: str) -> str:
    """Return the first whole sentence on one line; "" where there is none."""
    whole = whole_sentences(text)
    return SENTENCE.split(whole)[0] if whole else ""


def grounded(text: str, source: str) -> str:
    """Return the sentences without names and numbers that the source lacks.

    A name is a capitalised word inside a sentence. The first word of a sentence is always capitalised, and scripts without
    capitals mark no names: these are not checked.
    """
    source_words = {word.casefold() for word in WORD.findall(source)}
    kept = [sentence for sentence in SENTENCE.split(text) if not _unsupported(sentence, source_words)]
    return " ".join(sentence for sentence in kept if sentence)


def _unsupported(sentence: str, source_words: set[str]) -> list[str]:
    """Return the names and numbers that the source lacks."""
    words = WORD.findall(sentence)
    names = [w for n, w in enumerate(words) if w[0].isdigit() or (n and w[0].isupper() and w != "I")]
    folded = ((w, w.casefold()) for w in names)
    return [w for w, low in folded if low not in source_words and low.removesuffix("'s") not in source_words]
