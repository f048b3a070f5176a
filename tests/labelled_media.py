"""Labelled content of every modality whose right answer can be seen: bright or dark, high or low, round or flat, glad or cross."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import soundfile
import trimesh
from PIL import Image

GLAD = ("lovely", "delight", "superb", "joyful")
CROSS = ("awful", "broken", "dreadful", "nasty")
FILLER = ("room", "staff", "breakfast", "the", "was", "street", "and", "bed")


def write_samples(
    folder: Path, count: int = 60, *, modalities: tuple[str, ...] = ("text",), seed: int = 0
) -> pl.DataFrame:
    """Write samples.csv and its media; a third of the samples lack each modality but the first."""
    rng = np.random.default_rng(seed)
    labels = ["cross", "glad"] * (count // 2)
    columns: dict[str, list[str | None]] = {"sample_id": [f"s{n}" for n in range(count)], "label": list(labels)}
    for place, modality in enumerate(modalities):
        cells: list[str | None] = []
        for number, label in enumerate(labels):
            absent = place > 0 and rng.random() < 1 / 3
            cells.append(None if absent else MAKERS[modality](folder, number, label == "glad", rng))
        columns[modality] = cells
    table = pl.DataFrame(columns)
    table.write_csv(folder / "samples.csv")
    return table


def words_and_sound(folder: Path) -> dict[str, Any]:
    """Return where samples of text and audio, written into a folder, are read from, and where what comes of them goes."""
    return {
        "kind": "health",
        "output": folder / "bundle",
        "cache": folder / "cache",
        "data": {"path": folder / "samples.csv", "text": ["text"], "media": {"audio": "audio"}},
        "content": {"sound": {"encoder": "mel"}},
    }


def write_text(folder: Path, number: int, glad: bool, rng: np.random.Generator) -> str:
    told = [*rng.choice(GLAD if glad else CROSS, 3), *rng.choice(FILLER, 5)]
    return " ".join(str(word) for word in rng.permutation(told)) + f" visit {number}"


def write_picture(folder: Path, number: int, glad: bool, rng: np.random.Generator) -> str:
    pixels = rng.integers(0, 60, (24, 24, 3)) + (150 if glad else 20)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return f"{number}.png"


def write_sound(folder: Path, number: int, glad: bool, rng: np.random.Generator) -> str:
    at = np.arange(8000) / 16_000
    tone = np.sin(2 * np.pi * (1200 if glad else 300) * at) + 0.05 * rng.standard_normal(len(at))
    soundfile.write(folder / f"{number}.wav", (0.3 * tone).astype(np.float32), 16_000)
    return f"{number}.wav"


def write_mesh(folder: Path, number: int, glad: bool, rng: np.random.Generator) -> str:
    size = rng.uniform(0.5, 2.0)
    shape = trimesh.creation.icosphere(2, size) if glad else trimesh.creation.box((3 * size, size, 0.2 * size))
    shape.export(folder / f"{number}.ply")
    return f"{number}.ply"


def write_signal(folder: Path, number: int, glad: bool, rng: np.random.Generator) -> str:
    at = np.arange(60)
    value = (2.0 if glad else 0.5) * np.sin(at / 3) + 0.1 * rng.standard_normal(len(at))
    (folder / "signals").mkdir(exist_ok=True)
    pl.DataFrame({"seconds": 60.0 * at, "level": value}).write_csv(folder / "signals" / f"{number}.csv")
    return f"signals/{number}.csv"


MAKERS = {
    "text": write_text,
    "image": write_picture,
    "audio": write_sound,
    "mesh": write_mesh,
    "signal": write_signal,
}
