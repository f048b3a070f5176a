"""Topics are what items are about, whatever their language, and their names say so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from penchant.core.schema import Catalog, Content, Embeddings
from penchant.explanation.topic_names import JOIN, name_topics
from penchant.explanation.topics import TYPICAL, Topics, find_topics

ABOUT = {
    "en": ("harbour boat", "kitchen soup", "castle knight", "garden tree"),
    "zh": ("港口渔船", "厨房炖菜", "城堡骑士", "花园果树"),
}
FILLER = {
    "en": "We went there and it was the best one of all, as they say in {}.",
    "zh": "我们去了那里，这是最好的一个，他们都这么说，{}。",
}
NUM = len(ABOUT["en"])


def world(num: int = 400) -> tuple[Catalog, Embeddings, np.ndarray]:
    """Return items of four topics in two languages; their vectors tell languages apart ten times better than topics."""
    rng = np.random.default_rng(0)
    topic, spoken = rng.permutation(np.arange(num) % NUM), np.where(rng.random(num) < 0.3, "zh", "en")
    texts = [f"{ABOUT[s][t]} {FILLER[s].format(n % 7)}" for n, (s, t) in enumerate(zip(spoken, topic, strict=True))]
    season = rng.choice(["winter collection", "summer collection"], num)
    table = pl.DataFrame({"item_id": [f"i{n}" for n in range(num)], "text": texts, "season": season})
    directions = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    values = (
        directions[topic]
        + 10 * np.where(spoken == "zh", 1, -1)[:, None] * directions[8]
        + 0.15 * rng.normal(size=(num, 16))
    )
    vectors = Embeddings("words", "text", values.astype(np.float32), np.ones(num, bool), "test")
    return Catalog(table, None, ("text",), {}, ("season",)), vectors, topic


@pytest.fixture(scope="module")
def found() -> tuple[Topics, np.ndarray, Catalog]:
    catalog, vectors, topic = world()
    return find_topics(catalog, Content({"words": vectors}), seed=0), topic, catalog


def test_a_topic_holds_what_is_alike_in_all_languages(found: tuple[Topics, np.ndarray, Catalog]) -> None:
    topics, truth, _ = found
    assert adjusted_rand_score(truth, topics.labels) > 0.99


def test_names_are_distinctive_and_no_stop_words(found: tuple[Topics, np.ndarray, Catalog]) -> None:
    topics, truth, _ = found
    for label, name in enumerate(topics.names):
        about = ABOUT["en"][np.bincount(truth[topics.labels == label]).argmax()]
        assert set(name.split(JOIN)) == set(about.split())


def test_a_reader_sees_the_name_in_their_language(found: tuple[Topics, np.ndarray, Catalog]) -> None:
    topics, truth, _ = found
    for label, name in enumerate(topics.names):
        about = ABOUT["zh"][np.bincount(truth[topics.labels == label]).argmax()]
        terms = topics.shown(name, "zh").split(JOIN)
        assert terms
        assert all(term in about for term in terms)
        assert topics.shown(name, "fr") == name
    assert topics.shown("no topic", "zh") == "no topic"


def test_typical_items_are_of_their_topic(found: tuple[Topics, np.ndarray, Catalog]) -> None:
    topics, _, _ = found
    for label, name in enumerate(topics.names):
        rows = topics.examples(name)
        assert len(rows) == TYPICAL
        assert (topics.labels[rows] == label).all()


def test_items_between_topics_are_not_typical() -> None:
    rng = np.random.default_rng(0)
    topic, is_between = np.arange(120) % 3, np.arange(120) < 30
    values = (
        np.eye(6)[topic] + 0.7 * is_between[:, None] * np.eye(6)[(topic + 1) % 3] + 0.02 * rng.normal(size=(120, 6))
    )
    fused = Embeddings("fused", "fused", values.astype(np.float32), np.ones(120, bool), "test")
    catalog = Catalog(pl.DataFrame({"item_id": [f"i{n}" for n in range(120)]}))
    topics = find_topics(catalog, Content(fused=fused), seed=0, limit=4)
    shown = np.array([row for name in topics.names for row in topics.examples(name)])
    centres = np.array([values[topics.labels == t].mean(0) for t in range(len(topics.names))])
    near = (values * centres[topics.labels]).sum(1) / np.linalg.norm(values, axis=1)
    for label in range(len(topics.names)):
        own = topics.labels == label
        assert near[shown[topics.labels[shown] == label]].min() >= np.median(near[own])


def named(documents: list[str], labels: list[int], genres: list[list[str]] | None = None) -> list[str]:
    """Return the names of two topics of English items."""
    rows = [{"row": n, "value": v} for n, values in enumerate(genres or []) for v in values]
    tables = {"genre": pl.DataFrame(rows)} if rows else {}
    return name_topics(documents, np.array(["en"] * len(documents)), tables, np.array(labels, np.int32), 2)[0]


def test_a_stop_word_names_nothing_even_where_it_is_distinctive() -> None:
    names = named(
        ["they were themselves sailing", "because themselves sailing"] * 5 + ["baking bread"] * 10, [0] * 10 + [1] * 10
    )
    assert names[0] == "sailing"


def test_of_many_items_some_are_read_from_all_of_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penchant.explanation.topic_names.NAMED_ITEMS", 40)
    documents = ["sailing boat"] * 300 + ["baking bread"] * 300
    documents[7] = "elephant"  # rare: not among those that are read
    names = named(documents, [0] * 300 + [1] * 300)
    assert [set(name.split(JOIN)) for name in names] == [{"sailing", "boat"}, {"baking", "bread"}]


def test_forms_of_one_word_stand_once_in_a_name() -> None:
    names = named(["candles candle candlelight wax"] * 10 + ["bread"] * 10, [0] * 10 + [1] * 10)
    assert sorted(names[0].split(JOIN)) == ["candle", "wax"]


def test_a_value_of_a_few_items_names_no_topic() -> None:
    documents = ["sailing"] * 500 + ["bread"] * 500
    genres = [["Adventure", *(["Small Studio"] if n < 9 else [])] for n in range(500)] + [["Food"]] * 500
    genres[:9] = [["Adventure", "Small Studio"]] * 9
    labels = [0] * 9 + [1] * 991
    assert "Small Studio" not in named(documents, labels, genres)[0]


def test_of_two_numbers_of_topics_the_one_whose_topics_hold_all_languages_is_taken() -> None:
    """Three topics that each fall into two halves by language: six tight groups, but three topics."""
    rng = np.random.default_rng(0)
    topic, spoken = np.repeat(np.arange(4), 100), np.tile(["en", "zh"], 200)
    directions = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    values = directions[topic] + 0.7 * directions[6 + topic] * np.where(spoken == "en", 1, -1)[:, None]
    values += 0.05 * rng.normal(size=values.shape)
    text = [
        f"{ABOUT[s][t]} {'words' if s == 'en' else '文字'} {n % 7}"
        for n, (t, s) in enumerate(zip(topic, spoken, strict=True))
    ]
    table = pl.DataFrame({"item_id": [f"i{n}" for n in range(400)], "text": text})
    vectors = Embeddings("words", "text", values.astype(np.float32), np.ones(400, bool), "test")
    topics = find_topics(Catalog(table, None, ("text",)), Content({"words": vectors}), seed=0)
    assert adjusted_rand_score(topic, topics.labels) > 0.99


def test_an_attribute_that_says_nothing_about_the_texts_makes_no_topic() -> None:
    catalog, vectors, topic = world()
    short = catalog.table.with_columns(
        text=pl.col("text").str.slice(0, 12)
    )  # titles: attributes count as much as texts
    topics = find_topics(Catalog(short, None, ("text",), {}, ("season",)), Content({"words": vectors}), seed=0)
    assert adjusted_rand_score(topic, topics.labels) > 0.99
    assert not any("collection" in name for name in topics.names)


def test_an_attribute_groups_and_names_where_there_is_no_text() -> None:
    genre = np.array(["Horror", "Comedy", "War", "Western"])[np.arange(200) % 4]
    table = pl.DataFrame({"item_id": [f"i{n}" for n in range(200)], "genre": genre})
    topics = find_topics(Catalog(table, attribute_columns=("genre",)), Content(), seed=0)
    assert sorted(topics.names) == ["Comedy", "Horror", "War", "Western"]
    assert adjusted_rand_score(genre, topics.labels) == 1


def test_fused_vectors_group_where_there_is_neither() -> None:
    catalog, vectors, _ = world()
    bare = Catalog(catalog.table.select("item_id"))
    values = vectors.values - 0.95 * vectors.values.mean(0)
    topics = find_topics(bare, Content(fused=Embeddings("fused", "fused", values, vectors.present, "test")), seed=0)
    assert (topics.labels >= 0).all()
    assert topics.names[0].startswith("group")
    assert len(set(topics.names)) == len(topics.names)


def test_a_catalog_without_content_has_no_topics() -> None:
    topics = find_topics(Catalog(pl.DataFrame({"item_id": ["a", "b", "c"]})), Content(), seed=0)
    assert topics.names == []
    assert (topics.labels == -1).all()
