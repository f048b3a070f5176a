"""A bundle whose vectors are codes answers, searches, grows, is saved and fitted again as before; codes give nearly the vectors that were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from penchant.compression.vectors import as_codes, with_codes
from penchant.core.compact_embeddings import CompactEmbeddings, VectorCodes
from penchant.core.errors import ArtifactError
from penchant.core.schema import Content, Embeddings
from penchant.fusion.fusion import make_fusion
from penchant.recommender.index import CodedIndex, VectorIndex
from penchant.recommender.new_items import NewItem
from penchant.recommender.recommender import Recommender
from penchant.recommender.search import _mean
from penchant.service import erasure

KINDS = ("int8", "pca", "product", "binary")


@pytest.fixture(scope="module")
def wide() -> Embeddings:
    """Return 600 vectors of 96 numbers, of 16 times the size at one end, in 12 bunches; every tenth item has none."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 96))[rng.integers(0, 12, 600)] + 0.3 * rng.normal(size=(600, 96)) + 2
    values *= np.linspace(0.25, 4, 96)
    present = np.arange(600) % 10 != 0
    return Embeddings("wide", "text", np.where(present[:, None], values, 0).astype(np.float32), present, "e")


@pytest.mark.parametrize(
    ("kind", "most", "smaller"), zip(KINDS, (0.02, 0.3, 0.32, 0.72), (3.5, 2.3, 5, 20), strict=True)
)
def test_codes_are_smaller_and_give_nearly_the_vectors(
    wide: Embeddings, kind: str, most: float, smaller: float
) -> None:
    compact = CompactEmbeddings.of(wide, kind, 32)  # type: ignore[arg-type]
    assert isinstance(compact, CompactEmbeddings)
    assert wide.values.nbytes / compact.codes.nbytes > smaller
    mean = wide.values[wide.present].mean(0)
    np.testing.assert_allclose(compact.codes.mean, mean, rtol=1e-5)
    error = np.linalg.norm(compact.values - wide.values, axis=1)[wide.present]
    assert (error / np.linalg.norm(wide.values - mean, axis=1)[wide.present]).max() < most
    assert not compact.values[~wide.present].any()
    if kind == "pca":  # a product of two rows is computed by other kernels than one of all rows, on some processors
        np.testing.assert_allclose(compact.rows(np.array([5, 7])), compact.values[[5, 7]], rtol=2e-6, atol=1e-6)
    else:
        np.testing.assert_array_equal(compact.rows(np.array([5, 7])), compact.values[[5, 7]])
    restored = VectorCodes.restored(kind, compact.codes.arrays(), compact.codes.is_unit)
    np.testing.assert_array_equal(restored.decoded(), compact.codes.decoded())


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_vector_has_the_codes_of_the_same_one(wide: Embeddings, kind: str) -> None:
    compact = CompactEmbeddings.of(wide, kind)  # type: ignore[arg-type]
    assert isinstance(compact, CompactEmbeddings)
    grown = compact.with_rows(wide.values[[3, 10]], np.array([True, False]))
    assert isinstance(grown, CompactEmbeddings)
    np.testing.assert_allclose(grown.values[600], compact.values[3], atol=2e-3)
    assert not grown.values[601].any()
    assert grown.codes.nbytes - compact.codes.nbytes < 2 * 96 * 4


@pytest.mark.parametrize("kind", KINDS)
def test_unit_vectors_stay_unit_vectors(wide: Embeddings, kind: str) -> None:
    unit = replace(wide, values=wide.unit())
    rows = CompactEmbeddings.of(unit, kind).values[unit.present]  # type: ignore[arg-type]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_a_narrow_channel_stays_as_it_is(wide: Embeddings) -> None:
    narrow = replace(wide, values=np.ascontiguousarray(wide.values[:, :2]))
    assert CompactEmbeddings.of(narrow, "pca") is narrow


@pytest.mark.parametrize("kind", KINDS)
def test_coded_rows_are_searched_as_their_vectors(wide: Embeddings, kind: str) -> None:
    compact = CompactEmbeddings.of(wide, kind)  # type: ignore[arg-type]
    assert isinstance(compact, CompactEmbeddings)
    index = CodedIndex(compact, is_centred=True)
    centred = np.where(wide.present[:, None], compact.values - compact.values[wide.present].mean(0), 0)
    plain = VectorIndex(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))
    allowed = np.arange(600) % 3 != 1
    found, similar = index.search(plain.rows[9], 5, allowed)
    expected, cosine = plain.search(plain.rows[9], 5, allowed)
    np.testing.assert_allclose(similar, cosine, atol=1e-5)  # rows with equal codes may change places
    assert allowed[found].all()
    np.testing.assert_allclose(plain.rows[found] @ plain.rows[9], cosine, atol=1e-5)
    assert index.search(plain.rows[9], 0, allowed)[0].size == 0
    assert len(expected) == 5


@pytest.fixture(scope="module", params=KINDS)
def coded(request: pytest.FixtureRequest, shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    plain = Recommender.load(shop)
    made = with_codes(plain, request.param, 8, plain.histories if plain.fitted is None else plain.fitted)
    return replace(made, folder=None).save(tmp_path_factory.mktemp("coded") / request.param)


def test_a_saved_bundle_keeps_codes_and_is_explained_exactly(coded: Recommender) -> None:
    sound = coded.content.channels["sound"]
    if not isinstance(sound, CompactEmbeddings):
        pytest.skip("too few items for this kind")
    best = coded.recommend("u0", 1)[0]
    assert sum(coded.explain("u0", best.item_id).by_member.values()) == pytest.approx(best.score, abs=1e-5)
    assert len(coded.similar(best.item_id, 3, by="sound")) == 3


def test_searches_by_a_vector_read_the_channel_once_and_a_few_rows_at_a_time(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[slice] = []

    def rows(self: CompactEmbeddings, index: np.ndarray | slice) -> np.ndarray:
        if isinstance(index, slice):
            read.append(index)
        return decoded(self, index)

    plain = Recommender.load(shop)
    bundle = with_codes(plain, "int8", 8, plain.histories)
    found = bundle.content.channels["sound"]
    assert isinstance(found, CompactEmbeddings)
    vector, expected = found.values[3], found.values[found.usable].mean(0)
    finder, available = bundle.finder, np.ones(len(bundle.catalog), bool)
    first = finder._by_vector("sound", vector, 5, available)  # makes the index, too
    assert first.items[0].item_id == bundle.lookup.items.ids[3]
    np.testing.assert_allclose(finder._means["sound"], expected, rtol=1e-5, atol=1e-6)
    decoded = CompactEmbeddings.rows
    monkeypatch.setattr(CompactEmbeddings, "rows", rows)
    monkeypatch.setattr("penchant.recommender.search.BLOCK", 7)
    np.testing.assert_allclose(_mean(found), expected, rtol=1e-5, atol=1e-6)
    assert read == [slice(n, n + 7) for n in (0, 7, 14, 21)]
    assert finder.scored_by(bundle.score)._by_vector("sound", vector, 5, available) == first
    assert len(read) == 4, "nothing is decoded for a mean again"


def test_a_new_item_is_coded_and_liked_as_its_twin(coded: Recommender) -> None:
    twin = coded.recommend("u0", 1)[0].item_id
    row = coded.lookup.row(twin)
    grown = coded.add_items([NewItem("n1", {"title": "new"}, {"sound": coded.content.channels["sound"].values[row]})])
    own = grown.content.channels["sound"]
    assert isinstance(own, CompactEmbeddings) == isinstance(coded.content.channels["sound"], CompactEmbeddings)
    np.testing.assert_allclose(own.values[-1], own.values[row], rtol=0.02, atol=0.02 * np.abs(own.values).max())
    fused = grown.content.fused
    assert fused is not None
    assert len(fused.values) == len(grown.catalog)
    assert grown.similar("n1", 1, by="sound")[0].item_id == twin


def test_members_fitted_again_are_the_same(coded: Recommender) -> None:
    again = erasure.refit(coded).ensemble.arrays()
    for name, array in coded.ensemble.arrays().items():
        np.testing.assert_allclose(array.astype(np.float64), again[name].astype(np.float64), atol=1e-4, err_msg=name)


def test_what_is_fused_is_made_of_the_codes(shop: Path) -> None:
    plain = Recommender.load(shop)
    coded = as_codes(plain.content, "binary", 8, plain.facts["fusion"])
    assert any(isinstance(channel, CompactEmbeddings) for channel in coded.channels.values())
    fused = make_fusion(plain.facts["fusion"], where="test").fitted(coded.channels)(coded.channels)
    assert coded.fused is not None
    np.testing.assert_array_equal(coded.fused.values, CompactEmbeddings.of(fused, "binary").values)


def test_codes_that_do_not_belong_together_are_refused(shop: Path, tmp_path: Path) -> None:
    plain = Recommender.load(shop)
    content = as_codes(plain.content, "int8", 8, None)
    sound = content.channels["sound"]
    assert isinstance(sound, CompactEmbeddings)
    wrong = CompactEmbeddings(sound, replace(sound.codes, codes=sound.codes.codes[:, :5]))
    replace(plain, content=Content({"sound": wrong}), folder=None)
    with pytest.raises(ArtifactError, match="codes of width 5 do not give int8 rows"):
        replace(plain, content=replace(content, channels={"sound": wrong}), folder=None).save(tmp_path / "wrong")
