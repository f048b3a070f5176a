"""Videos, meshes and signals opened once before anything is learned from them.

In: paths below a folder. Out: which cannot be used and why, and what those that can lack or had wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from penchant.core.logs import track
from penchant.core.messages import message
from penchant.core.schema import Finding
from penchant.data.findings import MAX_EXAMPLES
from penchant.data.media.limits import MediaLimits, UnusableMediaError, resolve
from penchant.data.media.meshes import load_mesh
from penchant.data.media.signals import load_signal, split_key
from penchant.data.media.video import open_video

OPENED = ("video", "mesh", "signal")
"""Modalities looked at here; pictures and sounds are measured in `facts`."""
_LACKS = {
    "no sound": message("the video is learned from by its picture alone"),
    "no picture": message("the video is learned from by its sound alone"),
}


@dataclass(frozen=True)
class Opened:
    """What came of one file.

    Attributes:
        name: As the table names it.
        error: Why it cannot be used; None where it can.
        findings: What was noticed in it.
    """

    name: str
    error: UnusableMediaError | None
    findings: tuple[Finding, ...] = ()


def open_files(names: Sequence[str], modality: str, *, root: Path, limits: MediaLimits) -> list[Opened]:
    """Open each file and say what came of it; of a video only the header is read.

    Args:
        names: Paths below `root`, for signals perhaps with a key.
        modality: One of `OPENED`.
        root: Folder no path may leave.
        limits: What is refused.

    Raises:
        MissingExtraError: There is a video or mesh, and what reads it is not installed.
    """
    return [_open(name, modality, root, limits) for name in track(names, f"inspect {modality}", len(names))]


def sum_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each check, its counts added up."""
    merged: dict[str, Finding] = {}
    for one in findings:
        seen = merged.get(one.check)
        merged[one.check] = (
            one
            if seen is None
            else replace(
                seen,
                count=seen.count + one.count,
                total=seen.total + one.total,
                examples=(*seen.examples, *one.examples)[:MAX_EXAMPLES],
            )
        )
    return list(merged.values())


def _open(name: str, modality: str, root: Path, limits: MediaLimits) -> Opened:
    try:
        file, key = split_key(name) if modality == "signal" else (name, None)
        path = resolve(root, file)
        if modality == "signal":
            noticed = load_signal(path, key, limits).findings
            return Opened(name, None, tuple(replace(finding, examples=(name,)) for finding in noticed))
        if modality == "mesh":
            load_mesh(path, limits)
            return Opened(name, None)
        notes = open_video(path, limits).notes()
    except UnusableMediaError as error:
        return Opened(name, error)
    lacks = (Finding(f"video.{note.replace(' ', '_')}", 1, 1, "kept", (name,), _LACKS[note]) for note in notes)
    return Opened(name, None, tuple(lacks))
