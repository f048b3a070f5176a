"""A grown model is what a refit with the new item's content would give, as far as content goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.core.schema import ChannelSource, Content, Embeddings
from penchant.data.media import MediaLimits
from penchant.encoders.catalog import ChannelConfig, make_encoder
from penchant.models.content import ContentKNN
from penchant.models.member import make_member
from penchant.recommender.new_items import PREPARED, ChannelEncoders, NewItem, encode_new_item, grow, table_row
from penchant.recommender.recommender import Recommender


@pytest.fixture
def bundle(shop: Path) -> Recommender:
    return Recommender.load(shop)


def newcomers(bundle: Recommender) -> list[NewItem]:
    """Return twins of i0 and i20, and an item without content."""
    values = bundle.content.channels["sound"].values
    rng = np.random.default_rng(0)
    near = [
        values[row] + 0.01 * values.std() * rng.standard_normal(values.shape[1]).astype(np.float32) for row in (0, 20)
    ]
    return [
        NewItem("like0", {"title": "a"}, {"sound": near[0]}),
        NewItem("like20", {"title": "b"}, {"sound": near[1]}),
        NewItem("silent", {"title": "c"}),
    ]


def test_old_items_keep_their_order(bundle: Recommender):
    grown = grow(bundle, newcomers(bundle))
    for name, member in bundle.ensemble.members.items():
        before = member.score(bundle.histories)
        after = grown.ensemble.members[name].score(grown.histories)[:, :24]
        if name != "like_sound":
            assert np.allclose(before, after), name
    assert len(grown.catalog) == grown.histories.num_items == 27


@pytest.mark.parametrize("options", [{}, {"per_candidate": True}, {"neighbours": 0}, {"sharpness": 2.0}])
def test_grown_neighbours_are_those_of_a_fit_with_all_items(bundle: Recommender, options: dict[str, object]):
    table = {"model": "content_knn", "channel": "sound", "neighbours": 8, **options}
    old = make_member("like_sound", table).fit(bundle.histories, bundle.content)
    only = replace(bundle, tables={"like_sound": table}, ensemble=replace(bundle.ensemble, members={"like_sound": old}))
    grown = grow(only, newcomers(bundle))
    member = grown.ensemble.members["like_sound"]
    assert isinstance(member, ContentKNN)
    sound = grown.content.channels["sound"]
    whole = make_member("x", table).fit(replace(bundle.histories, num_items=27), Content({"sound": sound}))
    assert isinstance(whole, ContentKNN)
    found, wanted = (
        np.asarray(m.matrix.todense() if hasattr(m.matrix, "todense") else m.matrix) for m in (member, whole)
    )
    # the base's mean stays where it was, so cosines differ in the third digit
    assert np.allclose(found[24:, :], wanted[24:, :], atol=0.02)
    close = np.abs(found[:24, 24:] - wanted[:24, 24:]) < 0.02
    assert close.mean() > 0.9
    assert not member.known[26]


def test_regression_places_a_twin_beside_its_twin(bundle: Recommender):
    grown = grow(bundle, newcomers(bundle))
    scores = grown.ensemble.members["content"].score(grown.histories)
    assert np.corrcoef(scores[:, 24], scores[:, 0])[0, 1] > 0.99
    assert np.allclose(scores[:, 26], scores[:, :24].mean(1), atol=1e-4)


def test_topic_of_a_twin_is_its_twins(bundle: Recommender):
    labels = grow(bundle, newcomers(bundle)).topics.labels
    assert labels[24:].tolist() == [0, 1, -1]


def test_vector_of_another_width_counts_as_missing(bundle: Recommender):
    grown = grow(bundle, [NewItem("odd", {}, {"sound": np.ones(3, np.float32)})])
    assert not grown.content.channels["sound"].present[24]


def test_columns_are_checked_against_the_catalog(bundle: Recommender):
    row = table_row(bundle.catalog, "x", {"genres": "low", "price": 3})
    assert row["genres"].to_list() == [["low"]]
    assert row.schema == bundle.catalog.table.schema
    for columns in ({"colour": "red"}, {"item_id": "y"}, {"price": "dear"}):
        with pytest.raises(DataError, match=r"no item column|does not fit"):
            table_row(bundle.catalog, "x", columns)
    assert row.equals(pl.DataFrame(row))


def test_networks_score_a_twin_like_its_twin_and_hold_no_other_member_up(bundle: Recommender):
    network = {
        "model": "sequence",
        "dim": 8,
        "layers": 1,
        "heads": 1,
        "epochs": 30,
        "held_out_users": 0,
        "backbone": "mean",
    }
    tables = {**bundle.tables, "network": network, "graph": {"model": "graph_network", "dim": 8, "epochs": 30}}
    fitted = {n: make_member(n, tables[n]).fit(bundle.histories, bundle.content) for n in ("network", "graph")}
    ensemble = replace(bundle.ensemble, members={**bundle.ensemble.members, **fitted})
    grown = grow(replace(bundle, tables=tables, ensemble=ensemble), newcomers(bundle))
    assert list(grown.ensemble.members) == [*bundle.ensemble.members, "network", "graph"]
    for name in fitted:
        # the first likes high sounds, the second low ones
        scores = grown.ensemble.members[name].score(grown.histories.rows(0, 2))
        assert scores.shape == (2, 27)
        assert scores[0, 24] > scores[0, 25], name
        assert scores[1, 24] < scores[1, 25], name


def test_vector_that_is_not_finite_counts_as_missing(bundle: Recommender):
    broken = np.full(bundle.content.channels["sound"].dim, np.nan, np.float32)
    grown = grow(bundle, [NewItem("broken", {}, {"sound": broken})])
    assert not grown.content.channels["sound"].present[24]
    assert np.isfinite(grown.ensemble.score(grown.histories)).all()


def test_a_new_item_is_read_by_the_encoder_that_a_network_trained(bundle: Recommender, tmp_path: Path):
    pytest.importorskip("peft")
    titles = [f"a story of the {word}" for word in ("sea", "wood", "town")] * 8
    encoder = make_encoder("title", ChannelConfig(encoder="minilm"))
    values, present = encoder.encode(titles), np.ones(24, bool)
    title = Embeddings("title", "text", values, present, "x", source=ChannelSource("minilm", {}, titles.__getitem__))
    fine_tune = {"channels": ["title"], "epochs": 1, "learning_rate": 0.01}
    table = {"model": "sequence", "epochs": 1, "held_out_users": 0, "use_ids": False, "fine_tune": fine_tune}
    member = make_member("net", table).fit(bundle.histories, Content({"title": title}))
    channel = {"encoder": "minilm", "columns": ["title"]}
    tuned = replace(
        bundle,
        tables={"net": table},
        ensemble=replace(bundle.ensemble, members={"net": make_member("net", table).restore(member.arrays())}),
        content=Content({"title": replace(title, source=None)}),
        facts={**bundle.facts, "channels": {"title": channel}},
    )
    columns = {"title": titles[1]}
    row = table_row(tuned.catalog, "new", columns)
    vectors, failures = encode_new_item(tuned, ChannelEncoders(), row, {}, tmp_path, MediaLimits())
    assert sorted(vectors) == [PREPARED + "title", "title"]
    assert not failures
    grown = grow(tuned, [NewItem("new", columns, vectors)]).ensemble.members["net"].vectors
    np.testing.assert_allclose(grown[24], grown[1], atol=1e-3)  # the same words, the same vector
    frozen = grow(tuned, [NewItem("new", columns, {"title": vectors["title"]})]).ensemble.members["net"].vectors
    assert np.abs(frozen[24] - grown[24]).max() > 0.01
