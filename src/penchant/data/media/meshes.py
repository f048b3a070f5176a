"""Load untrusted 3-D meshes.

In: a path and limits. Out: vertices and triangles, bounded in size; or a `MediaError` that names the file.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np

from penchant.core.errors import import_optional
from penchant.core.messages import message
from penchant.data.media.limits import MESH_ENDINGS, MediaLimits, UnusableMediaError, check_file


def load_mesh(path: Path, limits: MediaLimits) -> Any:
    """Return a `trimesh.Trimesh`: all parts of the file as one, without colours; no other file is read.

    The loader gets the bytes and no folder, so that a file cannot refer to others (materials, textures, buffers).

    Raises:
        MediaError: Missing, of no known format, damaged, too large, without faces, or of no extent.
        MissingExtraError: trimesh is not installed.
    """
    trimesh = import_optional("trimesh", "mesh")
    check_file(path, limits.max_mesh_bytes, "mesh")
    ending = path.suffix.lower()
    if ending not in MESH_ENDINGS:
        raise _unusable(path, f"{ending or 'a file without ending'} is not one of {', '.join(MESH_ENDINGS)}")
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # it logs whole tracebacks of files it cannot read
    try:
        loaded = trimesh.load_scene(io.BytesIO(path.read_bytes()), file_type=ending[1:], process=False)
        parts = [part for part in loaded.dump() if hasattr(part, "faces") and len(part.faces)]
    except Exception as error:  # parsers of damaged files raise nearly anything
        raise _unusable(path, str(error) or type(error).__name__) from error
    if not parts:
        raise UnusableMediaError(
            message("The mesh has no faces: a cloud of points, or lines, has no surface to sample."),
            path=str(path),
            fix="export it with triangles (a surface reconstruction turns points into faces); until then the item has no mesh",
            check="unreadable",
        )
    return _checked(trimesh.util.concatenate(parts), path, limits)


def _checked(mesh: Any, path: Path, limits: MediaLimits) -> Any:
    """Refuse a mesh that is too large to sample, or without surface."""
    if len(mesh.faces) > limits.max_faces:
        raise UnusableMediaError(
            message(
                "The mesh has {faces} faces, the most is {most}.",
                faces=f"{len(mesh.faces):,}",
                most=f"{limits.max_faces:,}",
            ),
            path=str(path),
            fix="simplify it, or raise `max_faces` if you trust its source",
            check="bomb",
        )
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if faces.min() < 0 or faces.max() >= len(vertices) or not np.isfinite(vertices[faces]).all():
        raise _unusable(path, "faces refer to missing or non-finite vertices")
    if not mesh.area > 0:
        raise _unusable(path, "its surface has no area")
    return mesh


def _unusable(path: Path, reason: str) -> UnusableMediaError:
    return UnusableMediaError(
        message("The mesh cannot be read: {error}.", error=reason.splitlines()[0].rstrip(".")),
        path=str(path),
        fix="export it as OBJ, PLY, STL, OFF or GLB; until then the item counts as having no mesh",
        check="unreadable",
    )
