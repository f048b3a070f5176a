"""Where no n-grams take part, words that are left out in turn tell which one spoke."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.combined import ClassifierEnsemble
from penchant.classifiers.evidence import MAX_LEFT_OUT, find_evidence

from .conftest import Made


def test_the_word_without_which_the_answer_falls_is_named(make: Callable[..., Made]) -> None:
    _, batch, _ = make("text")
    asked: list[str] = []

    def again(changed: ContentBatch) -> np.ndarray:
        asked.extend(changed.texts)
        yes = np.array([0.9 if "lovely" in text.lower() else 0.2 for text in changed.texts])
        return np.stack([1 - yes, yes], axis=1)

    row = next(row for row, text in enumerate(batch.texts) if "lovely" in text)
    present = {"none": np.ones(len(batch), bool)}
    ensemble = ClassifierEnsemble(("none",), np.ones(1), np.zeros(2), np.zeros(2))
    found = find_evidence({"none": Silent()}, ensemble, present, batch, row, 1, again)  # type: ignore[dict-item]
    assert [word for word, _ in found] == ["lovely"]
    assert len(asked) <= MAX_LEFT_OUT + 1


class Silent:
    """A member that cannot say what words add."""

    def evidence(self, batch: ContentBatch, row: int) -> None:
        return None
