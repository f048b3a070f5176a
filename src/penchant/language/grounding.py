"""Check generated text against its source.

In: a text and its source. Out: the sentences whose names and numbers stand in the source.
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


def grounded(text: str, source: str) -> str:
    """Return the sentences that name nothing the source does not name.

    Names are words with a capital inside a sentence, and numbers. A sentence's first word has its capital anyway, and scripts
    without capitals show no names: there nothing is found.
    """
    known = {word.casefold() for word in WORD.findall(source)}
    kept = [sentence for sentence in SENTENCE.split(text) if not _foreign(sentence, known)]
    return " ".join(sentence for sentence in kept if sentence)


def _foreign(sentence: str, known: set[str]) -> list[str]:
    """Return names and numbers that are not known."""
    words = WORD.findall(sentence)
    named = [w for n, w in enumerate(words) if w[0].isdigit() or (n and w[0].isupper() and w != "I")]
    return [w for w in named if w.casefold() not in known and w.casefold().removesuffix("'s") not in known]
