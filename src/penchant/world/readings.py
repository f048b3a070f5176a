"""Generate wrist activity of people whose state is known, and of two new ones, one of whom changes on a known day.

In: a folder. Out: people.csv, readings.csv, new.csv and course.toml.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool

from penchant.core.seeds import generator

STEP_SECONDS = 1800
FIRST = 1_750_032_000
"""A midnight in June 2025, in seconds since 1970."""
CHANGED = 12
"""Day on which the new person `anna` changes; 0 is the first."""
SETTINGS = """\
# A course for each person: is today unlike this person's first days, in the direction of "ill"?
task = "classification"
name = "course"
kind = "health"

[data]
path = "people.csv"             # sample_id, label
signals = "readings.csv"        # sample_id, time, one column for each channel
window_hours = 24               # each day is a sample; the days of a person stay together in every split
text = []

[content.activity]
encoder = "signal"
options = { step_seconds = 1800, window_seconds = 21600 }

[evaluation]
positive = "ill"                # the class that is followed

[course]
steady = "well"                 # people who are taken to stay as they are: alarms about them are false
alarms_per_day = 0.02           # promised: one false alarm in 50 days of a person
baseline_windows = 5            # the first days of a person, with which the later ones are compared
"""


def write_readings(folder: str | Path, *, people: int = 30, days: int = 14, seed: int = 0) -> None:
    """Write readings of people who stay as they are, a third of them ill, and of `anna`, who changes, and `ben`, who does not.

    Args:
        folder: Where; made where it does not exist.
        people: Labelled ones.
        days: Of each of them; the new ones have 20.
        seed: Of everything drawn.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = generator(seed, "world.readings")
    labels = {f"p{n}": "ill" if n % 3 == 0 else "well" for n in range(people)}
    every = [draw_readings(person, np.full(days, label == "ill"), rng) for person, label in labels.items()]
    pl.concat(every).write_csv(folder / "readings.csv", float_precision=2)
    pl.DataFrame({"sample_id": list(labels), "label": list(labels.values())}).write_csv(folder / "people.csv")
    new = [draw_readings("anna", np.arange(20) >= CHANGED, rng), draw_readings("ben", np.zeros(20, bool), rng)]
    pl.concat(new).write_csv(folder / "new.csv", float_precision=2)
    (folder / "course.toml").write_text(SETTINGS, encoding="utf-8")


def draw_readings(person: str, ill: Bool[np.ndarray, " days"], rng: np.random.Generator) -> pl.DataFrame:
    """Return `sample_id`, `time` and `activity` every half hour; a day on which the person is ill has less of it, later."""
    level = rng.uniform(0.8, 1.2)
    hour = np.arange(0, 24, STEP_SECONDS / 3600)
    parts = []
    for day, is_ill in enumerate(ill.tolist()):
        middle, height = (16.0, 45.0) if is_ill else (13.0, 80.0)
        values = height * level * rng.uniform(0.75, 1.25) * np.exp(-(((hour - middle) / 5) ** 2))
        time = FIRST + day * 86_400 + (hour * 3600).astype(int)
        parts.append(pl.DataFrame({"time": time, "activity": values + rng.gamma(1.0, 6.0, len(hour))}))
    return pl.concat(parts).select(pl.lit(person).alias("sample_id"), pl.all())
