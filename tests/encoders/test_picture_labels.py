"""What is in a picture becomes words: the classes of the network, in its order, once for each picture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from penchant.core.errors import ConfigError
from penchant.core.schema import INTERACTION_SCHEMA, Catalog, Dataset, Interactions
from penchant.data.media import MediaLimits
from penchant.encoders.picture_labels import PictureLabeller, PictureLabelsConfig, class_names, label_items

torch = pytest.importorskip("torch", reason="pip install 'penchant[image]'")


def dataset(folder: Path) -> Dataset:
    """Return a bright picture, a dark one, a broken file and an item without."""
    for name, level in (("bright.png", 250), ("dark.png", 5)):
        Image.fromarray(np.full((32, 32, 3), level, np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    table = pl.DataFrame({"item_id": list("abcd"), "cover": ["bright.png", "dark.png", "broken.png", None]})
    catalog = Catalog(table, None, (), {"image": "cover"}, (), folder)
    return Dataset(catalog, Interactions(pl.DataFrame(schema=INTERACTION_SCHEMA)))


def test_the_probable_classes_are_a_text_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(pixels: torch.Tensor) -> torch.Tensor:
        """Take bright pictures for a lighthouse, less surely for a pier, and dark ones for nothing."""
        logits = torch.zeros(len(pixels), 1000)
        logits[pixels.mean((1, 2, 3)) > 0, class_names().index("lighthouse")] = 10
        logits[pixels.mean((1, 2, 3)) > 0, class_names().index("pier")] = 9.5
        return logits

    monkeypatch.setattr(PictureLabeller, "_loaded", property(lambda _: network))
    given = dataset(tmp_path)
    found = label_items(given, PictureLabelsConfig(), MediaLimits(), cache=tmp_path / "cache")
    assert found.catalog.table["picture_labels"].to_list() == ["lighthouse, pier", None, None, None]
    assert found.catalog.text_columns == ("picture_labels",)
    counts = {finding.check: (finding.count, finding.total) for finding in found.findings}
    assert counts == {"labels.read": (1, 3), "labels.failed": (1, 3)}
    assert "broken.png" in found.findings[1].examples[0]
    monkeypatch.setattr(PictureLabeller, "_loaded", property(lambda _: SimpleNamespace()))  # nothing is looked at again
    assert label_items(given, PictureLabelsConfig(), MediaLimits(), cache=tmp_path / "cache").findings == found.findings
    fewer = PictureLabelsConfig(min_probability=0.5, into="cover_shows")
    monkeypatch.setattr(PictureLabeller, "_loaded", property(lambda _: network))
    shown = label_items(given, fewer, MediaLimits(), cache=tmp_path / "cache").catalog.table["cover_shows"]
    assert shown[0] == "lighthouse"
    with pytest.raises(ConfigError, match="a column 'cover' already"):
        label_items(given, PictureLabelsConfig(into="cover"), MediaLimits(), cache=tmp_path)


def test_the_names_are_in_the_order_of_imagenet() -> None:
    names = class_names()
    assert len(names) == 1000
    assert [names[k] for k in (0, 207, 281, 437, 817, 999)] == [
        "tench",
        "Golden Retriever",
        "tabby cat",
        "lighthouse",
        "sports car",
        "toilet paper",
    ]


def test_the_bundled_network_has_a_class_for_each_name() -> None:
    labeller = PictureLabeller(PictureLabelsConfig(count=2, min_probability=0))
    labeller.load()
    labels = labeller.extract(Image.new("RGB", (64, 64), "navy")).split(", ")
    assert len(labels) == 2
    assert set(labels) <= set(class_names())
