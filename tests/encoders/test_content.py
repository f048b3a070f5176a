"""Videos, meshes and signals go from a catalog's cells to vectors like any other content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import trimesh

from penchant.core.schema import Catalog
from penchant.data.media import MediaLimits
from penchant.data.read.column_types import infer_column_types
from penchant.encoders.catalog import ChannelConfig, default_channels, encode_catalog
from penchant.encoders.content import find_content, form

LIMITS = MediaLimits()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Return four items with shapes and signals; one lacks them, one's are broken."""
    media = tmp_path / "media"
    media.mkdir()
    trimesh.creation.box().export(media / "box.ply")
    trimesh.creation.icosphere(1).export(media / "ball.ply")
    trimesh.PointCloud([[0, 0, 0], [1, 0, 0]]).export(media / "cloud.ply")
    readings = pl.DataFrame({"id": ["a"] * 50 + ["b"] * 50, "t": [*range(0, 3000, 60)] * 2, "x": range(100)})
    readings.write_csv(media / "all.csv")
    table = pl.DataFrame(
        {
            "item_id": ["1", "2", "3", "4"],
            "shape": ["box.ply", "ball.ply", None, "cloud.ply"],
            "readings": ["all.csv#a", "all.csv#b", None, "all.csv#gone"],
        }
    )
    return Catalog(table, media_columns={"mesh": "shape", "signal": "readings"}, media_root=media)


def test_meshes_and_signals_become_vectors_and_broken_ones_are_noted(catalog: Catalog, tmp_path: Path) -> None:
    channels = default_channels(catalog)
    assert {name: channel.encoder for name, channel in channels.items()} == {"mesh": "shape", "signal": "signal"}
    found, findings = encode_catalog(catalog, channels, cache=tmp_path / "cache", limits=LIMITS)
    for name in ("mesh", "signal"):
        assert found[name].present.tolist() == [True, True, False, False]
        assert np.isfinite(found[name].values).all()
        assert (found[name].values[0] != found[name].values[1]).any()
    assert [finding.count for finding in findings] == [1, 1]
    assert "The mesh has no faces" in findings[0].examples[0]
    assert "no readings of 'gone'" in findings[1].examples[0]


def test_signals_of_one_file_have_keys_of_their_own(catalog: Catalog) -> None:
    keys = find_content(catalog, (), "signal", LIMITS, where="content.signal").keys
    assert keys[2] is None
    assert len({keys[0], keys[1], keys[3]}) == 3


def test_channel_of_a_mesh_takes_its_settings(catalog: Catalog, tmp_path: Path) -> None:
    config = {"form": ChannelConfig(encoder="shape", columns=["shape"], options={"bins": 8})}
    found, _ = encode_catalog(catalog, config, cache=tmp_path / "cache", limits=LIMITS)
    assert found["form"].modality == "mesh"
    assert found["form"].dim == 4 * 8 + 15


def test_columns_of_videos_and_meshes_are_found_by_their_endings() -> None:
    table = pl.DataFrame({"clip": ["a.mp4", "b.WEBM"], "shape": ["a.obj", "b.glb"]})
    assert infer_column_types(table, None, None, None, None).media == {"video": "clip", "mesh": "shape"}


@pytest.mark.parametrize(
    "name", ["max_seconds", "max_frames", "min_seconds", "max_samples", "max_audio_rate", "max_audio_channels"]
)
def test_vectors_of_videos_are_those_of_the_limits_that_cut_their_tracks(name: str) -> None:
    assert form("video", MediaLimits(**{name: 7})) != form("video", LIMITS)
    assert form("video", LIMITS) == {"side": 512, "rate": 16_000, "loudness": -23.0, "seconds": 600.0}  # as it was
