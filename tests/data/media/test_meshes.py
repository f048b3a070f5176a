"""3-D files nobody vouches for: what loads, what is refused and why."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import trimesh

from penchant.data.clean.inspection import InspectionConfig, Inspector, inspect_column
from penchant.data.media import MediaLimits, UnusableMediaError, load_mesh

LIMITS = MediaLimits()


@pytest.mark.parametrize("ending", ["obj", "ply", "stl", "off", "glb"])
def test_box_comes_back_from_each_format(tmp_path: Path, ending: str) -> None:
    trimesh.creation.box((1, 2, 3)).export(tmp_path / f"box.{ending}")
    mesh = load_mesh(tmp_path / f"box.{ending}", LIMITS)
    assert len(mesh.faces) == 12
    assert mesh.area == pytest.approx(22, rel=1e-5)


def test_scene_of_several_parts_is_one_mesh(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(1)
    moved = trimesh.creation.box()
    moved.apply_translation((5, 0, 0))
    trimesh.Scene([ball, moved]).export(tmp_path / "two.glb")
    assert len(load_mesh(tmp_path / "two.glb", LIMITS).faces) == len(ball.faces) + 12


def test_points_without_faces_say_so(tmp_path: Path) -> None:
    trimesh.PointCloud([[0, 0, 0], [1, 0, 0], [0, 1, 0]]).export(tmp_path / "cloud.ply")
    with pytest.raises(UnusableMediaError, match="The mesh has no faces") as caught:
        load_mesh(tmp_path / "cloud.ply", LIMITS)
    assert "export it with triangles" in caught.value.fix


def test_flat_face_of_no_area_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.off").write_text("OFF\n3 1 0\n0 0 0\n1 1 1\n2 2 2\n3 0 1 2\n")
    with pytest.raises(UnusableMediaError, match="its surface has no area"):
        load_mesh(tmp_path / "a.off", LIMITS)


@pytest.mark.parametrize(
    ("name", "raw", "check"),
    [
        ("a.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "unreadable"),
        ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", "unreadable"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 99999999\n", "unreadable"),
        ("a.glb", b"glTF rubbish", "unreadable"),
        ("a.stl", b"", "unreadable"),
        ("a.zip", b"PK", "unreadable"),
    ],
)
def test_damaged_file_is_refused(tmp_path: Path, name: str, raw: bytes, check: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UnusableMediaError) as caught:
        load_mesh(tmp_path / name, LIMITS)
    assert caught.value.check == check


def test_too_many_faces_and_bytes_are_refused(tmp_path: Path) -> None:
    trimesh.creation.icosphere(2).export(tmp_path / "ball.ply")
    with pytest.raises(UnusableMediaError, match="The mesh has 320 faces, the most is 100"):
        load_mesh(tmp_path / "ball.ply", MediaLimits(max_faces=100))
    with pytest.raises(UnusableMediaError, match="bytes, the most is 50"):
        load_mesh(tmp_path / "ball.ply", MediaLimits(max_mesh_bytes=50))


def test_file_named_inside_a_mesh_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.mtl").write_text("newmtl a\nmap_Kd /etc/hostname\n")
    (tmp_path / "a.obj").write_text("mtllib secret.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    mesh = load_mesh(tmp_path / "a.obj", LIMITS)
    assert len(mesh.faces) == 1
    assert getattr(getattr(mesh.visual, "material", None), "image", None) is None


def test_inspection_masks_meshes_that_cannot_be_used(tmp_path: Path) -> None:
    trimesh.creation.box().export(tmp_path / "box.ply")
    trimesh.PointCloud([[0, 0, 0], [1, 0, 0]]).export(tmp_path / "cloud.ply")
    cells = pl.Series("mesh", ["box.ply", "cloud.ply", "gone.ply"])
    kept, findings = inspect_column(cells, str, "mesh", tmp_path, Inspector(LIMITS, InspectionConfig()))
    assert kept.to_list() == ["box.ply", None, None]
    assert {f.check for f in findings} == {"mesh.unreadable", "mesh.missing"}
