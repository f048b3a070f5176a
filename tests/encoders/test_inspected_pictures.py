"""A picture is decoded once for inspection and every encoder, and the embeddings are those of encoding alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from penchant.core.schema import Catalog, Dataset, Interactions
from penchant.data.clean.dataset import CleanConfig, clean
from penchant.data.media import MediaLimits, images
from penchant.encoders import catalog as encoding
from penchant.encoders.catalog import ChannelConfig, encode_catalog
from penchant.encoders.image import EfficientNet
from penchant.encoders.inspected_pictures import InspectedPictures

LIMITS = MediaLimits()


class Colours(EfficientNet):
    """The mean colour, and a little that depends on the size of the batch; refuses pictures that are more red than anything else."""

    dim = 3
    width = 0

    def load(self) -> None:
        pass

    def weights(self) -> int:
        return self.width

    def prepare(self, raw: Image.Image) -> np.ndarray:
        return np.asarray(raw, np.float32).mean((0, 1))

    def encode(self, prepared) -> np.ndarray:
        values = np.stack(prepared)
        if (values.argmax(1) == 0).any():
            raise ValueError("red is not for me")
        return values + len(values) / 100


class Doubled(Colours):
    width = 1

    def encode(self, prepared) -> np.ndarray:
        return 2 * super().encode(prepared)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Twelve noisy pictures, one of them twice, one more red than the others may be, one cut short."""
    rng = np.random.default_rng(0)
    for n in range(12):
        tint = np.array([0, 40, 20]) if n != 5 else np.array([60, 0, 0])
        noise = rng.integers(0, 180, (40, 30, 3)) + tint
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{n}.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "2.png").read_bytes())
    (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:900])
    load = encoding.ENCODERS.load
    own = {"colours": Colours, "doubled": Doubled}
    monkeypatch.setattr(encoding.ENCODERS, "load", lambda name: own.get(name) or load(name))
    items = pl.DataFrame({"item_id": [str(n) for n in range(12)], "picture": [f"{n}.png" for n in range(12)]})
    catalog = Catalog(items, media_columns={"image": "picture"}, media_root=tmp_path)
    events = pl.DataFrame(
        {"user_id": ["u"], "item_id": ["0"], "at": [None], "kind": [None], "value": [None]},
        schema={"user_id": pl.String, "item_id": pl.String, "at": pl.Datetime("us", "UTC"), "kind": pl.String, "value": pl.Float32},
    )  # fmt: skip
    return Dataset(catalog, Interactions(events), None)


CHANNELS = {name: ChannelConfig(encoder=name, batch_size=4) for name in ("colours", "doubled")}


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    decoded: list[int] = []
    decode = images._normalise_picture

    def count(picture: Image.Image, max_side: int | None) -> Image.Image:
        decoded.append(1)
        return decode(picture, max_side)

    monkeypatch.setattr(images, "_normalise_picture", count)
    return decoded


def run(shop: Dataset, cache: Path, *, together: bool):
    pictures = InspectedPictures(CHANNELS, "picture", cache=cache / "vectors", limits=LIMITS) if together else None
    cleaned = clean(shop, CleanConfig(), LIMITS, cache=cache / "media", pictures=pictures)
    embeddings, failed = encode_catalog(cleaned.catalog, CHANNELS, cache=cache / "vectors", limits=LIMITS)
    return embeddings, (*cleaned.findings, *failed)


def test_embeddings_and_findings_are_those_of_two_passes(shop: Dataset, tmp_path: Path) -> None:
    apart, found_apart = run(shop, tmp_path / "apart", together=False)
    once, found_once = run(shop, tmp_path / "once", together=True)
    for name in CHANNELS:
        np.testing.assert_array_equal(once[name].values, apart[name].values)
        np.testing.assert_array_equal(once[name].present, apart[name].present)
    assert once["colours"].present.sum() == 10
    assert found_once == found_apart
    assert {finding.check for finding in found_once} == {"image.truncated", "image.duplicate", "encode.failed"}


def test_each_picture_is_decoded_once_and_none_in_the_next_run(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = counted(monkeypatch)
    run(shop, tmp_path / "apart", together=False)
    assert len(decoded) == 11 + 2 * 10  # once for inspection, then each content once for each encoder
    decoded.clear()
    run(shop, tmp_path / "once", together=True)
    assert len(decoded) - 11 == 2 * 4  # only those of the batch that holds the red one
    decoded.clear()
    run(shop, tmp_path / "once", together=True)
    assert len(decoded) == 2  # the red one is tried again, by both


def test_channels_of_other_columns_and_contents_are_left_alone(tmp_path: Path) -> None:
    channels = {
        "text": ChannelConfig(encoder="tfidf"),
        "back": ChannelConfig(encoder="efficientnet", columns=["back"]),
        "given": ChannelConfig(encoder="precomputed"),
    }
    assert InspectedPictures(channels, "front", cache=tmp_path, limits=LIMITS)._encoders == {}
    assert InspectedPictures(None, None, cache=tmp_path, limits=LIMITS)._encoders == {}
    assert set(InspectedPictures(channels, "back", cache=tmp_path, limits=LIMITS)._encoders) == {"back"}
