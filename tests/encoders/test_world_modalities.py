"""Each hidden attribute shows in its own modality and in no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.data.media import MediaLimits, load_audio, load_image
from penchant.encoders import ENCODERS
from penchant.world import WorldConfig, WorldTruth, make_world
from penchant.world.items import ATTRIBUTES
from penchant.world.sound import RATE


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> WorldTruth:
    return make_world(tmp_path_factory.mktemp("made") / "tiny", WorldConfig(size="tiny"))


@pytest.mark.parametrize(("encoder", "own"), [("efficientnet", "motif"), ("mel", "timbre"), ("tfidf", "topic")])
def test_each_attribute_shows_in_its_own_modality_only(truth: WorldTruth, encoder: str, own: str) -> None:
    """The nearest other item shares the one attribute far more often than chance, the others no more often."""
    rows, vectors = encoded(truth, encoder)
    if encoder != "tfidf":
        vectors = (vectors - vectors.mean(0)) / np.maximum(vectors.std(0), 1e-6)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -np.inf)
    nearest = similar.argmax(1)
    shares = {}
    for name in ATTRIBUTES:
        codes = rows[name].to_numpy()
        shares[name] = float((codes == codes[nearest]).mean()) * len(ATTRIBUTES[name])  # 1 is chance
    assert shares.pop(own) > 3
    assert max(shares.values()) < 2.5


def encoded(truth: WorldTruth, name: str) -> tuple[pl.DataFrame, Any]:
    """Return the items that have the content, and their vectors."""
    if name == "efficientnet":
        pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `image` is not installed")
    rows = truth.items.filter({"efficientnet": "has_picture", "mel": "has_sound"}.get(name, "has_text"))
    encoder = ENCODERS.load(name)()
    ids, root = rows["item_id"].to_list(), Path(truth.folder)
    if name == "tfidf":
        texts = pl.read_csv(root / "items.csv").filter(pl.col("item_id").is_in(ids))
        raw: list[Any] = texts.select(pl.concat_str("title", "description", separator=". ")).to_series().to_list()
    elif name == "mel":
        raw = [load_audio(root / "sound" / f"{i}.flac", MediaLimits(), rate=RATE, loudness=-23) for i in ids]
    else:
        raw = [load_image(root / "images" / f"{i}.jpg", MediaLimits()) for i in ids]
    return rows, encoder.encode([encoder.prepare(one) for one in raw])
