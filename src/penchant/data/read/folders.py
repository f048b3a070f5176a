"""Read a folder of media with one subfolder per class.

In: FOLDER/happy/1.jpg, FOLDER/sad/2.txt, or the same below train/ and test/. Out: a `RawTable` with label, part and one column a modality.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.data.media.limits import MEDIA_ENDINGS
from penchant.data.read.columns import PART_NAMES
from penchant.data.read.tables import RawTable

TEXT_ENDINGS = (".txt",)


def read_class_folders(folder: Path) -> RawTable:
    """Return one row for each file; files that share a name but for their ending are one sample with several modalities.

    Raises:
        DataError: There are no files below class folders.
    """
    parts = [child for child in _folders(folder) if child.name.lower() in PART_NAMES]
    roots: list[tuple[str | None, Path]] = [(PART_NAMES[part.name.lower()], part) for part in parts]
    rows: dict[str, dict[str, str | None]] = {}
    for part, root in roots or [(None, folder)]:
        for kind in _folders(root):
            for file in sorted(p for p in kind.rglob("*") if p.is_file()):
                content = _content(file, folder)
                if content is not None:
                    key = file.relative_to(folder).with_suffix("").as_posix()
                    rows.setdefault(key, {"sample_id": key, "label": kind.name, "part": part})[content[0]] = content[1]
    if not rows:
        raise DataError(
            "The folder holds neither a table nor one folder of files for each class.",
            where=str(folder),
            fix="name the table samples.csv, give its path, or sort files as FOLDER/CLASS/FILE",
        )
    names = ("sample_id", "label", "part", "text", *MEDIA_ENDINGS)
    used = [name for name in names if any(row.get(name) for row in rows.values())]
    table = pl.DataFrame(
        [{name: row.get(name) for name in used} for row in rows.values()], schema=dict.fromkeys(used, pl.String)
    )
    return RawTable(table, folder.name)


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _content(file: Path, root: Path) -> tuple[str, str] | None:
    """Return modality and cell: the content of a text file, the path of any other; None for an unknown ending."""
    ending = file.suffix.lower()
    if ending in TEXT_ENDINGS:
        return "text", file.read_bytes().decode("utf-8", "replace")
    for modality, endings in MEDIA_ENDINGS.items():
        if ending in endings:
            return modality, file.relative_to(root).as_posix()
    return None
