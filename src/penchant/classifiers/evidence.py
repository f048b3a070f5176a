"""Words that contribute to a prediction.

In: the members of an ensemble and one sample. Out: words and what each adds to the answer's logit: exactly where n-grams take part,
else by leaving each word out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64

from penchant.classifiers.classifier import Classifier, ContentBatch
from penchant.classifiers.combined import ClassifierEnsemble, log_odds

Evidence = tuple[tuple[str, float], ...]
Again = Callable[[ContentBatch], Float64[np.ndarray, "samples classes"]]

MOST = 5
"""Words returned."""
MAX_LEFT_OUT = 40
"""Words of one text left out in turn; each costs one more text to encode."""


def find_evidence(
    members: Mapping[str, Classifier],
    ensemble: ClassifierEnsemble,
    present: Mapping[str, Bool[np.ndarray, " samples"]],
    batch: ContentBatch,
    row: int,
    answer: int,
    again: Again,
) -> Evidence:
    """Return the words that add most to one answer, the strongest first.

    Args:
        members: Of the ensemble.
        ensemble: Their weights.
        present: Which samples each can classify.
        batch: Content.
        row: Which sample.
        answer: Index of the class.
        again: Probabilities of other content, for words that are left out in turn.
    """
    if not batch.catalog.text_columns or not batch.texts[row].strip():
        return ()
    share = ensemble.shares(present)[row]
    total: dict[str, float] = {}
    for weight, name in zip(share, ensemble.members, strict=True):
        found = members[name].evidence(batch, row)
        if found is not None and weight > 0:
            words, added = found
            lead = added[:, answer] - np.delete(added, answer, axis=1).mean(axis=1)
            for word, value in zip(words, weight * lead, strict=True):
                if word:
                    total[word] = total.get(word, 0.0) + float(value)
    if not total:
        total = _left_out(batch, row, answer, again)
    positive = [(word, round(value, 4)) for word, value in total.items() if value > 0]
    return tuple(sorted(positive, key=lambda pair: -pair[1])[:MOST])


def _left_out(batch: ContentBatch, row: int, answer: int, again: Again) -> dict[str, float]:
    """Return how much the answer's log odds fall when all of one word is left out."""
    from penchant.classifiers.ngrams import word_spans  # slow to import, and few services need it

    column = batch.catalog.text_columns[0]
    text = str(batch.catalog.table[column][row] or "")
    lower = text.lower()
    if len(lower) != len(text):  # a letter whose lower case is two letters would shift everything behind it
        text = lower
    spans = list(word_spans(lower))
    names = list(dict.fromkeys(text[a:b] for a, b in spans))[:MAX_LEFT_OUT]
    if not names:
        return {}
    texts = [text]
    for name in names:
        kept = text
        for start, stop in reversed(spans):
            if text[start:stop] == name:
                kept = kept[:start] + kept[stop:]
        texts.append(" ".join(kept.split()) or " ")
    table = batch.catalog.table[np.full(len(texts), row)].with_columns(pl.Series(column, texts))
    odds = log_odds(again(ContentBatch(replace(batch.catalog, table=table), {}, batch.limits)))[:, answer]
    return {name: float(odds[0] - odds[number]) for number, name in enumerate(names, start=1)}
