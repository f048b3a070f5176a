"""Runs of words and characters, and exactly what each word adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.ngrams import NGramClassifier, NGramsConfig, flat, pack_words, unpack_words
from penchant.core.errors import DataError
from penchant.experiment.fit_classifiers import make_score_function

from .conftest import Made, training_set

AUC = make_score_function("auc")


def fitted(made: Made, **settings: object) -> NGramClassifier:
    samples, batch, parts = made
    model = NGramClassifier(NGramsConfig(**settings), name="ngrams")
    return model.fit(batch, training_set(samples, parts.train), training_set(samples, parts.validation), AUC, seed=0)


def with_texts(batch: ContentBatch, *texts: str | None) -> ContentBatch:
    table = batch.catalog.table[np.zeros(len(texts), np.int64)].with_columns(text=pl.Series(texts, dtype=pl.String))
    return ContentBatch(replace(batch.catalog, table=table), {})


def test_words_are_learned(make: Callable[..., Made]) -> None:
    made = make("text")
    samples, batch, parts = made
    found = fitted(made).log_probability(batch.take(parts.test))
    assert AUC(samples.labels()[parts.test], found) == 1.0


def test_probabilities_equal_those_of_scikit_learn(make: Callable[..., Made]) -> None:
    made = make("text")
    samples, batch, parts = made
    model = fitted(made, kinds=["char"], chars=(2, 3), strength=[2.0])
    texts = [flat(text) for text in batch.texts]
    counter = TfidfVectorizer(analyzer="char", ngram_range=(2, 3), min_df=2, sublinear_tf=True)
    learnt = counter.fit_transform([texts[row] for row in parts.train])
    other = LogisticRegression(C=2.0, solver="liblinear").fit(learnt, samples.labels()[parts.train])
    expected = other.predict_proba(counter.transform(texts))
    np.testing.assert_allclose(np.exp(model.log_probability(batch)), expected, atol=1e-5)


@pytest.mark.parametrize("kinds", [["word"], ["char"], ["word", "char"]])
def test_what_words_add_and_the_bias_sum_to_the_log_odds(kinds: list[str], make: Callable[..., Made]) -> None:
    made = make("text")
    model = fitted(made, kinds=kinds)
    batch = with_texts(made[1], "the room was lovely, don't mind the awful bed", "早餐 lovely 🙂 שלום superb")
    for row, found in enumerate(model.log_probability(batch)):
        words, added = model.evidence(batch, row)
        total = added.sum(axis=0) + model.coefficients[1]
        assert found[1] - found[0] == pytest.approx(total[1] - total[0], abs=1e-5)
        gain = dict(zip(words, added[:, 1] - added[:, 0], strict=True))
        assert max(gain, key=lambda word: gain[word]) == (
            "lovely" if row == 0 else max("lovely", "superb", key=gain.get)
        )


def test_three_classes_and_one_absent_from_training(make: Callable[..., Made]) -> None:
    samples, batch, parts = make("text")
    more = replace(training_set(samples, parts.train), num_classes=4)
    labels = np.where(np.arange(len(more.rows)) % 5 == 0, 2, more.labels)
    model = NGramClassifier().fit(
        batch, replace(more, labels=labels), training_set(samples, parts.validation), AUC, seed=0
    )
    found = np.exp(model.log_probability(batch))
    assert found.shape == (60, 4)
    assert found[:, 3].max() < 1e-5


def test_a_text_of_ten_megabytes_is_read_to_its_first_pages(make: Callable[..., Made]) -> None:
    made = make("text")
    model = fitted(made)
    long = with_texts(made[1], "lovely superb " * 700_000, "lovely superb")
    assert model.log_probability(long)[0, 1] > np.log(0.5)


def test_it_comes_back_equal(make: Callable[..., Made]) -> None:
    made = make("text")
    model = fitted(made, loss="squared_hinge")
    again = NGramClassifier(model.config).restore(model.arrays(), model.facts())
    np.testing.assert_array_equal(again.log_probability(made[1]), model.log_probability(made[1]))


def test_texts_without_a_common_run_say_so(make: Callable[..., Made]) -> None:
    samples, batch, parts = make("text")
    few = training_set(samples, parts.train)
    with pytest.raises(DataError, match="No n-gram of words or characters occurs in 1000 of"):
        NGramClassifier(NGramsConfig(kinds=["word"], min_texts=1000))._count(
            with_texts(batch, *"abcdefgh"), replace(few, rows=np.arange(8))
        )


def test_a_classifier_comes_back_where_no_word_occurs_twice(make: Callable[..., Made]) -> None:
    samples, batch, parts = make("text")
    letters = "abcdefgh"
    texts = [f"{'xy'[label]}{letters[n // 8]}{letters[n % 8]}" for n, label in enumerate(samples.labels())]
    odd = with_texts(batch, *texts)
    model = fitted((samples, odd, parts))
    assert [counter.kind for counter in model.counters] == ["char"]
    again = NGramClassifier(model.config).restore(model.arrays(), model.facts())
    np.testing.assert_array_equal(again.log_probability(odd), model.log_probability(odd))


def test_words_are_packed_as_bytes() -> None:
    names = ["早餐", "a b", "שלום", "🙂"]
    assert unpack_words(pack_words(names)) == names
