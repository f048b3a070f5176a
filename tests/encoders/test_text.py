"""Words in Chinese and English, names of people, and texts alike in meaning."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from penchant.encoders.attributes import Attributes
from penchant.encoders.encoder import encode_one
from penchant.encoders.text import E5, MiniLM, Tfidf, TfidfConfig


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def test_minilm_puts_alike_texts_near() -> None:
    encoder = MiniLM()
    found = unit(encoder.encode(["A dog chases a cat", "A puppy runs after a kitten", "Quarterly tax report"]))
    assert found[0] @ found[1] > 0.5 > found[0] @ found[2]


def test_e5_query_finds_its_passage_across_languages() -> None:
    encoder = E5()
    passages = unit(encoder.encode(["A spaceship lost between the stars", "How to bake bread at home"]))
    assert (passages @ encode_one(encoder, "太空飞船")).argmax() == 0
    assert (passages @ encode_one(encoder, "面包")).argmax() == 1


def test_tfidf_takes_each_name_as_one_word() -> None:
    credits = ["Ann Lee (director), Bo Ray", "Ann Lee, Cy Poe", "Ann Poe, Bo Lee", "王家卫, 梁朝伟", "王家卫, 张曼玉"]
    found = unit(Tfidf(TfidfConfig(names=True, min_items=1)).encode(credits))
    assert found[0] @ found[1] > 0.2
    assert found[3] @ found[4] > 0.2
    assert abs(found[0] @ found[2]) < 0.1  # parts of names do not count


def test_tfidf_cuts_chinese_into_words() -> None:
    found = unit(Tfidf().encode(["北京大学的校园", "北京大学的历史", "苹果和香蕉", "香蕉和苹果派", "校园历史"]))
    assert found[0] @ found[1] > 0.3
    assert found[2] @ found[3] > 0.3
    assert abs(found[0] @ found[2]) < 0.1


def test_tfidf_weighs_words_as_another_library_does() -> None:
    texts = ["red apple pie", "red red apple", "green pear", "green apple tart", "pear tart", "red pear"]
    other = TfidfVectorizer(token_pattern=r"\w+", min_df=2, sublinear_tf=True).fit_transform(texts)
    found = Tfidf().encode(texts)
    width = found.shape[1]
    rebuilt = TruncatedSVD(width, random_state=0).fit_transform(other)
    np.testing.assert_allclose(found @ found.T, rebuilt @ rebuilt.T, atol=1e-5)


def test_tfidf_of_texts_that_share_nothing_says_nothing() -> None:
    assert not Tfidf().encode(["one", "two", "three"]).any()


def test_attributes_near_numbers_are_alike() -> None:
    encoder = Attributes()
    years = [{"year": y} for y in (1950, 1951, 1980, 1999, 2000, None)]
    found = unit(encoder.encode(years))
    assert found[0] @ found[1] > found[0] @ found[2] > found[0] @ found[4]
    assert not found[5].any()
