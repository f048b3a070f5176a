"""Emotions spoken by espeak-ng, speakers of the test unheard: `python benchmarks/emotion.py FOLDER` writes the set and its settings.

In: espeak-ng. Out: FOLDER/samples.csv, one sound a row, with label and speaker, and FOLDER/emotion.toml for `benchmarks/labelled.py`. An emotion is no more
here than ranges of pitch, its movement, speed and loudness, which overlap, under noise: this checks that the machinery works, and says nothing of people.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import soundfile

SPEAKERS = [*(f"m{n}" for n in range(1, 8)), *(f"f{n}" for n in range(1, 6))]
"""Voice variants of espeak-ng."""
SENTENCES = [
    "The train leaves at seven in the morning",
    "I put the letter on the kitchen table",
    "They will come back on Sunday evening",
    "The bag is standing next to the door",
    "She has been waiting for an hour",
    "We could see the lake from the window",
]
PROSODY = {  # pitch, speed in words a minute, loudness: mean and spread of each
    "neutral": ((50, 10), (165, 15), (100, 20)),
    "happy": ((62, 10), (180, 15), (115, 20)),
    "sad": ((40, 10), (140, 15), (80, 20)),
    "angry": ((55, 10), (185, 15), (140, 20)),
}
SETTINGS = """task = "classification"
name = "emotion"
[data]
path = "samples.csv"
text = []
media = {{ audio = "audio" }}
[content.voice]
encoder = "voice"
[content.mel]
encoder = "mel"
[content.layers]
encoder = "whisper_layers"
[split]
folds = 6
[fit]
choose_by = "accuracy"
inner_folds = 3
[fit.tune]
aim = "none"
[evaluation]
metric = "accuracy"
[classifiers.layers]
model = "linear"
parts = 5
strength = [0.03, 0.3]
"""


def main(folder: Path) -> None:
    """Write the set."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for speaker in SPEAKERS:
        for emotion, ranges in PROSODY.items():
            for number, sentence in enumerate(SENTENCES):
                pitch, speed, loud = (int(np.clip(rng.normal(*one), 5, 350)) for one in ranges)
                name = f"{speaker}-{emotion}-{number}.wav"
                with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                    voice = [
                        "-v",
                        f"en+{speaker}",
                        "-p",
                        str(min(pitch, 99)),
                        "-s",
                        str(speed),
                        "-a",
                        str(min(loud, 200)),
                    ]
                    subprocess.run(["espeak-ng", *voice, "-w", file.name, sentence], check=True)
                    sound, rate = soundfile.read(file.name)
                noise = rng.standard_normal(len(sound)) * sound.std() * rng.uniform(0.1, 0.7)
                soundfile.write(folder / name, np.clip(sound + noise, -1, 1), rate)
                rows.append({"audio": name, "label": emotion, "group": speaker})
    pl.DataFrame(rows).write_csv(folder / "samples.csv")
    (folder / "emotion.toml").write_text(SETTINGS.format())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
