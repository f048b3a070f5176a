"""Items of the sample world with their hidden attributes.

In: their number and a seed. Out: independent attributes, each visible in one modality only, or in none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from penchant.core.seeds import generator
from penchant.world.drawing import COLOURS, MOTIFS
from penchant.world.settings import DAYS, WorldPlan
from penchant.world.sound import INSTRUMENTS, TEMPOS
from penchant.world.topics import TOPICS

CIRCLES = tuple(f"circle {number}" for number in range(1, 9))
"""Groups of items that the same users like for a reason no modality shows: visible in behaviour only."""
SEASONS = ("spring", "summer", "autumn", "winter")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "motif": tuple(MOTIFS),
    "topic": tuple(TOPICS),
    "timbre": tuple(INSTRUMENTS),
    "circle": CIRCLES,
}
"""Attributes users choose by: visible in the image, in the text, in the sound, and in no modality."""
POPULARITY_SPREAD = 0.5
"""Standard deviation of the popularity that no content explains."""
NEW_DAYS = 75
"""New items are released in the last this many days of the year."""
OLD_SHARE = 0.7
"""Share of the other items that exist from the first day."""


def make_items(plan: WorldPlan, seed: int) -> pl.DataFrame:
    """Return one row per item with its full truth; the item's files show only part of it.

    Columns: item_id, the four of `ATTRIBUTES`, colour and tempo (visible and audible, but no user chooses by them), season,
    popularity, released_on (day of the year, 0 first), is_new, language, price, has_text, has_picture, has_sound.
    """
    rng = generator(seed, "world.items")
    count = plan.num_items
    is_new = rng.permutation(count) < round(plan.new_share * count)
    old = np.where(rng.random(count) < OLD_SHARE, 0, rng.integers(0, DAYS - NEW_DAYS, count))
    columns: dict[str, object] = {"item_id": [f"i{number:0{len(str(count))}d}" for number in range(1, count + 1)]}
    for name, values in ATTRIBUTES.items():
        columns[name] = _shares(values, count, rng)
    columns |= {
        "colour": _shares(tuple(COLOURS), count, rng),
        "tempo": _shares(tuple(TEMPOS), count, rng),
        "season": _shares(SEASONS, count, rng),
        "popularity": np.round(rng.normal(0, POPULARITY_SPREAD, count), 3),
        "released_on": np.where(is_new, rng.integers(DAYS - NEW_DAYS, DAYS - 14, count), old),
        "is_new": is_new,
        "language": np.where(rng.random(count) < plan.chinese_share, "zh", "en"),
        "price": np.round(np.exp(rng.normal(1.6, 0.5, count)), 2),
        "has_text": rng.random(count) >= plan.missing_share,
        "has_picture": rng.random(count) >= plan.missing_share,
        "has_sound": rng.random(count) >= plan.missing_share,
    }
    return pl.DataFrame(columns)


def _shares(values: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return values in equal shares and random order, so that attributes are independent."""
    return [values[code] for code in rng.permutation(np.arange(count) % len(values))]
