"""Defects of the kinds found in real data, inserted and listed.

In: undamaged tables and media files. Out: the same with a few defects, and a list of them by the name of the check that should find each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from penchant.core.errors import import_optional
from penchant.core.seeds import generator
from penchant.world.drawing import SIDE
from penchant.world.sound import RATE, SECONDS

HTML, MOJIBAKE, DUPLICATES, UNKNOWN = 3, 2, 5, 2
"""Number of defects of each kind, where there are enough rows."""
ROBOT_PER_MINUTE, ROBOT_MINUTES = 130, 3
FUTURE = datetime(2099, 1, 1, 12, 0)


@dataclass
class Defects:
    """List of inserted defects."""

    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, check: str, *, item_id: str = "", user_id: str = "", file: str = "") -> None:
        """Record one defect under the name of the finding it should produce."""
        self.rows.append({"check": check, "item_id": item_id, "user_id": user_id, "file": file})

    def table(self) -> pl.DataFrame:
        """Return one row for each defect: check, item_id, user_id, file."""
        names = ("check", "item_id", "user_id", "file")
        return pl.DataFrame(self.rows, schema=dict.fromkeys(names, pl.String))


def damage_text(items: pl.DataFrame, seed: int, defects: Defects) -> pl.DataFrame:
    """Insert markup into a few descriptions, and decode a few Chinese ones with the wrong encoding."""
    rng = generator(seed, "world.damage.text")
    rows = rng.permutation(items["description"].is_not_null().arg_true().to_numpy())
    texts, languages, ids = (items[name].to_list() for name in ("description", "language", "item_id"))
    for row in rows[:HTML]:
        texts[row] = f"<p>{texts[row]}</p><br/>"
        defects.add("text.html", item_id=ids[row])
    chinese = [row for row in rows[HTML:] if languages[row] == "zh"]
    for row in chinese[:MOJIBAKE]:
        texts[row] = texts[row].encode("utf-8").decode("latin-1")
        defects.add("text.mojibake", item_id=ids[row])
    return items.with_columns(description=pl.Series(texts, dtype=pl.String))


def damage_events(events: pl.DataFrame, robot: str, item_ids: list[str], seed: int, defects: Defects) -> pl.DataFrame:
    """Repeat a few events, date one in the future, name unknown items, and add an automated user who clicks through the catalog.

    Args:
        events: user_id, item_id, at, kind, text, reason; other columns are null in the events of the automated user.
        robot: The robot's user id.
        item_ids: Items that it clicks.
        seed: Of the choice of events.
        defects: Receives the inserted defects.
    """
    rng = generator(seed, "world.damage.events")
    chosen = rng.permutation(events.height)[: DUPLICATES + UNKNOWN + 1]
    repeats, renamed, future = chosen[:DUPLICATES], chosen[DUPLICATES:-1], int(chosen[-1])
    repeated = events[repeats]
    unknown = events[renamed].with_columns(item_id=pl.lit("gone-") + pl.col("item_id"))
    row = pl.int_range(pl.len())
    events = events.with_columns(at=pl.when(row == future).then(pl.lit(FUTURE)).otherwise(pl.col("at")))
    for check, rows in (("events.duplicate", repeated), ("events.unknown_item", unknown)):
        for user, item in rows.select("user_id", "item_id").iter_rows():
            defects.add(check, user_id=user, item_id=item)
    defects.add("events.impossible_time", user_id=events["user_id"][future], item_id=events["item_id"][future])
    defects.add("events.inhuman_user", user_id=robot)
    return pl.concat([events, repeated, unknown, _robot_events(events, robot, item_ids)], how="diagonal")


def _robot_events(events: pl.DataFrame, robot: str, item_ids: list[str]) -> pl.DataFrame:
    """Return more clicks per minute than a human user can make."""
    count = ROBOT_PER_MINUTE * ROBOT_MINUTES
    begin = datetime(2024, 6, 1, 3, 0)
    columns = {
        "user_id": [robot] * count,
        "item_id": [item_ids[number % len(item_ids)] for number in range(count)],
        "at": [begin + timedelta(seconds=number * 60 // ROBOT_PER_MINUTE) for number in range(count)],
        "kind": ["click"] * count,
        "text": [None] * count,
        "reason": ["robot"] * count,
    }
    return pl.DataFrame(columns, schema={name: events.schema[name] for name in columns})


def damage_media(folder: Path, items: pl.DataFrame, seed: int, defects: Defects) -> pl.DataFrame:
    """Damage a few files, and return the truth without the content that was lost.

    Args:
        folder: Of the world.
        items: The truth: item_id, has_picture, has_sound.
        seed: Of the choice of files.
        defects: Receives the inserted defects.
    """
    rng = generator(seed, "world.damage.media")
    whole = items.filter(pl.col("has_picture") & pl.col("has_sound"))["item_id"]
    ids = [whole[int(row)] for row in rng.permutation(len(whole))[: len(PICTURE_DAMAGE) + len(SOUND_DAMAGE)]]
    pictures, sounds = ids[: len(PICTURE_DAMAGE)], ids[len(PICTURE_DAMAGE) :]
    for item, (check, damage) in zip(pictures, PICTURE_DAMAGE, strict=True):
        damage(folder / "images" / f"{item}.jpg")
        defects.add(f"image.{check}", item_id=item, file=f"images/{item}.jpg")
    for item, (check, samples) in zip(sounds, SOUND_DAMAGE, strict=True):
        write_sound(folder / "sound" / f"{item}.flac", samples)
        defects.add(f"audio.{check}", item_id=item, file=f"sound/{item}.flac")
    return items.with_columns(
        has_picture=pl.col("has_picture") & ~pl.col("item_id").is_in(pictures),
        has_sound=pl.col("has_sound") & ~pl.col("item_id").is_in(sounds),
    )


def write_sound(path: Path, samples: np.ndarray) -> None:
    """Write mono samples at 16 kHz, 16 bits.

    Raises:
        MissingExtraError: The extra `audio` is not installed.
    """
    import_optional("soundfile", "audio").write(path, samples, RATE, subtype="PCM_16")


def _truncate(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])


def _blank(path: Path) -> None:
    Image.new("RGB", (SIDE, SIDE), (236, 236, 236)).save(path, quality=88)


def _unreadable(path: Path) -> None:
    path.write_text("<html><body>404 Not Found</body></html>", encoding="utf-8")


PICTURE_DAMAGE: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("truncated", _truncate),
    ("truncated", _truncate),
    ("blank", _blank),
    ("unreadable", _unreadable),
    ("missing", Path.unlink),
)
SOUND_DAMAGE = (("silent", np.zeros(int(RATE * SECONDS), np.float32)), ("short", np.zeros(200, np.float32)))
