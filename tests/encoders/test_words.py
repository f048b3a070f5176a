"""Word vectors: trained ones know what stands together, files are read past their damage."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest

from penchant.core.errors import ArtifactError, EncoderError
from penchant.data.clean.normalisation import words
from penchant.encoders.word_vectors import TrainingConfig, WordVectors, read_word_vectors, train_words
from penchant.encoders.words import Word2Vec, Word2VecConfig, WordFile, WordFileConfig

ANIMALS, KITCHEN = ("cat", "dog", "horse", "paw", "fur", "tail"), ("pan", "oven", "spoon", "soup", "bread", "salt")


def corpus(num: int = 400) -> list[str]:
    """Sentences that speak of animals or of the kitchen, never of both; "the" stands in all."""
    rng = np.random.default_rng(0)
    return ["the " + " the ".join(rng.choice(ANIMALS if n % 2 else KITCHEN, 5)) for n in range(num)]


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def glove(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("weighting", "least"), [("sif", 1.0), ("tfidf", 0.2), ("mean", 0.1)])
def test_word2vec_tells_topics_apart(weighting: str, least: float) -> None:
    """ "The" stands in every text and blurs the plain mean; the common direction holds it."""
    encoder = Word2Vec(Word2VecConfig(dim=16, epochs=60, weighting=weighting))
    found = unit(encoder.encode([encoder.prepare(text) for text in corpus()]))
    within = (found[0::2][:50] @ found[0::2][50:100].T).mean() + (found[1::2][:50] @ found[1::2][50:100].T).mean()
    between = 2 * (found[0::2][:50] @ found[1::2][:50].T).mean()
    assert within - between > least


def test_word2vec_reads_chinese_words() -> None:
    texts = ["北京大学的校园非常漂亮", "北京大学的学生非常聪明"] * 10
    encoder = Word2Vec(Word2VecConfig(dim=8))
    found = encoder.encode([encoder.prepare(text) for text in texts])
    assert found.shape == (20, 8)
    assert "北京大学" in encoder.prepare(texts[0])


def test_training_names_what_is_missing() -> None:
    with pytest.raises(EncoderError, match="No word occurs 2 times"):
        train_words([["one"], ["two"]], TrainingConfig())


def test_trained_vectors_are_saved_and_encode_new_texts(tmp_path: Path) -> None:
    vectors = train_words([words(text) for text in corpus()], TrainingConfig(dim=16, epochs=60))
    assert vectors.share.sum() == pytest.approx(1, rel=1e-5)
    vectors.save(tmp_path / "words")
    encoder = WordFile(WordFileConfig(path=tmp_path / "words"))
    found = unit(
        encoder.encode([encoder.prepare(text) for text in ("A dog and a cat", "bread in the oven", "fur and paw")])
    )
    assert found[0] @ found[2] > found[0] @ found[1] + 0.1
    (tmp_path / "words" / "share.npy").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="altered"):
        WordVectors.open(tmp_path / "words")


def test_broken_lines_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["the 1 0 0", "cat 0 1 0", "dog 0 1", "fur 0 nan 1", "tail x 1 0", "", "new york 0 0 1", "cat 9 9 9"]
    with caplog.at_level(logging.WARNING, logger="penchant"):
        found = read_word_vectors(glove(tmp_path / "glove.txt", lines))
    assert list(found.index) == ["the", "cat", "new york"]
    assert found.values.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]  # the first vector of a word counts
    assert found.broken == 3
    assert "glove.txt: 3 lines hold no vector and were skipped" in caplog.text


def test_header_limit_and_gzip_are_understood(tmp_path: Path) -> None:
    text = "3 2\nthe 1 0\n猫 0 1\ndog 1 1\n"
    (tmp_path / "vectors.vec").write_text(text, encoding="utf-8")
    assert list(read_word_vectors(tmp_path / "vectors.vec", 2).index) == ["the", "猫"]
    with gzip.open(tmp_path / "vectors.txt.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    assert len(read_word_vectors(tmp_path / "vectors.txt.gz").index) == 3
    (tmp_path / "cut.txt.gz").write_bytes((tmp_path / "vectors.txt.gz").read_bytes()[:-12])
    with pytest.raises(EncoderError, match="cannot be read"):
        read_word_vectors(tmp_path / "cut.txt.gz")


def test_word2vec_binary_is_read_through_gensim(tmp_path: Path) -> None:
    from gensim.models import KeyedVectors

    made = KeyedVectors(4)
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    values[1, 2] = np.nan
    made.add_vectors(["the", "cat", "dog"], values)
    made.save_word2vec_format(str(tmp_path / "v.bin"), binary=True)
    found = read_word_vectors(tmp_path / "v.bin")
    assert list(found.index) == ["the", "dog"]
    assert found.broken == 1
    np.testing.assert_array_equal(found.values, values[[0, 2]])
    (tmp_path / "bad.bin").write_bytes(b"no counts here")
    with pytest.raises(EncoderError, match="The word vectors cannot be read"):
        read_word_vectors(tmp_path / "bad.bin")


def test_frequent_words_count_less(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"w{n} " + " ".join(f"{x:.3f}" for x in rng.standard_normal(4)) for n in range(500)]
    encoder = WordFile(WordFileConfig(path=glove(tmp_path / "g.txt", lines)))
    frequent, rare = (encoder.encode([[word]])[0] for word in ("w0", "w499"))
    both = encoder.encode([["w0", "w499"]])[0]
    assert np.linalg.norm(both - rare) < 0.2 * np.linalg.norm(both - frequent)


def test_text_without_a_known_word_is_zero(tmp_path: Path) -> None:
    encoder = WordFile(WordFileConfig(path=glove(tmp_path / "g.txt", ["cat 1 2", "dog 2 1"])))
    assert not encoder.encode([encoder.prepare(text) for text in ("", "😀", "مرحبا")]).any()
    assert encoder.encode([encoder.prepare("cat " * 3_000_000)]).any()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.txt", None, "there is no such file"),
        ("a.kv", "x", "it is a pickle, which may run code"),
        ("novel.txt", "Call me Ishmael.\nSome years ago\n", "2 of its 2 lines hold no vector"),
        ("empty.txt", "", "0 of its 0 lines hold no vector"),
    ],
)
def test_file_of_something_else_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(EncoderError, match=message):
        read_word_vectors(tmp_path / name)
    if text is None:
        with pytest.raises(EncoderError, match=message):
            WordFile(WordFileConfig(path=tmp_path / name)).fingerprint()


def test_equal_file_elsewhere_has_an_equal_fingerprint(tmp_path: Path) -> None:
    one, two = (glove(tmp_path / name, ["cat 1 2"]) for name in ("a.txt", "b.txt"))
    marks = [WordFile(WordFileConfig(path=path)).fingerprint() for path in (one, two)]
    assert marks[0] == marks[1]
